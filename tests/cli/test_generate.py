# SPDX-License-Identifier: Apache-2.0
import json

from codegemma.completion import Prompt, Sampling


def test_text_is_printed_as_it_is_drawn(run, fakes):
    completer = fakes.ScriptedCompleter(" world\n")
    assert run("generate", "hello", completer=completer) == (0, " world\n", "")
    assert completer.prompts == [Prompt(prefix="hello")]
    assert completer.samplings == [Sampling(heal=True)]


def test_the_prompt_may_come_from_standard_input(run, fakes):
    completer = fakes.ScriptedCompleter("y\nz")
    ran = run("generate", "-", completer=completer, stdin="ü\r\n".encode())
    assert ran.out == "y\r\nz"
    assert completer.prompts == [Prompt(prefix="ü\n")]


def test_standard_input_must_be_text(run, fakes):
    ran = run("generate", "-", completer=fakes.ScriptedCompleter(), stdin=b"\xff")
    assert ran == (2, "", "codegemma: standard input is not UTF-8 at byte 0\n")


def test_options_reach_the_model(run, fakes):
    completer = fakes.ScriptedCompleter("a;b")
    words = "generate x --max-tokens 2 --seed 3 --stop ; --no-heal"
    ran = run(*words.split(), completer=completer)
    assert ran.out == "a"
    assert completer.samplings == [Sampling(max_tokens=2, seed=3, stop=(";",))]


def test_json_is_one_object(run, fakes):
    ran = run("generate", "x", "--json", "--max-tokens", "1", completer=fakes.ScriptedCompleter())
    found = json.loads(ran.out)
    assert found["completions"][0]["text"] == "4"
    assert found["completions"][0]["finish_reason"] == "length"


def test_explain_shows_the_prompt_and_its_ids_beside_the_text(run, fakes, tokenizer):
    completer = fakes.ScriptedCompleter("42")
    completer.tokenizer = tokenizer
    ran = run("generate", "x = ", "--explain", "--no-heal", completer=completer)
    assert (ran.status, ran.out) == (0, "42")
    ids = [2, *tokenizer.encode("x = ")]
    assert ran.err == (
        f"prompt  4 tokens, as the model reads it:\n<bos>x = \nids     {' '.join(map(str, ids))}\n"
        "drawn   3 tokens, ended by stop\nids     1004 988 1\n"
    )
    assert list(completer.prompts[0].tokens) == ids

    ran = run("generate", "x = ", "--explain", "--json", "--no-heal", completer=completer)
    found = json.loads(ran.out)
    assert ran.err == ""
    assert (found["prompt"], found["prompt_tokens"]) == ("<bos>x = ", ids)
    assert found["completions"][0]["text"] == "42"


def test_explain_needs_a_model_that_shows_its_tokens(run, fakes):
    ran = run("generate", "x", "--explain", completer=fakes.ScriptedCompleter())
    assert (ran.status, ran.out) == (2, "")
    assert "--explain needs a model in this process" in ran.err


def test_a_prompt_that_does_not_fit_is_refused_with_both_counts(run, fakes, tokenizer):
    completer = fakes.ScriptedCompleter("x", context_length=64)
    completer.tokenizer = tokenizer
    ran = run("generate", "-", completer=completer, stdin=b"value = 1\n" * 100)
    count = len(tokenizer.encode("value = 1\n" * 100)) + 1
    assert (ran.status, ran.out) == (2, "")
    assert f"the prompt has {count} tokens, and the context of scripted holds 64" in ran.err
    assert completer.prompts == []
