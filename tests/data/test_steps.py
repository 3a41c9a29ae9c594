# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegemma.data import read, recipes, results, shards, stages, steps, texts
from codegemma.data.decontaminate import BenchmarkText, build_index
from codegemma.data.document import Location
from codegemma.data.safety import Removals
from codegemma.data.steps import InspectJob, PackJob, StoredRecords

WORDS = "def circle_area(radius): Give the area of a circle of this radius. if radius"


def inspected(repositories: Path, folder: Path, **changes: Any) -> tuple[Location, ...]:
    locations = tuple(read.find_repositories([repositories], each=True))
    job = InspectJob(
        recipe=changes.pop("recipe", recipes.nano()),
        benchmarks=build_index([BenchmarkText(item="b#1", text=WORDS)]),
        benchmarks_hash="b",
        locations=locations,
        folder=folder,
        **changes,
    )
    for index in range(len(locations)):
        steps.inspect(job, index)
    return locations


def packed(folder: Path, tokenizer_file: Path, dropped: tuple[str, ...] = ()) -> None:
    job = PackJob(
        recipe=recipes.nano(),
        tokenizer_file=tokenizer_file,
        names=("orders", "shapes"),
        dropped=((), dropped),
        folder=folder,
    )
    for index in range(2):
        steps.pack_one(job, index)


def fail(*args: object, **options: object) -> None:
    raise AssertionError("this was done before")


def test_an_inspected_repository_is_read_back_as_it_was(
    repository_folder: Path, tmp_path: Path
) -> None:
    inspected(repository_folder, tmp_path / "work")
    (location,) = read.find_repositories([repository_folder / "shapes"])
    repository, ledger, _, digest = steps.read_input(location, recipe=recipes.nano())
    direct = stages.inspect(
        repository,
        recipe=recipes.nano(),
        benchmarks=build_index([BenchmarkText(item="b#1", text=WORDS)]),
        input_hash=digest,
        ledger=ledger,
    )

    found = steps.read_inspected(tmp_path / "work", "shapes")
    (file,), (other,) = found.files, direct.files

    assert (found.repository.name, found.repository.license) == ("shapes", "MIT")
    assert (file.path, file.size_bytes, file.language) == ("shapes.py", 354, "python")
    assert (file.digest, file.hits) == (other.digest, other.hits)
    assert len(file.hits) == 5
    assert file.signature is not None
    assert other.signature is not None
    np.testing.assert_array_equal(file.signature, other.signature)
    assert (found.input, found.ledgers, found.input_hash) == (
        direct.input,
        direct.ledgers,
        direct.input_hash,
    )
    assert steps.read_files(tmp_path / "work", "shapes").files == repository.files
    assert steps.read_files(tmp_path / "work", "shapes", without=["shapes.py"]).files == ()


