# SPDX-License-Identifier: Apache-2.0
"""Causal attention over whole rows, packed with segments or not; for training and scoring.

Scores and softmax are float32. The caller rotates and scales the queries. The work goes block by
block over the queries, each against its key prefix alone: half of all products are never made, and
no mask or score of all pairs of positions exists, forward or backward. A cache is read by
`cached_attention.py`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from codegemma.model.products import sum_products

_FLOAT32 = jnp.float32
_MASKED: Final = -2.3819763e38  # gemma_pytorch's value: near the lowest float32, yet finite
_BLOCK: Final = 128
_MAX_BLOCKS: Final = 32


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    *,
    segment_ids: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T N H"]:
    """Attend causally; query head n reads key/value head n // (N / K).

    Args:
        q: Queries, rotated and scaled.
        k: Keys, rotated.
        v: Values.
        segment_ids: Segment of each token of a packed row, a run of equal numbers: tokens see only
            their own segment. None: a row is one segment.
    """
    num_kv_heads = k.shape[2]
    if segment_ids is None:
        first_keys = jnp.zeros(k.shape[:2], jnp.int32)
    else:
        first_keys = _segment_starts(segment_ids)
    out = _causal(
        _fold_queries(q, num_kv_heads=num_kv_heads),
        _fold_keys(k),
        _fold_keys(v),
        jnp.repeat(first_keys, num_kv_heads, axis=0),
    )
    return _unfold_queries(out, shape=q.shape)


def _segment_starts(segment_ids: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Where the segment of each token starts: `5 5 5 7 7` gives `0 0 0 3 3`."""
    places = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)[None, :]
    is_start = segment_ids != jnp.roll(segment_ids, 1, axis=1)
    return jax.lax.cummax(jnp.where(is_start, places, 0), axis=1)


# Below, a row is one key/value head of one batch element with its G query heads, which are laid
# beside each other on the query axis: token t has queries t * G to t * G + G - 1. With one
# key/value head that is the order in memory already.


