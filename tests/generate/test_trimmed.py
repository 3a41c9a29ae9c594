# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.completion import Completer, Prompt, Sampling
from codegemma.generate.trimmed import Trimmed
from codegemma.text.trim import trim


@pytest.fixture
def trimmed(fakes):
    """Make a trimmed completer that answers with `answer`, a character a piece."""
    return lambda answer, **settings: Trimmed(fakes.ScriptedCompleter(answer), **settings)


@pytest.fixture
def both(trimmed):
    """Give the text as completed and as streamed, which must agree, its rule and the pieces."""

    def run(answer, prompt, **settings):
        completion = trimmed(answer, **settings).complete([prompt], Sampling())[0][0]
        deltas = list(trimmed(answer, **settings).stream(prompt, Sampling()))
        pieces = [delta.text for delta in deltas]
        assert "".join(pieces) == completion.text
        assert deltas[-1].completion == completion
        return completion.text, completion.rule, pieces

    return run


def test_it_is_a_completer_and_shows_the_one_behind(trimmed):
    completer = trimmed("x")
    assert isinstance(completer, Completer)
    assert completer.info.name == "scripted"
    assert completer.tokenizer.encode("a") == [1097]
    assert completer.loglikelihood([("a", "b")])[0].logprob == -1.0


def test_a_repeated_suffix_is_cut_and_never_streamed(both):
    prompt = Prompt(prefix="x = ", suffix="\nprint(total)\n")
    text, rule, pieces = both("12\nprint(total)\n", prompt)
    assert (text, rule) == ("12", "suffix_overlap")
    assert pieces == ["1", "2", ""]


def test_text_that_only_began_like_the_suffix_is_streamed_late(both):
    prompt = Prompt(prefix="x = ", suffix="\nprint(total)\n")
    text, rule, pieces = both("12\npr(y)", prompt)
    assert (text, rule) == ("12\npr(y)", None)
    assert pieces == ["1", "2", "\npr(", "y", ")", ""]


def test_a_written_control_token_is_cut_and_never_streamed(both):
    text, rule, pieces = both("ab<|fim_suffix|>c", Prompt(prefix="", suffix=""))
    assert (text, rule, pieces) == ("ab", "sentinel", ["a", "b", ""])


def test_a_bracket_that_the_suffix_has_is_cut(both):
    prompt = Prompt(prefix="print(", suffix=")\n")
    assert both("x)", prompt)[:2] == ("x", "closing_brackets")


def test_a_loop_streams_no_more_than_its_first_rounds(trimmed):
    answer = "value += 1\n" * 10
    completer = trimmed(answer)
    prompt = Prompt(prefix="", suffix="")
    whole = completer.complete([prompt], Sampling())[0][0]
    assert (whole.text.strip(), whole.rule) == ("value += 1", "repetition")
    deltas = list(completer.stream(prompt, Sampling()))
    streamed = "".join(delta.text for delta in deltas)
    assert deltas[-1].completion.text == streamed
    assert streamed.count("value") <= 4


def test_samples_are_settled_apart(trimmed):
    prompt = Prompt(prefix="print(", suffix=")\n")
    completer = trimmed("x)")
    deltas = list(completer.stream(prompt, Sampling(n=2)))
    for index in (0, 1):
        mine = [delta for delta in deltas if delta.index == index]
        assert "".join(delta.text for delta in mine) == mine[-1].completion.text == "x"


def test_left_to_right_text_passes_as_it_is(both):
    answer = "value += 1\n" * 10
    assert both(answer, Prompt(prefix="x"))[:2] == (answer, None)


def test_without_rules_an_infill_passes_as_it_is(both):
    prompt = Prompt(prefix="print(", suffix=")\n")
    assert both("x)", prompt, rules=())[:2] == ("x)", None)


def test_any_text_streams_as_a_head_of_what_was_drawn(trimmed):
    prompt = Prompt(prefix="f(", suffix=")\nreturn f(x)\n")
    for answer in ("x)\nreturn f(x)\n", "x, [1)\nret", "   ", ")", "\n\n", "a" * 60, "(a)" * 20):
        completer = trimmed(answer)
        deltas = list(completer.stream(prompt, Sampling()))
        streamed = "".join(delta.text for delta in deltas)
        kept = trim(answer, prefix=prompt.prefix, suffix=prompt.suffix).text
        assert deltas[-1].completion.text == streamed
        assert answer.startswith(streamed)
        assert streamed.startswith(kept)
