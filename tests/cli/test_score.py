# SPDX-License-Identifier: Apache-2.0

import contextlib
import json
import os
import shutil

import pytest

from codegemma.cli import results, score
from codegemma.evaluate import scoring
from codegemma.sandbox.run import Sandbox

ROW = {
    "task_id": "HumanEval/0",
    "prompt": "def f():\n",
    "entry_point": "f",
    "canonical_solution": "    return 0\n",
    "test": "def check(candidate):\n    assert candidate() == 0\n",
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A benchmark folder with one problem."""
    folder = tmp_path / "benchmarks" / "human-eval"
    folder.mkdir(parents=True)
    (folder / "HumanEval.jsonl").write_text(json.dumps(ROW) + "\n")
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(folder.parent))


@pytest.fixture(scope="module")
def opened():
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    with Sandbox(num_workers=2) as opened:
        yield opened


@pytest.fixture
def one_sandbox(opened, monkeypatch):
    """The same sandbox for every command of these tests."""

    @contextlib.contextmanager
    def give(isolation, *, is_wanted):
        yield opened

    monkeypatch.setattr(results, "sandbox", give)


def _samples(tmp_path, *lines):
    path = tmp_path / "mine.jsonl"
    path.write_text(
        "".join(json.dumps({"task_id": "HumanEval/0", **line}) + "\n" for line in lines)
    )
    return path


def test_interrupted_scoring_says_that_it_goes_on(run, data, one_sandbox, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "score_samples", stop)
    result = run("score", str(_samples(tmp_path, {"completion": ""})), "--task", "humaneval")

    assert result.status == 130
    assert "stopped; the same command goes on from there" in result.err


def test_samples_are_scored_and_the_scores_kept_beside_them(run, data, one_sandbox, tmp_path):
    path = _samples(
        tmp_path,
        {"completion": "    return 0\n"},
        {"completion": "    return 1\n"},
        {"solution": "def f():\n    return 0\n"},
    )

    shown = run("score", str(path), "--task", "humaneval", "--json")

    assert (shown.status, shown.err) == (0, "")
    result = json.loads(shown.out)
    assert (result["task"], result["n"]) == ("humaneval", 1)
    assert result["metric"]["pass@1"]["value"] == pytest.approx(2 / 3)
    assert set(result["metric"]["pass@1"]) >= {"value", "low", "high", "n", "n_eff"}
    assert (tmp_path / "mine.scores.jsonl").read_text().count("\n") == 9
    assert "pass@1" in run("score", str(path), "--task", "humaneval").out


def test_a_report_takes_what_was_scored_and_compares_it_with_another(
    run, data, one_sandbox, tmp_path
):
    right = tmp_path / "right.jsonl"
    right.write_text(json.dumps({"task_id": "0", "completion": "    return 0\n"}) + "\n")
    wrong = _samples(tmp_path, {"completion": "    return 1\n"})
    for path in (wrong, right):
        shown = run("score", str(path), "--task", "humaneval", "--json")
        path.with_suffix(".json").write_text(shown.out)

    files = [str(path.with_suffix(".json")) for path in (wrong, right)]
    found = json.loads(run("report", *files, "--json").out)
    card = run("report", *files).out

    assert [(one["label"], one["model"]) for one in found["runs"]] == [
        ("mine.json", "mine.json"),
        ("right.json", "right.json"),
    ]
    pairs = {one["metric"]: one["comparison"]["difference"] for one in found["comparisons"]}
    assert pairs["pass@1"] == 1.0
    assert set(pairs) == {"pass@1", "pass@1:stop", "pass@1:stop+bigcode", "pass@1:dedent-block"}
    assert "made elsewhere: mine.jsonl" in card
    page = tmp_path / "page.html"
    assert run("report", files[0], "--html", str(page)).status == 0
    (tmp_path / "other.json").write_text("{}")
    assert "what score --json printed" in run("report", str(tmp_path / "other.json")).err


def test_scores_go_where_they_are_told(run, data, one_sandbox, tmp_path):
    path = _samples(tmp_path, {"completion": "    return 0\n"})
    out = tmp_path / "elsewhere" / "s.jsonl"

    run("score", str(path), "--task", "humaneval", "--out", str(out))

    assert out.exists()
    assert not (tmp_path / "mine.scores.jsonl").exists()


def test_scores_of_a_runs_own_samples_are_the_runs(tmp_path):
    (tmp_path / "run-1-of-2.json").write_text("{}")

    assert score._scores_beside(tmp_path / "samples-1-of-2.jsonl") == (
        tmp_path / "scores-1-of-2.jsonl"
    )
    assert score._scores_beside(tmp_path / "samples.jsonl") == tmp_path / "samples.scores.jsonl"
    assert score._scores_beside(tmp_path / "a.jsonl.gz") == tmp_path / "a.scores.jsonl"


def test_folder_that_takes_no_file_is_no_hindrance(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert score._scores_beside(tmp_path / "a.jsonl") is None
    assert "scores are not kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "task", "message"),
    [
        ("gone.jsonl", "humaneval", "there is no file"),
        ("mine.jsonl", "humaneval-infilling", "there is no task 'humaneval-infilling'"),
        ("mine.jsonl", "bc-humaneval", "the samples answer one task; name it: bc-humaneval:"),
        ("mine.jsonl", "mbpp", "mbpp/mbpp.jsonl.gz is not in"),
    ],
)
def test_mistakes_are_one_line(run, data, one_sandbox, tmp_path, file, task, message):
    _samples(tmp_path, {"completion": ""})

    shown = run("score", str(tmp_path / file), "--task", task)

    assert shown.status == 2
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_damaged_file_is_an_error_with_its_line(run, data, one_sandbox, tmp_path):
    path = _samples(tmp_path, {"completion": ""})
    path.write_text("{\n" + path.read_text())

    shown = run("score", str(path), "--task", "humaneval")

    assert shown.status == 2
    assert "mine.jsonl:1 is damaged" in shown.err
