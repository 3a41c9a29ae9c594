# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegemma.text.healing import (
    MAX_TOKENS,
    Agreeing,
    ByteTable,
    cursor_place,
    heal,
    heal_prefix,
    heal_suffix,
    suffix_place,
)

PRE, MID, SUF, SEP = 67, 68, 69, 70
#          0    1    2     3      4         5     6     7
TABLE = [b"", b"r", b"re", b"ret", b"return", b"\n", b"", b"re"]


def test_tokens_that_go_on_and_those_that_come_first_are_told_apart():
    table = ByteTable(TABLE)
    #  in order: "\n" "r" "re" "re" "ret" "return"
    assert table.rank.tolist() == [-1, 1, 2, 4, 5, 0, -1, 3]
    assert table.agreeing(b"re") == Agreeing(2, 6, (1,))
    assert table.agreeing(b"ret") == Agreeing(4, 6, (1, 2, 7))
    assert table.agreeing(b"retx") == Agreeing(6, 6, (1, 2, 7, 3))
    assert table.agreeing(b"x") == Agreeing(6, 6, ())


def test_a_longer_token_is_known_by_its_start():
    table = ByteTable(TABLE)
    assert [table.has_longer(text) for text in (b"r", b"re", b"ret", b"return", b"\n")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_bytes_of_half_characters_stand_last():
    table = ByteTable([b"\xff", b"\xc3\xa9", b"\xc3", b"a"])
    assert table.agreeing(b"\xc3") == Agreeing(1, 3, ())
    assert table.has_longer(b"\xc3")
    assert not table.has_longer(b"\xff")


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=30), st.binary(min_size=1, max_size=4))
def test_the_tokens_that_agree_are_those_of_a_plain_search(tokens, text):
    table = ByteTable(tokens)
    found = table.agreeing(text)
    longer = {i for i, data in enumerate(tokens) if data.startswith(text)}
    shorter = {i for i, data in enumerate(tokens) if data and text.startswith(data)} - longer
    assert {i for i in range(len(tokens)) if found.low <= table.rank[i] < found.high} == longer
    assert sorted(found.shorter) == sorted(shorter)
    assert table.has_longer(text) == any(tokens[i] != text for i in longer)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([2, 300, 301], 3),
        ([2, 500, SEP, PRE, 300, 301, SUF, 400, MID], 6),
        ([2, 500, SEP, SUF, 400, PRE, 300, 301, MID], 8),
        ([2, 500, SEP, PRE, SUF, 400, MID, 300, 301], 9),
        ([2, PRE, SUF, MID], 2),
        ([2, SUF, PRE, MID], 3),
    ],
    ids=["left to right", "psm", "spm", "spm2", "empty", "empty spm"],
)
def test_the_place_of_the_cursor_is_found_in_every_order(tokens, expected):
    assert cursor_place(tokens) == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([2, 300, 301], (0, 0)),
        ([2, 500, SEP, PRE, 300, 301, SUF, 400, 401, MID], (7, 9)),
        ([2, 500, SEP, SUF, 400, 401, PRE, 300, 301, MID], (4, 6)),
        ([2, 500, SEP, PRE, SUF, 400, 401, MID, 300, 301], (5, 7)),
        ([2, PRE, SUF, MID], (3, 3)),
        ([2, SUF, PRE, MID], (2, 2)),
    ],
    ids=["left to right", "psm", "spm", "spm2", "empty", "empty spm"],
)
def test_the_place_of_the_suffix_is_found_in_every_order(tokens, expected):
    assert suffix_place(tokens) == expected


