# SPDX-License-Identifier: Apache-2.0

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from codegemma.errors import ConfigError, DataError, InputError, PrerequisiteError
from codegemma.evaluate.drawing import DrawSettings
from codegemma.evaluate.folder import RunFolder, Shard
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.runner import RunSettings, run_task

(TASK,) = find_tasks("humaneval")
STOPPED_RUN = Path(__file__).with_name("stopped_run.py")


def _right_below(limit):
    """Answer the first problems right, and say so of the others too."""

    def answer(prompt, index):
        number = int(prompt.prefix.split("(")[0].removeprefix("def f"))
        return f"    return {number if number < limit else 'None'}\n"

    return answer


def _run(out, completer, *, sandbox=None, **fields):
    settings = RunSettings(**{k: v for k, v in fields.items() if k in ("draw", "limit", "shard")})
    rest = {k: v for k, v in fields.items() if k not in ("draw", "limit", "shard")}
    return run_task(
        TASK,
        out=out,
        model=rest.pop("model", "scripted"),
        open_completer=lambda: completer,
        sandbox=sandbox,
        settings=settings,
        **rest,
    )


def test_run_draws_scores_and_writes_its_result(few_problems, fakes, sandbox, tmp_path):
    out, seen = tmp_path / "out", []
    completer = fakes.ScriptedCompleter(_right_below(9))

    result = _run(out, completer, sandbox=sandbox, listener=seen.append)

    assert result["metric"]["pass@1"]["value"] == 0.75
    assert result["outcomes"] == {"fail": 3, "pass": 9}
    assert (result["n"], result["num_missing"], result["shard"]) == (12, 0, "1/1")
    assert json.loads((out / "humaneval" / "result.json").read_text()) == json.loads(
        json.dumps(result)
    )
    folder = RunFolder(out, "humaneval")
    assert len(folder.samples()) == 12
    assert len(folder.scores()) == 12 * len(TASK.variants)
    assert [(p.stage, p.done, p.total) for p in seen] == [("drawing", 12, 12)]
    assert folder.models() == {"scripted"}
    assert list(result["settings"]["data"]) == ["human-eval/HumanEval.jsonl.gz"]


def test_run_that_is_done_draws_and_loads_nothing_more(few_problems, fakes, sandbox, tmp_path):
    first = _run(tmp_path, fakes.ScriptedCompleter(_right_below(9)), sandbox=sandbox)
    files = {path: path.read_bytes() for path in (tmp_path / "humaneval").glob("s*.jsonl")}

    again = _run(tmp_path, None, sandbox=sandbox)

    assert again["metric"] == first["metric"]
    assert {path: path.read_bytes() for path in files} == files


def test_samples_drawn_alone_are_scored_later_without_a_model(
    few_problems, fakes, sandbox, tmp_path
):
    drawn = _run(tmp_path, fakes.ScriptedCompleter(_right_below(6)))
    assert (drawn["metric"], drawn["num_samples"]) == ({}, 12)

    scored = _run(tmp_path, None, sandbox=sandbox)

    assert scored["metric"]["pass@1"]["value"] == 0.5
    written = json.loads((tmp_path / "humaneval" / "run.json").read_text())
    assert [list(each) for each in written["scoring"]] == [["python", "bubblewrap"]]


def test_stopped_run_goes_on_where_it_was(few_problems, fakes, tmp_path):
    completer = fakes.ScriptedCompleter("x")
    completer.fail = None

    def stop_at(prompt, index):
        if prompt.prefix.startswith("def f5"):
            raise KeyboardInterrupt
        return "x"

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, fakes.ScriptedCompleter(stop_at), draw=DrawSettings(batch=2))
    assert len(RunFolder(tmp_path, "humaneval").samples()) == 6

    _run(tmp_path, completer, draw=DrawSettings(batch=3))

    # The longest prompts were first.
    assert [prompt.prefix for prompt in completer.prompts] == [
        f"def f{n}():\n" for n in range(4, 10)
    ]


