# SPDX-License-Identifier: Apache-2.0
"""Attention of new tokens over a cache, at the cost of what the cache holds, not of its size.

Keys and values are read block by block straight from the cache of all layers, as many blocks as
the fullest row needs; a softmax is built up on the way (Milakov and Gimelshein, arXiv 1805.02867).
Taking a layer out of the cache first would copy it at every step. For inference only: a loop of
unknown length has no gradient.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from codegemma.model.cache import to_floats

BLOCK: Final = 128
"""Slots read at a time; a cache whose length is no multiple of it is read in one block."""

_FLOAT32 = jnp.float32
_MASKED: Final = -2.3819763e38  # gemma_pytorch's value: near the lowest float32, yet finite


def attend_cache(
    q: Float[Array, "B T N H"],
    k: Shaped[Array, "L B S K H"],
    v: Shaped[Array, "L B S K H"],
    *,
    layer: int | Int[Array, ""],
    query_slots: Int[Array, "B T"],
) -> Float[Array, "B T N H"]:
    """Attend to the slots up to each query's own; query head n reads key head n // (N / K).

    Scores and softmax are float32.

    Args:
        q: Queries, rotated and scaled.
        k: Keys of all layers, rotated, those of the queries' own tokens among them.
        v: Values of all layers.
        layer: Which layer to read.
        query_slots: Slot of each query. One that is padding may be given any slot; a low one
            makes no work.
    """
    batch, num_queries, num_heads, head_dim = q.shape
    num_slots, num_kv_heads = k.shape[2:4]
    group = num_heads // num_kv_heads
    block = BLOCK if num_slots % BLOCK == 0 else num_slots
    grouped = q.reshape(batch, num_queries, num_kv_heads, group, head_dim)
    num_blocks = jnp.minimum(jnp.max(query_slots) // block + 1, num_slots // block)

    def read(stored: Array, start: Array) -> Array:
        zero = jnp.zeros_like(start)
        index = (jnp.asarray(layer, start.dtype), zero, start, zero, zero)
        sizes = (1, batch, block, num_kv_heads, head_dim)
        return to_floats(jax.lax.dynamic_slice(stored, index, sizes)[0]).astype(q.dtype)

    def add_block(index: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, out = state
        start = index * block
        scores = jnp.einsum(
            "BTKGH,BSKH->BKTGS", grouped, read(k, start), preferred_element_type=_FLOAT32
        )
        slots = start + jnp.arange(block, dtype=start.dtype)
        visible = slots[None, None, :] <= query_slots[:, :, None]
        scores = jnp.where(visible[:, None, :, None, :], scores, _MASKED)
        new_highest = jnp.maximum(highest, jnp.max(scores, axis=-1))
        weights = jnp.exp(scores - new_highest[..., None])
        kept = jnp.exp(highest - new_highest)
        new_out = jnp.einsum(
            "BKTGS,BSKH->BKTGH",
            weights.astype(q.dtype),
            read(v, start),
            preferred_element_type=_FLOAT32,
        )
        total = total * kept + jnp.sum(weights, axis=-1)
        return new_highest, total, out * kept[..., None] + new_out

    shape = (batch, num_kv_heads, num_queries, group)
    # The first block holds slot 0, which every query sees, so no maximum stays at the mask.
    state = (
        jnp.full(shape, _MASKED, _FLOAT32),
        jnp.zeros(shape, _FLOAT32),
        jnp.zeros((*shape, head_dim), _FLOAT32),
    )
    _, total, out = jax.lax.fori_loop(jnp.zeros_like(num_blocks), num_blocks, add_block, state)
    attended = (out / total[..., None]).astype(q.dtype)
    return attended.swapaxes(1, 2).reshape(q.shape)