def ids(tokenizer, text):
    return tokenizer.encode(text)


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("x = ret", "ret"),
        ("def ", " "),
        ("return sel", " sel"),
        ("x\n", "\n"),
        ("caf\u00e9", ""),
    ],
)
def test_the_end_of_a_prefix_that_a_token_may_go_on_from_is_left_out(tokenizer, text, typed):
    prompt = [2, *ids(tokenizer, text)]
    healed = heal_prefix(prompt, tokenizer=tokenizer)
    assert tokenizer.decode(healed.tokens) + healed.typed == text
    assert healed.typed.endswith(typed)
    assert len(prompt) - len(healed.tokens) <= MAX_TOKENS
    assert (healed.typed == "") == (typed == "")


@pytest.mark.parametrize(
    ("suffix", "seam"),
    [
        ("urn x\n", "urn"),
        ("n x\n", "n"),
        (")\n", ")"),
        (")", ""),
        (" foo\n", ""),
        ("\nfoo\n", ""),
        ("\tfoo\n", ""),
        ("\u6f22x\n", ""),
        ("", ""),
    ],
)
def test_the_start_of_a_suffix_that_a_token_may_end_with_is_left_out(tokenizer, suffix, seam):
    prompt = [2, PRE, 200, SUF, *ids(tokenizer, suffix), MID]
    healed = heal_suffix(prompt, tokenizer=tokenizer)
    assert healed.seam == seam
    assert healed.tokens[:4] == (2, PRE, 200, SUF)
    assert seam + tokenizer.decode(healed.tokens[4:]) == suffix
    assert len(prompt) - len(healed.tokens) <= MAX_TOKENS


@pytest.mark.parametrize("prefix", ["", "x\n", "x\n    ", "\t" * 40])
def test_a_suffix_at_the_start_of_a_line_stays(tokenizer, prefix):
    after = ids(tokenizer, "urn x\n")
    for prompt in (
        [2, PRE, *ids(tokenizer, prefix), SUF, *after, MID],
        [2, SUF, *after, PRE, *ids(tokenizer, prefix), MID],
        [2, PRE, SUF, *after, MID, *ids(tokenizer, prefix)],
    ):
        assert heal_suffix(prompt, tokenizer=tokenizer) == (tuple(prompt), "", "")


CODE = st.text("def ret\n\u00e9\u6f22()", max_size=12)


@given(text=CODE, suffix=CODE)
def test_nothing_is_lost_in_any_order(tokenizer, text, suffix):
    prefix, after = ids(tokenizer, text), ids(tokenizer, suffix)
    orders = {
        "psm": ([2, PRE], [SUF, *after, MID]),
        "spm": ([2, SUF, *after, PRE], [MID]),
        "spm2": ([2, PRE, SUF, *after, MID], []),
        "left to right": ([2], []),
    }
    for name, (before, behind) in orders.items():
        whole = heal([*before, *prefix, *behind], tokenizer=tokenizer)
        start, end = suffix_place(whole.tokens)
        shown = whole.tokens[start:end]
        has_suffix = name != "left to right"
        assert whole.seam + tokenizer.decode(shown) == (suffix if has_suffix else "")
        assert list(shown) == after[len(after) - len(shown) :]
        healed = heal_prefix([*before, *prefix, *behind], tokenizer=tokenizer)
        assert healed.typed == whole.typed
        kept = healed.tokens[len(before) : len(healed.tokens) - len(behind)]
        assert list(healed.tokens[: len(before)]) == before
        assert list(healed.tokens[len(healed.tokens) - len(behind) :]) == behind
        assert list(kept) == prefix[: len(kept)]
        assert tokenizer.decode(kept) + healed.typed == text


def test_an_empty_prefix_has_nothing_to_draw_again(tokenizer):
    for prompt in ([2], [2, PRE, SUF, MID], [2, SUF, PRE, MID]):
        assert heal(prompt, tokenizer=tokenizer) == (tuple(prompt), "", "")


def test_the_table_of_a_vocabulary_is_made_once_and_holds_no_control_token(tokenizer):
    table = tokenizer.byte_table
    assert tokenizer.byte_table is table
    assert table.rank[[0, 1, 2, 3, 67, 107]].tolist() == [-1] * 6
    assert (table.rank[108:] >= 0).all()
