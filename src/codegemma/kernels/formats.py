# SPDX-License-Identifier: Apache-2.0
"""Formats of quantised weights: what they hold, in which order, and how they are made.

32 inputs of one output form a group and share a scale: a weight is `scale * q`. The scale is a
float16; q is an int8 between -127 and 127, or an int4 between -8 and 7. The values are those of
llama.cpp's Q8_0 and Q4_0, 8.5 and 4.5 bits a weight; the order is that of `cpp/path.h`, where 16
outputs lie side by side.

XLA multiplies nothing in that order: for it a matrix becomes one of channels, int8 with one scale
an output, 8 bits a weight whatever it was before. Importing this module does not import jax.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Float16, Int, Int8

from codegemma.errors import ConfigError

WeightFormat: TypeAlias = Literal["int8", "int4"]

GROUP: Final = 32
"""Inputs that share a scale."""

LANES: Final = 16
"""Outputs that lie side by side."""

_QUADS: Final = GROUP // 4
_QUANTISED_VALUES: Final = 1 << 17  # at a time; float32, they and their copies stay in the cache
_INT8_MAX: Final = 127
# Where the largest value of an int4 group may come to lie, beside -8; measured on nano's weights.
_INT4_TRIALS: Final = (8.0, 7.5, 7.0)


def quantised_shapes(
    outputs: int, inputs: int, *, weights: WeightFormat
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Shapes of q and scale of a matrix; the last block of outputs may be filled up.

    Raises:
        ConfigError: The inputs are not whole groups.
    """
    if inputs % GROUP:
        raise ConfigError(f"a quantised matrix has inputs in multiples of {GROUP}, not {inputs}")
    places = -(-outputs // LANES), inputs // GROUP
    return (*places, LANES * GROUP * int(weights[3:]) // 8), (*places, LANES)


def quantise(
    values: Float[np.ndarray, "outputs inputs"], *, weights: WeightFormat
) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a matrix stored outputs first; give q and scale in the kernels' order.

    Raises:
        ConfigError: The inputs are not whole groups.
    """
    return pack(*quantise_groups(values, weights=weights), weights=weights)


def quantise_groups(
    values: Float[np.ndarray, "outputs inputs"], *, weights: WeightFormat
) -> tuple[Int8[np.ndarray, "outputs groups 32"], Float16[np.ndarray, "outputs groups"]]:
    """Quantise a matrix stored outputs first; give values and scales in the same order.

    int8: each group's largest magnitude becomes 127. int4: the value of largest magnitude becomes
    -8, -7.5 or -7, whichever leaves the least squared error, so that most groups use all 16 steps.
    A scale beyond float16 becomes Inf, which is refused where it is written.

    Raises:
        ConfigError: The inputs are not whole groups.
    """
    outputs, inputs = values.shape
    quantised_shapes(outputs, inputs, weights=weights)  # refuses what cannot be
    groups = values.astype(np.float32).reshape(outputs, -1, GROUP)
    with np.errstate(over="ignore", invalid="ignore"):
        if weights == "int4":
            return _quantise_int4(groups)
        scale = (np.abs(groups).max(axis=-1) / np.float32(_INT8_MAX)).astype(np.float16)
        return _divide(groups, scale).clip(-_INT8_MAX, _INT8_MAX).astype(np.int8), scale


def pack(
    q: Int8[np.ndarray, "outputs groups 32"],
    scale: Float16[np.ndarray, "outputs groups"],
    *,
    weights: WeightFormat,
) -> tuple[np.ndarray, np.ndarray]:
    """Put quantised values, which stand outputs first, and their scales in the kernels' order.

    What fills up the last block is 0.
    """
    outputs, num_groups, _ = q.shape
    q_shape, scale_shape = quantised_shapes(outputs, num_groups * GROUP, weights=weights)
    if missing := -outputs % LANES:
        q = np.concatenate([q, np.zeros((missing, *q.shape[1:]), q.dtype)])
        scale = np.concatenate([scale, np.zeros((missing, num_groups), scale.dtype)])
    blocks = q.reshape(-1, LANES, num_groups, _QUADS, 4).transpose(0, 2, 3, 1, 4)
    if weights == "int4":
        raised = (blocks + 8).astype(np.uint8)
        blocks = raised[:, :, : _QUADS // 2] | raised[:, :, _QUADS // 2 :] << 4
    stacked = scale.reshape(-1, LANES, num_groups).transpose(0, 2, 1)
    return (
        np.ascontiguousarray(blocks).reshape(q_shape),
        np.ascontiguousarray(stacked).reshape(scale_shape),
    )


def unpack(
    q: np.ndarray, scale: np.ndarray
) -> tuple[Int8[np.ndarray, "outputs groups 32"], Float16[np.ndarray, "outputs groups"]]:
    """Give values and scales outputs first, what fills up the last block with them."""
    num_blocks, num_groups, _ = q.shape
    blocks = q.reshape(num_blocks, num_groups, -1, LANES, 4)
    if q.dtype == np.uint8:
        blocks = np.concatenate([blocks & 15, blocks >> 4], axis=2).astype(np.int8) - np.int8(8)
    values = blocks.transpose(0, 3, 1, 2, 4).reshape(-1, num_groups, GROUP)
    return values, scale.transpose(0, 2, 1).reshape(-1, num_groups)


def widen(
    values: Int8[np.ndarray, "outputs groups 32"], scale: Float16[np.ndarray, "outputs groups"]
) -> Float[np.ndarray, "outputs inputs"]:
    """Give the matrix that values and scales, outputs first, stand for, in float32."""
    return (values * scale.astype(np.float32)[..., None]).reshape(len(values), -1)


def dequantise(q: np.ndarray, scale: np.ndarray) -> Float[np.ndarray, "outputs inputs"]:
    """Give the matrix that q and scale stand for, in float32, outputs first."""
    return widen(*unpack(q, scale))


def to_channels(
    q: np.ndarray, scale: np.ndarray
) -> tuple[Int[np.ndarray, "inputs outputs"], Float[np.ndarray, " outputs"]]:
    """Give q and scale of a `ChannelWeight` for those of a matrix in groups."""
    wide = dequantise(q, scale)
    channel_scale = np.abs(wide).max(axis=1) / np.float32(_INT8_MAX)
    inverse = 1 / np.where(channel_scale > 0, channel_scale, np.float32(1))
    return np.rint(wide * inverse[:, None]).astype(np.int8).T, channel_scale


def whole_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Regroup the rows of a matrix so that each block holds whole blocks of outputs, up to 1 MB."""
    held: list[np.ndarray] = []
    num_held = 0
    for block in blocks:
        start = 0
        step = max(LANES, _QUANTISED_VALUES // block.shape[1] // LANES * LANES)
        while start < len(block):
            rows = block[start : start + step - num_held]
            start += len(rows)
            num_held += len(rows)
            if num_held == step:
                yield np.concatenate([*held, rows]) if held else rows
                held, num_held = [], 0
            else:
                held.append(rows.copy())
    if held:
        yield np.concatenate(held)


def num_quantised_bytes(num_values: int, *, weights: WeightFormat) -> int:
    """Bytes of a weight in groups, scales included."""
    return math.ceil(num_values * (int(weights[3:]) + 16 / GROUP) / 8)


def _divide(groups: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Divide by the scale as it will be read, rounded to float16, and round; 0 stays 0."""
    wide = scale.astype(np.float32)
    inverse = np.where(wide != 0, 1 / np.where(wide != 0, wide, np.float32(1)), np.float32(0))
    return np.rint(groups * inverse[..., None])


def _quantise_int4(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place = np.abs(groups).argmax(axis=-1)[..., None]
    farthest = np.take_along_axis(groups, place, axis=-1)[..., 0]
    best_q = best_scale = best_error = None
    for steps in _INT4_TRIALS:
        scale = (farthest / np.float32(-steps)).astype(np.float16)
        q = _divide(groups, scale).clip(-8, 7)
        error = ((q * scale.astype(np.float32)[..., None] - groups) ** 2).sum(axis=-1)
        if best_q is None or best_scale is None or best_error is None:
            best_q, best_scale, best_error = q, scale, error
            continue
        is_better = error < best_error
        best_q = np.where(is_better[..., None], q, best_q)
        best_scale = np.where(is_better, scale, best_scale)
        best_error = np.where(is_better, error, best_error)
    assert best_q is not None
    assert best_scale is not None
    return best_q.astype(np.int8), best_scale
