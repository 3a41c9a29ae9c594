# SPDX-License-Identifier: Apache-2.0
"""Read a folder or a GGUF file of quantised weights into the tree of parameters.

With native kernels a weight is read as it lies in the files, the layers of one stacked. Without
them it becomes int8 with one scale an output, which XLA multiplies, and each layer's lies apart,
because XLA would copy it out of a stack. Norms are float32.
"""

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import jax
import numpy as np

from codegemma.errors import CheckpointError
from codegemma.kernels import native
from codegemma.kernels.formats import quantised_shapes, to_channels
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight
from codegemma.model.convert import hf
from codegemma.model.convert.hf import StoredTensor
from codegemma.model.memory import aligned_empty, available_bytes
from codegemma.model.params import Params, param_specs
from codegemma.model.stored import StoredCheckpoint
from codegemma.model.tensorfile import DTYPES

_SPARE_BYTES: Final = 64 << 20
_FLOAT32: Final = np.dtype(np.float32)


def read_quantised(
    stored: StoredCheckpoint, *, progress: Callable[[int, int], None] | None = None
) -> Params:
    """Read all weights of a quantised folder or GGUF file onto the default device.

    Args:
        stored: The folder or file, opened; it has a `weight_format`.
        progress: Told the tensors read so far and in all, from several threads.

    Raises:
        CheckpointError: A tensor is refused, or there is not enough memory.
        ConfigError: The environment names a kernel that is not there.
    """
    assert stored.weight_format is not None
    in_groups = native.choose_path() is not None
    tensors = list(hf.stored_tensors(stored.config))
    _check_memory(stored, tensors, in_groups=in_groups)
    leaves: dict[tuple[str, ...], list[StoredTensor]] = {}
    for tensor in tensors:
        leaves.setdefault(tensor.leaf, []).append(tensor)
    arrays = {path: _allocate(stored, parts, in_groups=in_groups) for path, parts in leaves.items()}
    places = [
        (tuple(array[index] for array in arrays[path]), tensor)
        for path, parts in leaves.items()
        for index, tensor in enumerate(parts)
    ]
    counter, is_stopped = itertools.count(1), threading.Event()

    def fill(place: tuple[tuple[np.ndarray, ...], StoredTensor]) -> None:
        part, tensor = place
        if is_stopped.is_set():
            return
        _fill(stored, tensor, part=part, in_groups=in_groups)
        if progress:
            progress(next(counter), len(tensors))

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        try:
            for _ in pool.map(fill, places):
                pass
        finally:
            is_stopped.set()
    specs = param_specs(stored.config)
    params: Params = {}
    stacked: dict[str, Any] = {}
    apart: tuple[dict[str, Any], ...] = tuple({} for _ in range(stored.config.num_layers))
    for path, leaf in arrays.items():
        spec = specs["layers"][path[-1]] if path[0] == "layers" else specs[path[-1]]
        if path[0] != "layers":
            # Of the embedding, the width is the inputs.
            params[path[-1]] = _place([array[0] for array in leaf], shape=spec.shape[::-1])
        elif in_groups:
            stacked[path[-1]] = _place(leaf, shape=spec.shape[1:])
        else:
            for index, layer in enumerate(apart):
                part = [array[index] for array in leaf]
                layer[path[-1]] = _place(part, shape=spec.shape[1:])
    return {**params, "layers": stacked if in_groups else apart}


def _allocate(
    stored: StoredCheckpoint, tensors: list[StoredTensor], *, in_groups: bool
) -> list[np.ndarray]:
    """Make the arrays of one leaf, with an axis of tensors in front."""
    tensor, count = tensors[0], len(tensors)
    if not tensor.is_matrix:
        return [aligned_empty((count, *tensor.shape), _FLOAT32)]
    outputs, inputs = tensor.shape
    if not in_groups:
        return [
            aligned_empty((count, inputs, outputs), np.dtype(np.int8)),
            aligned_empty((count, outputs), _FLOAT32),
        ]
    assert stored.weight_format is not None
    kind = hf.part_format(tensor, weights=stored.weight_format)
    q_shape, scale_shape = quantised_shapes(outputs, inputs, weights=kind)
    return [
        aligned_empty((count, *q_shape), np.dtype(np.int8 if kind == "int8" else np.uint8)),
        aligned_empty((count, *scale_shape), np.dtype(np.float16)),
    ]


def _fill(
    stored: StoredCheckpoint,
    tensor: StoredTensor,
    *,
    part: tuple[np.ndarray, ...],
    in_groups: bool,
) -> None:
    """Read one tensor into its part of the arrays of its leaf."""
    start = 0
    if not tensor.is_matrix:
        for block in stored.blocks(tensor, dtype=_FLOAT32):
            part[0][start : start + len(block)] = block
            start += len(block)
        return
    assert stored.weight_format is not None
    kind = hf.part_format(tensor, weights=stored.weight_format)
    if in_groups:
        stored.fill_quantised(tensor, kind=kind, q=part[0], scale=part[1])
        return
    for q, scale in stored.quantised_blocks(tensor, kind=kind):
        channels, channel_scale = to_channels(q, scale)
        stop = min(start + len(channel_scale), len(part[1]))
        part[0][:, start:stop] = channels[:, : stop - start]
        part[1][start:stop] = channel_scale[: stop - start]
        start = stop


def _place(arrays: Sequence[np.ndarray], *, shape: tuple[int, ...]) -> Any:
    """Hand the arrays of a leaf to jax, which uses them in place on a CPU."""
    device = jax.devices()[0]
    placed = [jax.device_put(array, device, may_alias=True) for array in arrays]
    if len(placed) == 1:
        return placed[0]
    q, scale = placed
    kind = QuantisedWeight if scale.dtype == np.float16 else ChannelWeight
    return kind(q=q, scale=scale, shape=shape)


def _check_memory(
    stored: StoredCheckpoint, tensors: list[StoredTensor], *, in_groups: bool
) -> None:
    """Refuse a model that does not fit before any of it is read."""
    weights = stored.weight_format if in_groups else None
    needed = _SPARE_BYTES
    for tensor in tensors:
        for _, shape, dtypes in hf.stored_parts(tensor, weights=weights):
            is_matrix = len(shape) > 1
            size = 1 if is_matrix and not in_groups else DTYPES[dtypes[-1]].itemsize
            needed += int(np.prod(shape, dtype=np.int64)) * (size if is_matrix else 4)
    free = available_bytes()
    if free is not None and needed > free:
        raise CheckpointError(
            f"{stored.folder}: the weights as {stored.weight_format} need {needed / 1e9:.2f} GB "
            f"of memory, {free / 1e9:.2f} GB are free; free some, or choose a smaller model"
        )
