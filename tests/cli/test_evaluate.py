# SPDX-License-Identifier: Apache-2.0

import contextlib
import json
import shutil

import pytest

from codegemma.cli import options, results
from codegemma.errors import PrerequisiteError
from codegemma.sandbox.run import Sandbox

ROWS = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": f"def f{number}():\n",
        "entry_point": f"f{number}",
        "canonical_solution": f"    return {number}\n",
        "test": f"def check(candidate):\n    assert candidate() == {number}\n",
    }
    for number in range(4)
]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A benchmark folder with four problems."""
    folder = tmp_path / "benchmarks" / "human-eval"
    folder.mkdir(parents=True)
    (folder / "HumanEval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
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
    def give(isolation, *, is_wanted, binds=()):
        yield opened if is_wanted else None

    monkeypatch.setattr(results, "sandbox", give)


def _answer(prompt, index):
    return "    return 1\n" if prompt.suffix is None else "    return 2"


def test_tasks_are_measured_and_their_results_printed(
    run, fakes, data, one_sandbox, tmp_path, monkeypatch
):
    out = str(tmp_path / "out")
    words = ("evaluate", "humaneval", "humaneval-infilling-single", "--out", out)
    monkeypatch.setattr(results, "EVERY_S", 1e9)  # no line of progress on a slow machine

    shown = run(*words, completer=fakes.ScriptedCompleter(_answer))

    assert shown.status == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[0] == "humaneval"
    assert lines[1].split() == ["pass@1", "25.0", "%", "(4.6", "to", "69.9)", "n", "4"]
    assert lines[4] == "humaneval-infilling-single"
    assert shown.err == ""

    monkeypatch.setattr(options, "open_raw_completer", None)  # nothing is loaded again
    again = run(*words, "--json")

    first, second = map(json.loads, again.out.splitlines())
    assert (first["task"], first["n"], first["metric"]["pass@1"]["value"]) == ("humaneval", 4, 0.25)
    assert second["task"] == "humaneval-infilling-single"
    assert set(first["metric"]["pass@1"]) >= {"value", "low", "high", "n", "n_eff"}


def test_settings_reach_the_model(run, fakes, data, tmp_path):
    completer = fakes.ScriptedCompleter("x")

    shown = run(
        *("evaluate", "humaneval-infilling-single", "--out", str(tmp_path / "out"), "--no-score"),
        *("--n", "2", "--top-p", "0.9", "--max-tokens", "9", "--mode", "spm", "--path", "a.py"),
        *("--limit", "3", "--shard", "1/2", "--seed", "5"),
        completer=completer,
    )

    assert shown.status == 0, shown.err
    assert shown.out == "humaneval-infilling-single\n  4 samples, none scored\n"
    (sampling,) = {(s.n, s.temperature, s.top_p, s.max_tokens, s.mode) for s in completer.samplings}
    assert sampling == (2, 0.8, 0.9, 9, "spm")
    assert [prompt.path for prompt in completer.prompts] == ["a.py", "a.py"]
    folder = tmp_path / "out" / "humaneval-infilling-single"
    assert sorted(path.name for path in folder.glob("[rs]*")) == [
        "result-1-of-2.json",
        "run-1-of-2.json",
        "samples-1-of-2.jsonl",
    ]


def test_parts_are_merged(run, fakes, data, one_sandbox, tmp_path):
    completer = fakes.ScriptedCompleter(_answer)
    for index in ("1", "2"):
        run(
            *("evaluate", "humaneval", "--out", str(tmp_path / index), "--shard", f"{index}/2"),
            completer=completer,
        )

    shown = run(
        *("evaluate", "humaneval", "--out", str(tmp_path / "all"), "--json"),
        *("--merge", str(tmp_path / "1"), "--merge", str(tmp_path / "2")),
        completer=completer,
    )

    assert json.loads(shown.out)["metric"]["pass@1"]["value"] == 0.25
    assert len(completer.prompts) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("humanevall",), "there is no task 'humanevall': did you mean humaneval"),
        (("humaneval", "--shard", "3/2"), "a shard is written i/n with i from 1 to n, not 3/2"),
        (("humaneval", "--mode", "x"), "--mode must be one of auto"),
        (("humaneval", "--n", "2", "--temperature", "0"), "2 samples need a temperature above 0"),
        (("humaneval", "--limit", "0"), "--limit"),
        (("humaneval", "--gate", "pass@1"), "a gate is METRIC<=FRACTION"),
        (("mbpp",), "mbpp/mbpp.jsonl.gz is not in"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_loaded(
    run, data, one_sandbox, tmp_path, monkeypatch, words, message
):
    monkeypatch.setattr("codegemma.cli.options.open_raw_completer", None)

    shown = run("evaluate", *words, "--out", str(tmp_path / "out"))

    assert shown.status == 2
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("gate", "status"),
    [("pass@1<=0.25", 0), ("pass@1>=0.25", 0), ("pass@1.high<=0.25", 3), ("pass@1>=0.5", 3)],
)
def test_gate_decides_the_exit_status(run, fakes, data, one_sandbox, tmp_path, gate, status):
    words = ("evaluate", "humaneval", "--out", str(tmp_path / "out"), "--gate", gate)

    shown = run(*words, completer=fakes.ScriptedCompleter(_answer))

    assert shown.status == status
    assert shown.out.startswith("humaneval\n  pass@1")
    assert shown.err.count("\n") == (status == 3)
    assert status == 0 or f"humaneval: the gate {gate} is not kept, with 0." in shown.err


def test_gate_about_what_was_not_run_is_a_mistake(run, fakes, data, one_sandbox, tmp_path):
    words = ("evaluate", "humaneval", "--out", str(tmp_path / "out"), "--gate", "exact<=0.1")

    shown = run(*words, completer=fakes.ScriptedCompleter(_answer))

    assert shown.status == 2
    assert "no task that was run has what the gate exact<=0.1 is about" in shown.err


def test_prepared_data_is_read_where_a_task_asks_for_it(run, data, one_sandbox, tmp_path):
    words = ("evaluate", "memorization:train", "--out", str(tmp_path / "out"))

    assert "memorization:train reads training data" in run(*words).err
    shown = run(*words, "--data", str(tmp_path / "gone"))

    assert shown.status == 2
    assert "gone holds no tokenizer" in shown.err


def test_unnamed_data_folder_is_asked_for(run, one_sandbox, tmp_path, monkeypatch):
    monkeypatch.delenv("CODEGEMMA_BENCHMARKS", raising=False)

    shown = run("evaluate", "humaneval", "--out", str(tmp_path / "out"))

    assert (shown.status, shown.out) == (2, "")
    assert "set CODEGEMMA_BENCHMARKS to the folder that holds the benchmark data" in shown.err


def test_task_that_lacks_something_is_named_and_the_others_are_run(
    run, fakes, data, one_sandbox, tmp_path
):
    shown = run(
        *("evaluate", "mbpp", "humaneval", "--out", str(tmp_path / "out")),
        completer=fakes.ScriptedCompleter(_answer),
    )

    assert shown.status == 2
    assert shown.out.startswith("humaneval\n")
    assert "mbpp was not run: mbpp/mbpp.jsonl.gz is not in" in shown.err


def test_missing_sandbox_is_named_before_a_model_is_loaded(run, data, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PrerequisiteError("the sandbox needs bubblewrap: apt-get install bubblewrap")

    monkeypatch.setattr(Sandbox, "run", refuse)
    monkeypatch.setattr("codegemma.cli.options.open_raw_completer", None)

    shown = run("evaluate", "humaneval", "--out", str(tmp_path / "out"))

    assert shown.status == 2
    assert "apt-get install bubblewrap" in shown.err


def test_a_server_is_measured_like_a_model(run, http, data, one_sandbox, tmp_path):
    def answer(asked):
        text = "    return 1\n" if "fim_prefix" not in asked.body["prompt"] else "    return 2"
        return http.Reply(events=http.pieces(text, size=4))

    with http.serving(http.ScriptedServer(answer)) as server:
        words = ("evaluate", "humaneval", "humaneval-infilling-single", "--model")
        shown = run(
            *(*words, f"remote:{server.url}", "--out", str(tmp_path / "out"), "--json"),
        )
        prompts = [asked.body["prompt"] for asked in server.drawn]

    assert shown.status == 0, shown.err
    first, second = map(json.loads, shown.out.splitlines())
    assert first["metric"]["pass@1"]["value"] == 0.25
    assert second["metric"]["pass@1"]["value"] == 0.25
    assert sorted(prompts)[4:] == [f"def f{number}():\n" for number in range(4)]
    # The set's quirk: a span from the first line on has a line end too many before it.
    assert sorted(prompts)[0] == "<|fim_prefix|>def f0():\n\n<|fim_suffix|><|fim_middle|>"
    model = first["settings"]["model"]
    assert model["name"] == "Qwen/Qwen2.5-Coder-1.5B,fim=qwen2.5-coder"


def test_parts_drawn_by_servers_at_different_addresses_are_merged(
    run, http, data, one_sandbox, tmp_path
):
    words = ("evaluate", "humaneval")
    for index in ("1", "2"):
        with http.serving(http.ScriptedServer()) as server:
            part = ("--out", str(tmp_path / index), "--shard", f"{index}/2", "--no-score")
            shown = run(*words, *part, "--model", f"remote:{server.url}")
            assert shown.status == 0, shown.err
    with http.serving(http.ScriptedServer()) as server:
        merge = ("--merge", str(tmp_path / "1"), "--merge", str(tmp_path / "2"))
        out = ("--out", str(tmp_path / "all"), "--json", "--model", f"remote:{server.url}")
        merged = run(*words, *out, *merge)

    assert merged.status == 0, merged.err
    assert json.loads(merged.out)["num_samples"] == 4
    assert server.drawn == []


def test_a_server_that_is_not_there_is_one_line(run, data, one_sandbox, tmp_path):
    shown = run(
        *("evaluate", "humaneval", "--out", str(tmp_path / "out")),
        *("--model", "remote:http://127.0.0.1:1"),
    )

    assert shown.status == 2
    assert shown.err.count("\n") == 1
    assert "cannot reach http://127.0.0.1:1/v1" in shown.err
    assert not list((tmp_path / "out").rglob("*.jsonl"))


def test_a_server_that_fails_midway_loses_nothing(run, http, data, one_sandbox, tmp_path):
    def answer(asked):
        if asked.body["prompt"].startswith("def f2"):
            return http.Reply(status=400, body={"error": "no more"})
        return http.Reply(events=http.pieces("    return 1\n"))

    words = ("evaluate", "humaneval", "--out", str(tmp_path / "out"), "--batch", "1", "--model")
    with http.serving(http.ScriptedServer(answer)) as server:
        failed = run(*words, f"remote:{server.url}")
    with http.serving(http.ScriptedServer()) as server:
        shown = run(*words, f"remote:{server.url}", "--json")
        asked = [each.body["prompt"] for each in server.drawn]

    assert (failed.status, failed.err.count("\n")) == (2, 1), failed.err
    assert "400: no more" in failed.err
    assert shown.status == 0, shown.err
    assert sorted(asked) == ["def f2():\n", "def f3():\n"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("repo:.", "repo:PATH needs --test CMD, such as --test 'python -m pytest -q'"),
        ("humaneval --test pytest", "--test and --env are for repo:PATH"),
        ("repo:gone --test pytest", "gone is no git repository with a commit"),
        ("repo:. --test pytest --env gone", "gone has no bin/python"),
    ],
)
def test_a_repository_needs_a_commit_a_command_and_an_environment(
    run, fakes, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    ran = run("evaluate", *words.split(), "--out", "o", completer=fakes.ScriptedCompleter())
    assert ran.status == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_an_interrupt_says_that_the_same_command_goes_on(run, monkeypatch, tmp_path):
    from codegemma.evaluate import runner

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_task", interrupt)

    ran = run("evaluate", "humaneval", "--no-score", "--out", str(tmp_path))

    assert (ran.status, ran.err) == (130, "stopped; the same command goes on from there\n")
