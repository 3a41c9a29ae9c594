# SPDX-License-Identifier: Apache-2.0

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from codegemma.errors import InputError, PrerequisiteError
from codegemma.evaluate import scoring
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.scoring import score_samples

(TASK,) = find_tasks("humaneval")
STOPPED_RUN = Path(__file__).with_name("stopped_run.py")


def _file(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _completion(number, text, **fields):
    return {"task_id": f"HumanEval/{number}", "completion": text, **fields}


def test_completions_made_elsewhere_are_scored_as_they_stand(few_problems, sandbox, tmp_path):
    file = _file(
        tmp_path / "s.jsonl",
        _completion(0, "    return 0\n"),
        _completion(1, "    return 0\n"),
        _completion(2, "    return 2\nprint(undefined)\n"),  # right but for what a stop cuts off
    )

    result = score_samples(TASK, file, sandbox=sandbox, scores_file=None)

    values = {name: each["value"] for name, each in result["metric"].items()}
    assert values["pass@1"] == pytest.approx(1 / 3)
    assert values["pass@1:stop"] == pytest.approx(2 / 3)
    assert result["metric"]["pass@1"]["variant"] == "raw"
    assert (result["n"], result["num_missing"], result["num_problems"]) == (3, 9, 12)
    assert list(tmp_path.glob("*.scores*")) == []


def test_whole_programs_and_other_spellings_of_ids_are_understood(few_problems, sandbox, tmp_path):
    file = _file(
        tmp_path / "s.jsonl",
        {"task_id": "humaneval/0", "solution": "def f0():\n    return 0\n"},
        {"task_id": 1, "solution": "def f1():\n    return 0\n"},
        {"task_id": "2", "completion": "    return 2\n"},
    )

    result = score_samples(TASK, file, sandbox=sandbox, scores_file=None)

    assert result["metric"]["pass@1"]["value"] == pytest.approx(2 / 3)
    assert result["metric"]["pass@1:stop"]["n"] == 1  # of completions alone


@pytest.mark.parametrize("ids", [("HumanEval/0", 0), (0, "HumanEval/0"), ("humaneval/0", "0")])
def test_two_spellings_of_an_id_are_two_samples_of_one_problem(
    ids, few_problems, sandbox, tmp_path
):
    right, wrong = ({"task_id": task_id} for task_id in ids)
    right["completion"], wrong["completion"] = "    return 0\n", "    return 1\n"
    file = _file(tmp_path / "s.jsonl", right, wrong)

    result = score_samples(TASK, file, sandbox=sandbox, scores_file=None)

    assert result["metric"]["pass@1"]["value"] == 0.5
    assert (result["n"], result["num_samples"]) == (1, 2)


def test_one_sample_under_two_spellings_is_refused_with_its_line(few_problems, sandbox, tmp_path):
    lines = _completion(0, "", sample=0), {"task_id": 0, "completion": "x", "sample": 0}
    file = _file(tmp_path / "s.jsonl", *lines)

    with pytest.raises(InputError, match=r"s.jsonl:2 holds sample 0 of HumanEval/0 a second time"):
        score_samples(TASK, file, sandbox=sandbox, scores_file=None)


def test_several_lines_of_a_task_give_pass_at_k(few_problems, sandbox, tmp_path):
    lines = [_completion(n, f"    return {k}\n") for n in range(12) for k in range(10)]

    result = score_samples(
        TASK, _file(tmp_path / "s.jsonl", *lines), sandbox=sandbox, scores_file=None
    )

    assert result["metric"]["pass@1"]["value"] == pytest.approx(10 / 12 / 10)
    assert result["metric"]["pass@10"]["value"] == pytest.approx(10 / 12)


def test_samples_of_unknown_problems_are_refused_by_name(few_problems, sandbox, tmp_path):
    file = _file(tmp_path / "s.jsonl", _completion(0, ""), _completion(99, ""))

    with pytest.raises(
        InputError, match=r"no samples of humaneval: there is no HumanEval/99 in it"
    ):
        score_samples(TASK, file, sandbox=sandbox, scores_file=None)


def test_samples_of_problems_that_the_task_does_not_ask_are_left_out(
    few_problems, sandbox, tmp_path, caplog
):
    task = replace(TASK, other_ids=frozenset({"HumanEval/99"}))
    lines = _completion(0, "    return 0\n"), _completion(99, ""), {"task_id": 99, "completion": ""}
    file = _file(tmp_path / "s.jsonl", *lines)

    result = score_samples(task, file, sandbox=sandbox, scores_file=None)

    assert (result["n"], result["metric"]["pass@1"]["value"]) == (1, 1.0)
    assert "2 samples are of problems that humaneval does not ask" in caplog.text
    alone = _file(tmp_path / "t.jsonl", _completion(99, ""))
    with pytest.raises(InputError, match="it holds no sample"):
        score_samples(task, alone, sandbox=sandbox, scores_file=None)


def test_file_that_is_not_there_or_empty_is_refused(few_problems, sandbox, tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*gone.jsonl"):
        score_samples(TASK, tmp_path / "gone.jsonl", sandbox=sandbox, scores_file=None)
    with pytest.raises(
        InputError, match=r"s.jsonl holds no samples of humaneval: it holds no sample"
    ):
        score_samples(TASK, _file(tmp_path / "s.jsonl"), sandbox=sandbox, scores_file=None)


def test_tools_of_a_language_are_proved_before_a_sample_is_scored(
    few_problems, sandbox, tmp_path, monkeypatch
):
    def check(language: str) -> None:
        raise PrerequisiteError(f"{language} programs do not run here")

    monkeypatch.setattr(sandbox, "check", check)
    monkeypatch.setattr(sandbox, "map", None)  # nothing runs
    task, kept = replace(TASK, language="cpp"), tmp_path / "s.scores.jsonl"
    file = _file(tmp_path / "s.jsonl", _completion(0, ""))

    with pytest.raises(PrerequisiteError, match="cpp programs do not run here"):
        score_samples(task, file, sandbox=sandbox, scores_file=kept)
    assert not kept.exists()


def test_scores_are_kept_and_used_again(few_problems, sandbox, tmp_path, monkeypatch):
    file = _file(tmp_path / "s.jsonl", _completion(0, "    return 0\n"), _completion(1, "x"))
    kept, seen = tmp_path / "s.scores.jsonl", []
    first = score_samples(TASK, file, sandbox=sandbox, scores_file=kept, listener=seen.append)
    before = kept.read_bytes()
    monkeypatch.setattr(sandbox, "map", None)  # nothing runs the second time

    again = score_samples(TASK, file, sandbox=sandbox, scores_file=kept)

    assert again == first
    assert kept.read_bytes() == before
    assert [(p.stage, p.done, p.total, p.num_passed, p.num_scored) for p in seen] == [
        ("scoring", 2, 2, 1, 2)
    ]


def test_changed_text_is_scored_anew(few_problems, sandbox, tmp_path):
    kept = tmp_path / "s.scores.jsonl"
    for text, expected in (("    return 1\n", 0.0), ("    return 0\n", 1.0)):
        file = _file(tmp_path / "s.jsonl", _completion(0, text))

        result = score_samples(TASK, file, sandbox=sandbox, scores_file=kept)

        assert result["metric"]["pass@1"]["value"] == expected


def test_samples_go_in_groups_each_kept_before_the_next(
    few_problems, sandbox, tmp_path, monkeypatch
):
    monkeypatch.setattr(scoring, "GROUP", 5)
    seen = []
    file = _file(tmp_path / "s.jsonl", *(_completion(n, "x") for n in range(12)))

    score_samples(TASK, file, sandbox=sandbox, scores_file=None, listener=seen.append)

    assert [progress.done for progress in seen] == [5, 10, 12]


def test_groups_are_small_where_programs_take_seconds(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    assert scoring.group_size(TASK) == 64
    assert scoring.group_size(replace(TASK, has_slow_programs=True)) == 8


def test_killed_scoring_goes_on_without_a_lost_or_doubled_score(few_problems, sandbox, tmp_path):
    lines = [
        _completion(n, f"    import time\n    time.sleep(0.1)\n    return {n % 2 * n}\n")
        for n in range(12)
    ]
    file = _file(tmp_path / "s.jsonl", *lines)
    kept = tmp_path / "s.scores.jsonl"
    process = subprocess.Popen([sys.executable, str(STOPPED_RUN), "score", str(file)])
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and (not kept.exists() or kept.read_bytes().count(b"\n") < 8):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = kept.read_bytes()
    assert 8 <= before.count(b"\n") < 48
    kept.write_bytes(before + b'{"task_id": "HumanEval/')

    result = score_samples(TASK, file, sandbox=sandbox, scores_file=kept)

    assert result["metric"]["pass@1"]["value"] == pytest.approx(7 / 12)  # the odd ones, and 0
    assert kept.read_bytes().startswith(before)
    written = [json.loads(line) for line in kept.read_text().splitlines()]
    keys = [(line["task_id"], line["sample"], line["variant"]) for line in written]
    assert len(keys) == len(set(keys)) == 12 * 4
