# SPDX-License-Identifier: Apache-2.0
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

TOKENIZER = str(Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model")
CODE = "".join(f"def step_{i}(value):\n    return value + {i}\n\n\n" for i in range(8))


@pytest.fixture(autouse=True)
def _no_benchmarks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CODEGEMMA_BENCHMARKS", raising=False)
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / ".cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "steps.py").write_text(CODE, encoding="utf-8")
    (folder / "short.py").write_text("x = 1\n", encoding="utf-8")
    (folder / "LICENSE").write_text("MIT License", encoding="utf-8")
    return folder


def test_totals_and_drops_are_printed_for_machines(run, source, tmp_path) -> None:
    ran = run(
        "prepare", str(source), "--out", str(tmp_path / "out"), "--model", TOKENIZER, "--json"
    )

    assert ran.status == 0
    told = json.loads(ran.out)
    assert told["totals"]["train"]["files"] == 1
    assert told["totals"]["train"]["bytes"] == len(CODE)
    assert told["dropped"]["filter"] == {"too_short": {"files": 1, "bytes": 6}}
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_other_thresholds_are_read_from_a_file_and_a_wrong_one_is_named(run, source, tmp_path):
    file = tmp_path / "thresholds.json"
    words = ["prepare", str(source), "--out", str(tmp_path / "out"), "--model", TOKENIZER, "--json"]
    file.write_text('{"python": {"min_byte": 5}}', encoding="utf-8")
    refused = run(*words, "--thresholds", str(file))
    eased = {"default": {"min_bytes": 5, "min_alpha": 0.1}, "python": {"min_lines": 1}}
    eased["default"]["max_digits"] = 0.5
    file.write_text(json.dumps(eased), encoding="utf-8")
    ran = run(*words, "--thresholds", str(file))

    assert refused.status == 2
    assert "there is no threshold 'min_byte'" in refused.err
    assert json.loads(ran.out)["dropped"]["filter"] == {}
    assert json.loads(ran.out)["totals"]["train"]["files"] == 2


def test_tables_are_printed_for_people(run, source, tmp_path) -> None:
    ran = run("prepare", str(source), "--out", str(tmp_path / "out"), "--model", TOKENIZER)

    assert ran.status == 0
    assert "too_short" in ran.out
    assert "train" in ran.out
    assert ran.out.endswith("report.html\n")


def test_the_report_is_a_page_too_written_again_when_it_is_gone(run, source, tmp_path) -> None:
    words = ["prepare", str(source), "--out", str(tmp_path / "out"), "--model", TOKENIZER]
    page = tmp_path / "out" / "report.html"

    run(*words)
    first = page.read_text(encoding="utf-8")
    before = page.stat().st_mtime_ns
    run(*words)
    assert page.stat().st_mtime_ns == before
    page.unlink()
    run(*words)

    assert page.read_text(encoding="utf-8") == first
    assert "<h1>Data set out</h1>" in first
    assert "too_short" in first


def test_the_page_is_not_written_while_another_run_writes(run, source, tmp_path) -> None:
    words = ["prepare", str(source), "--out", str(tmp_path / "out"), "--model", TOKENIZER]
    run(*words)
    page = tmp_path / "out" / "report.html"
    page.unlink()

    with FileLock(tmp_path / "out" / ".lock"):
        ran = run(*words)

    assert ran.status == 2
    assert "another run is preparing data in" in ran.err
    assert not page.exists()


def test_options_reach_the_settings(run, source, tmp_path) -> None:
    (source / "LICENSE").unlink()
    benchmark = tmp_path / "b.jsonl"
    benchmark.write_text(json.dumps({"text": CODE}) + "\n", encoding="utf-8")
    (tmp_path / "sources").mkdir()
    source.rename(tmp_path / "sources" / "mine")
    words = ["prepare", "sources", "--out", str(tmp_path / "out"), "--model", TOKENIZER]
    words += ["--each", "--unlicensed", "--seed", "5", "--holdout-fraction", "0.5"]
    words += ["--recipe", "codegemma-2b", "--decontaminate", str(benchmark)]

    ran = run(*words, "--json")

    assert (ran.status, ran.err) == (
        2,
        "codegemma: nothing is left to train on: no file passed the filters\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--out", "o", "--model", TOKENIZER], "nowhere is not a folder"),
        (["mine", "--out", "o", "--model", TOKENIZER, "--recipe", "x"], "no data recipe 'x'"),
        (["mine", "--out", "o", "--model", TOKENIZER, "--holdout-fraction", "2"], "in [0, 1]"),
        (["mine", "--out", "o", "--model", TOKENIZER, "--decontaminate", "x"], "x does not exist"),
        (["mine", "--out", "o", "--vocab-size", "99"], "vocab_size must be at least"),
        (["mine", "--out", "mine/steps.py", "--model", TOKENIZER], "mine/steps.py is no folder"),
        (["mine", "--out", "o", "--model", "mine/steps.py"], "mine/steps.py"),
        (["mine", "--model", TOKENIZER], "--out"),
        (["--out", "o", "--model", TOKENIZER], "source"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_leave_no_data_set(run, source, tmp_path, words, message) -> None:
    ran = run("prepare", *words)

    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert message in ran.err
    assert not (tmp_path / "o" / "manifest.json").exists()


WITHOUT_DATATROVE = """
import sys
sys.modules["datatrove"] = None
from codegemma.cli import main
sys.exit(main.main())
"""


def test_a_missing_extra_is_named_with_its_install_line(tmp_path) -> None:
    # In a process of its own: modules imported anew would be others than those of other tests.
    command = [sys.executable, "-c", WITHOUT_DATATROVE, "prepare", "mine", "--out", "o"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)

    assert ran.returncode == 2
    assert ran.stderr == (
        "codegemma: preparing data needs the package datatrove: pip install 'codegemma[data]'\n"
    )


def test_the_environment_names_the_benchmarks(run, source, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(tmp_path / "gone"))

    ran = run("prepare", str(source), "--out", "o", "--model", TOKENIZER)

    assert ran.status == 2
    assert "gone does not exist" in ran.err


def test_what_a_data_set_lacks_is_said(run, source, tmp_path) -> None:
    ran = run("prepare", str(source), "--out", "o", "--model", TOKENIZER, "--json")

    assert ran.status == 0
    assert ran.err.splitlines() == [
        "codegemma: nothing is held out, so training will measure no held-out loss: whole "
        "repositories are, and there is only one; name more sources",
        "codegemma: nothing is decontaminated: name evaluation data with --decontaminate or in "
        "$CODEGEMMA_BENCHMARKS, or do not judge the model by public benchmarks",
        "codegemma: NO LIST OF UNSAFE CONTENT WAS LOADED: nothing was looked for. Give lists with "
        "--unsafe-list.",
    ]


def test_a_data_set_that_lacks_nothing_is_quiet(run, source, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "LICENSE").write_text("MIT License", encoding="utf-8")
    (other / "more.py").write_text(CODE.replace("step", "stride"), encoding="utf-8")
    benchmark = tmp_path / "b.jsonl"
    benchmark.write_text(json.dumps({"text": "no such text"}) + "\n", encoding="utf-8")
    unsafe = tmp_path / "unsafe.txt"
    unsafe.write_text("term:no such words\n", encoding="utf-8")
    words = ["prepare", str(source), str(other), "--out", "o", "--model", TOKENIZER, "--json"]
    words += ["--unsafe-list", str(unsafe)]

    ran = run(*words, "--holdout-fraction", "1", "--decontaminate", str(benchmark))

    assert (ran.status, ran.err) == (0, "")
    totals = json.loads(ran.out)["totals"]
    assert (totals["train"]["repositories"], totals["heldout"]["repositories"]) == (1, 1)


def test_benchmarks_beside_the_working_folder_are_not_looked_for(
    run, source, tmp_path, monkeypatch
) -> None:
    beside = tmp_path / "shared" / "benchmarks"
    beside.mkdir(parents=True)
    (beside / "b.jsonl").write_text(json.dumps({"text": CODE}) + "\n", encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    ran = run("prepare", str(source), "--out", "o", "--model", TOKENIZER, "--json")

    assert json.loads(ran.out)["totals"]["train"]["files"] == 1
    assert "nothing is decontaminated" in ran.err


def test_sources_of_other_genres_are_told_by_a_word_before_their_path(
    run, source, tmp_path
) -> None:
    rows = [{"question": f"What is {i} plus {i}?", "answer": f"#### {2 * i}"} for i in range(3)]
    table = tmp_path / "sums.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["prepare", str(source), "--out", str(tmp_path / "out"), "--model", TOKENIZER]

    ran = run(*words, f"math:{table}", "--mix", "code=3, math=1,text=1", "--json")

    assert ran.status == 0
    mixture = json.loads(ran.out)["mixture"]
    assert {genre: (row["weight"], row["records"]) for genre, row in mixture.items()} == {
        "code": (0.75, 1),
        "math": (0.25, 3),
    }
    assert "nothing of text is there to train on" in ran.err
    ran = run(*words, f"math:{table}", "--mix", "code=3, math=1,text=1")
    assert "share of tokens" in ran.out
    assert "75.0%" in ran.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["math:x.jsonl"], "gives math no share of the mixture; give one, as in --mix code=0.8"),
        (["--mix", "code=0.8,prose=0.2"], "--mix takes shares above 0 of code, text, math, chat"),
        (["--mix", "code=0"], "not 'code=0'"),
        (["--mix", "code"], "not 'code'"),
        (["text:missing", "--mix", "text=1,code=1"], "missing is not a folder of texts"),
    ],
)
def test_a_mixture_that_makes_no_sense_is_one_clear_line(
    run, source, tmp_path, words, message
) -> None:
    ran = run("prepare", str(source), "--out", str(tmp_path / "o"), "--model", TOKENIZER, *words)

    assert ran.status == 2
    assert message in ran.err


