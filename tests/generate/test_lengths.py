# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.generate.lengths import (
    cache_length,
    lengths_for,
    only_length,
    piece_length,
    pieces,
    row_bucket,
)


@pytest.mark.parametrize(
    ("num_tokens", "expected"),
    [
        (1, [64]),
        (64, [64]),
        (65, [64, 64]),
        (150, [64, 64, 64]),
        (193, [256]),
        (300, [256, 64]),
        (1000, [256, 256, 256, 256]),
    ],
)
def test_a_prompt_is_read_in_few_lengths(num_tokens, expected):
    assert pieces(num_tokens) == tuple(expected)


def test_the_last_few_tokens_of_a_lone_prompt_are_read_in_a_short_piece():
    assert lengths_for(1) == (256, 64, 16)
    assert lengths_for(2) == (64,)
    assert lengths_for(2, lengths=(256,)) == (256,)
    assert lengths_for(1, lengths=(64,)) == (64,)  # a process that asks once has one program
    found = [piece_length(left, lengths=lengths_for(1)) for left in (1, 16, 17, 48, 64, 192, 193)]
    assert found == [16, 16, 64, 64, 64, 64, 256]


def test_at_most_a_quarter_of_a_long_prompt_is_padding():
    for num_tokens in range(193, 1025):
        assert sum(pieces(num_tokens)) <= num_tokens * 4 / 3


@pytest.mark.parametrize(
    ("num_tokens", "expected"), [(1, 64), (64, 64), (128, 64), (129, 256), (1000, 256)]
)
def test_a_prompt_may_be_read_in_pieces_of_one_length(num_tokens, expected):
    assert only_length(num_tokens) == expected
    assert piece_length(num_tokens, lengths=(expected,)) == expected


@pytest.mark.parametrize(
    ("num_tokens", "context_length", "expected"),
    [
        (10, 8192, 1024),
        (1024, 8192, 1024),
        (1025, 8192, 2048),
        (8192, 8192, 8192),
        (10, 256, 256),
        (10, 1000, 1024),
        (10, 300, 384),
    ],
)
def test_a_cache_has_one_of_few_lengths(num_tokens, context_length, expected):
    assert cache_length(num_tokens, context_length=context_length) == expected


def test_rows_are_rounded_up_to_a_power_of_two():
    assert [row_bucket(rows) for rows in (1, 2, 3, 4, 5, 9)] == [1, 2, 4, 4, 8, 16]
