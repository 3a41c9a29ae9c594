# SPDX-License-Identifier: Apache-2.0
import dataclasses
import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from codegemma.data import pipeline, recipes, shards, thresholds
from codegemma.data.engine import Cluster
from codegemma.data.loader import ShardReader
from codegemma.data.manifest import read_recipe
from codegemma.data.pipeline import Settings
from codegemma.errors import ConfigError, InputError

NANO = dataclasses.replace(recipes.nano(), heldout=("orders",))

Make = Callable[..., Settings]
WORDS = ("take", "turn", "fold", "join", "sort", "mend", "keep", "give", "find", "tell", "draw")


@pytest.fixture
def make(repository_folder: Path, tokenizer_file: Path) -> Make:
    def settings(**changes: object) -> Settings:
        start = Settings(
            sources=(repository_folder,), recipe=NANO, tokenizer_file=tokenizer_file, each=True
        )
        return dataclasses.replace(start, **changes)

    return settings


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_folders_become_shards_with_a_manifest(
    make: Make, tmp_path: Path, tokenizer_file: Path
) -> None:
    out = tmp_path / "out"

    manifest = pipeline.prepare(make(), out=out)

    assert list(contents(out)) == [
        "manifest.json",
        "report.json",
        "shards/heldout-00000-of-00001.array_record",
        "shards/train-00000-of-00001.array_record",
        "signals.jsonl.gz",
        "tokenizer.model",
    ]
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8")) == manifest
    rates = json.loads((out / "report.json").read_text(encoding="utf-8"))["rates"]
    assert (rates["segments"], rates["files"], rates["eligible"]) == (1, 1, 1)
    assert [(row["name"], row["part"], row["license"]) for row in manifest["repositories"]] == [
        ("orders", "heldout", "MIT"),
        ("shapes", "train", "MIT"),
    ]
    assert manifest["totals"]["train"]["records"] == 1
    assert manifest["tokenizer"]["sha256"] == shards.hash_file(tokenizer_file)
    (file,) = ShardReader(out)[0].files
    assert (file.path, file.origin) == ("shapes.py", "shapes:1")
    (file,) = ShardReader(out, "heldout")[0].files
    assert (file.path, file.origin) == ("shop/orders.py", "orders:1")