def test_killed_run_loses_and_doubles_nothing(few_problems, fakes, tmp_path):
    out = tmp_path / "out"
    file = RunFolder(out, "humaneval").file("samples")
    process = subprocess.Popen([sys.executable, str(STOPPED_RUN), "draw", str(out)])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not file.exists() or file.read_bytes().count(b"\n") < 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = file.read_bytes()
    kept = whole.count(b"\n")
    assert 3 <= kept < 12
    file.write_bytes(whole + b'{"task_id": "HumanEval/1')  # as if it was hit while it wrote
    completer = fakes.ScriptedCompleter(lambda prompt, index: f"    return {index}\n")

    result = _run(out, completer)

    assert result["num_samples"] == 12
    assert len(completer.prompts) == 12 - kept
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    order = (10, 11, *range(10))  # the longest prompts first
    assert [line["task_id"] for line in lines] == [f"HumanEval/{n}" for n in order]
    assert file.read_bytes().startswith(whole)


def test_run_killed_while_it_scores_loses_and_doubles_nothing(
    few_problems, fakes, sandbox, tmp_path
):
    out = tmp_path / "out"
    folder = RunFolder(out, "humaneval")
    samples, scores = folder.file("samples"), folder.file("scores")
    process = subprocess.Popen([sys.executable, str(STOPPED_RUN), "run", str(out)])
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and (
        not scores.exists() or scores.read_bytes().count(b"\n") < 4
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    drawn, scored = samples.read_bytes(), scores.read_bytes()
    assert 4 <= scored.count(b"\n") < 12 * len(TASK.variants)
    scores.write_bytes(scored + b'{"task_id": "Hum')
    completer = fakes.ScriptedCompleter("    return 0\n")

    result = _run(out, completer, sandbox=sandbox)

    assert (result["num_samples"], result["metric"]["pass@1"]["value"]) == (12, 1 / 12)
    assert len(completer.prompts) == 12 - drawn.count(b"\n")
    assert samples.read_bytes().startswith(drawn)
    assert scores.read_bytes().startswith(scored)
    lines = [json.loads(line) for line in scores.read_text().splitlines()]
    keys = [(line["task_id"], line["variant"]) for line in lines]
    assert len(keys) == len(set(keys)) == 12 * len(TASK.variants)


def test_damaged_line_in_the_middle_is_an_error(few_problems, fakes, tmp_path):
    _run(tmp_path, fakes.ScriptedCompleter("x"))
    file = tmp_path / "humaneval" / "samples.jsonl"
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], lines[1][:20], *lines[2:]]))

    with pytest.raises(DataError, match=r"samples.jsonl:2 is damaged"):
        _run(tmp_path, fakes.ScriptedCompleter("x"))


def test_parts_of_two_machines_make_the_whole(few_problems, fakes, sandbox, tmp_path):
    completer = fakes.ScriptedCompleter(_right_below(9))
    parts = [
        _run(tmp_path / f"m{i}", completer, sandbox=sandbox, shard=Shard(index=i, count=2))
        for i in (1, 2)
    ]
    whole = _run(tmp_path / "whole", completer, sandbox=sandbox)

    merged = _run(tmp_path / "all", None, sandbox=sandbox, merge=[tmp_path / "m1", tmp_path / "m2"])

    assert [part["n"] for part in parts] == [6, 6]
    assert [part["shard"] for part in parts] == ["1/2", "2/2"]
    assert merged["metric"] == whole["metric"]
    assert merged["num_missing"] == 0


def test_limit_takes_the_first_and_can_be_lifted(few_problems, fakes, tmp_path):
    few = _run(tmp_path, fakes.ScriptedCompleter("x"), limit=5)
    completer = fakes.ScriptedCompleter("x")
    all_of_them = _run(tmp_path, completer)

    assert (few["num_problems"], all_of_them["num_problems"]) == (5, 12)
    assert len(completer.prompts) == 7
    assert _run(tmp_path, None, limit=3)["num_samples"] == 3