def test_finished_work_is_not_done_again(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    inspected(repository_folder, folder)
    packed(folder, tokenizer_file)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    monkeypatch.setattr("codegemma.data.stages.inspect", fail)
    monkeypatch.setattr("codegemma.data.pack.pack_repository", fail)
    inspected(repository_folder, folder)
    packed(folder, tokenizer_file)

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_other_thresholds_are_applied_to_what_was_measured_before(
    repository_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(recipes.nano(), thresholds={"python": {"min_bytes": 360}})
    inspected(repository_folder, tmp_path / "work")
    inspected(repository_folder, tmp_path / "fresh", recipe=other)
    monkeypatch.setattr("codegemma.data.filters.measure", fail)

    inspected(repository_folder, tmp_path / "work", recipe=other)

    found = steps.read_inspected(tmp_path / "work", "shapes")
    assert found.files == ()
    assert found.ledgers["filter"].rows == {"too_short": [1, 354]}
    for stage in ("signals", "inspect"):
        for path in (tmp_path / "fresh" / stage).iterdir():
            assert (tmp_path / "work" / stage / path.name).read_bytes() == path.read_bytes()


def test_what_was_measured_under_other_removals_is_measured_anew(
    repository_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspected(repository_folder, tmp_path)
    monkeypatch.setattr("codegemma.data.filters.measure", fail)

    with pytest.raises(AssertionError, match="done before"):
        inspected(repository_folder, tmp_path, lists_hash="others")


def test_changed_sources_and_licences_are_inspected_anew(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path
) -> None:
    folder = tmp_path / "work"
    inspected(repository_folder, folder)
    packed(folder, tokenizer_file)
    file = repository_folder / "shapes" / "shapes.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nSIDES = 4\n", encoding="utf-8")

    inspected(repository_folder, folder)
    packed(folder, tokenizer_file)

    assert b"SIDES = 4" in StoredRecords(folder, ["shapes"])[0]
    (repository_folder / "shapes" / "LICENSE").write_text("Ask me.", encoding="utf-8")
    inspected(repository_folder, folder)
    assert steps.read_inspected(folder, "shapes").is_barred


def test_a_repository_at_another_commit_is_inspected_anew_though_its_files_are_the_same(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path
) -> None:
    (location,) = read.find_repositories([repository_folder / "shapes"])
    for version in ("1111111", "2222222"):
        job = InspectJob(
            recipe=recipes.nano(),
            benchmarks=build_index([]),
            benchmarks_hash="",
            locations=(replace(location, version=version),),
            folder=tmp_path,
        )
        steps.inspect(job, 0)
        names, dropped = ("shapes",), ((),)
        steps.pack_one(
            PackJob(
                recipe=recipes.nano(),
                tokenizer_file=tokenizer_file,
                names=names,
                dropped=dropped,
                folder=tmp_path,
            ),
            0,
        )

    record = shards.unpack_record(StoredRecords(tmp_path, names)[0])
    assert record.files[0].origin == "shapes@2222222:1"


def test_what_is_read_as_another_genre_is_another_input(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "Copper was the first metal."}\n', encoding="utf-8")
    (text,), (maths,) = (texts.find_texts([(genre, file)]) for genre in ("text", "math"))

    one, other = (steps.read_input(at, recipe=recipes.nano()) for at in (text, maths))

    assert one.repository.files == other.repository.files != ()
    assert one.sha256 != other.sha256


def test_records_are_read_from_disk_by_their_number(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path
) -> None:
    inspected(repository_folder, tmp_path / "work")
    packed(tmp_path / "work", tokenizer_file)

    records = StoredRecords(tmp_path / "work", ["orders", "shapes"])

    paths = [[file.path for file in shards.unpack_record(data).files] for data in records]
    assert paths == [["shop/orders.py"], ["shapes.py"]]
    found = steps.read_packed(tmp_path / "work", "shapes")
    assert (found.num_records, found.num_windows) == (1, 1)
    assert found.num_tokens > 50


def test_dropped_files_are_not_packed(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path
) -> None:
    inspected(repository_folder, tmp_path / "work")
    packed(tmp_path / "work", tokenizer_file, dropped=("shapes.py",))

    assert steps.read_packed(tmp_path / "work", "shapes").num_records == 0


def test_results_of_other_rules_are_not_taken(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    inspected(repository_folder, folder)
    packed(folder, tokenizer_file)
    before = [results.read_key(path) for path in sorted(folder.rglob("*")) if path.is_file()]

    monkeypatch.setattr(steps, "rules_version", lambda: "other")
    inspected(repository_folder, folder)
    packed(folder, tokenizer_file)

    after = [results.read_key(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(after) == 6
    assert not set(before) & set(after)


def test_entries_of_removal_lists_that_left_out_files_are_kept_with_the_result(
    repository_folder: Path, tmp_path: Path
) -> None:
    (location,) = read.find_repositories([repository_folder / "shapes"])
    job = InspectJob(
        recipe=recipes.nano(),
        benchmarks=build_index([]),
        benchmarks_hash="b",
        locations=(replace(location, aliases=("Ada/shapes",)),),
        removals=Removals(patterns=("ada/shapes/*", "shapes/other/*")),
        folder=tmp_path,
    )

    steps.inspect(job, 0)

    assert steps.read_asked(tmp_path, "shapes") == ["ada/shapes/*"]
    assert steps.read_inspected(tmp_path, "shapes").ledgers["removed"].rows["asked for"][0] == 1


def test_marks_of_a_file_reach_its_record(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path
) -> None:
    file = repository_folder / "shapes" / "shapes.py"
    noise = "well then, my friend said: ) ( [ ] no more\n"
    text = file.read_text(encoding="utf-8") + noise * 8
    file.write_text(text, encoding="utf-8", newline="\r\n")
    inspected(repository_folder, tmp_path / "work")
    packed(tmp_path / "work", tokenizer_file)

    (data,) = StoredRecords(tmp_path / "work", ["shapes"])

    (found,) = shards.unpack_record(data).files
    assert (found.text, found.line_ends, found.is_broken) == (text, "crlf", True)
    file.write_text(text, encoding="utf-8", newline="\n")
    inspected(repository_folder, tmp_path / "work")
    assert steps.read_files(tmp_path / "work", "shapes").files[0].line_ends == "lf"
