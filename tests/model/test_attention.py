# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.model.attention import attention


def draw(*, batch, length, num_heads, num_kv_heads):
    rng = np.random.default_rng(length)
    shapes = [(batch, length, heads, 8) for heads in (num_heads, num_kv_heads, num_kv_heads)]
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


def dense(q, k, v, segment_ids):
    """The textbook form over all pairs, one head at a time."""
    group = q.shape[2] // k.shape[2]
    visible = jnp.tril(jnp.ones((q.shape[1], k.shape[1]), bool))[None]
    visible = visible & (segment_ids[:, :, None] == segment_ids[:, None, :])
    heads = []
    for head in range(q.shape[2]):
        scores = jnp.einsum("BTH,BSH->BTS", q[:, :, head], k[:, :, head // group])
        weights = jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1)
        heads.append(jnp.einsum("BTS,BSH->BTH", weights, v[:, :, head // group]))
    return jnp.stack(heads, axis=2)


def test_equal_scores_give_the_mean_of_what_is_visible():
    q = jnp.zeros((1, 5, 1, 2))
    v = jnp.array([1.0, 3, 5, 10, 20]).reshape(1, 5, 1, 1) * jnp.ones((1, 1, 1, 2))
    whole = attention(q, v, v)
    packed = attention(q, v, v, segment_ids=jnp.array([[5, 5, 5, 7, 7]]))
    np.testing.assert_allclose(whole[0, :, 0, 0], [1, 2, 3, 4.75, 7.8], rtol=1e-6)
    np.testing.assert_allclose(packed[0, :, 0, 0], [1, 2, 3, 10, 15], rtol=1e-6)


def test_a_query_head_reads_the_key_head_of_its_group():
    q = jnp.zeros((1, 1, 4, 2))
    v = jnp.array([[[[1.0, 1], [2, 2]]]])
    assert attention(q, v, v)[0, 0, :, 0].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("length", "num_heads", "num_kv_heads"),
    [(300, 4, 1), (129, 4, 2), (1, 3, 3)],
)
def test_blocks_agree_with_the_dense_form_and_its_gradients(length, num_heads, num_kv_heads):
    arrays = draw(batch=2, length=length, num_heads=num_heads, num_kv_heads=num_kv_heads)
    places = np.arange(length)
    # Segments that begin and end inside blocks, at their borders, and reach over several.
    borders = np.array([[17, 127, 131], [120, 128, 256]])
    segment_ids = jnp.asarray((places[None, :, None] >= borders[:, None, :]).sum(-1), jnp.int32)

    def value_and_grads(form):
        def loss(q, k, v):
            out = form(q, k, v)
            return jnp.sum(jnp.sin(out)), out

        (_, out), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(
            *arrays
        )
        return out, *grads

    found = value_and_grads(lambda q, k, v: attention(q, k, v, segment_ids=segment_ids))
    expected = value_and_grads(lambda q, k, v: dense(q, k, v, segment_ids))
    for name, got, wanted in zip(("out", "q", "k", "v"), found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5, err_msg=name)


def test_scores_far_apart_stay_finite():
    q = jnp.array([[[[100.0, 0]], [[100, 0]]]])
    k = jnp.array([[[[-100.0, 0]], [[100, 0]]]])
    v = jnp.array([[[[1.0, 0]], [[2, 0]]]])
    out, pull = jax.vjp(lambda q, k, v: attention(q, k, v), q, k, v)
    assert out[0, :, 0, 0].tolist() == [1, 2]
    for grad in pull(jnp.ones_like(out)):
        assert jnp.isfinite(grad).all()


def test_bfloat16_stays_bfloat16_and_near_float32():
    q, k, v = draw(batch=1, length=200, num_heads=2, num_kv_heads=1)
    attend = jax.jit(attention)
    half = attend(*(x.astype(jnp.bfloat16) for x in (q, k, v)))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), attend(q, k, v), atol=0.05)


def test_all_pairs_of_positions_are_never_kept():
    arrays = draw(batch=4, length=1024, num_heads=4, num_kv_heads=1)
    grads = jax.jit(jax.grad(lambda q, k, v: jnp.sum(attention(q, k, v)), argnums=(0, 1, 2)))
    temporary = grads.lower(*arrays).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 4 * 4 * 1024 * 1024 * 4 / 2  # half of one float32 per row, head and pair
