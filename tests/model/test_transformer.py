# SPDX-License-Identifier: Apache-2.0
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.model import config as configs
from codegemma.model.cache import init_cache
from codegemma.model.params import init_params, unstack_layers
from codegemma.model.transformer import forward, forward_cached, unembed

CONFIG = configs.tiny(num_kv_heads=2)
NUM_TOKENS = 24


@functools.cache
def weights():
    """Random weights, norms too, under which every part of the model matters."""
    params = init_params(CONFIG, key=jax.random.key(0))
    norms = {"attn_norm", "ffw_norm"}
    key = jax.random.key(1)
    for name in norms:
        shape = params["layers"][name].shape
        params["layers"][name] = jax.random.normal(key, shape) * 0.3
    return params


@functools.cache
def tokens():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, CONFIG.vocab_size, (2, NUM_TOKENS)), jnp.int32)


# Compiled once for all tests: compilation is most of their time.
run = jax.jit(functools.partial(forward, config=CONFIG), static_argnames=("dtype", "unroll"))
read = jax.jit(
    functools.partial(forward_cached, config=CONFIG), static_argnames=("dtype", "unroll")
)


@functools.cache
def full():
    """Hidden states of the plain forward over both rows."""
    return np.asarray(run(weights(), tokens()))


def test_logits_are_float32_and_one_per_piece():
    hidden = run(weights(), tokens(), dtype=jnp.bfloat16)
    assert hidden.dtype == jnp.bfloat16
    logits = unembed(weights(), hidden)
    assert logits.shape == (2, NUM_TOKENS, 512)
    assert logits.dtype == jnp.float32


def test_a_token_changes_nothing_before_it():
    changed = tokens().at[0, 10].add(1) % CONFIG.vocab_size
    after = run(weights(), changed)
    np.testing.assert_array_equal(after[0, :10], full()[0, :10])
    np.testing.assert_array_equal(after[1], full()[1])
    assert (np.abs(after[0, 10:] - full()[0, 10:]).max(axis=1) > 1e-3).all()


def test_laying_the_layers_out_changes_nothing():
    np.testing.assert_allclose(run(weights(), tokens(), unroll=True), full(), atol=1e-5)


def test_segments_of_a_packed_row_read_as_if_each_stood_alone():
    borders = (0, 7, 12, 24)
    places = np.arange(NUM_TOKENS)
    segments = np.searchsorted(borders, places, side="right")
    packed = run(
        weights(),
        tokens(),
        positions=jnp.asarray([places - np.take(borders, segments - 1)] * 2, jnp.int32),
        segment_ids=jnp.asarray([segments] * 2, jnp.int32),
    )
    for start, stop in itertools.pairwise(borders):
        # What follows a segment, padding here, cannot matter to it.
        alone = run(weights(), jnp.roll(tokens(), -start, axis=1))[:, : stop - start]
        np.testing.assert_allclose(packed[:, start:stop], alone, atol=1e-5)


def test_every_weight_gets_a_gradient():
    grads = jax.jit(jax.grad(lambda params: jnp.sum(run(params, tokens()) ** 2)))(weights())
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(grad).all(), path
        assert grad.any(), path


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=6))
def test_reading_in_pieces_equals_reading_at_once(pieces):
    """Rows advance by different numbers of tokens, in pieces padded to 6, then one by one."""
    done = np.zeros(2, np.int64)
    cache = init_cache(CONFIG, batch=2, length=NUM_TOKENS)
    pieces = [*pieces, *[(1, 1)] * NUM_TOKENS]
    for wanted in pieces:
        width = 1 if wanted == (1, 1) else 6
        taken = np.minimum(wanted, NUM_TOKENS - done)
        piece = np.full((2, width), 77, np.int32)  # what padding holds must not matter
        for row in (0, 1):
            piece[row, : taken[row]] = tokens()[row, done[row] : done[row] + taken[row]]
        hidden, cache = read(
            weights(), jnp.asarray(piece), cache, num_tokens=jnp.asarray(taken, jnp.int32)
        )
        for row in (0, 1):
            expected = full()[row, done[row] : done[row] + taken[row]]
            np.testing.assert_allclose(hidden[row, : taken[row]], expected, atol=1e-5)
        done += taken
    assert cache.length.tolist() == done.tolist() == [NUM_TOKENS] * 2


@pytest.mark.parametrize("layout", ["unrolled", "unstacked"])
def test_other_layouts_of_the_layers_read_the_same(layout):
    params = unstack_layers(weights()) if layout == "unstacked" else weights()
    hidden, cache = read(
        params,
        tokens(),
        init_cache(CONFIG, batch=2, length=30),
        num_tokens=jnp.array([NUM_TOKENS, 3]),
        unroll=layout == "unrolled",
    )
    np.testing.assert_allclose(hidden[0], full()[0], atol=1e-5)
    np.testing.assert_allclose(hidden[1, :3], full()[1, :3], atol=1e-5)
    assert cache.length.tolist() == [NUM_TOKENS, 3]


def test_a_bfloat16_cache_keeps_bfloat16():
    cache = init_cache(CONFIG, batch=2, length=30, dtype=jnp.bfloat16)
    hidden, cache = read(
        weights(),
        tokens()[:, :1],
        cache,
        num_tokens=jnp.array([1, 1]),
        dtype=jnp.bfloat16,
    )
    assert hidden.dtype == cache.k.dtype == cache.v.dtype == jnp.bfloat16
