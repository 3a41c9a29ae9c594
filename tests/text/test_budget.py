# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.completion import CompleterInfo, Cut, Prompt, Sampling, SourceFile, Turn
from codegemma.errors import ContextLengthError
from codegemma.text.budget import (
    count_by_line,
    cut_around_cursor,
    fit_prompt,
    keep_tail,
    spare_tokens,
)
from codegemma.text.fim import render_prompt
from codegemma.text.tokenizer import Tokenizer

MODEL = Tokenizer.from_file(Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model")
CODE = Path(__file__).read_text("utf-8")
LINES = "".join(f"value_{number} = {number}\n" for number in range(400))
SMALL = CompleterInfo(name="small", context_length=256, mode="spm")
Mode = Literal["psm", "spm", "spm2"]


def cut(prompt: Prompt, max_tokens: int, mode: Mode = "psm") -> Prompt:
    return cut_around_cursor(prompt, tokenizer=MODEL, mode=mode, max_tokens=max_tokens)


def left_of(prompt: Prompt) -> Prompt:
    """What a fitted prompt shows of its code, as a prompt of its own."""
    lost = prompt.cut or Cut()
    suffix = prompt.suffix or ""
    return Prompt(
        prefix=prompt.prefix[lost.prefix_chars :],
        suffix=suffix[: len(suffix) - lost.suffix_chars],
        path=prompt.path,
        context=tuple(file for file in prompt.context if file.path not in lost.files),
    )


def fit(prompt: Prompt, **sampling: Any) -> Prompt:
    return fit_prompt(prompt, Sampling(**sampling), tokenizer=MODEL, info=SMALL)


def test_what_fits_is_shown_whole():
    prompt = Prompt(
        prefix="x = ", suffix="\n", path="p.py", context=(SourceFile(path="q", text="y\n"),)
    )
    tokens = tuple(render_prompt(MODEL, prompt, mode="psm"))
    assert cut(prompt, len(tokens)) == replace(prompt, tokens=tokens)
    assert cut(prompt, len(tokens) - 1).cut == Cut(files=("q",))


def test_context_files_go_whole_and_the_farthest_first():
    files = tuple(SourceFile(path=f"{i}.py", text="x = 1\n" * 10) for i in range(3))
    prompt = Prompt(prefix="y = ", suffix="\n", context=files)
    whole = len(render_prompt(MODEL, prompt, mode="spm"))
    assert cut(prompt, whole - 1, "spm").cut == Cut(files=("0.py",))
    assert cut(prompt, whole // 2, "spm").cut == Cut(files=("0.py", "1.py"))


def test_a_file_too_large_does_not_keep_out_the_others():
    files = (
        SourceFile(path="small.py", text="x = 1\n"),
        SourceFile(path="large.py", text="x = 1\n" * 100_000),
    )
    assert cut(Prompt(prefix="y", suffix="", context=files), 50).cut == Cut(files=("large.py",))


def test_the_prefix_keeps_its_tail_and_the_suffix_its_head_by_whole_lines():
    lines = [f"line_{i} = {i}\n" for i in range(200)]
    prefix, suffix = "".join(lines[:100]) + "here = ", "\n" + "".join(lines[100:])
    left = left_of(cut(Prompt(prefix=prefix, suffix=suffix, path="p.py"), 256))
    assert left.suffix is not None
    assert left.prefix.startswith("line_")
    assert left.prefix.endswith("line_99 = 99\nhere = ")
    assert left.suffix.startswith("\nline_100 = 100\n")
    assert left.suffix.endswith("\n")
    # Three quarters for the prefix, the rest for the suffix, less the steps of the grid.
    assert 160 <= len(MODEL.encode(left.prefix)) <= 186
    assert 30 <= len(MODEL.encode(left.suffix)) <= 62


def test_what_one_side_does_not_use_goes_to_the_other():
    long = "line = 1\n" * 500
    fitted = cut(Prompt(prefix="x", suffix=long), 300)
    assert fitted.cut is not None
    assert fitted.cut.prefix_chars == 0
    assert len(fitted.tokens) > 260
    fitted = cut(Prompt(prefix=long, suffix="x"), 300)
    assert fitted.cut is not None
    assert fitted.cut.suffix_chars == 0
    assert len(fitted.tokens) > 260


def test_typing_a_little_moves_no_cut():
    cuts = {cut(Prompt(prefix=LINES + "x" * i, suffix=LINES), 512, "spm").cut for i in range(24)}
    assert len(cuts) <= 3


def test_a_path_line_that_leaves_no_room_is_refused():
    prompt = Prompt(prefix="x", suffix="", path="a/b/c/d/e.py")
    with pytest.raises(ContextLengthError, match="more than the 8 there is room for"):
        cut(prompt, 8)


def test_room_for_nothing_but_the_frame_is_room_enough():
    fitted = cut(Prompt(prefix="abc", suffix="def"), 4)
    assert fitted.tokens == (2, 67, 69, 68)
    assert fitted.cut == Cut(prefix_chars=3, suffix_chars=3)


class Counting(Tokenizer):
    """Counts the characters it encodes."""

    def __init__(self) -> None:
        self.__dict__ = dict(MODEL.__dict__)
        self.num_chars = 0

    def encode(self, text: str) -> list[int]:
        self.num_chars += len(text)
        return super().encode(text)


def test_what_fits_is_encoded_once():
    tokenizer = Counting()
    prompt = Prompt(prefix="x = 1\n" * 9, suffix="y\n", path="p.py")
    fitted = fit_prompt(prompt, Sampling(), tokenizer=tokenizer, info=SMALL)
    assert tokenizer.num_chars == 6 * 9 + 2 + 5
    fit_prompt(fitted, Sampling(), tokenizer=tokenizer, info=SMALL)
    assert tokenizer.num_chars == 6 * 9 + 2 + 5


def test_what_is_encoded_does_not_depend_on_the_length_of_the_file():
    spent: list[int] = []
    for size in (100_000, 10_000_000):
        tokenizer = Counting()
        text = ("x = 1\n" * (size // 6))[:size]
        cut_around_cursor(
            Prompt(prefix=text, suffix=text), tokenizer=tokenizer, mode="psm", max_tokens=256
        )
        spent.append(tokenizer.num_chars)
    assert spent[1] < 1.2 * spent[0] < 10_000


def test_infill_leaves_room_for_what_is_asked_and_takes_half_the_context_at_least():
    prompt = Prompt(prefix=LINES, suffix=LINES)
    assert 150 < len(fit(prompt, max_tokens=64).tokens) <= 192
    assert 100 < len(fit(prompt, max_tokens=10_000).tokens) <= 128


def test_the_text_of_a_prompt_that_was_cut_stays_as_it_came():
    fitted = fit(Prompt(prefix=LINES, suffix=LINES, path="p.py"), max_tokens=64)
    assert (fitted.prefix, fitted.suffix, fitted.path) == (LINES, LINES, "p.py")
    assert fitted.cut is not None
    assert list(fitted.tokens) == render_prompt(MODEL, left_of(fitted), mode="spm")


def test_auto_is_the_mode_of_the_model():
    a, b = MODEL.encode("a"), MODEL.encode("b")
    assert fit(Prompt(prefix="a", suffix="b")).tokens == (2, 69, *b, 67, *a, 68)
    assert fit(Prompt(prefix="a", suffix="b"), mode="psm").tokens == (2, 67, *a, 69, *b, 68)


def test_what_is_not_infill_is_never_cut_but_refused_with_both_counts():
    prompts = (
        Prompt(prefix="value = 1\n" * 100),
        Prompt(prefix="x", context=(SourceFile(path="a.py", text="value = 1\n" * 100),)),
        Prompt(turns=(Turn(role="user", text="value = 1\n" * 100),)),
        Prompt(tokens=(2, *[300] * 255)),
    )
    for prompt in prompts:
        count = len(render_prompt(MODEL, prompt, mode="psm"))
        with pytest.raises(ContextLengthError, match=f"has {count} tokens.* small holds 256"):
            fit(prompt, max_tokens=1)
    assert fit(Prompt(prefix="x = "), max_tokens=10_000).tokens == (2, *MODEL.encode("x = "))
    assert len(fit(Prompt(tokens=(2, *[300] * 254))).tokens) == 255


class Elsewhere:
    """The tokenizer of a server."""

    def encode(self, text: str) -> list[int]:
        raise AssertionError(text)

    def decode(self, tokens: Sequence[int]) -> str:
        raise AssertionError(tokens)


def test_a_completer_that_tokenizes_elsewhere_fits_prompts_itself():
    prompt = Prompt(prefix=LINES)
    assert fit_prompt(prompt, Sampling(), tokenizer=Elsewhere(), info=SMALL) is prompt


text = st.text(st.sampled_from("ab \n=\u00e9\U0001f600\u2581<"), max_size=400) | st.sampled_from(
    [CODE[:2000], CODE[:900].replace("\n", " "), "x" * 1500, "\n" * 900]
)


@given(text, text, st.integers(8, 400), st.sampled_from(["psm", "spm", "spm2"]))
@settings(max_examples=150, deadline=None)
def test_every_infill_fits_and_loses_only_what_is_reported(
    prefix: str, suffix: str, max_tokens: int, mode: Mode
):
    prompt = Prompt(prefix=prefix, suffix=suffix)
    fitted = cut(prompt, max_tokens, mode)
    assert len(fitted.tokens) <= max_tokens
    assert list(fitted.tokens) == render_prompt(MODEL, left_of(fitted), mode=mode)
    if len(render_prompt(MODEL, prompt, mode=mode)) <= max_tokens:
        assert fitted.cut is None


def keep(prompt: Prompt, **sampling: Any) -> Prompt:
    return keep_tail(prompt, Sampling(**sampling), tokenizer=MODEL, info=SMALL)


def test_text_that_keeps_its_tail_is_whole_where_it_fits() -> None:
    kept = keep(Prompt(prefix="a = 1\n"), max_tokens=200)

    assert kept.tokens == (2, *MODEL.encode("a = 1\n"))
    assert kept.cut is None


def test_text_that_keeps_its_tail_leaves_room_for_the_answer() -> None:
    whole = MODEL.encode(LINES)

    kept = keep(Prompt(prefix=LINES), max_tokens=100)

    assert kept.tokens == (2, *whole[-155:])
    lost = kept.cut.prefix_chars if kept.cut else 0
    assert MODEL.decode(kept.tokens) == LINES[lost:]
    assert kept.prefix == LINES


def test_answer_longer_than_the_context_leaves_half_to_the_prompt() -> None:
    assert len(keep(Prompt(prefix=LINES), max_tokens=5000).tokens) == 128


def test_what_a_short_file_leaves_of_the_context_is_for_others():
    prompt = Prompt(prefix="x = ", suffix="\n", path="p.py")
    used = len(render_prompt(MODEL, prompt, mode="spm"))

    spare = spare_tokens(prompt, Sampling(max_tokens=100), tokenizer=MODEL, info=SMALL)

    assert spare == 256 - 100 - used
    spare = spare_tokens(prompt, Sampling(max_tokens=100), tokenizer=Elsewhere(), info=SMALL)
    assert spare == 256 - 100 - 4 - 2 - 1 - 2  # three bytes a token, each part rounded up
    long = replace(prompt, prefix=LINES)
    assert spare_tokens(long, Sampling(max_tokens=100), tokenizer=MODEL, info=SMALL) == 0


def test_infill_takes_no_more_than_is_read_while_a_user_waits():
    info = replace(SMALL, most_read=64)
    long = Prompt(prefix=LINES, suffix=LINES, path="p.py")
    sampling = Sampling(max_tokens=100)

    fitted = fit_prompt(long, sampling, tokenizer=MODEL, info=info)

    assert 48 <= len(fitted.tokens) <= 64
    assert fitted.cut is not None
    assert spare_tokens(long, sampling, tokenizer=MODEL, info=info) == 0
    short = Prompt(prefix="x = ", suffix="\n", path="p.py")
    used = len(render_prompt(MODEL, short, mode="spm"))
    assert spare_tokens(short, sampling, tokenizer=MODEL, info=info) == 64 - used
    whole = Prompt(prefix=LINES[:200])
    assert len(fit_prompt(whole, sampling, tokenizer=MODEL, info=info).tokens) > 64  # is never cut
    assert len(fit_prompt(long, sampling, tokenizer=MODEL, info=SMALL).tokens) > 128


def test_the_tokens_of_a_text_are_counted_by_line_or_estimated():
    text = "x = 1\n\ndef f():\n<|fim_prefix|>\n\u2581\n"

    assert count_by_line(text, tokenizer=MODEL) == MODEL.count_by_line(text)
    assert count_by_line(text, tokenizer=None) == [2, 1, 3, 5, 2, 0]
    assert count_by_line("a\x0c\u2028b", tokenizer=None) == [2]
