# SPDX-License-Identifier: Apache-2.0
import dataclasses
import threading

import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.generate.batch import Batch
from codegemma.generate.engine import Engine
from codegemma.generate.prefix_cache import PrefixCache
from codegemma.generate.rows import Request
from codegemma.generate.weights import row_bytes


def prompts(*, num_tokens):
    """Three buffers that begin unlike."""
    starts = (300, 500, 700)
    return [
        Prompt(tokens=(2, *range(start, start + num_tokens)), session=str(start))
        for start in starts
    ]


def test_requests_that_come_together_start_from_kept_rows_and_leave_their_own(make_engine):
    """Each key of three editors at once reads its own new tokens alone."""
    plain, cached = make_engine(), make_engine(prefix_cache_bytes=1 << 22)
    sampling = Sampling(max_tokens=4)
    for num_tokens, num_cached in ((40, 0), (43, 41), (50, 44)):
        asked = prompts(num_tokens=num_tokens)
        found = [one for (one,) in cached.complete(asked, sampling)]
        assert [one.cached_tokens for one in found] == [num_cached] * 3
        expected = [one for (one,) in plain.complete(asked, sampling)]
        assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert cached.prefix_cache.num_entries == 3


def test_rows_that_were_cut_are_drawn_on_as_whole_ones(make_engine):
    """There is room for one whole row: of three editors in turn all rows are cut into blocks."""
    plain, cached = make_engine(), make_engine(prefix_cache_bytes=1 << 17)
    sampling = Sampling(max_tokens=4)
    for num_tokens, num_cached in ((40, 0), (43, 41)):
        for prompt in prompts(num_tokens=num_tokens):
            ((found,),) = cached.complete([prompt], sampling)
            ((expected,),) = plain.complete([prompt], sampling)
            assert (found.tokens, found.cached_tokens) == (expected.tokens, num_cached)
    assert cached.prefix_cache.num_entries == 3
    assert cached.prefix_cache.size_bytes < 1 << 17  # 256 empty or filled slots


@pytest.fixture
def kept():
    return PrefixCache(max_bytes=1 << 22)


def make_batch(engine, kept):
    return Batch(
        engine._weights,
        engine.tokenizer,
        max_rows=lambda _: 8,
        ranks=lambda: engine._byte_ranks,
        kept=kept,
    )


@pytest.fixture
def batch(engine, kept):
    return make_batch(engine, kept)


def add(batch, start, *, num_tokens=150, max_tokens=20, cancel=None):
    tokens = [2, *range(start, start + num_tokens)]
    request = Request(tokens=tokens, max_tokens=max_tokens, stop_ids=frozenset())
    batch.add(request, sampling=Sampling(), seed=0, cancel=cancel)
    return request


def test_prompts_that_are_given_up_together_leave_what_was_read_of_each(batch, kept):
    cancel = threading.Event()
    requests = [add(batch, start, cancel=cancel) for start in (300, 500)]
    batch.step()  # a piece of 64 tokens of each
    cancel.set()
    batch.step()
    assert batch.is_idle
    assert [kept.num_shared(request.tokens, request.owner) for request in requests] == [64, 64]


def test_a_prompt_given_up_beside_another_leaves_what_was_read(batch, kept):
    cancel = threading.Event()
    gone, goes_on = add(batch, 300, cancel=cancel), add(batch, 500)
    batch.step()
    cancel.set()
    while not batch.is_idle:
        batch.step()
    assert kept.num_shared(gone.tokens, gone.owner) == 64
    assert kept.num_shared([*goes_on.tokens, 999], goes_on.owner) == 151


def test_a_row_that_ends_beside_a_longer_one_keeps_no_more_slots_than_it_needs(engine, config):
    wide = dataclasses.replace(config, context_length=2048)
    info = dataclasses.replace(engine.info, context_length=2048)
    longer = Engine(engine._weights.params, config=wide, tokenizer=engine.tokenizer, info=info)
    kept = PrefixCache(max_bytes=1 << 24)
    batch = make_batch(longer, kept)
    add(batch, 300, num_tokens=1100, max_tokens=60)
    add(batch, 300, num_tokens=900, max_tokens=5)
    while not batch.is_idle:
        batch.step()
    sizes = [row_bytes(wide, num_slots=slots, itemsize=4) for slots in (1024, 2048)]
    assert kept.size_bytes == sum(sizes)