def test_texts_of_what_was_left_out_are_kept_when_asked_for(run, source, tmp_path) -> None:
    words = ["prepare", str(source), "--out", str(tmp_path / "out"), "--model", TOKENIZER]
    kept = tmp_path / "out" / "dropped.jsonl.gz"

    assert run(*words).status == 0
    assert not kept.exists()
    assert run(*words, "--keep-dropped").status == 0  # of a finished data set, too

    (line,) = gzip.decompress(kept.read_bytes()).splitlines()
    assert json.loads(line) == {
        "stage": "filter",
        "rule": "too_short",
        "repository": "mine",
        "path": "short.py",
        "text": "x = 1\n",
    }


def test_removal_entries_that_cover_nothing_are_told(run, source, tmp_path) -> None:
    listed = tmp_path / "asked.txt"
    listed.write_text("MINE/short.py\ngone/repository\n*/elsewhere.py\n", encoding="utf-8")
    words = ["prepare", str(source), "--out", str(tmp_path / "out"), "--model", TOKENIZER]

    ran = run(*words, "--remove", str(listed))

    assert ran.status == 0
    assert (
        "removal entries that cover nothing of these sources: asked.txt:3, asked.txt:2" in ran.err
    )
    assert "asked.txt:1" not in ran.err


def test_a_removed_repository_is_not_read_and_its_entry_is_used(run, source, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "damaged.py").write_bytes(b"\xff")
    listed = tmp_path / "asked.txt"
    listed.write_text("Other\n", encoding="utf-8")
    words = ["prepare", str(source), str(other), "--out", str(tmp_path / "out"), "--json"]

    ran = run(*words, "--model", TOKENIZER, "--remove", str(listed))

    assert "removal entries" not in ran.err
    assert sum(row["files"] for row in json.loads(ran.out)["dropped"]["read"].values()) == 0


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    ran = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True
    )
    return ran.stdout.strip()


