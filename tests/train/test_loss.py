# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from codegemma.train import loss as losses
from codegemma.train.loss import cross_entropy, token_logprobs

V, D = 7, 4
TARGETS = jnp.array([[3, 0, 6], [1, 1, 5]], jnp.int32)
WEIGHTS = jnp.array([[1.0, 0.0, 2.0], [0.5, 1.0, 1.0]])
Z_LOSS = 0.1


def hidden() -> Array:
    return jax.random.normal(jax.random.key(0), (2, 3, D))


def table() -> Array:
    return jax.random.normal(jax.random.key(1), (V, D))


def naive_loss(hidden: Array, table: Array) -> Array:
    """The definition, with all logits at once."""
    log_p = jax.nn.log_softmax(hidden @ table.T, axis=-1)
    log_z = jax.nn.logsumexp(hidden @ table.T, axis=-1)
    picked = jnp.take_along_axis(log_p, TARGETS[..., None], axis=-1)[..., 0]
    return jnp.sum(WEIGHTS * (Z_LOSS * log_z**2 - picked))


def our_loss(hidden: Array, table: Array, chunk: int) -> Array:
    return cross_entropy(
        hidden, table, targets=TARGETS, weights=WEIGHTS, chunk=chunk, z_loss=Z_LOSS
    ).loss


def test_equal_logits_cost_the_log_of_the_vocabulary_each() -> None:
    result = cross_entropy(jnp.zeros((2, 3, D)), table(), targets=TARGETS, weights=jnp.ones((2, 3)))

    assert float(result.loss) == pytest.approx(6 * 1.945910, rel=1e-5)
    np.testing.assert_allclose(result.logprobs, np.full((2, 3), -1.945910), rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 6, 100])
def test_loss_and_gradients_are_those_of_the_definition_for_any_chunk(chunk: int) -> None:
    want, want_grads = jax.value_and_grad(naive_loss, (0, 1))(hidden(), table())
    got, grads = jax.value_and_grad(our_loss, (0, 1))(hidden(), table(), chunk)

    assert float(got) == pytest.approx(float(want), rel=1e-6)
    assert float(our_loss(hidden(), table(), chunk)) == pytest.approx(float(want), rel=1e-6)
    for ours, theirs in zip(grads, want_grads, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_many_chunks_in_a_scan_give_what_few_give(monkeypatch: pytest.MonkeyPatch) -> None:
    few = jax.grad(our_loss, (0, 1))(hidden(), table(), 2)
    monkeypatch.setattr(losses, "UNROLLED_LOGITS", 1)
    many = jax.grad(our_loss, (0, 1))(hidden(), table(), 2)

    for ours, theirs in zip(many, few, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_scaled_loss_has_scaled_gradients() -> None:
    once = jax.grad(our_loss, (0, 1))(hidden(), table(), 4)
    thrice = jax.grad(lambda h, e: 3 * our_loss(h, e, 4), (0, 1))(hidden(), table())

    for one, three in zip(once, thrice, strict=True):
        np.testing.assert_allclose(three, 3 * one, rtol=1e-6)


def test_a_position_of_weight_0_gets_no_gradient() -> None:
    grad = jax.grad(our_loss)(hidden(), table(), 4)

    assert np.abs(np.asarray(grad[0, 1])).max() == 0
    assert np.abs(np.asarray(grad[0, 0])).max() > 0


def test_logprobs_may_enter_a_loss_that_is_not_linear_in_them() -> None:
    def naive(hidden: Array, table: Array) -> Array:
        log_p = jax.nn.log_softmax(hidden @ table.T, axis=-1)
        picked = jnp.take_along_axis(log_p, TARGETS[..., None], axis=-1)[..., 0]
        return jnp.sum(jax.nn.sigmoid(picked.sum(axis=1)))

    def ours(hidden: Array, table: Array) -> Array:
        picked = token_logprobs(hidden, table, targets=TARGETS, chunk=4)
        return jnp.sum(jax.nn.sigmoid(picked.sum(axis=1)))

    want, want_grads = jax.value_and_grad(naive, (0, 1))(hidden(), table())
    got, grads = jax.value_and_grad(ours, (0, 1))(hidden(), table())

    assert float(got) == pytest.approx(float(want), rel=1e-6)
    for one, other in zip(grads, want_grads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_bfloat16_products_leave_the_table_gradient_in_float32() -> None:
    def loss(hidden: Array, table: Array) -> Array:
        return cross_entropy(hidden, table, targets=TARGETS, weights=WEIGHTS, chunk=4).loss

    wide = jax.grad(loss, (0, 1))(hidden(), table())
    narrow = jax.grad(loss, (0, 1))(hidden().astype(jnp.bfloat16), table())

    assert narrow[0].dtype == jnp.bfloat16
    assert narrow[1].dtype == jnp.float32
    np.testing.assert_allclose(narrow[1], wide[1], atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("chunk", "most_gib"), [(256, 1.0), (512, 2.5)])
def test_the_loss_of_256k_ids_and_8192_tokens_stays_small(chunk: int, most_gib: float) -> None:
    shapes = (
        jax.ShapeDtypeStruct((1, 8192, 2048), jnp.bfloat16),
        jax.ShapeDtypeStruct((256_000, 2048), jnp.float32),
    )

    def loss(hidden: Array, table: Array) -> Array:
        zeros = jnp.zeros((1, 8192))
        return cross_entropy(
            hidden, table, targets=zeros.astype(jnp.int32), weights=zeros + 1, chunk=chunk
        ).loss

    program = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*shapes).compile()

    assert program.memory_analysis().temp_size_in_bytes <= most_gib * 2**30
