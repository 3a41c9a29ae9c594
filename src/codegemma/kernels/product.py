# SPDX-License-Identifier: Apache-2.0
"""Rows of activations times quantised weights.

The native kernels round activations to int8 in groups of 32, or to bfloat16 where matrix tiles
take many rows at once; sums are exact within a group and float32 beyond. XLA alone multiplies int8
matrices, each row as two: the second carries what rounding the first to one scale left over. For
a lone row that is free, XLA being no quicker with one than with two. For many it doubles the work,
and is done all the same: without it nano's log probabilities err 1.74 times as much as llama.cpp's
on the same int8 weights, with it 1.03 to 1.06 times (`tests/model/convert/test_gguf.py`).
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from codegemma.kernels import native
from codegemma.kernels.formats import LANES
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight

AnyQuantised: TypeAlias = QuantisedWeight | ChannelWeight

_INT8_MAX = 127


def multiply(
    x: Float[Array, "rows inputs"], weights: Sequence[AnyQuantised], *, num_dims: int = 1
) -> list[Float[Array, "rows outputs"]]:
    """Multiply rows with several weights of the same inputs, in float32.

    Args:
        x: Rows, in any float dtype.
        weights: At most four, all of one format.
        num_dims: How many of a weight's first axes are its inputs.

    Raises:
        ConfigError: The environment names a kernel that is not there.
    """
    outputs = [math.prod(weight.shape[num_dims:]) for weight in weights]
    wide = x.astype(jnp.float32)
    grouped = [weight for weight in weights if isinstance(weight, QuantisedWeight)]
    if not grouped:
        return [_multiply_channels(wide, weight) for weight in weights]
    assert len(grouped) == len(weights), "weights of two formats in one product"
    path = native.choose_path()
    assert path is not None, "weights in groups were loaded without the kernels that take them"
    layer = grouped[0].layer
    widths = [-(-size // LANES) * LANES for size in outputs]  # the last block is filled up
    call = jax.ffi.ffi_call(
        native.MULTIPLY,
        [jax.ShapeDtypeStruct((x.shape[0], width), jnp.float32) for width in widths],
    )
    parts = [part for weight in grouped for part in (weight.q, weight.scale)]
    index = jnp.zeros((), jnp.int32) if layer is None else layer.astype(jnp.int32)
    products = call(wide, index, *parts, path=path, bits=np.int64(grouped[0].bits))
    return [
        found if found.shape[1] == size else found[:, :size]
        for found, size in zip(products, outputs, strict=True)
    ]


def take_rows(table: AnyQuantised, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    """Look up outputs of a weight, as an embedding does its rows, in float32."""
    if isinstance(table, ChannelWeight):
        columns = jnp.take(table.q, tokens, axis=1, mode="clip").astype(jnp.float32)
        return jnp.moveaxis(columns, 0, -1) * table.scale[tokens][..., None]
    num_blocks, num_groups, _ = table.q.shape
    block, lane = tokens // LANES, tokens % LANES
    q = table.q.reshape(num_blocks, num_groups, -1, LANES, 4)[block, :, :, lane]
    if table.bits == 4:
        q = jnp.concatenate([q & 15, q >> 4], axis=-2).astype(jnp.int32) - 8
    scale = table.scale[block, :, lane].astype(jnp.float32)
    rows = q.astype(jnp.float32) * scale[..., None, None]
    return rows.reshape(*tokens.shape, -1)


def _multiply_channels(x: Float[Array, "rows inputs"], weight: AnyQuantised) -> Array:
    scale, q = _round_rows(x)
    rest_scale, rest_q = _round_rows(x - scale * q)
    num_rows = x.shape[0]
    both = jnp.concatenate([q, rest_q]).astype(jnp.int8)
    dims = (((1,), (0,)), ((), ()))
    sums = jax.lax.dot_general(both, weight.q, dims, preferred_element_type=jnp.int32)
    wide = sums.astype(jnp.float32)
    return (wide[:num_rows] * scale + wide[num_rows:] * rest_scale) * weight.scale[None, :]


def _round_rows(x: Float[Array, "rows inputs"]) -> tuple[Array, Array]:
    """Give each row's scale and its whole multiples of it, which an int8 holds."""
    scale = jnp.max(jnp.abs(x), axis=1, keepdims=True) / _INT8_MAX
    return scale, jnp.rint(x / jnp.where(scale > 0, scale, 1))
