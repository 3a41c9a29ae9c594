# SPDX-License-Identifier: Apache-2.0
"""A model folder as it lies on the disk: opened and checked, written, or converted.

Nothing here holds more of the weights than a few megabytes. Reading them into a model and taking
them from one is `checkpoint.py`.
"""

import dataclasses
import importlib.metadata
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import ml_dtypes
import numpy as np

from codegemma.errors import CheckpointError, ConfigError
from codegemma.model.config import ModelConfig
from codegemma.model.convert import hf, hf_config
from codegemma.model.convert.hf import StoredTensor
from codegemma.model.folder import atomic_folder, contained_file, read_json_object
from codegemma.model.manifest import read_manifest, verify_manifest, write_manifest
from codegemma.model.metadata import (
    GEMMA_LICENCE,
    GEMMA_TERMS,
    METADATA_NAME,
    Metadata,
    read_metadata,
)
from codegemma.model.tensorfile import TensorFile, is_finite, write_tensorfile
from codegemma.text.tokenizer import FILE_NAMES as TOKENIZER_NAMES
from codegemma.text.tokenizer import Tokenizer

Layout = Literal["hf", "native"]
"""A folder as transformers reads it, or the same with `codegemma.json` and `manifest.json`."""

MAX_SHARD_BYTES: Final = 5_000_000_000
_DTYPES: Final = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}
_TOKENIZER_COMPANIONS: Final = (
    *TOKENIZER_NAMES,
    hf_config.TOKENIZER_CONFIG_NAME,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
_LICENCE_PATTERNS: Final = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_NOTICE: Final = (
    f"Gemma is provided under and subject to the Gemma Terms of Use found at {GEMMA_TERMS}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCheckpoint:
    """A model folder of which everything but the values of the weights was checked.

    Args:
        folder: Where it lies, links resolved.
        config: Its shape; the vocabulary is that of the tokenizer.
        metadata: What it says of itself.
        tokenizer: Its tokenizer.
        weights: The file of every stored tensor.
        fingerprint: sha256 of its manifest; None where it has none.
    """

    folder: Path
    config: ModelConfig
    metadata: Metadata
    tokenizer: Tokenizer
    weights: Mapping[str, TensorFile]
    fingerprint: str | None

    @property
    def dtype(self) -> np.dtype:
        """bfloat16 when all of it is, else float32, which holds every value exactly."""
        tensors = hf.stored_tensors(self.config)
        kinds = {self.weights[tensor.name].entries[tensor.name].dtype for tensor in tensors}
        return _DTYPES["bfloat16" if kinds == {"BF16"} else "float32"]

    def blocks(self, tensor: StoredTensor, *, dtype: np.dtype) -> Iterator[np.ndarray]:
        """Yield a tensor as blocks of rows in `dtype`, rows of padding left out.

        Raises:
            CheckpointError: A value is not finite, the file changed, or `dtype` cannot hold it.
        """
        file = self.weights[tensor.name]
        for block in file.blocks(tensor.name, num_rows=tensor.shape[0]):
            values = block.astype(dtype, copy=False)
            if values is not block and not is_finite(values):
                raise CheckpointError(
                    f"{file.path}: the tensor {tensor.name} holds a value too large for {dtype}"
                )
            yield values

    def check_unchanged(self) -> None:
        """Refuse the folder if a file of weights is no longer what it was when opened.

        Raises:
            CheckpointError: A file was changed, replaced or removed.
        """
        for file in dict.fromkeys(self.weights.values()):
            file.check_unchanged()


def parse_dtype(dtype: Any) -> np.dtype:
    """Return the dtype of weights a caller asks for, by name or as numpy or jax know it.

    Raises:
        ConfigError: It is neither bfloat16 nor float32.
    """
    try:
        found = _DTYPES.get(dtype) if isinstance(dtype, str) else np.dtype(dtype)
    except TypeError:
        found = None
    if found not in _DTYPES.values():
        raise ConfigError(f"expected the dtype {' or '.join(_DTYPES)}, not {dtype!r}")
    assert found is not None
    return found


def open_checkpoint(
    folder: Path | str, *, progress: Callable[[int, int], None] | None = None
) -> StoredCheckpoint:
    """Open a model folder, check all that can be checked without reading the weights.

    Where the folder has a manifest, every file is hashed, unless it was before and has not changed.

    Args:
        folder: A folder of ours, or one from Hugging Face.
        progress: Told the bytes hashed so far and in all.

    Raises:
        CheckpointError: Something is missing, damaged, changed or refused; the message names the
            file and the tensor.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: expected a model folder, found none")
    folder = folder.resolve()
    manifest = read_manifest(folder)
    if manifest is not None:
        verify_manifest(folder, manifest, progress=progress)
    weights = hf.find_weights(folder)
    raw = read_json_object(folder, hf_config.CONFIG_NAME)
    hf_config.refuse_code(raw, place=str(folder / hf_config.CONFIG_NAME))
    if (folder / hf_config.TOKENIZER_CONFIG_NAME).exists():
        hf_config.refuse_code(
            read_json_object(folder, hf_config.TOKENIZER_CONFIG_NAME),
            place=str(folder / hf_config.TOKENIZER_CONFIG_NAME),
        )
    metadata = read_metadata(folder)
    place = str(folder / hf_config.CONFIG_NAME)
    config = hf_config.parse_config(raw, name=metadata.name, place=place)
    tokenizer = _open_tokenizer(folder)
    config, num_padding_rows = _fit_vocabulary(
        config, weights=weights, tokenizer=tokenizer, place=place
    )
    hf.match_weights(
        weights,
        config=config,
        num_padding_rows=num_padding_rows,
        is_tied=raw.get("tie_word_embeddings") is not False,
    )
    if num_padding_rows:
        line = f"Dropped {num_padding_rows} rows of padding from the embedding table."
        metadata = dataclasses.replace(metadata, history=(*metadata.history, line))
    if manifest is not None and (folder / METADATA_NAME).exists():
        _check_listed(folder, names=manifest.files.keys(), weights=weights)
    return StoredCheckpoint(
        folder=folder,
        config=config,
        metadata=metadata,
        tokenizer=tokenizer,
        weights=weights,
        fingerprint=None if manifest is None else manifest.sha256,
    )


def write_checkpoint(
    folder: Path | str,
    *,
    config: ModelConfig,
    metadata: Metadata,
    blocks: Callable[[StoredTensor], Iterable[np.ndarray]],
    dtype: np.dtype,
    tokenizer_file: Path,
    licence_files: Sequence[Path] = (),
    layout: Layout = "native",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    replace: bool = False,
) -> None:
    """Write a model folder, all or nothing.

    Args:
        folder: The folder to make.
        config: Shape of the model.
        metadata: What it says of itself.
        blocks: Gives the values of a tensor as contiguous blocks of rows.
        dtype: Dtype of those values.
        tokenizer_file: Vocabulary; the other tokenizer files beside it travel with it.
        licence_files: Licences and notices that travel with the weights.
        layout: Whether to add our own two files.
        max_shard_bytes: Most bytes of weights in one file.
        replace: Whether an existing folder is replaced.

    Raises:
        CheckpointError: The folder exists, the disk is full, or a value is NaN or Inf.
    """
    folder = Path(folder)
    tensors = {tensor.name: tensor for tensor in hf.stored_tensors(config)}
    sizes = {name: math.prod(tensor.shape) * dtype.itemsize for name, tensor in tensors.items()}
    plan = hf.plan_shards(sizes, max_shard_bytes=max_shard_bytes)
    with atomic_folder(folder, replace=replace) as partial:
        _check_disk(partial, needed_bytes=sum(sizes.values()))
        known: dict[str, str] = {}
        for shard, names in plan.items():
            known[shard] = write_tensorfile(
                partial / shard,
                {name: tensors[name].shape for name in names},
                dtype=dtype,
                blocks=lambda name: blocks(tensors[name]),
            )
        if len(plan) > 1:
            places = {name: shard for shard, names in plan.items() for name in names}
            index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places}
            _write_json(partial / hf.INDEX_NAME, index)
        _write_companions(
            partial,
            config=config,
            metadata=metadata,
            dtype=dtype,
            tokenizer_file=tokenizer_file,
            licence_files=licence_files,
        )
        if layout == "native":
            _write_json(partial / METADATA_NAME, metadata.raw)
            write_manifest(partial, known=known)


def convert_checkpoint(
    source: Path | str,
    target: Path | str,
    *,
    layout: Layout,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a model folder anew in another layout or dtype; licences travel with it.

    Args:
        source: The folder to read.
        target: The folder to make.
        layout: "hf" for what transformers and vLLM read, "native" for that and our own files.
        dtype: "bfloat16" or "float32"; None keeps the dtype.
        max_shard_bytes: Most bytes of weights in one file.
        progress: Told the bytes of weights read so far and in all.

    Raises:
        CheckpointError: The source is refused, or the target cannot be written.
        ConfigError: The dtype is unknown.
    """
    stored = open_checkpoint(source)
    kept = stored.dtype
    wanted = kept if dtype is None else parse_dtype(dtype)
    metadata = stored.metadata
    if wanted != kept:
        line = f"Converted the weights from {kept} to {wanted}."
        metadata = dataclasses.replace(metadata, history=(*metadata.history, line))
    total = sum(math.prod(tensor.shape) for tensor in hf.stored_tensors(stored.config))
    done = 0

    def blocks(tensor: StoredTensor) -> Iterator[np.ndarray]:
        nonlocal done
        for block in stored.blocks(tensor, dtype=wanted):
            yield block
            done += block.size
            if progress:
                progress(done * wanted.itemsize, total * wanted.itemsize)

    write_checkpoint(
        target,
        config=stored.config,
        metadata=metadata,
        blocks=blocks,
        dtype=wanted,
        tokenizer_file=stored.tokenizer.path,
        licence_files=find_licences(stored.folder),
        layout=layout,
        max_shard_bytes=max_shard_bytes,
    )
    stored.check_unchanged()


def find_licences(folder: Path) -> list[Path]:
    """List the licences, notices and use policies of a model folder."""
    names = sorted({path.name for pattern in _LICENCE_PATTERNS for path in folder.glob(pattern)})
    return [contained_file(folder, name) for name in names if (folder / name).is_file()]


def _open_tokenizer(folder: Path) -> Tokenizer:
    for name in TOKENIZER_NAMES:
        if (folder / name).exists():
            return Tokenizer.from_file(contained_file(folder, name))
    return Tokenizer.from_folder(folder)


def _fit_vocabulary(
    config: ModelConfig, *, weights: Mapping[str, TensorFile], tokenizer: Tokenizer, place: str
) -> tuple[ModelConfig, int]:
    """Hold configuration and embedding to the tokenizer; rows of padding are none of its."""
    num_pieces = tokenizer.vocab_size
    allowed = (num_pieces, num_pieces + hf.PADDING_ROWS)
    if config.vocab_size not in allowed:
        raise CheckpointError(
            f"{place} gives a vocabulary of {config.vocab_size}, {tokenizer.path.name} has "
            f"{num_pieces} pieces; they do not belong together"
        )
    num_rows = num_pieces
    if hf.EMBEDDING_NAME in weights:
        file = weights[hf.EMBEDDING_NAME]
        num_rows, *_ = file.entries[hf.EMBEDDING_NAME].shape or (0,)
        if num_rows not in allowed:
            raise CheckpointError(
                f"{file.path}: the tensor {hf.EMBEDDING_NAME} has {num_rows} rows, "
                f"{tokenizer.path.name} has {num_pieces} pieces; they do not belong together"
            )
    return dataclasses.replace(config, vocab_size=num_pieces), num_rows - num_pieces


def _check_listed(folder: Path, *, names: Iterable[str], weights: Mapping[str, TensorFile]) -> None:
    listed = {folder / name for name in names}
    for file in dict.fromkeys(weights.values()):
        if file.path not in listed:
            raise CheckpointError(f"{file.path} is not in the folder's manifest")


def _check_disk(folder: Path, *, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise CheckpointError(
            f"{folder.parent}: the weights need {needed_bytes / 1e9:.1f} GB of disk, "
            f"{free / 1e9:.1f} GB are free"
        )


def _write_companions(
    folder: Path,
    *,
    config: ModelConfig,
    metadata: Metadata,
    dtype: np.dtype,
    tokenizer_file: Path,
    licence_files: Sequence[Path],
) -> None:
    """Write everything beside the weights: configuration, tokenizer, licences."""
    is_instruction = metadata.is_instruction
    _write_json(folder / hf_config.CONFIG_NAME, hf_config.render_config(config, dtype=dtype.name))
    _write_json(
        folder / hf_config.GENERATION_NAME,
        hf_config.render_generation_config(is_instruction=is_instruction),
    )
    for name in _TOKENIZER_COMPANIONS:
        if (tokenizer_file.parent / name).exists():
            shutil.copyfile(contained_file(tokenizer_file.parent, name), folder / name)
    if not (folder / hf_config.TOKENIZER_CONFIG_NAME).exists():
        _write_json(
            folder / hf_config.TOKENIZER_CONFIG_NAME,
            hf_config.render_tokenizer_config(is_instruction=is_instruction),
        )
    for path in licence_files:
        shutil.copyfile(path, folder / path.name)
    if metadata.licence == GEMMA_LICENCE:
        _write_notice(folder / "NOTICE", metadata=metadata, dtype=dtype)


def _write_notice(path: Path, *, metadata: Metadata, dtype: np.dtype) -> None:
    """Add what the Gemma Terms of Use ask of a copy: their notice, and that it was modified."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if GEMMA_TERMS not in text:
        text += f"{_NOTICE}\n"
    version = importlib.metadata.version("codegemma")
    line = f"Modified: {metadata.name} was written anew as {dtype} by codegemma {version}.\n"
    path.write_text(text if line in text else text + line, encoding="utf-8")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
