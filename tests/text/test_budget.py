# SPDX-License-Identifier: Apache-2.0
import time
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.completion import Prompt, SourceFile, Turn
from codegemma.errors import ContextLengthError
from codegemma.text.budget import fit_prompt
from codegemma.text.fim import render_prompt
from codegemma.text.tokenizer import Tokenizer

MODEL = Tokenizer.from_file(Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model")
CODE = Path(__file__).read_text("utf-8")
Mode = Literal["psm", "spm", "spm2"]


def test_what_fits_is_left_as_it_is():
    prompt = Prompt(
        prefix="x = ", suffix="\n", path="p.py", context=(SourceFile(path="q", text="y\n"),)
    )
    tokens = render_prompt(MODEL, prompt, mode="psm")
    fitted = fit_prompt(MODEL, prompt, mode="psm", max_tokens=len(tokens))
    assert fitted.tokens == tokens
    assert fitted.prompt == prompt
    assert fitted.is_whole
    assert not fit_prompt(MODEL, prompt, mode="psm", max_tokens=len(tokens) - 1).is_whole


def test_context_files_go_whole_and_the_farthest_first():
    files = tuple(SourceFile(path=f"{i}.py", text="x = 1\n" * 10) for i in range(3))
    prompt = Prompt(prefix="y = ", suffix="\n", context=files)
    whole = len(render_prompt(MODEL, prompt, mode="spm"))
    fitted = fit_prompt(MODEL, prompt, mode="spm", max_tokens=whole - 1)
    assert fitted.dropped_files == ("0.py",)
    assert fitted.prompt.context == files[1:]
    assert (fitted.prompt.prefix, fitted.prompt.suffix) == ("y = ", "\n")
    fitted = fit_prompt(MODEL, prompt, mode="spm", max_tokens=whole // 2)
    assert fitted.dropped_files == ("0.py", "1.py")


def test_a_file_too_large_does_not_keep_out_the_others():
    files = (
        SourceFile(path="small.py", text="x = 1\n"),
        SourceFile(path="large.py", text="x = 1\n" * 100_000),
    )
    fitted = fit_prompt(
        MODEL, Prompt(prefix="y", suffix="", context=files), mode="psm", max_tokens=50
    )
    assert fitted.dropped_files == ("large.py",)


def test_the_prefix_keeps_its_tail_and_the_suffix_its_head_by_whole_lines():
    lines = [f"line_{i} = {i}\n" for i in range(200)]
    prefix, suffix = "".join(lines[:100]) + "here = ", "\n" + "".join(lines[100:])
    fitted = fit_prompt(
        MODEL, Prompt(prefix=prefix, suffix=suffix, path="p.py"), mode="psm", max_tokens=256
    )
    left = fitted.prompt
    assert left.suffix is not None
    assert left.prefix.startswith("line_")
    assert left.prefix.endswith("line_99 = 99\nhere = ")
    assert left.suffix.startswith("\nline_100 = 100\n")
    assert left.suffix.endswith("\n")
    assert fitted.cut_prefix_chars == len(prefix) - len(left.prefix)
    assert fitted.cut_suffix_chars == len(suffix) - len(left.suffix)
    # Three quarters for the prefix, the rest for the suffix, less the steps of the grid.
    assert 160 <= len(MODEL.encode(left.prefix)) <= 186
    assert 30 <= len(MODEL.encode(left.suffix)) <= 62


def test_what_one_side_does_not_use_goes_to_the_other():
    long = "line = 1\n" * 500
    fitted = fit_prompt(MODEL, Prompt(prefix="x", suffix=long), mode="psm", max_tokens=300)
    assert fitted.cut_prefix_chars == 0
    assert len(fitted.tokens) > 260
    fitted = fit_prompt(MODEL, Prompt(prefix=long, suffix="x"), mode="psm", max_tokens=300)
    assert fitted.cut_suffix_chars == 0
    assert len(fitted.tokens) > 260


def test_typing_a_little_moves_no_cut():
    lines = "".join(f"line_{i} = {i}\n" for i in range(400))
    cuts = set()
    for count in range(24):
        prompt = Prompt(prefix=lines + "x" * count, suffix=lines)
        fitted = fit_prompt(MODEL, prompt, mode="spm", max_tokens=512)
        cuts.add((fitted.cut_prefix_chars, fitted.cut_suffix_chars))
    assert len(cuts) <= 3


def test_left_to_right_keeps_the_tail_too():
    fitted = fit_prompt(MODEL, Prompt(prefix=CODE, path="p.py"), mode="auto", max_tokens=100)
    assert fitted.prompt.suffix is None
    assert CODE.endswith(fitted.prompt.prefix)
    assert fitted.cut_prefix_chars + len(fitted.prompt.prefix) == len(CODE)
    assert 80 <= len(fitted.tokens) <= 100


def test_conversations_and_tokens_are_refused_rather_than_cut():
    for prompt in (Prompt(turns=(Turn(role="user", text="a b c"),)), Prompt(tokens=(2, 108, 108))):
        count = len(render_prompt(MODEL, prompt, mode="auto"))
        assert fit_prompt(MODEL, prompt, mode="auto", max_tokens=count).is_whole
        with pytest.raises(ContextLengthError, match=f"takes {count} tokens, more than the 2 "):
            fit_prompt(MODEL, prompt, mode="auto", max_tokens=2)


def test_a_path_line_that_leaves_no_room_is_refused():
    prompt = Prompt(prefix="x", suffix="", path="a/b/c/d/e.py")
    with pytest.raises(ContextLengthError, match="more than the 8 there is room for"):
        fit_prompt(MODEL, prompt, mode="psm", max_tokens=8)


def test_room_for_nothing_but_the_frame_is_room_enough():
    fitted = fit_prompt(MODEL, Prompt(prefix="abc", suffix="def"), mode="psm", max_tokens=4)
    assert fitted.tokens == [2, 67, 69, 68]
    assert (fitted.cut_prefix_chars, fitted.cut_suffix_chars) == (3, 3)


def test_time_does_not_depend_on_the_length_of_the_file():
    spent = []
    for size in (100_000, 10_000_000):
        text = ("x = 1\n" * (size // 6))[:size]
        start = time.process_time()
        fit_prompt(MODEL, Prompt(prefix=text, suffix=text), mode="psm", max_tokens=256)
        spent.append(time.process_time() - start)
    assert spent[1] < 10 * max(spent[0], 0.02)


text = st.text(st.sampled_from("ab \n=\u00e9\U0001f600\u2581<"), max_size=400) | st.sampled_from(
    [CODE[:2000], CODE[:900].replace("\n", " "), "x" * 1500, "\n" * 900]
)


@given(text, text | st.none(), st.integers(8, 400), st.sampled_from(["psm", "spm", "spm2"]))
@settings(max_examples=150, deadline=None)
def test_every_prompt_fits_and_loses_only_what_is_reported(
    prefix: str, suffix: str | None, max_tokens: int, mode: Mode
):
    prompt = Prompt(prefix=prefix, suffix=suffix)
    fitted = fit_prompt(MODEL, prompt, mode=mode, max_tokens=max_tokens)
    left = fitted.prompt
    assert len(fitted.tokens) <= max_tokens
    assert fitted.tokens == render_prompt(MODEL, left, mode=mode)
    assert prefix == prefix[: fitted.cut_prefix_chars] + left.prefix
    assert (suffix or "") == (left.suffix or "") + (suffix or "")[len(left.suffix or "") :]
    assert fitted.cut_suffix_chars == len(suffix or "") - len(left.suffix or "")
    assert (left.suffix is None) == (suffix is None)
    if len(render_prompt(MODEL, prompt, mode=mode)) <= max_tokens:
        assert fitted.is_whole
