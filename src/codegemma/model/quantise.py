# SPDX-License-Identifier: Apache-2.0
"""Write a model with quantised weights: float matrices in, values and scales out, by blocks."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from codegemma.kernels.formats import WeightFormat
from codegemma.model.convert import hf
from codegemma.model.export import MAX_SHARD_BYTES, find_licences, write_folder
from codegemma.model.stored import open_checkpoint
from codegemma.model.tensorfile import DTYPES


def quantise_checkpoint(
    source: Path | str,
    target: Path | str,
    *,
    weights: WeightFormat,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a model folder anew with quantised weights, which only this package reads.

    Values already in the format stay what they are. Norms become float32, of int4 weights the
    embedding int8. Of the source a few megabytes are in memory at a time.

    Args:
        source: The folder to read.
        target: The folder to make.
        weights: The format.
        max_shard_bytes: Most bytes of weights in one file.
        progress: Told the bytes of weights written so far and in all.

    Raises:
        CheckpointError: The source is refused, or the target cannot be written.
        ConfigError: A matrix has sizes that are not quantised.
    """
    stored = open_checkpoint(source)
    float32 = np.dtype(np.float32)
    tensors = {tensor.name: tensor for tensor in hf.stored_tensors(stored.config)}
    parts = {
        part.name: part
        for tensor in tensors.values()
        for part in hf.stored_parts(tensor, weights=weights)
    }
    dtypes = {
        name: DTYPES[part.dtypes[0]] if len(part.dtypes) == 1 else float32
        for name, part in parts.items()
    }
    total = sum(math.prod(part.shape) * dtypes[name].itemsize for name, part in parts.items())
    done, scales = 0, list[np.ndarray]()

    def values(name: str) -> Iterator[np.ndarray]:
        if name in tensors:
            yield from stored.blocks(tensors[name], dtype=float32)
        elif name.endswith(".scale"):
            yield np.concatenate(scales)
        else:
            tensor = tensors[name.removesuffix(".q")]
            kind = hf.part_format(tensor, weights=weights)
            scales.clear()
            for q, scale in stored.quantised_blocks(tensor, kind=kind):
                scales.append(scale.reshape(len(scale), -1))
                yield q.reshape(len(q), -1)

    def blocks(name: str) -> Iterator[np.ndarray]:
        nonlocal done
        for block in values(name):
            yield block
            done += block.nbytes
            if progress:
                progress(done, total)

    line = f"Quantised the weights from {stored.weight_format or stored.dtype} to {weights}."
    history = (*stored.metadata.history, line)
    write_folder(
        Path(target),
        config=stored.config,
        metadata=dataclasses.replace(stored.metadata, weights=weights, history=history),
        shapes={name: part.shape for name, part in parts.items()},
        dtypes=dtypes,
        blocks=blocks,
        dtype=float32,
        tokenizer_file=stored.tokenizer.path,
        licence_files=() if stored.folder.is_file() else find_licences(stored.folder),
        notices=stored.notices,
        layout="native",
        max_shard_bytes=max_shard_bytes,
        replace=False,
        check=stored.check_unchanged,
    )