def _fold_queries(x: Float[Array, "B T N H"], *, num_kv_heads: int) -> Float[Array, "rows TG H"]:
    batch, num_tokens, num_heads, head_dim = x.shape
    grouped = x.reshape(batch, num_tokens, num_kv_heads, num_heads // num_kv_heads, head_dim)
    return grouped.swapaxes(1, 2).reshape(batch * num_kv_heads, -1, head_dim)


def _unfold_queries(
    x: Float[Array, "rows TG H"], *, shape: tuple[int, ...]
) -> Float[Array, "B T N H"]:
    batch, num_tokens, num_heads, head_dim = shape
    num_kv_heads = x.shape[0] // batch
    grouped = x.reshape(batch, num_kv_heads, num_tokens, num_heads // num_kv_heads, head_dim)
    return grouped.swapaxes(1, 2).reshape(shape)


def _fold_keys(x: Float[Array, "B S K H"]) -> Float[Array, "rows S H"]:
    return x.swapaxes(1, 2).reshape(-1, x.shape[1], x.shape[3])


@jax.custom_vjp
def _causal(
    q: Float[Array, "rows TG H"],
    k: Float[Array, "rows S H"],
    v: Float[Array, "rows S H"],
    first_keys: Int[Array, "rows S"],
) -> Float[Array, "rows TG H"]:
    return _each_row(_row_forward, q, k, v, first_keys)[0]


def _causal_forward(
    q: Array, k: Array, v: Array, first_keys: Array
) -> tuple[Array, tuple[Any, ...]]:
    out, log_sum = _each_row(_row_forward, q, k, v, first_keys)
    return out, (q, k, v, first_keys, out, log_sum)


def _causal_backward(
    saved: tuple[Any, ...], grad_out: Array
) -> tuple[Array, Array, Array, Array | None]:
    grads = _each_row(_row_backward, *saved, grad_out)
    return (*grads, None)


_causal.defvjp(_causal_forward, _causal_backward)


def _each_row(function: Callable[..., Any], *rows: Any) -> Any:
    """Apply `function` to each row: on a CPU one by one, whose scores then stay in its cache."""
    return jax.lax.platform_dependent(
        *rows,
        cpu=lambda *rows: jax.lax.map(lambda row: function(*row), rows),
        default=jax.vmap(function),
    )


def _row_forward(
    q: Float[Array, "TG H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S H"],
    first_keys: Int[Array, " S"],
) -> tuple[Float[Array, "TG H"], Float[Array, "TG 1"]]:
    """Outputs, and the logarithm of each softmax's sum, from which it can be made again."""
    group = q.shape[0] // k.shape[0]
    outs, log_sums = [], []
    for queries, keys in _blocks(num_tokens=k.shape[0], group=group):
        scores = _scores(q[queries], k[keys], first_keys, group=group)
        highest = jnp.max(scores, axis=1, keepdims=True)
        weights = jnp.exp(scores - highest)
        total = jnp.sum(weights, axis=1, keepdims=True)
        outs.append((_product(weights.astype(q.dtype), v[keys]) / total).astype(q.dtype))
        log_sums.append(highest + jnp.log(total))
    return jnp.concatenate(outs), jnp.concatenate(log_sums)


def _row_backward(
    q: Float[Array, "TG H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S H"],
    first_keys: Int[Array, " S"],
    out: Float[Array, "TG H"],
    log_sum: Float[Array, "TG 1"],
    grad_out: Float[Array, "TG H"],
) -> tuple[Float[Array, "TG H"], Float[Array, "S H"], Float[Array, "S H"]]:
    """Gradients of q, k and v; the scores are made again, which costs less than keeping them."""
    mean_grads = jnp.sum(grad_out.astype(_FLOAT32) * out.astype(_FLOAT32), axis=1, keepdims=True)
    group = q.shape[0] // k.shape[0]
    grads_q = []
    # Transposed, [H S]: as the left factor of these products the narrow matrix is 2.5 times faster
    # on a CPU than as the right one.
    grad_k = grad_v = jnp.zeros((k.shape[1], k.shape[0]), _FLOAT32)
    for queries, keys in _blocks(num_tokens=k.shape[0], group=group):
        scores = _scores(q[queries], k[keys], first_keys, group=group)
        weights = jnp.exp(scores - log_sum[queries])
        grad_weights = _product(grad_out[queries], v[keys].T)
        grad_scores = (weights * (grad_weights - mean_grads[queries])).astype(q.dtype)
        grads_q.append(_product(grad_scores, k[keys]).astype(q.dtype))
        grad_k = grad_k.at[:, keys].add(sum_products(q[queries], grad_scores, axes=(0, 0)))
        grad_v = grad_v.at[:, keys].add(
            sum_products(grad_out[queries], weights.astype(q.dtype), axes=(0, 0))
        )
    return jnp.concatenate(grads_q), grad_k.T.astype(k.dtype), grad_v.T.astype(v.dtype)


def _blocks(*, num_tokens: int, group: int) -> list[tuple[slice, slice]]:
    """Blocks of queries, each with the keys up to its last one's.

    4 tokens of 2 queries, in blocks of 2 tokens: queries 0-3 with keys 0-1, 4-7 with keys 0-3.
    """
    block = max(_BLOCK, math.ceil(num_tokens / _MAX_BLOCKS))
    starts = range(0, num_tokens, block)
    stops = [min(start + block, num_tokens) for start in starts]
    return [
        (slice(start * group, stop * group), slice(0, stop))
        for start, stop in zip(starts, stops, strict=True)
    ]


def _scores(
    q: Float[Array, "queries H"],
    k: Float[Array, "keys H"],
    first_keys: Int[Array, " S"],
    *,
    group: int,
) -> Float[Array, "queries keys"]:
    """Masked scores of a block of queries; the last `group` of them stand at the last key."""
    # Two comparisons with a number per query vectorise; comparing segments pair by pair took twice
    # as long as the softmax itself.
    num_keys, num_tokens = k.shape[0], q.shape[0] // group
    places = jnp.arange(num_keys, dtype=jnp.int32)
    tokens = slice(num_keys - num_tokens, num_keys)
    first, last = (jnp.repeat(x[tokens], group)[:, None] for x in (first_keys, places))
    visible = (first <= places[None, :]) & (places[None, :] <= last)
    return jnp.where(visible, _product(q, k.T), _MASKED)


_product = partial(jnp.matmul, preferred_element_type=_FLOAT32)