@pytest.fixture
def several(source: Path) -> Path:
    """A folder of three git repositories, of the second of which the files of HEAD are lost."""
    folder = source.parent / "several"
    for name in ("one", "two", "three"):
        (folder / name).mkdir(parents=True)
        for file in source.iterdir():
            text = file.read_text(encoding="utf-8").replace("step", name)
            (folder / name / file.name).write_text(text, encoding="utf-8")
        git(folder / name, "init", "-q")
        git(folder / name, "add", ".")
        git(folder / name, "commit", "-q", "-m", "x")
    tree = git(folder / "two", "rev-parse", "HEAD^{tree}")
    (folder / "two" / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    return folder


@pytest.mark.parametrize("broken_at", ["its files", "its commit"])
def test_one_broken_repository_of_several_is_left_out_by_name(
    run, several, tmp_path, broken_at
) -> None:
    if broken_at == "its commit":
        (several / "two" / ".git" / "HEAD").unlink()
    out = tmp_path / "out"
    words = ("prepare", str(several), "--each", "--out", str(out), "--model", TOKENIZER)
    ran = run(*words)

    assert ran.status == 3
    assert "codegemma: two is left out: git cannot read " in ran.err
    assert "codegemma: 1 of the repositories could not be read; the data set is whole" in ran.err
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(row["name"] for row in manifest["repositories"]) == ["one", "three"]
    assert [name for name, _ in manifest["refused"]] == ["two"]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["refused"] == manifest["refused"]
    assert "1 repositories that could not be read" in (out / "report.html").read_text("utf-8")
    again = run(*words, "--json")
    assert again.status == 3
    assert [name for name, _ in json.loads(again.out)["refused"]] == ["two"]


def test_a_broken_repository_that_was_mended_is_not_taken_for_done(run, several, tmp_path) -> None:
    words = ("prepare", str(several), "--out", str(tmp_path / "out"), "--model", TOKENIZER)
    assert run(*words).status == 3
    git(several / "two", "add", "--renormalize", ".")
    git(several / "two", "write-tree")
    ran = run(*words)

    assert ran.status == 2
    assert "prepared before two changed" in ran.err


def test_a_broken_repository_that_was_named_ends_the_run(run, several, tmp_path) -> None:
    sources = [str(several / "one"), str(several / "two")]
    ran = run("prepare", *sources, "--out", str(tmp_path / "out"), "--model", TOKENIZER)

    assert ran.status == 2
    assert ran.err.startswith("codegemma: git cannot read ")
    assert not (tmp_path / "out" / "manifest.json").exists()
