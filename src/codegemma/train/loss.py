# SPDX-License-Identifier: Apache-2.0
"""Next-token loss over the tied head, without the [tokens, V] logits ever existing at once.

Reads hidden states and the embedding table; gives the weighted sum of token losses, which the
caller divides by the global sum of weights, and the log-probability of every target. The training
loss makes both gradients in its one pass over chunks of tokens, so each block of logits is
computed once and used three times. It does not know about segments or masks: weight 0 leaves a
position out.
"""

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from codegemma.model.products import sum_products

UNROLLED_LOGITS: Final = 2**26
"""Up to so many logits the chunks are written out one after the other, on CPUs faster than a scan;
beyond, the compiler would run several at once and hold all their logits."""

_MAX_PART: Final = 32_768


class TokenLoss(NamedTuple):
    """Sums over tokens, float32; only `loss` carries a gradient.

    Args:
        loss: Weighted negative log-likelihood plus the weighted z-loss, in nats.
        logprobs: Log-probability of each target, [B T], not weighted.
    """

    loss: Float[Array, ""]
    logprobs: Float[Array, "B T"]


def cross_entropy(
    hidden: Float[Array, "B T D"],
    embedding: Float[Array, "V D"],
    *,
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    chunk: int = 1024,
    z_loss: float = 0.0,
) -> TokenLoss:
    """Sum `weights * (-log p(target) + z_loss * log_z**2)` over all positions.

    Products run in the dtype of `hidden` with float32 accumulation; the log-sum-exp, the loss and
    the accumulated gradient of the table are float32. Temporary memory is one [chunk, V] block of
    logits and a few of its size in the dtype of `hidden`.

    Args:
        hidden: Output of the last norm.
        embedding: The tied table; its gradient comes back in its own dtype.
        targets: The id to predict at each position.
        weights: 0 leaves a position out of the loss and of every gradient.
        chunk: Positions handled at once.
        z_loss: Factor that keeps the log partition near 0; 0 for none.
    """
    sums: Any = _fused(hidden, embedding, targets, weights, chunk, z_loss)
    return TokenLoss(*sums)


def token_logprobs(
    hidden: Float[Array, "B T D"],
    embedding: Float[Array, "V D"],
    *,
    targets: Int[Array, "B T"],
    chunk: int = 1024,
) -> Float[Array, "B T"]:
    """Give log p(target) at each position, differentiable in `hidden` and `embedding`.

    For losses that are not linear in the log-probabilities. The backward pass recomputes each
    block of logits, so memory stays that of `cross_entropy`; where weights are known beforehand,
    `cross_entropy` is a quarter cheaper.
    """
    B, T, _ = hidden.shape

    @jax.checkpoint
    def block(rows: tuple[Array, Array]) -> Array:
        logits, targets = _logits(rows[0], embedding), rows[1]
        picked = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
        return picked - jax.nn.logsumexp(logits, axis=-1)

    rows, count = _chunked((hidden, targets), chunk)
    blocks = jax.lax.map(block, rows)
    return blocks.reshape(-1)[:count].reshape(B, T)


def _logits(hidden: Array, embedding: Array) -> Array:
    table = embedding.astype(hidden.dtype)
    return jax.lax.dot_general(
        hidden, table, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
    )


def _chunked(arrays: tuple[Array, ...], chunk: int) -> tuple[Any, int]:
    """Flatten [B T ...] to [chunks, size, ...], zero-padded, and count the true positions."""
    count = arrays[0].shape[0] * arrays[0].shape[1]
    size = min(chunk, count)
    pad = -count % size

    def split(array: Array) -> Array:
        flat = array.reshape(count, *array.shape[2:])
        if pad:
            flat = jnp.pad(flat, ((0, pad),) + ((0, 0),) * (flat.ndim - 1))
        return flat.reshape(-1, size, *flat.shape[1:])

    return tuple(map(split, arrays)), count


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _fused(
    hidden: Array, embedding: Array, targets: Array, weights: Array, chunk: int, z_loss: float
) -> tuple[Array, Array]:
    """Without a gradient: loss and log-probabilities alone."""
    B, T, _ = hidden.shape

    def block(rows: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        hidden, targets, weights = rows
        logits = _logits(hidden, embedding)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        logprobs = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0] - log_z
        return jnp.sum(weights * (z_loss * log_z**2 - logprobs)), logprobs

    rows, count = _chunked((hidden, targets, weights), chunk)
    losses, logprobs = jax.lax.map(block, rows)
    return jnp.sum(losses), logprobs.reshape(-1)[:count].reshape(B, T)


