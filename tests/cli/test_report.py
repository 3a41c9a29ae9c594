# SPDX-License-Identifier: Apache-2.0

import json

import pytest

from codegemma.cli import report as verb
from codegemma.errors import PrerequisiteError
from codegemma.evaluate.report import seconds

ROWS = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": f"def f{number}():\n",
        "entry_point": f"f{number}",
        "canonical_solution": f"    return {number}\n",
        "test": f"def check(candidate):\n    assert candidate() == {number}\n",
    }
    for number in range(3)
]


@pytest.fixture
def folders(tmp_path, monkeypatch, run, fakes):
    """Two runs of infilling that were drawn and not scored, and one that was given scores."""
    folder = tmp_path / "benchmarks" / "human-eval"
    folder.mkdir(parents=True)
    (folder / "HumanEval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(folder.parent))
    for name in ("one", "two"):
        shown = run(
            *("evaluate", "humaneval-infilling-single", "--out", str(tmp_path / name)),
            *("--no-score", "--model", "scripted"),
            completer=fakes.ScriptedCompleter("    return 1"),
        )
        assert shown.status == 0, shown.err
    return tmp_path / "one", tmp_path / "two"


def test_the_card_is_printed(run, folders):
    shown = run("report", str(folders[0]))

    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith("---\nlanguage: code\n")
    assert "\n# scripted\n" in shown.out
    assert "published, not run here" in shown.out


def test_a_page_is_written_whole_and_nothing_printed(run, folders, tmp_path):
    page = tmp_path / "page.html"

    shown = run("report", *map(str, folders), "--html", str(page))

    assert (shown.status, shown.out, shown.err) == (0, "", "")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not page.with_name("page.html.draft").exists()


def test_machines_get_one_object(run, folders):
    found = json.loads(run("report", *map(str, folders), "--json").out)

    assert [each["label"] for each in found["runs"]] == ["one", "two"]
    (pair,) = found["comparisons"]
    assert (pair["verdict"], pair["remark"]) == ("not compared", "one of them has no scores")
    assert found["timings"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--limit", "3"), "--limit says how many prompts --beside times"),
        (("--beside", "llama.cpp"), "--beside knows transformers, not 'llama.cpp'"),
        (("--html", "."), "is a folder; --html takes the name of a file"),
        (("--html", "missing/page.html"), "missing/page.html cannot be written: No such file"),
    ],
)
def test_mistakes_are_one_line(run, folders, words, message):
    shown = run("report", str(folders[0]), *words)

    assert (shown.status, shown.out) == (2, "")
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_a_folder_that_is_no_run_is_named(run, tmp_path):
    shown = run("report", str(tmp_path))

    assert shown.status == 2
    assert "holds no result.json" in shown.err


def test_missing_packages_for_another_engine_are_named(run, folders, monkeypatch):
    def refuse(*_, **__):
        raise PrerequisiteError("--beside transformers needs torch and transformers")

    monkeypatch.setattr(seconds, "measure", refuse)
    monkeypatch.setattr("codegemma.model.hub.resolve", lambda name: name)

    shown = run("report", str(folders[0]), "--beside", "transformers")

    assert shown.status == 2
    assert "needs torch and transformers" in shown.err


def test_the_embedded_model_is_described_only_where_it_is_the_one_that_ran(run, folders):
    from codegemma.evaluate.report.runs import read_runs
    from codegemma.model.hub import resolve
    from codegemma.model.manifest import read_manifest

    (one,) = read_runs([folders[0]])
    task = one.first
    known = read_manifest(resolve("nano")).sha256
    for fingerprint, is_known in ((known, True), ("00", False)):
        session = [{"model": "nano", "device": "cpu"}]
        settings = {**task.settings, "model": {"fingerprint": fingerprint}}
        changed = type(task)(
            out=task.out, result=task.result, settings=settings, sessions=session, scoring={}
        )
        facts = verb._facts(type(one)(label="x", path=one.path, tasks={task.name: changed}))

        assert (facts.name, facts.licence, facts.is_google) == ("nano", "Apache-2.0", False)
        assert bool(facts.training) == is_known


def test_a_model_trained_here_goes_by_its_folder(folders):
    from codegemma.evaluate.report.runs import read_runs
    from codegemma.model.metadata import Metadata

    (one,) = read_runs([folders[0]])
    trained = Metadata(name="nano", training={"step": 1})

    assert verb._name(one, None, trained) == one.model
    assert verb._name(one, None, Metadata(name="nano")) == "nano"
    assert verb._name(one, None, None) == one.model
