# SPDX-License-Identifier: Apache-2.0
import json

import pytest

CODE = "".join(f"def step_{i}(value):\n    return value + {i}\n\n\n" for i in range(8))
PAIR = (
    "[Problem]\nWrite a function that adds seven to a given number.\n"
    "[Solution]\n```python\ndef add_seven(n):\n    return n + 7\n```\n"
)


@pytest.fixture
def model(fakes):
    def answer(prompt, _):
        is_judged = prompt.turns[0].text.startswith("Judge")
        return "Helpfulness: 5\nCorrectness: 5" if is_judged else PAIR

    return fakes.ScriptedCompleter(answer, is_instruction=True, context_length=100_000)


def test_pairs_are_written_by_the_model_and_counted(run, model, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "steps.py").write_text(CODE, encoding="utf-8")
    out = tmp_path / "pairs.jsonl"
    words = ["synthesize", "pairs", str(tmp_path / "mine"), "--out", str(out), "-m", "x"]

    ran = run(*words, completer=model)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "--unlicensed takes code without a permissive licence" in ran.err
    words.append("--unlicensed")
    ran = run(*words, "--count", "2", "--json", completer=model)

    assert (ran.status, json.loads(ran.out), ran.err) == (0, {"kept": 2}, "")
    first = json.loads(out.read_text(encoding="utf-8").splitlines()[0])
    assert first["origin"].startswith("mine/steps.py:")
    assert [turn["role"] for turn in first["messages"]] == ["user", "assistant"]
    ran = run(*words, "--count", "3", completer=model)
    assert ran.out == f"       3  kept\n{out}\n"


def test_algebra_needs_no_model(run, tmp_path) -> None:
    out = tmp_path / "algebra.jsonl"

    ran = run("synthesize", "algebra", "--out", str(out), "--count", "4", "--seed", "1")

    assert (ran.status, ran.out) == (0, f"{out}\n")
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [set(row) for row in rows] == [{"question", "answer"}] * 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pairs"], "pairs need a source of code and a model"),
        (["pairs", "."], "pairs need a source of code and a model"),
        (["algebra", "--model", "x"], "they take no source and no model"),
        (["poems"], "'poems' is not one of 'pairs', 'algebra'"),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(run, tmp_path, words, message) -> None:
    ran = run("synthesize", *words, "--out", str(tmp_path / "x.jsonl"))

    assert ran.status == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1