def test_the_text_of_the_records_is_the_text_of_the_sources(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    pipeline.prepare(make(), out=tmp_path / "out")
    (file,) = ShardReader(tmp_path / "out")[0].files

    assert file.text == (repository_folder / "shapes" / "shapes.py").read_text(encoding="utf-8")


def test_the_number_of_workers_changes_no_byte(make: Make, tmp_path: Path) -> None:
    pipeline.prepare(make(), out=tmp_path / "one")
    pipeline.prepare(make(cluster=Cluster(workers=2)), out=tmp_path / "two")

    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_finished_data_set_is_left_as_it_is(make: Make, tmp_path: Path) -> None:
    first = pipeline.prepare(make(), out=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    assert pipeline.prepare(make(), out=tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_other_settings_and_changed_sources_do_not_overwrite_a_data_set(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    out = tmp_path / "out"
    pipeline.prepare(make(), out=out)

    with pytest.raises(ConfigError, match="holds data prepared with other settings or sources"):
        pipeline.prepare(make(seed=1), out=out)
    with pytest.raises(ConfigError, match="holds data prepared with other settings or sources"):
        pipeline.prepare(make(sources=(repository_folder / "shapes",), each=False), out=out)
    (repository_folder / "shapes" / "new.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="prepared before shapes changed"):
        pipeline.prepare(make(), out=out)


def test_a_data_set_of_other_rules_is_not_taken_for_one_of_these(
    make: Make, tmp_path: Path
) -> None:
    manifest = pipeline.prepare(make(), out=tmp_path)
    manifest["versions"]["rules"] = "those of an older version"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    with pytest.raises(ConfigError, match="by other versions of codegemma or its libraries, which"):
        pipeline.prepare(make(), out=tmp_path)


@pytest.mark.parametrize("is_taken_back", [True, False])
def test_a_data_set_is_not_that_of_a_repository_whose_licence_changed(
    make: Make, tmp_path: Path, repository_folder: Path, is_taken_back: bool
) -> None:
    license = repository_folder / "orders" / "LICENSE"
    before, after = license.read_text(encoding="utf-8"), "Mine alone."
    if not is_taken_back:
        before, after = after, before
    license.write_text(before, encoding="utf-8")
    pipeline.prepare(make(), out=tmp_path / "out")
    license.write_text(after, encoding="utf-8")

    with pytest.raises(ConfigError, match="holds data prepared before orders changed; choose"):
        pipeline.prepare(make(), out=tmp_path / "out")


def test_a_data_set_knows_what_was_left_out_when_it_was_read(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    pipeline.prepare(make(), out=tmp_path / "out")
    (repository_folder / "shapes" / "broken.py").write_bytes(b"\0\0\0")

    with pytest.raises(ConfigError, match="holds data prepared before shapes changed"):
        pipeline.prepare(make(), out=tmp_path / "out")


def test_an_interrupted_run_leaves_no_data_set_and_goes_on(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    pipeline.prepare(make(), out=whole)
    out = tmp_path / "out"

    def interrupt(stage: str, done: int, total: int) -> None:
        is_main = threading.current_thread() is threading.main_thread()  # as for a real one
        if is_main and (stage, done) == ("pack", total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.prepare(make(), out=out, progress=interrupt)
    assert not (out / "manifest.json").exists()
    assert not (out / "shards").exists()

    def fail(*args: object, **options: object) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr("codegemma.data.stages.inspect", fail)
    monkeypatch.setattr("codegemma.data.pack.pack_repository", fail)
    pipeline.prepare(make(), out=out)
    assert contents(out) == contents(whole)


def test_a_run_stopped_while_moving_its_files_is_made_good(make: Make, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    pipeline.prepare(make(), out=whole)
    (out / ".partial").mkdir(parents=True)
    (out / "shards").mkdir()
    (out / "shards" / "train-00000-of-00009.array_record").write_bytes(b"old")

    pipeline.prepare(make(), out=out)

    assert contents(out) == contents(whole)


def test_a_folder_with_shards_of_somebody_else_is_refused(make: Make, tmp_path: Path) -> None:
    own = tmp_path / "out" / "shards" / "own.bin"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"years of work")

    with pytest.raises(ConfigError, match=r"already has shards, which no run of"):
        pipeline.prepare(make(), out=tmp_path / "out")

    assert contents(tmp_path / "out") == {"shards/own.bin": b"years of work"}


def test_two_runs_do_not_write_into_one_folder(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused: list[str] = []

    def start_another(stage: str, done: int, total: int) -> None:
        if stage == "copies" and not refused:
            with pytest.raises(ConfigError) as error:
                pipeline.prepare(make(), out=out)
            refused.append(str(error.value))

    pipeline.prepare(make(), out=out, progress=start_another)

    assert refused == [f"another run is preparing data in {out}; wait for it"]


def test_contamination_is_dropped_and_reported(make: Make, tmp_path: Path) -> None:
    benchmark = tmp_path / "set.jsonl"
    text = "def square_area(side): Give the area of a square of this side. return side * side"
    benchmark.write_text(json.dumps({"solution": text}) + "\n", encoding="utf-8")
    recipe = dataclasses.replace(NANO, heldout=())

    manifest = pipeline.prepare(make(recipe=recipe, benchmarks=(benchmark,)), out=tmp_path / "out")

    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert manifest["dropped"]["contamination"] == {"set.jsonl#0": {"files": 1, "bytes": 354}}
    assert [(hit["file"], hit["item"]) for hit in report["contamination"]] == [
        ("shapes/shapes.py", "set.jsonl#0")
    ]


def test_every_drop_is_counted_by_rule_and_language(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    for name in ("a.py", "b.py", "c.go"):
        (repository_folder / "shapes" / name).write_text("x = 1\n", encoding="utf-8")
    (repository_folder / "shapes" / "d.go").write_bytes(b"\0\0\0\0\0\0\0\0\0")
    recipe = dataclasses.replace(recipes.codegemma_2b(), heldout=("orders",))

    manifest = pipeline.prepare(make(recipe=recipe), out=tmp_path / "out")

    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["dropped"]["filter"] == {
        "too_short": {"go": {"files": 1, "bytes": 6}, "python": {"files": 2, "bytes": 12}}
    }
    assert report["dropped"]["read"] == {"binary": {"go": {"files": 1, "bytes": 9}}}
    assert list(report["dropped"]) == list(manifest["dropped"]) == list(pipeline.STAGES)


def test_a_vocabulary_is_trained_from_the_training_part_when_asked(
    make: Make, tmp_path: Path
) -> None:
    manifest = pipeline.prepare(make(tokenizer_file=None, vocab_size=560), out=tmp_path)

    assert manifest["tokenizer"]["sha256"] == shards.hash_file(tmp_path / "tokenizer.model")
    assert manifest["settings"]["tokenizer"] is None


def test_nothing_left_to_train_on_is_an_error_that_says_why(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    for name in ("shapes", "orders"):
        (repository_folder / name / "LICENSE").write_text("Mine alone.", encoding="utf-8")

    with pytest.raises(InputError, match="2 repositories lack a permissive licence"):
        pipeline.prepare(make(), out=tmp_path)


def test_repositories_without_a_licence_are_kept_when_asked(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    (repository_folder / "shapes" / "LICENSE").unlink()
    recipe = dataclasses.replace(NANO, permissive_only=False)

    manifest = pipeline.prepare(make(recipe=recipe), out=tmp_path)

    assert [row["license"] for row in manifest["repositories"]] == ["MIT", ""]


def test_all_faults_of_the_settings_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"either a tokenizer .*; workers .* 0; name at least"):
        Settings(sources=(), recipe=NANO, cluster=Cluster(workers=0))


def test_what_was_measured_is_kept_with_the_data_set(make: Make, tmp_path: Path) -> None:
    pipeline.prepare(make(), out=tmp_path / "out")

    lines = gzip.decompress((tmp_path / "out" / "signals.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["repository"], row["path"], row["rule"]) for row in rows] == [
        ("orders", "shop/orders.py", ""),
        ("shapes", "shapes.py", ""),
    ]
    assert (rows[1]["num_lines"], rows[1]["error_fraction"]) == (15, 0.0)


def test_thresholds_tried_on_what_was_kept_drop_what_a_run_with_them_drops(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    lines = "".join(f"# line {i} of prose that says nothing\n" for i in range(40))
    extra = {"remarks.py": lines, "long.py": f"x = '{'word ' * 300}'\n" + "y = 1\n" * 30}
    for path, text in {**extra, "gen_pb2.py": lines}.items():
        (repository_folder / "shapes" / path).write_text(text, encoding="utf-8")
    changes = {"default": {"max_line": 5000, "max_repeated": 1.0}, "python": {"max_comment": 1.0}}
    other = dataclasses.replace(NANO, thresholds=changes)
    pipeline.prepare(make(), out=tmp_path / "usual")

    pipeline.prepare(make(recipe=other), out=tmp_path / "other")

    usual, found = (
        [*thresholds.read_rows(tmp_path / name / "signals.jsonl.gz")] for name in ("usual", "other")
    )
    told = {
        verdict.path: (verdict.before, verdict.now) for verdict in thresholds.apply(usual, changes)
    }
    assert told == {
        "gen_pb2.py": ("generated", "generated"),
        "long.py": ("long_lines", ""),
        "remarks.py": ("comments", ""),
        "shapes.py": ("", ""),
        "shop/orders.py": ("", ""),
    }
    assert {row["path"]: row["rule"] for row in found} == {
        path: now for path, (_, now) in told.items()
    }
    back = {verdict.path: verdict.now for verdict in thresholds.apply(found, {})}
    assert back == {row["path"]: row["rule"] for row in usual}
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["settings"]["recipe"]["thresholds"] == changes
    assert read_recipe(tmp_path / "other") == other


def test_other_languages_are_taken_by_the_recipes_of_the_released_models(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    go = "".join(
        f"// Step{i} adds.\nfunc Step{i}(v int) int {{ return v + {i} }}\n" for i in range(9)
    )
    script = "#!/usr/bin/env python3\n" + "".join(f"print('line of text {i}')\n" for i in range(9))
    (repository_folder / "shapes" / "steps.go").write_text("package x\n" + go, encoding="utf-8")
    (repository_folder / "shapes" / "run").write_text(script, encoding="utf-8")
    (repository_folder / "shapes" / "NEWS").write_text("Nothing new.\n" * 9, encoding="utf-8")

    manifest = pipeline.prepare(
        make(recipe=recipes.codegemma_2b(), sources=(repository_folder / "shapes",), each=False),
        out=tmp_path / "out",
    )

    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert manifest["totals"]["train"]["files"] == 3
    assert {name: row["read"][0] for name, row in report["funnel"].items()} == {
        "go": 1,
        "python": 2,
    }


@dataclasses.dataclass(frozen=True)
class Scanner:
    """A scanner and tagger of a user's; sent to workers with its parts."""

    word: str
    version: str = "1"

    def scan(self, text: str) -> str:
        return "my rule" if self.word in text else ""

    def tag(self, text: str) -> list[tuple[int, int]]:
        place = text.rfind("square")
        return [(place, place + 6)] if place >= 0 else []


def test_a_scanner_and_a_tagger_of_the_user_work_in_workers_and_are_part_of_the_settings(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    shapes = repository_folder / "shapes" / "shapes.py"
    shapes.with_name("wicked.py").write_text(shapes.read_text() + "WICKED = 1\n")
    shapes.write_text(shapes.read_text() + "# a square\n")
    mine = Scanner("WICKED")
    settings = make(scanner=mine, tagger=mine, cluster=Cluster(workers=2))

    manifest = pipeline.prepare(settings, out=tmp_path / "out")

    assert manifest["dropped"]["unsafe"]["my rule"]["files"] == 1
    (file,) = ShardReader(tmp_path / "out")[0].files
    assert file.text.endswith("# a Author 1\n")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["redacted"]["name"] == 1
    assert report["unsafe"]["warning"] == ""
    assert [name.rpartition(".")[2] for name in report["unsafe"]["lists"]] == ["Scanner 1"]
    assert pipeline.prepare(settings, out=tmp_path / "out") == manifest
    other = make(scanner=Scanner("WICKED", version="2"), tagger=mine)
    with pytest.raises(ConfigError, match="prepared with other settings"):
        pipeline.prepare(other, out=tmp_path / "out")


def test_lists_of_the_user_are_honoured_and_part_of_the_settings(
    make: Make, tmp_path: Path, repository_folder: Path
) -> None:
    removed, unsafe = tmp_path / "removed", tmp_path / "unsafe"
    removed.write_text("orders\n", encoding="utf-8")
    unsafe.write_text("term:a square of this side\n", encoding="utf-8")
    recipe = dataclasses.replace(NANO, heldout=())

    manifest = pipeline.prepare(make(recipe=recipe, removals=(removed,)), out=tmp_path / "out")

    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in manifest["repositories"]] == ["shapes"]
    assert report["unsafe"]["warning"].startswith("NO LIST OF UNSAFE CONTENT WAS LOADED")
    with pytest.raises(ConfigError, match="other settings"):
        pipeline.prepare(make(recipe=recipe), out=tmp_path / "out")
    with pytest.raises(InputError, match="no file passed the filters"):
        pipeline.prepare(
            make(recipe=recipe, removals=(removed,), unsafe_lists=(unsafe,)), out=tmp_path / "no"
        )
    removed.write_text("*\n", encoding="utf-8")
    with pytest.raises(InputError, match="the removal list covers every repository"):
        pipeline.prepare(make(recipe=recipe, removals=(removed,)), out=tmp_path / "all")


def test_the_records_written_are_told(make: Make, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    pipeline.prepare(make(), out=tmp_path / "out", progress=lambda *now: told.append(now))

    written = [now[1:] for now in told if now[0] == "write"]
    assert (written[0], written[-1]) == ((0, 2), (2, 2))
    assert (1, 2) in written


def test_every_stage_tells_how_far_it_is(make: Make, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    (many / "LICENSE").write_text("MIT License", encoding="utf-8")
    for i in range(200):
        name = chr(97 + i // 26) + chr(97 + i % 26)
        steps = "".join(f"    {word}_{name} = {name}_{word}(left_{name})\n" for word in WORDS)
        text = f"def work_{name}(left_{name}):\n{steps}    return left_{name}\n"
        (many / f"m{i}.py").write_text(text, encoding="utf-8")
    told: list[tuple[str, int, int]] = []
    settings = make(sources=(many,), each=False, tokenizer_file=None, vocab_size=620)

    pipeline.prepare(settings, out=tmp_path / "out", progress=lambda *now: told.append(now))

    stages = list(dict.fromkeys(now[0] for now in told))
    assert stages == [
        "benchmarks", "inspect", "measured", "signatures", "copies", "relatives", "vocabulary",
        "merges", "pack", "write",
    ]  # fmt: skip
    by_stage = {stage: [now[1:] for now in told if now[0] == stage] for stage in stages}
    assert by_stage["signatures"] == [(band, 42) for band in range(42)]
    assert by_stage["copies"] == [(0, 200), (64, 200), (128, 200), (192, 200), (200, 200)]
    read = by_stage["vocabulary"]
    assert len(read) == 201
    assert [done for done, _ in read] == sorted(done for done, _ in read)
    assert read[0] == (0, read[-1][0])
    assert read[-1][0] == read[-1][1] > 10_000
    assert by_stage["merges"] == [(0, 0)]


def test_a_recipe_that_reads_none_of_the_files_says_what_it_reads_and_what_there_is(
    make: Make, tmp_path: Path
) -> None:
    for name in ("LICENSE", "a.ts", "b.ts", "Makefile", "node_modules/c.ts"):
        path = tmp_path / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("const x = 1\n")
    settings = make(sources=(tmp_path / "web",), each=False)

    with pytest.raises(
        InputError,
        match=r"^nothing is left to train on: the recipe nano reads \.py, and the sources hold "
        r"\.ts \(2\), LICENSE \(1\), Makefile \(1\); another --recipe may read those, such as "
        r"codegemma-2b$",
    ):
        pipeline.prepare(settings, out=tmp_path / "out")


def test_a_table_of_paths_without_texts_is_not_told_of_another_recipe(
    make: Make, tmp_path: Path
) -> None:
    table = tmp_path / "paths.jsonl"
    table.write_text('{"repository": "a/b", "path": "x.py"}\n')

    with pytest.raises(InputError, match=r"hold \.py \(1\); those that it reads are empty, too"):
        pipeline.prepare(make(sources=(table,), each=False), out=tmp_path / "out")


def test_a_folder_of_archives_is_told_of_the_option_that_reads_them(
    make: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in ("a.tar.gz", "b.zip", "c.parquet"):
        (folder / name).write_bytes(b"PK")

    with pytest.raises(
        InputError,
        match=r"hold \.gz \(1\), \.parquet \(1\), \.zip \(1\); name the archives and tables, or "
        r"read each of a folder by --each$",
    ):
        pipeline.prepare(make(sources=(folder,), each=False), out=tmp_path / "out")
