# SPDX-License-Identifier: Apache-2.0
"""Load a model folder into arrays, and save arrays as a model folder.

A folder of ours is one in Hugging Face's layout plus `codegemma.json` and `manifest.json`, so
reading either is one thing. Weights are read in blocks straight into the stacked arrays of the
model, which jax then uses in place on a CPU: beyond the weights kept, memory grows by megabytes.
"""

import logging
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from codegemma.errors import CheckpointError, ConfigError
from codegemma.kernels import native
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight
from codegemma.model.config import ModelConfig
from codegemma.model.convert.hf import StoredTensor, stored_tensors
from codegemma.model.export import MAX_SHARD_BYTES, write_checkpoint
from codegemma.model.memory import aligned_empty, available_bytes
from codegemma.model.metadata import Metadata
from codegemma.model.params import Params, ParamSpec, param_specs
from codegemma.model.quantised import read_quantised
from codegemma.model.stored import StoredCheckpoint, open_checkpoint, parse_dtype
from codegemma.text.tokenizer import Tokenizer

# Fastest width of a strip when a matrix is copied transposed; measured, see `_copy_transposed`.
_STRIP: Final = 16
_SPARE_BYTES: Final = 64 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A model in memory.

    Args:
        config: Its shape.
        params: Its weights, in the tree of `params.py`.
        tokenizer: Its tokenizer.
        metadata: What is known of it.
        fingerprint: sha256 of its manifest; None where it has none.
    """

    config: ModelConfig
    params: Params
    tokenizer: Tokenizer
    metadata: Metadata
    fingerprint: str | None = None

    @property
    def tokenizer_file(self) -> Path:
        """Where its tokenizer came from."""
        return self.tokenizer.path


def load_checkpoint(
    folder: Path | str,
    *,
    dtype: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checkpoint:
    """Load a model folder onto the default device.

    Args:
        folder: A folder of ours, one from Hugging Face, or a GGUF file.
        dtype: Dtype of the weights, bfloat16 or float32, by name or as numpy or jax know it;
            None keeps what is stored (float16 becomes float32). Or a function of the model's
            configuration that gives one. Quantised weights stay as they are; those of a GGUF file
            do if nothing else is asked for and there are native kernels for their format.
        progress: Told the bytes of weights made so far and in all, from several threads.

    Raises:
        CheckpointError: The folder is refused, or there is not enough memory.
        ConfigError: The dtype is unknown.
    """
    stored = open_checkpoint(folder)
    if callable(dtype) and not isinstance(dtype, type):
        dtype = dtype(stored.config)
    wanted = stored.dtype if dtype is None else parse_dtype(dtype)
    specs = param_specs(stored.config)
    metadata = stored.metadata
    is_gguf = stored.weight_format is not None and metadata.weights is None
    if metadata.weights or (is_gguf and dtype is None and native.choose_path() is not None):
        params = read_quantised(stored, progress=progress)
        metadata = replace(metadata, weights=stored.weight_format)
    else:
        if dtype is None and stored.quantised_type is not None:
            _log.warning("%s", _describe_decoding(stored, dtype=wanted))
        _check_memory(stored.folder, specs, dtype=wanted)
        params = _read_params(stored, specs, dtype=wanted, progress=progress)
    stored.check_unchanged()
    return Checkpoint(
        config=stored.config,
        params=params,
        tokenizer=stored.tokenizer,
        metadata=metadata,
        fingerprint=stored.fingerprint,
    )


def save_checkpoint(
    folder: Path | str,
    *,
    config: ModelConfig,
    params: Params,
    tokenizer_file: Path,
    metadata: Metadata,
    licence_files: Sequence[Path] = (),
    dtype: Any = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    replace: bool = False,
) -> None:
    """Save a model as a folder of ours, all or nothing.

    Args:
        folder: The folder to make.
        config: Shape of the model.
        params: Its weights.
        tokenizer_file: Its vocabulary; the other tokenizer files beside it travel with it.
        metadata: What is known of it.
        licence_files: Licences and notices that travel with the weights.
        dtype: Dtype of the weights on disk, bfloat16 or float32; None keeps that of the embedding.
        max_shard_bytes: Most bytes of weights in one file.
        replace: Whether an existing folder is replaced.

    Raises:
        CheckpointError: The folder exists, the disk is full, or a weight is NaN or Inf.
        ConfigError: The dtype is unknown.
    """
    if isinstance(params["embedding"], QuantisedWeight | ChannelWeight):
        raise ConfigError("quantised weights are not saved; save floats, then quantise the folder")
    _check_shapes(params, config)
    wanted = parse_dtype(params["embedding"].dtype if dtype is None else dtype)

    def blocks(tensor: StoredTensor) -> Iterator[np.ndarray]:
        values = _on_host(_leaf(params, tensor), layer=tensor.layer).astype(wanted, copy=False)
        if tensor.is_product:
            outputs, inputs = tensor.shape
            product = np.empty((outputs, inputs), wanted)
            _copy_transposed(product, values.reshape(inputs, outputs))
            values = product
        yield np.ascontiguousarray(values)

    write_checkpoint(
        folder,
        config=config,
        metadata=metadata,
        blocks=blocks,
        dtype=wanted,
        tokenizer_file=tokenizer_file,
        licence_files=licence_files,
        max_shard_bytes=max_shard_bytes,
        replace=replace,
    )


def _read_params(
    stored: StoredCheckpoint,
    specs: Params,
    *,
    dtype: np.dtype,
    progress: Callable[[int, int], None] | None,
) -> Params:
    """Read leaf after leaf, the layers of one in parallel, each handed to jax when complete."""
    device = jax.devices()[0]
    parts: dict[tuple[str, ...], list[StoredTensor]] = {}
    for tensor in stored_tensors(stored.config):
        parts.setdefault(tensor.leaf, []).append(tensor)
    total = sum(spec.size for spec in jax.tree.leaves(specs)) * dtype.itemsize
    done = dict.fromkeys((tensor.name for tensors in parts.values() for tensor in tensors), 0)
    is_stopped = threading.Event()

    def fill(leaf: np.ndarray, tensor: StoredTensor) -> None:
        part = leaf if tensor.layer is None else leaf[tensor.layer]
        row = 0
        for block in stored.blocks(tensor, dtype=dtype):
            if is_stopped.is_set():
                return
            if tensor.is_product:
                outputs, inputs = tensor.shape
                product = part.reshape(inputs, outputs)
                _copy_transposed(product[:, row : row + len(block)], block)
            else:
                part[row : row + len(block)] = block
            row += len(block)
            done[tensor.name] += block.nbytes
            if progress:
                progress(sum(done.values()), total)

    params: Params = {"layers": {}}
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        try:
            for path, tensors in parts.items():
                leaf = aligned_empty(_leaf(specs, tensors[0]).shape, dtype)
                for _ in pool.map(lambda tensor, leaf=leaf: fill(leaf, tensor), tensors):
                    pass
                node = params["layers"] if path[0] == "layers" else params
                node[path[-1]] = jax.device_put(leaf, device, may_alias=True)
        finally:
            is_stopped.set()
    return params


def _describe_decoding(stored: StoredCheckpoint, *, dtype: np.dtype) -> str:
    """Say that a GGUF file gives floats, and what makes of it what the kernels multiply."""
    name = stored.quantised_type
    weights = "int8" if name == "Q8_0" else "int4"
    return (
        f"{stored.folder}: its matrices ({name}) were decoded to {dtype}, which takes more memory "
        "and time; `codegemma convert "
        f"{shlex.quote(str(stored.folder))} DST --quantize {weights}` makes a model of {weights}"
    )


def _check_memory(folder: Path, specs: Params, *, dtype: np.dtype) -> None:
    """Refuse a model that does not fit before any of it is read."""
    sizes = [spec.size * dtype.itemsize for spec in jax.tree.leaves(specs)]
    device = jax.devices()[0]
    is_cpu = device.platform == "cpu"
    stats = None if is_cpu else device.memory_stats()
    amounts = [("memory", (sum(sizes) if is_cpu else max(sizes)) + _SPARE_BYTES, available_bytes())]
    if stats and "bytes_limit" in stats:
        free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
        amounts.append((f"memory on the {device.platform}", sum(sizes), free))
    for what, needed, free in amounts:
        if free is not None and needed > free:
            raise CheckpointError(
                f"{folder}: the weights as {dtype} need {needed / 1e9:.2f} GB of {what}, "
                f"{free / 1e9:.2f} GB are free; free some, choose a smaller dtype or model"
            )


def _check_shapes(params: Params, config: ModelConfig) -> None:
    specs = param_specs(config)
    for tensor in stored_tensors(config):
        spec: ParamSpec = _leaf(specs, tensor)
        found = tuple(_leaf(params, tensor).shape)
        if found != spec.shape:
            raise CheckpointError(
                f"expected the weight {'.'.join(tensor.leaf)} of shape {spec.shape}, found {found}"
            )


def _on_host(leaf: Any, *, layer: int | None) -> np.ndarray:
    """Return a layer of a weight; only that is copied from another device, and nothing on a CPU."""
    if layer is None:
        return np.asarray(leaf)
    if isinstance(leaf, jax.Array) and any(d.platform != "cpu" for d in leaf.devices()):
        return np.asarray(leaf[layer])
    return np.asarray(leaf)[layer]


def _leaf(tree: Params, tensor: StoredTensor) -> Any:
    node: Any = tree
    for key in tensor.leaf:
        node = node[key]
    return node


def _copy_transposed(target: np.ndarray, source: np.ndarray) -> None:
    """Copy `source.T` into `target`, strip by strip.

    numpy's own order of copying touches a new cache line with every value written; strips of a few
    rows of the source fill lines of the target, four times as fast.
    """
    bits = np.dtype(f"u{source.itemsize}")  # numpy copies its own dtypes faster than bfloat16
    target, source = target.view(bits), source.view(bits)
    for start in range(0, len(source), _STRIP):
        target[:, start : start + _STRIP] = source[start : start + _STRIP].T
