# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.generate.batch import (
    Batch,
    Request,
    _Pace,
    cache_length,
    empty_cache,
    only_length,
    piece_length,
    row_bucket,
)


def pieces_of(num_tokens):
    lengths = []
    while num_tokens > 0:
        lengths.append(piece_length(num_tokens))
        num_tokens -= lengths[-1]
    return lengths


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
    assert pieces_of(num_tokens) == expected


def test_at_most_a_quarter_of_a_long_prompt_is_padding():
    for num_tokens in range(193, 1025):
        assert sum(pieces_of(num_tokens)) <= num_tokens * 4 / 3


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


def test_an_empty_cache_holds_nothing(engine):
    cache = empty_cache(engine._weights, num_rows=2, num_tokens=10)
    assert cache.k.shape == (2, 2, 256, 2, 16)
    assert cache.length.tolist() == [0, 0]


def test_a_pace_starts_slowly_and_doubles_while_calls_are_short():
    pace = _Pace(1, is_fixed=False)
    seen = []
    for _ in range(8):
        seen.append(pace.next_steps(1000, seconds_left=None))
        pace.record(seen[-1], 0.001)
    assert seen == [1, 2, 4, 8, 16, 32, 64, 64]
    pace.record(64, 0.2)
    assert pace.next_steps(1000, seconds_left=None) == 32


def test_a_pace_looks_at_what_is_left():
    pace = _Pace(64, is_fixed=True)
    assert pace.next_steps(10, seconds_left=None) == 10
    pace.record(10, 1.0)
    assert pace.next_steps(64, seconds_left=0.55) == 5
    assert pace.next_steps(64, seconds_left=0.01) == 1


def test_prompts_of_one_batch_may_have_unlike_limits_and_stops(engine):
    tokens = engine._request(Prompt(prefix="x", suffix="\n"), Sampling()).tokens
    free = Request(tokens=tokens, max_tokens=8, stop_ids=frozenset())

    def run(first, second):
        batch = Batch(
            engine._weights,
            engine.tokenizer,
            [first, second, *[free] * 6],
            sampling=Sampling(temperature=1.0),
            seed=5,
            max_rows=8,
        )
        return {piece.request: piece.completion for piece in batch.run() if piece.completion}

    whole = run(free, free)[0].tokens
    stop = frozenset({whole[5]})
    ends = run(replace(free, max_tokens=3), replace(free, stop_ids=stop))
    assert ends[0].tokens == whole[:3]
    assert ends[0].finish_reason == "length"
    assert ends[1].tokens == whole[: whole.index(whole[5]) + 1]
    assert ends[1].finish_reason == "stop"
    assert ends[7].tokens == whole
