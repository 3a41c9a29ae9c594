# SPDX-License-Identifier: Apache-2.0
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.model import cached_attention
from codegemma.model.cache import BFLOAT16_BITS, KVCache
from codegemma.model.cached_attention import attend_cache, extend_by_xla, extend_cache


def dense(q, k, v, query_slots):
    """The textbook form, one head and query at a time, float64."""
    out = np.zeros(q.shape)
    group = q.shape[2] // k.shape[1]
    for row, query, head in np.ndindex(q.shape[:3]):
        num_seen = query_slots[row, query] + 1
        keys = k[row, head // group, :num_seen].astype(np.float64)
        scores = keys @ q[row, query, head].astype(np.float64)
        weights = np.exp(scores - scores.max())
        out[row, query, head] = (weights / weights.sum()) @ v[row, head // group, :num_seen]
    return out


def draw(num_slots, num_kv_heads, query_slots, *, scale=1.0, num_heads=4, head_dim=8):
    rng = np.random.default_rng(0)
    batch, num_queries = query_slots.shape
    q = rng.normal(0, scale, (batch, num_queries, num_heads, head_dim)).astype(np.float32)
    k, v = rng.normal(0, 1, (2, 3, batch, num_kv_heads, num_slots, head_dim)).astype(np.float32)
    return q, k, v


@pytest.fixture(params=["by block", "at once"])
def whole_or_blocks(request, monkeypatch):
    """A CPU's way and an accelerator's, which is forced here."""
    monkeypatch.setattr(cached_attention, "is_by_block", lambda: request.param == "by block")


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@pytest.mark.parametrize(
    ("num_slots", "query_slots"),
    [
        (256, [[0], [255]]),
        (256, [[125, 126, 127, 128, 129], [0, 1, 2, 3, 4]]),
        (384, [[300], [10]]),
        (50, [[49, 0], [7, 8]]),
    ],
)
def test_it_agrees_with_dense_attention(num_slots, query_slots, num_kv_heads, whole_or_blocks):
    query_slots = np.array(query_slots, np.int32)
    q, k, v = draw(num_slots, num_kv_heads, query_slots)
    found = jax.jit(partial(attend_cache))(
        jnp.asarray(q),
        jnp.asarray(k),
        jnp.asarray(v),
        layer=1,
        query_slots=jnp.asarray(query_slots),
    )
    np.testing.assert_allclose(found, dense(q, k[1], v[1], query_slots), atol=2e-6)


@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(8, 1), (16, 16)])
def test_it_agrees_with_dense_attention_in_the_heads_of_2b_and_7b(
    num_heads, num_kv_heads, whole_or_blocks
):
    query_slots = np.array([[255], [3], [130]], np.int32)
    q, k, v = draw(
        256, num_kv_heads, query_slots, num_heads=num_heads, head_dim=256, scale=256**-0.5
    )
    found = attend_cache(
        *map(jnp.asarray, (q, k, v)), layer=1, query_slots=jnp.asarray(query_slots)
    )
    np.testing.assert_allclose(found, dense(q, k[1], v[1], query_slots), atol=2e-6)


def test_an_accelerator_forgets_what_a_row_was_trimmed_of(monkeypatch):
    """Rows of 300 and 200 tokens, cut to 250 and 7, go on with 3 tokens and 1."""
    rng = np.random.default_rng(1)
    tokens = [rng.normal(0, 1, (2, 303, heads, 32)).astype(np.float32) for heads in (8, 2, 2)]
    empty = jnp.zeros((1, 2, 2, 384, 32), BFLOAT16_BITS)

    def extend(cache, first, last, counts):
        q, k, v = (jnp.asarray(part[:, first:last]) for part in tokens)
        return extend_by_xla(
            q * 32**-0.5, (k, v), cache, layer=0, num_tokens=jnp.asarray(counts, jnp.int32)
        )

    def go_on():
        held = extend(KVCache(empty, empty, jnp.zeros(2, jnp.int32)), 0, 300, [300, 200])
        trimmed = KVCache(held.k, held.v, jnp.array([250, 7], jnp.int32))
        return extend(trimmed, 300, 303, [3, 1])

    by_block = go_on()
    calls = []
    facade = jax.nn.dot_product_attention
    monkeypatch.setattr(cached_attention, "is_by_block", lambda: False)
    monkeypatch.setattr(
        jax.nn, "dot_product_attention", lambda *a, **b: calls.append(1) or facade(*a, **b)
    )
    at_once = go_on()
    assert len(calls) == 2
    np.testing.assert_array_equal(at_once.k, by_block.k)
    for row, count in enumerate((3, 1)):
        np.testing.assert_allclose(at_once.out[row, :count], by_block.out[row, :count], atol=2e-6)


def test_large_scores_do_not_overflow(whole_or_blocks):
    query_slots = np.array([[255]], np.int32)
    q, k, v = draw(256, 1, query_slots, scale=100.0)
    found = attend_cache(
        jnp.asarray(q),
        jnp.asarray(k),
        jnp.asarray(v),
        layer=0,
        query_slots=jnp.asarray(query_slots),
    )
    np.testing.assert_allclose(found, dense(q, k[0], v[0], query_slots), atol=1e-3)


def test_slots_after_the_query_are_not_read_even_when_they_hold_nonsense():
    query_slots = np.array([[100]], np.int32)
    q, k, v = draw(256, 1, query_slots)
    k[..., 128:, :], v[..., 128:, :] = np.nan, np.nan
    found = attend_cache(
        jnp.asarray(q),
        jnp.asarray(k),
        jnp.asarray(v),
        layer=2,
        query_slots=jnp.asarray(query_slots),
    )
    np.testing.assert_allclose(found, dense(q, k[2], v[2], query_slots), atol=2e-6)


def test_bfloat16_queries_stay_bfloat16(whole_or_blocks):
    query_slots = np.array([[5]], np.int32)
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in draw(128, 1, query_slots))
    found = attend_cache(q, k, v, layer=0, query_slots=jnp.asarray(query_slots))
    assert found.dtype == jnp.bfloat16
    expected = dense(
        np.asarray(q, np.float32),
        np.asarray(k[0], np.float32),
        np.asarray(v[0], np.float32),
        query_slots,
    )
    np.testing.assert_allclose(np.asarray(found, np.float32), expected, atol=0.03)


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16_BITS])
@pytest.mark.parametrize("num_new", [1, 3, 40])
def test_it_is_the_same_by_kernels_and_by_xla(dtype, num_new):
    rng = np.random.default_rng(num_new)

    def draw(num_tokens):
        shapes = [(2, num_tokens, heads, 32) for heads in (4, 2, 2)]
        q, k, v = (jnp.asarray(rng.normal(0, 1, shape), jnp.float32) for shape in shapes)
        return q * 32**-0.5, (k, v)

    lengths, counts = jnp.array([300, 5]), jnp.array([num_new, 1])
    empty = jnp.zeros((3, 2, 2, 384, 32), dtype)
    held = KVCache(empty, empty, jnp.zeros(2, jnp.int32))
    filled = extend_by_xla(*draw(300), held, layer=1, num_tokens=lengths)
    cache = KVCache(filled.k, filled.v, lengths)
    q, new = draw(num_new)
    found = extend_cache(q, new, cache, layer=1, num_tokens=counts)
    expected = extend_by_xla(q, new, cache, layer=1, num_tokens=counts)
    np.testing.assert_array_equal(found.k, expected.k)
    np.testing.assert_array_equal(found.v, expected.v)
    for row, count in enumerate(counts):
        np.testing.assert_allclose(found.out[row, :count], expected.out[row, :count], atol=2e-6)
