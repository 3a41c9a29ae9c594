# SPDX-License-Identifier: Apache-2.0
"""A model folder as it lies on the disk, opened and checked; its weights are read on demand.

Nothing here holds more of the weights than a few megabytes: `checkpoint.py` makes a model of them,
`export.py` writes them anew.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from codegemma.errors import CheckpointError, ConfigError
from codegemma.model.config import ModelConfig
from codegemma.model.convert import hf, hf_config
from codegemma.model.convert.hf import StoredTensor
from codegemma.model.folder import contained_file, read_json_object
from codegemma.model.hub import find_model
from codegemma.model.manifest import MANIFEST_NAME, read_manifest, verify_manifest
from codegemma.model.metadata import (
    METADATA_NAME,
    Metadata,
    read_metadata,
)
from codegemma.model.tensorfile import TensorFile, is_finite
from codegemma.text.tokenizer import FILE_NAMES as TOKENIZER_NAMES
from codegemma.text.tokenizer import Tokenizer

_DTYPES: Final = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCheckpoint:
    """A model folder of which everything but the values of the weights was checked.

    Args:
        folder: Where it lies, links resolved.
        config: Its shape; the vocabulary is that of the tokenizer.
        metadata: What it says of itself.
        tokenizer: Its tokenizer.
        weights: The file of every stored tensor.
        fingerprint: sha256 of its `manifest.json`; None where it has none.
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
    elif (folder / METADATA_NAME).exists():
        raise CheckpointError(
            f"{folder}: expected {MANIFEST_NAME} beside {METADATA_NAME}; the folder is not whole "
            f"(without {METADATA_NAME} it is loaded unverified, as one from elsewhere)"
        )
    weights = hf.find_weights(folder)
    raw = read_json_object(folder, hf_config.CONFIG_NAME)
    hf_config.refuse_code(raw, place=str(folder / hf_config.CONFIG_NAME))
    if (folder / hf_config.TOKENIZER_CONFIG_NAME).exists():
        hf_config.refuse_code(
            read_json_object(folder, hf_config.TOKENIZER_CONFIG_NAME),
            place=str(folder / hf_config.TOKENIZER_CONFIG_NAME),
        )
    metadata = _read_metadata(folder)
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
        fingerprint=manifest.sha256 if manifest and (folder / MANIFEST_NAME).exists() else None,
    )


def _read_metadata(folder: Path) -> Metadata:
    """Read what the folder says of itself; one named as a known model is under its licence.

    Google's own weights, copied without their card, say nothing else of the terms they are under.
    """
    metadata = read_metadata(folder)
    if metadata.licence is None and not (folder / METADATA_NAME).exists():
        known = find_model(metadata.name.lower())
        return dataclasses.replace(metadata, licence=known.licence if known else None)
    return metadata


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
