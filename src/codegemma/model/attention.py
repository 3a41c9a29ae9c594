# SPDX-License-Identifier: Apache-2.0
"""Attention: one entry for training on packed rows and for reading a cache.

Scores and softmax are float32. The caller rotates and scales the queries. No mask of all pairs of
positions is made: training goes block by block over the queries, each seeing only its key prefix.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_FLOAT32 = jnp.float32
_MASKED = -2.3819763e38  # gemma_pytorch's value: near the lowest float32, yet finite
_BLOCK = 128


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    *,
    segment_ids: Int[Array, "B T"] | None = None,
    query_slots: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T N H"]:
    """Attend causally; query head n reads key/value head n // (N / K).

    Args:
        q: Queries, rotated and scaled.
        k: Keys, rotated.
        v: Values.
        segment_ids: Segment of each token of a packed row (S = T): tokens see only their own
            segment. None: a row is one segment.
        query_slots: Where `k` and `v` are a cache: the slot of each query, which sees that slot
            and all before it. None: query t stands at slot t, and S = T.
    """
    if query_slots is not None:
        visible = jnp.arange(k.shape[1])[None, None, :] <= query_slots[:, :, None]
        return _attend(q, k, v, visible)
    num_tokens = q.shape[1]
    outputs = []
    for start in range(0, num_tokens, _BLOCK):
        stop = min(start + _BLOCK, num_tokens)
        visible = (jnp.arange(stop)[None, :] <= jnp.arange(start, stop)[:, None])[None]
        if segment_ids is not None:
            same = segment_ids[:, start:stop, None] == segment_ids[:, None, :stop]
            visible = visible & same
        outputs.append(_attend(q[:, start:stop], k[:, :stop], v[:, :stop], visible))
    return jnp.concatenate(outputs, axis=1)


def _attend(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    visible: Bool[Array, "#B T S"],
) -> Float[Array, "B T N H"]:
    batch, num_queries, num_heads, head_dim = q.shape
    grouped = q.reshape(batch, num_queries, k.shape[2], num_heads // k.shape[2], head_dim)
    scores = jnp.einsum(
        "BTKGH,BSKH->BKTGS", grouped, k.astype(q.dtype), preferred_element_type=_FLOAT32
    )
    scores = jnp.where(visible[:, None, :, None, :], scores, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(q.dtype)
    out = jnp.einsum(
        "BKTGS,BSKH->BTKGH", weights, v.astype(q.dtype), preferred_element_type=_FLOAT32
    )
    return out.astype(q.dtype).reshape(q.shape)
