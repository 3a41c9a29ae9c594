# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.kernels import native
from codegemma.kernels.attention import attend, can_attend


def dense(q, k, v, num_seen):
    """The textbook form, one head and query at a time, float64."""
    out = np.zeros(q.shape)
    group = q.shape[2] // k.shape[1]
    for row, query, head in np.ndindex(q.shape[:3]):
        if num_seen[row, query] == 0:
            continue
        keys = k[row, head // group, : num_seen[row, query]].astype(np.float64)
        scores = keys @ q[row, query, head].astype(np.float64)
        weights = np.exp(scores - scores.max())
        values = v[row, head // group, : num_seen[row, query]]
        out[row, query, head] = (weights / weights.sum()) @ values
    return out


def to_bits(values):
    """Round to bfloat16, as its bits; in numpy, where nothing is compiled."""
    return values.astype(jnp.bfloat16).view(np.uint16)


def to_wide(stored):
    stored = np.asarray(stored)
    return stored.view(jnp.bfloat16).astype(np.float32) if stored.dtype == np.uint16 else stored


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    ("heads", "num_new", "lengths", "counts"),
    [
        ((8, 1, 256), 1, [700], [1]),  # the 2B decodes
        ((16, 16, 64), 1, [299, 5, 100], [1, 1, 0]),  # the 7B has 16, too; one row has ended
        ((8, 1, 64), 5, [0, 300], [5, 3]),  # guesses are checked
        ((6, 2, 32), 20, [600, 257], [20, 20]),  # more queries than go together
        ((8, 1, 32), 70, [256], [70]),  # too many to share a chunk of the cache
    ],
)
def test_every_path_agrees_with_dense_attention(path, dtype, heads, num_new, lengths, counts):
    rng = np.random.default_rng(num_new)
    num_heads, num_kv_heads, head_dim = heads
    batch, num_slots = len(lengths), max(lengths) + num_new
    q = rng.normal(0, 1, (batch, num_new, num_heads, head_dim)).astype(np.float32)
    q *= head_dim**-0.5
    new = rng.normal(0, 1, (2, batch, num_new, num_kv_heads, head_dim)).astype(np.float32)
    held = rng.normal(0, 1, (2, 2, batch, num_kv_heads, num_slots, head_dim)).astype(np.float32)
    for row, length in enumerate(lengths):
        held[:, :, row, :, length:] = np.nan  # never read
    convert = to_bits if dtype == "bfloat16" else np.copy
    expected = [to_wide(convert(part)) for part in held]
    num_seen = np.zeros((batch, num_new), int)
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        num_seen[row, :count] = length + 1 + np.arange(count)
        for part, fresh in zip(expected, new, strict=True):
            stored = to_wide(convert(fresh[row, :count]))
            part[1, row, :, length : length + count] = stored.swapaxes(0, 1)

    found = jax.jit(attend)(
        jnp.asarray(q),
        tuple(map(jnp.asarray, new)),
        tuple(jnp.asarray(convert(part)) for part in held),
        layer=1,
        length=jnp.asarray(lengths, jnp.int32),
        num_tokens=jnp.asarray(counts, jnp.int32),
    )

    np.testing.assert_array_equal(to_wide(found.k), expected[0])
    np.testing.assert_array_equal(to_wide(found.v), expected[1])
    wanted = dense(q, expected[0][1], expected[1][1], num_seen)
    np.testing.assert_allclose(found.out, wanted, atol=2e-6)


def test_large_scores_do_not_overflow(path):
    rng = np.random.default_rng(0)
    q = rng.normal(0, 100, (1, 1, 2, 32)).astype(np.float32)
    new = rng.normal(0, 1, (2, 1, 1, 1, 32)).astype(np.float32)
    held = rng.normal(0, 1, (2, 1, 1, 1, 300, 32)).astype(np.float32)
    found = attend(
        jnp.asarray(q),
        tuple(map(jnp.asarray, new)),
        tuple(map(jnp.asarray, held)),
        layer=0,
        length=jnp.array([299], jnp.int32),
        num_tokens=jnp.array([1], jnp.int32),
    )
    keys, values = np.concatenate([held[:, 0, :, :, :299], new.swapaxes(2, 3)], axis=3)
    np.testing.assert_allclose(found.out, dense(q, keys, values, np.array([[300]])), atol=1e-3)


def call(*, length=0, layer=0, num_tokens=2):
    return attend(
        jnp.ones((1, 2, 2, 32)),
        (jnp.ones((1, 2, 1, 32)), jnp.ones((1, 2, 1, 32))),
        (jnp.zeros((1, 1, 1, 8, 32)), jnp.zeros((1, 1, 1, 8, 32))),
        layer=layer,
        length=jnp.array([length], jnp.int32),
        num_tokens=jnp.array([num_tokens], jnp.int32),
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"length": 7}, "row 0 has no room"),
        ({"length": -1}, "row 0 has no room"),
        ({"num_tokens": 3}, "row 0 has no room"),
        ({"layer": 1}, "there is no layer 1"),
    ],
)
def test_what_would_be_read_or_written_elsewhere_is_refused(path, refused, wrong, message):
    with pytest.raises(refused, match=message):
        jax.block_until_ready(call(**wrong))


def test_the_cache_is_written_in_place(path):
    shape = (2, 1, 1, 1024, 256)

    def extend(q, new, stored, length):
        return attend(q, new, stored, layer=1, length=length, num_tokens=jnp.ones(1, jnp.int32))

    new = jnp.ones((1, 1, 1, 256))
    stored = jnp.zeros(shape, jnp.uint16), jnp.zeros(shape, jnp.uint16)
    compiled = (
        jax.jit(extend, donate_argnums=2)
        .lower(jnp.ones((1, 1, 8, 256)), (new, new), stored, jnp.zeros(1, jnp.int32))
        .compile()
    )
    assert "copy(" not in compiled.as_text()
    assert compiled.memory_analysis().temp_size_in_bytes < stored[0].nbytes // 8


def test_other_shapes_and_prompts_are_left_to_xla(monkeypatch):
    if not native.paths():
        pytest.skip("no native kernels: apt-get install g++ cmake, then make setup")

    def can(*, num_new=1, head_dim=256, dtype=np.uint16):
        q = jnp.zeros((1, num_new, 8, head_dim))
        return can_attend(q, jnp.zeros((1, 1, 1, 8, head_dim), dtype))

    taken = can(), can(dtype=np.float32), can(num_new=8), can(head_dim=32)
    left = can(num_new=9), can(head_dim=16), can(head_dim=288), can(dtype=jnp.bfloat16)
    assert (all(taken), any(left)) == (True, False)
    monkeypatch.setenv("CODEGEMMA_KERNEL", "none")
    assert not can()


def test_an_older_library_multiplies_and_leaves_attention_to_xla(monkeypatch):
    if not native.paths():
        pytest.skip("no native kernels: apt-get install g++ cmake, then make setup")
    monkeypatch.setattr(native, "ATTEND", "codegemma_not_there")
    q, stored = jnp.zeros((1, 1, 8, 64)), jnp.zeros((1, 1, 1, 8, 64))
    assert native.choose_path() == native.paths()[0]
    assert not can_attend(q, stored)
