# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from codegemma.completion import Sampling, Timings
from codegemma.generate.programs import NO_TOKEN, Drawn
from codegemma.generate.rows import Request, Row, allow


@pytest.fixture
def make_row(tokenizer):
    def make(request, **settings):
        return Row(
            request,
            request=0,
            sample=0,
            sampling=Sampling(**settings),
            seed=3,
            tokenizer=tokenizer,
        )

    return make


def drawn(*tokens):
    shape = (1, len(tokens), 20)
    top = np.zeros(shape, np.int32) + np.arange(20, dtype=np.int32)
    return Drawn(np.array([tokens]), -np.ones((1, len(tokens))), top, -np.ones(shape))


def request(**words):
    return Request(tokens=[2, 300], stop_ids=frozenset({1}), **{"max_tokens": 3, **words})


def test_a_row_takes_its_tokens_and_ends(make_row, tokenizer):
    row = make_row(request(), logprobs=2)
    x, *_ = tokenizer.encode("x")
    assert row.take(drawn(x, 1), (0, 0)) == "x"
    assert not row.is_done
    row.take(drawn(x, 1), (0, 1))
    found = row.completion(cached_tokens=1, timings=Timings())
    assert (found.text, found.tokens, found.finish_reason) == ("x", (x, 1), "stop")
    assert [entry.top for entry in found.logprobs] == [((0, -1.0), (1, -1.0))] * 2


def test_a_row_that_goes_on_must_be_drawn_something(make_row):
    with pytest.raises(AssertionError, match="drawn nothing"):
        make_row(request()).take(drawn(NO_TOKEN), (0, 0))


def test_the_numbers_of_its_draws_follow_its_tokens(make_row, tokenizer):
    row = make_row(request(), temperature=1.0)
    first = row.uniforms(4)
    assert first[3] == 0  # three tokens are all it may draw
    row.take(drawn(*tokenizer.encode("x")), (0, 0))
    assert row.uniforms(2).tolist() == first[1:3].tolist()


def test_only_a_row_with_typed_text_left_is_bound(make_row, tokenizer):
    table = tokenizer.byte_table
    rows = [make_row(request()), make_row(request(typed=b"re", max_drawn=5)), None]
    found = allow(rows, table=table, ranks=table.rank)
    expected = table.agreeing(b"re")
    assert found.low.tolist() == [-1, expected.low, -1]
    assert found.high[1] == expected.high
    ids = [token for token in found.shorter[1].tolist() if token < tokenizer.vocab_size]
    assert ids == list(expected.shorter)
    assert {tokenizer.token_bytes(token) for token in ids} == {b"r"}


def test_a_request_needs_room_for_what_it_draws_again():
    assert request().num_slots == 5
    assert request(typed=b"re", max_drawn=5).num_slots == 7
