# SPDX-License-Identifier: Apache-2.0
"""Attention of new tokens over a cache, at the cost of what the cache holds, not of its size.

The native kernels do it where they are and know the shape (`kernels/attention.py`). Elsewhere keys
and values are read block by block straight from the cache of all layers, as many blocks as
the fullest row needs; a softmax is built up on the way (Milakov and Gimelshein, arXiv 1805.02867).
Taking a layer out of the cache first would copy it at every step. An accelerator, to which a loop
of small products is idle time, takes all slots there are at once, by jax's own facade for
attention: a power of two, at least 1,024, that holds the longest row (`generate/lengths.py`). For
inference only: a loop of unknown length has no gradient.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from codegemma.kernels.attention import Attended, attend, can_attend
from codegemma.model.cache import KVCache, free_slots, to_floats, write

BLOCK: Final = 128
"""Slots read at a time; a cache whose length is no multiple of it is read in one block."""

_FLOAT32 = jnp.float32
_MASKED: Final = -2.3819763e38  # gemma_pytorch's value: near the lowest float32, yet finite


def is_by_block() -> bool:
    """Whether XLA reads a cache block by block, as far as it is filled, not all of it at once."""
    return jax.default_backend() == "cpu"


def extend_cache(
    q: Float[Array, "B T N H"],
    new: tuple[Float[Array, "B T K H"], Float[Array, "B T K H"]],
    cache: KVCache,
    *,
    layer: int | Int[Array, ""],
    num_tokens: Int[Array, " B"],
) -> Attended:
    """Store the keys and values of new tokens in a layer, and attend to all up to each token.

    Args:
        q: Queries, rotated and scaled.
        new: Keys, rotated, and values of the same tokens.
        cache: What was read before.
        layer: Which layer to extend and read.
        num_tokens: How many of a row's T tokens count; the others are not stored, and their
            outputs mean nothing.
    """
    if can_attend(q, cache.k):
        stored = (cache.k, cache.v)
        return attend(q, new, stored, layer=layer, length=cache.length, num_tokens=num_tokens)
    return extend_by_xla(q, new, cache, layer=layer, num_tokens=num_tokens)


def extend_by_xla(
    q: Float[Array, "B T N H"],
    new: tuple[Float[Array, "B T K H"], Float[Array, "B T K H"]],
    cache: KVCache,
    *,
    layer: int | Int[Array, ""],
    num_tokens: Int[Array, " B"],
) -> Attended:
    """Do as `extend_cache` does, without the kernels."""
    slots, is_token = free_slots(cache, num_new=q.shape[1], num_tokens=num_tokens)
    stored_slots = jnp.where(is_token, slots, cache.num_slots)
    k, v = (
        write(stored, part, layer=layer, slots=stored_slots)
        for stored, part in zip((cache.k, cache.v), new, strict=True)
    )
    query_slots = jnp.where(is_token, slots, 0)
    return Attended(attend_cache(q, k, v, layer=layer, query_slots=query_slots), k, v)


def attend_cache(
    q: Float[Array, "B T N H"],
    k: Shaped[Array, "L B K S H"],
    v: Shaped[Array, "L B K S H"],
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
    if is_by_block():
        return _attend_by_block(q, k, v, layer=layer, query_slots=query_slots)
    keys, values = (to_floats(part[layer]).astype(q.dtype).swapaxes(1, 2) for part in (k, v))
    visible = jnp.arange(k.shape[3])[None, None, :] <= query_slots[:, :, None]
    with jax.numpy_dtype_promotion("standard"):  # the facade mixes bfloat16 and float32
        return jax.nn.dot_product_attention(q, keys, values, mask=visible[:, None], scale=1.0)


def _attend_by_block(
    q: Float[Array, "B T N H"],
    k: Shaped[Array, "L B K S H"],
    v: Shaped[Array, "L B K S H"],
    *,
    layer: int | Int[Array, ""],
    query_slots: Int[Array, "B T"],
) -> Float[Array, "B T N H"]:
    batch, num_queries, num_heads, head_dim = q.shape
    num_kv_heads, num_slots = k.shape[2:4]
    group = num_heads // num_kv_heads
    block = BLOCK if num_slots % BLOCK == 0 else num_slots
    grouped = q.reshape(batch, num_queries, num_kv_heads, group, head_dim)
    num_blocks = jnp.minimum(jnp.max(query_slots) // block + 1, num_slots // block)

    def read(stored: Array, start: Array) -> Array:
        zero = jnp.zeros_like(start)
        index = (jnp.asarray(layer, start.dtype), zero, zero, start, zero)
        sizes = (1, batch, num_kv_heads, block, head_dim)
        return to_floats(jax.lax.dynamic_slice(stored, index, sizes)[0]).astype(q.dtype)

    def add_block(index: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, out = state
        start = index * block
        scores = jnp.einsum(
            "BTKGH,BKSH->BKTGS", grouped, read(k, start), preferred_element_type=_FLOAT32
        )
        slots = start + jnp.arange(block, dtype=start.dtype)
        visible = slots[None, None, :] <= query_slots[:, :, None]
        scores = jnp.where(visible[:, None, :, None, :], scores, _MASKED)
        new_highest = jnp.maximum(highest, jnp.max(scores, axis=-1))
        weights = jnp.exp(scores - new_highest[..., None])
        kept = jnp.exp(highest - new_highest)
        new_out = jnp.einsum(
            "BKTGS,BKSH->BKTGH",
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
    if block == num_slots:
        _, total, out = add_block(jnp.zeros_like(num_blocks), state)
    else:
        _, total, out = jax.lax.fori_loop(jnp.zeros_like(num_blocks), num_blocks, add_block, state)
    attended = (out / total[..., None]).astype(q.dtype)
    return attended.swapaxes(1, 2).reshape(q.shape)
