# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.completion import Prompt, SourceFile, Turn
from codegemma.errors import ConfigError, InputError
from codegemma.text.fim import (
    Block,
    Split,
    encode_infill,
    encode_whole,
    join_blocks,
    parse,
    path_line,
    render_prompt,
)
from codegemma.text.tokenizer import Tokenizer

MODEL = Tokenizer.from_file(Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model")
MODES: tuple[Literal["psm", "spm", "spm2"], ...] = ("psm", "spm", "spm2")

code = st.lists(
    st.one_of(
        st.sampled_from(["<|fim_middle|>", "<|file_separator|>", "<eos>", "\n", "    ", "x = 1\n"]),
        st.text(max_size=8),
    ),
    max_size=6,
).map("".join)
paths = st.none() | st.text(min_size=1, max_size=12).filter(lambda p: not set(p) & set("\r\n"))


@pytest.fixture(scope="module")
def split() -> Split:
    return Split("a\n", "b\n", "c\n")


def test_the_orders_are_those_of_the_design(tokenizer: Tokenizer, split: Split):
    # In the golden vocabulary p is 951, a b c are 939 960 948, and "\n" is 108.
    encode = {mode: encode_infill(tokenizer, split, path="p", mode=mode) for mode in MODES}
    assert [tokenizer.encode(char) for char in "pabc"] == [[951], [939], [960], [948]]
    assert encode == {
        "psm": [951, 108, 67, 939, 108, 69, 948, 108, 68, 960, 108],
        "spm": [951, 108, 69, 948, 108, 67, 939, 108, 68, 960, 108],
        "spm2": [951, 108, 67, 69, 948, 108, 68, 939, 108, 960, 108],
    }


def test_without_a_path_there_is_no_path_line(tokenizer: Tokenizer, split: Split):
    assert encode_infill(tokenizer, split, path=None, mode="psm")[0] == 67
    assert encode_infill(tokenizer, split, path="", mode="psm")[0] == 67
    assert encode_whole(tokenizer, "a", path=None) == [939]
    assert encode_whole(tokenizer, "a", path="p") == [951, 108, 939]


def test_the_parts_are_encoded_apart(tokenizer: Tokenizer):
    assert tokenizer.encode("return") == [541]
    ids = encode_infill(tokenizer, Split("re", "tu", "rn"), path=None, mode="psm")
    assert 541 not in ids
    # Two newlines are one piece (109), but not across a border.
    assert encode_infill(tokenizer, Split("\n", "\n", "\n"), path=None, mode="spm") == [
        *(69, 108, 67, 108, 68, 108)
    ]


def test_an_order_must_be_named(tokenizer: Tokenizer, split: Split):
    with pytest.raises(ConfigError, match="psm, spm or spm2, not 'auto'"):
        encode_infill(tokenizer, split, path=None, mode="auto")


@pytest.mark.parametrize("path", ["a\nb", "a\r", "\n"])
def test_a_path_is_one_line(tokenizer: Tokenizer, path: str):
    with pytest.raises(InputError, match="a path must be one line"):
        path_line(tokenizer, path)


def test_a_segment_ends_every_middle_with_a_separator(tokenizer: Tokenizer, split: Split):
    cut = encode_infill(tokenizer, split, path=None, mode="psm")
    whole = encode_whole(tokenizer, "a", path=None)
    assert join_blocks([cut]) == [2, *cut, 70, 1]
    assert join_blocks([whole]) == [2, 939, 1]
    assert join_blocks([whole, cut]) == [2, 939, 70, *cut, 70, 1]
    assert join_blocks([cut, whole]) == [2, *cut, 70, 939, 1]
    assert join_blocks([]) == [2, 1]


def test_a_prompt_is_the_head_of_its_training_segment(tokenizer: Tokenizer, split: Split):
    prompt = Prompt(
        prefix=split.prefix,
        suffix=split.suffix,
        path="p",
        context=(SourceFile(path="b", text="x\n"),),
    )
    context = encode_whole(tokenizer, "x\n", path="b")
    for mode in MODES:
        segment = join_blocks([context, encode_infill(tokenizer, split, path="p", mode=mode)])
        rendered = render_prompt(tokenizer, prompt, mode=mode)
        assert segment[: len(rendered)] == rendered
        assert segment[len(rendered) :] == [960, 108, 70, 1]
        assert rendered.count(2) == 1


def test_an_empty_suffix_is_infill_and_none_is_left_to_right(tokenizer: Tokenizer):
    assert render_prompt(tokenizer, Prompt(prefix="a", suffix=""), mode="psm") == [
        *(2, 67, 939, 69, 68)
    ]
    assert render_prompt(tokenizer, Prompt(prefix="a", path="p"), mode="auto") == [2, 951, 108, 939]
    assert render_prompt(tokenizer, Prompt(), mode="auto") == [2]


def test_tokens_are_taken_as_they_are_and_turns_by_the_chat_template(tokenizer: Tokenizer):
    assert render_prompt(tokenizer, Prompt(tokens=(2, 67)), mode="auto") == [2, 67]
    turns = (Turn(role="user", text="a"),)
    assert render_prompt(tokenizer, Prompt(turns=turns), mode="auto")[:2] == [2, 106]


@given(code, code, code, paths, st.sampled_from(MODES))
@settings(max_examples=150, deadline=None)
def test_parsing_gives_back_what_was_encoded(
    prefix: str, middle: str, suffix: str, path: str | None, mode: Literal["psm", "spm", "spm2"]
):
    split = Split(prefix, middle, suffix)
    block = encode_infill(MODEL, split, path=path, mode=mode)
    whole = encode_whole(MODEL, middle, path=path)
    segment = join_blocks([block, whole, block])
    assert segment.count(2) == 1
    assert (segment[0], segment[-2:]) == (2, [70, 1])
    parsed = parse(segment, MODEL)
    if mode == "spm2":
        # The order of PSM with an empty prefix: the two cannot be told apart.
        split, mode = Split("", prefix + middle, suffix), "psm"
    expected = Block(text=split.text, path=path, split=split, mode=mode)
    shown = Block(text=middle if path is None else f"{path}\n{middle}")
    assert parsed == [expected, shown, expected]


def test_an_unfinished_middle_is_parsed_as_far_as_it_goes(tokenizer: Tokenizer, split: Split):
    prompt = render_prompt(tokenizer, Prompt(prefix="a\n", suffix="c\n", path="p"), mode="spm")
    assert parse([*prompt, 960], tokenizer) == [
        Block(text="a\nbc\n", path="p", split=Split("a\n", "b", "c\n"), mode="spm")
    ]
    assert parse([], tokenizer) == []


@pytest.mark.parametrize("ids", [[67, 939], [68], [67, 69, 68, 67], [69, 68, 67]])
def test_sentinels_in_no_known_order_are_refused(tokenizer: Tokenizer, ids: list[int]):
    with pytest.raises(InputError, match="in no known order"):
        parse(ids, tokenizer)