def _fused_forward(
    hidden: Array, embedding: Array, targets: Array, weights: Array, chunk: int, z_loss: float
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Loss, log-probabilities, and the gradients of the loss as the residuals.

    A large table is worked on in parts, cast and added to one at a time: its copy in the dtype of
    `hidden` and the product that is added to its gradient never exist as a whole.
    """
    B, T, D = hidden.shape
    parts = embedding.reshape(_num_parts(embedding.shape[0]), -1, D)
    first_ids = jnp.arange(0, embedding.shape[0], parts.shape[1], dtype=targets.dtype)

    def block(
        grad_table: Array, rows: tuple[Array, Array, Array]
    ) -> tuple[Array, tuple[Array, Array, Array]]:
        hidden, targets, weights = rows
        logits = jax.lax.map(lambda part: _logits(hidden, part), parts)
        places = jnp.arange(parts.shape[1], dtype=targets.dtype)
        ids = first_ids[:, None, None] + places[None, None, :]
        is_target = ids == targets[None, :, None]
        top = jnp.max(logits, axis=(0, 2))
        exps = jnp.exp(logits - top[None, :, None])
        sums = jnp.sum(exps, axis=(0, 2))
        log_z = top + jnp.log(sums)
        logprobs = jnp.sum(jnp.where(is_target, logits, 0), axis=(0, 2)) - log_z
        loss = jnp.sum(weights * (z_loss * log_z**2 - logprobs))
        scale = weights * (1 + 2 * z_loss * log_z) / sums
        grad_logits = exps * scale[None, :, None] - jnp.where(is_target, weights[None, :, None], 0)
        grad_logits = grad_logits.astype(hidden.dtype)

        def add(index: Array, grads: tuple[Array, Array]) -> tuple[Array, Array]:
            grad_table, grad_hidden = grads
            part, grad = parts[index].astype(hidden.dtype), grad_logits[index]
            grad_hidden += _product(grad, part)
            return grad_table.at[index].add(sum_products(grad, hidden, axes=(0, 0))), grad_hidden

        grads = (grad_table, jnp.zeros(hidden.shape, jnp.float32))
        grad_table, grad_hidden = jax.lax.fori_loop(0, parts.shape[0], add, grads)
        return grad_table, (loss, logprobs, grad_hidden.astype(hidden.dtype))

    rows, count = _chunked((hidden, targets, weights), chunk)
    grad_table, (losses, logprobs, grad_hidden) = jax.lax.scan(
        block,
        jnp.zeros(parts.shape, jnp.float32),
        rows,
        unroll=B * T * embedding.shape[0] <= UNROLLED_LOGITS,
    )
    logprobs = logprobs.reshape(-1)[:count].reshape(B, T)
    grad_hidden = grad_hidden.reshape(-1, D)[:count].reshape(B, T, D)
    grad_table = grad_table.reshape(embedding.shape).astype(embedding.dtype)
    return (jnp.sum(losses), logprobs), (grad_hidden, grad_table)


def _num_parts(vocab_size: int) -> int:
    """Smallest number of equal parts of at most 32,768 ids; 1 where there is none below 64."""
    counts = range(-(-vocab_size // _MAX_PART), 64)
    return next((count for count in counts if vocab_size % count == 0), 1)


_product = partial(jnp.matmul, preferred_element_type=jnp.float32)


def _fused_backward(
    chunk: int, z_loss: float, gradients: tuple[Array, Array], cotangents: tuple[Array, Array]
) -> tuple[Array, Array, None, None]:
    del chunk, z_loss
    factor = cotangents[0]

    def scale(gradient: Array) -> Array:
        return (gradient.astype(jnp.float32) * factor).astype(gradient.dtype)

    return scale(gradients[0]), scale(gradients[1]), None, None


_fused.defvjp(_fused_forward, _fused_backward)