def test_more_samples_can_be_asked_for_later(few_problems, fakes, tmp_path):
    def settings(n):
        return DrawSettings(n=n, temperature=0.8)

    answer = fakes.ScriptedCompleter(lambda prompt, index: str(index))
    _run(tmp_path, answer, draw=settings(2))
    result = _run(tmp_path, answer, draw=settings(10))

    texts = [s.text for s in RunFolder(tmp_path, "humaneval").samples().values()]
    assert result["num_samples"] == 120
    assert sorted(texts) == sorted(str(index) for index in range(10) for _ in range(12))
    assert _run(tmp_path, None, draw=settings(1))["num_samples"] == 12


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"draw": DrawSettings(max_tokens=9)}, "sampling.max_tokens was 512 and is 9"),
        ({"draw": DrawSettings(temperature=0.2)}, "sampling.temperature was 0.0 and is 0.2"),
        ({"model": "other"}, "model.name was 'scripted' and is 'other'"),
    ],
)
def test_run_of_other_settings_is_not_mixed_in(few_problems, fakes, tmp_path, fields, words):
    _run(tmp_path, fakes.ScriptedCompleter("x"))

    with pytest.raises(ConfigError, match=words):
        _run(tmp_path, fakes.ScriptedCompleter("x", name=fields.get("model", "scripted")), **fields)


def test_run_over_other_data_is_not_mixed_in(few_problems, fakes, tmp_path):
    _run(tmp_path, fakes.ScriptedCompleter("x"), limit=2)
    file = few_problems / "human-eval" / "HumanEval.jsonl"
    file.write_text(file.read_text() + "\n")

    with pytest.raises(ConfigError, match=r"data.human-eval/HumanEval.jsonl.gz was"):
        _run(tmp_path, fakes.ScriptedCompleter("x"))


def test_samples_of_other_prompts_are_refused(few_problems, fakes, tmp_path):
    _run(tmp_path, fakes.ScriptedCompleter("x"))
    file = tmp_path / "humaneval" / "samples.jsonl"
    file.write_text(file.read_text().replace('"prompt_sha256": "', '"prompt_sha256": "0', 1))

    with pytest.raises(ConfigError, match=r"HumanEval/10 answer another prompt"):
        _run(tmp_path, None)


def test_prompt_beyond_the_context_is_counted_as_failed(few_problems, fakes, sandbox, tmp_path):
    result = _run(
        tmp_path, fakes.ScriptedCompleter("    return 0\n", context_length=20), sandbox=sandbox
    )

    assert (result["num_refused"], result["n"]) == (12, 12)
    assert result["metric"]["pass@1"]["value"] == 0.0
    assert result["outcomes"] == {"not run": 12}


def test_missing_data_is_named_before_anything_is_written(fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(tmp_path))

    with pytest.raises(PrerequisiteError, match=r"HumanEval.jsonl.gz .*github.com/openai"):
        _run(tmp_path / "out", fakes.ScriptedCompleter("x"))

    assert not (tmp_path / "out").exists()


def test_shard_without_a_problem_is_refused(few_problems, fakes, tmp_path):
    with pytest.raises(ConfigError, match="shard 3 of 4 of humaneval has no problem"):
        _run(tmp_path, None, limit=2, shard=Shard(index=3, count=4))
    with pytest.raises(ConfigError, match="limit must be at least 1"):
        RunSettings(limit=0)


def test_problems_of_one_id_are_refused_before_anything_is_drawn(few_problems, fakes, tmp_path):
    twice = replace(TASK, problems=lambda folder: [*TASK.problems(folder)[:1]] * 2)

    with pytest.raises(DataError, match="several problems of one id: HumanEval/0"):
        run_task(
            twice,
            out=tmp_path / "out",
            model="scripted",
            open_completer=lambda: fakes.ScriptedCompleter("x"),
            sandbox=None,
        )
    assert not (tmp_path / "out").exists()


def test_folder_without_the_task_cannot_be_merged(few_problems, fakes, tmp_path):
    with pytest.raises(InputError, match="holds no run of this task"):
        _run(tmp_path / "out", fakes.ScriptedCompleter("x"), merge=[tmp_path])
