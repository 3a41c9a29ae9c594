# SPDX-License-Identifier: Apache-2.0
import threading
import time

import pytest

from codegemma.completion import Completer, Prompt, Sampling
from codegemma.generate.trimmed import Trimmed
from codegemma.text.trim import trim


@pytest.fixture
def trimmed(fakes):
    """Make a trimmed completer that answers with `answer`, a character a piece."""
    return lambda answer: Trimmed(fakes.ScriptedCompleter(answer))


@pytest.fixture
def both(trimmed):
    """Give the text as completed and as streamed, which must agree, its rule and the pieces."""

    def run(answer, prompt):
        sampling = Sampling(max_tokens=len(answer) + 1)
        completion = trimmed(answer).complete([prompt], sampling)[0][0]
        deltas = list(trimmed(answer).stream(prompt, sampling))
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


def test_a_loop_streams_its_first_round_alone(both):
    text, rule, _ = both("value += 1\n" * 10, Prompt(prefix="", suffix=""))
    assert (text, rule) == ("value += 1", "repetition")


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


def test_any_text_streams_as_what_is_completed(both):
    prompt = Prompt(prefix="f(", suffix=")\nreturn f(x)\n")
    for answer in ("x)\nreturn f(x)\n", "x, [1)\nret", "   ", ")", "\n\n", "a" * 60, "(a)" * 20):
        text, _, _ = both(answer, prompt)
        assert text == trim(answer, prefix=prompt.prefix, suffix=prompt.suffix).text


def test_cancelling_reaches_the_completer_behind(trimmed):
    cancel = threading.Event()
    cancel.set()
    prompt = Prompt(prefix="a", suffix="")
    drawn = trimmed("x = 1").complete([prompt], Sampling(), cancel)[0][0]
    assert (drawn.text, drawn.finish_reason) == ("", "cancelled")


def test_a_stream_of_four_times_the_tokens_takes_four_times_the_time(trimmed):
    prompt = Prompt(prefix="def f():\n", suffix="\n" + "    return f()\n" * 300)

    def seconds(num_tokens: int) -> float:
        completer = trimmed("".join(f"x{i} = {i}\n" for i in range(300))[:num_tokens])
        spent: list[float] = []
        for _ in range(3):
            start = time.thread_time()
            for _ in completer.stream(prompt, Sampling(max_tokens=num_tokens)):
                pass
            spent.append(time.thread_time() - start)
        return min(spent)

    assert seconds(2048) < 8 * seconds(512)
