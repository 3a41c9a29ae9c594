# SPDX-License-Identifier: Apache-2.0
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codegemma.generate import settle as settle_module
from codegemma.generate.settle import Settler
from codegemma.text.trim import trim

CODE = Path(str(settle_module.__file__)).read_text("utf-8")


def settle(pieces, *, prefix="", suffix=""):
    """Give what each piece settles."""
    settler = Settler(prefix=prefix, suffix=suffix)
    return [settler.push(piece) for piece in pieces]


def test_text_that_nothing_can_take_back_is_settled_at_once():
    assert settle(["ab", "c", "de"], suffix="x") == ["ab", "c", "de"]


def test_what_the_suffix_begins_with_waits_until_it_goes_on_otherwise():
    given = settle(["1", "2\npr", "int(t", "y"], suffix="\nprint(x)\n")
    assert given == ["1", "2", "", "\nprint(ty"]


def test_what_was_said_before_waits_since_it_may_become_a_loop():
    assert settle(["ab", "ac", "ab", "ac", "d"]) == ["ab", "ac", "", "", "abacd"]


def test_a_line_end_waits_for_what_follows_it():
    assert settle(["a", "\n", "b"], suffix="x") == ["a", "", "\nb"]


def test_the_beginning_of_a_spelling_waits():
    assert settle(["a<", "|fim", "_x"], suffix="#") == ["a", "", "<|fim_x"]
    assert settle(["a<|fim_suffix", "|>bc", "de"], suffix="#") == ["a", "", ""]


def test_a_spelling_that_the_file_writes_passes():
    assert settle(["a<|fim_suffix", "|>b"], suffix="<|fim_suffix|>") == ["a", "<|fim_suffix|>b"]


def test_brackets_and_blanks_wait_where_the_suffix_has_them():
    assert settle(["f(x", ")", ")", ";"], suffix="))\n") == ["f(x", "", "", "));"]
    assert settle(["a ", "\t", "b"], suffix="\n") == ["a", "", " \tb"]
    assert settle(["a ", "\t", "b"], suffix=" x") == ["a", " \t", "b"]


PARTS = (
    "x",
    " ",
    "\n",
    "    ",
    "\t",
    ")",
    "(",
    "]",
    "<",
    "<|fi",
    "<|file_separator|>",
    "<|fim_prefix|>",
    "ab\n",
    "é",
    "0, ",
    "x = 1\n",
    "\0",
)
some = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)
loops = st.tuples(some, some, st.integers(1, 30)).map(lambda parts: parts[0] + parts[1] * parts[2])
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@given(some | loops, some, some, st.integers(0, 40), CUTS)
@example("]0, é<|fi<|fim_prefix|> é", "", " abc", 0, [1])
@example("x = 1\n" * 9 + "<|fi", "", "\n", 0, [2, 3])
@example("x = 1\n" * 900, "", "\n", 0, [3])
@settings(max_examples=120, deadline=None)
def test_what_is_settled_is_a_head_of_the_trimmed_text_however_it_is_cut(
    text: str, prefix: str, suffix: str, overlap: int, cuts: list[int]
):
    text += suffix[:overlap]
    settler = Settler(prefix=prefix, suffix=suffix)
    given, start, number = "", 0, 0
    while start < len(text):
        length = cuts[number % len(cuts)]
        given += settler.push(text[start : start + length])
        start, number = start + length, number + 1
        # The text may end here as well as anywhere.
        if start >= len(text) or (number % 8 == 0 and len(text) < 400):
            assert trim(text[:start], prefix=prefix, suffix=suffix).text.startswith(given)


def test_little_of_real_code_waits():
    settler = Settler(prefix="", suffix="\nreturn\n")
    given = 0
    waiting: list[int] = []
    for start in range(0, 3000, 3):
        given += len(settler.push(CODE[start : start + 3]))
        waiting.append(start + 3 - given)
    assert sum(waiting) / len(waiting) < 20


@pytest.mark.parametrize("text", [CODE, "value += 1\n"], ids=["code", "loop"])
def test_time_is_linear_in_the_text(text):
    def seconds(num_tokens: int) -> float:
        drawn, spent = text * 8192, []
        for _ in range(3):
            start = time.thread_time()
            settle([drawn[at : at + 4] for at in range(0, 4 * num_tokens, 4)])
            spent.append(time.thread_time() - start)
        return min(spent)

    assert seconds(2048) < 8 * seconds(512)
