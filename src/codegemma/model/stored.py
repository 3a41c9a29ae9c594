# SPDX-License-Identifier: Apache-2.0
"""A model as it lies on the disk, a folder or a GGUF file: opened, checked, read on demand.

Nothing here holds more of the weights than a few megabytes: `checkpoint.py` makes a model of them,
`export.py` writes them anew.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from codegemma.errors import CheckpointError, ConfigError
from codegemma.kernels.formats import (
    LANES,
    WeightFormat,
    dequantise,
    pack,
    quantise,
    whole_blocks,
)
from codegemma.model.config import ModelConfig
from codegemma.model.convert import gguf, hf, hf_config
from codegemma.model.convert.hf import StoredTensor
from codegemma.model.convert.vocabulary import render_sentencepiece
from codegemma.model.folder import contained_file, read_json_object
from codegemma.model.ggufile import QUANTISED, GgufFile
from codegemma.model.hub import find_model
from codegemma.model.manifest import MANIFEST_NAME, read_manifest, verify_manifest
from codegemma.model.metadata import (
    METADATA_NAME,
    Metadata,
    read_metadata,
)
from codegemma.model.tensorfile import TensorFile, TensorSource, is_finite
from codegemma.text.backend import SentencePieceBackend
from codegemma.text.tokenizer import FILE_NAMES as TOKENIZER_NAMES
from codegemma.text.tokenizer import Tokenizer

_DTYPES: Final = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCheckpoint:
    """A model folder of which everything but the values of the weights was checked.

    Args:
        folder: Where it lies, links resolved; a GGUF file is its own.
        config: Its shape; the vocabulary is that of the tokenizer.
        metadata: What it says of itself.
        tokenizer: Its tokenizer.
        weights: The file of every stored tensor.
        fingerprint: sha256 of its `manifest.json`; None where it has none.
        notices: Licences and notices that a GGUF file carries, text by file name.
        weight_format: Format in which the native kernels can take the matrices as they are stored;
            None of floats and of other formats.
    """

    folder: Path
    config: ModelConfig
    metadata: Metadata
    tokenizer: Tokenizer
    weights: Mapping[str, TensorSource]
    fingerprint: str | None
    notices: Mapping[str, str] = field(default_factory=dict)
    weight_format: WeightFormat | None = None

    @property
    def dtype(self) -> np.dtype:
        """bfloat16 when all of it is, else float32, which holds every value exactly.

        Of a GGUF file, bfloat16 when the matrices are: norms are float32 there. Quantised ones
        count as such, since float32 would take four to eight times what the file does. Of a
        quantised folder, float32.
        """
        if self.metadata.weights:
            return _DTYPES["float32"]
        kinds: set[str] = set()
        for tensor in hf.stored_tensors(self.config):
            source = self.weights[tensor.name]
            if tensor.is_matrix or not isinstance(source, gguf.GgufWeights):
                kinds.add(source.entries[tensor.name].dtype)
        return _DTYPES["float32" if kinds & {"F32", "F16"} else "bfloat16"]

    def blocks(self, tensor: StoredTensor, *, dtype: np.dtype) -> Iterator[np.ndarray]:
        """Yield a tensor as blocks of rows in `dtype`, rows of padding left out.

        Raises:
            CheckpointError: A value is not finite, the file changed, or `dtype` cannot hold it.
        """
        if self.metadata.weights and tensor.is_matrix:
            for q, scale in self.quantised_blocks(tensor):
                yield dequantise(q, scale).astype(dtype, copy=False)
            return
        file = self.weights[tensor.name]
        for block in file.blocks(tensor.name, num_rows=tensor.shape[0]):
            values = block.astype(dtype, copy=False)
            if values is not block and not is_finite(values):
                raise CheckpointError(
                    f"{file.path}: the tensor {tensor.name} holds a value too large for {dtype}"
                )
            yield values

    def quantised_blocks(self, tensor: StoredTensor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield q and scale of a quantised matrix, a few of its blocks of outputs at a time.

        Raises:
            CheckpointError: A value is none of the format's, or the file changed.
        """
        if self.metadata.weights is None:
            yield from self._packed_blocks(tensor)
            return
        parts = hf.stored_parts(tensor, weights=self.metadata.weights)
        q_name, scale_name = (part.name for part in parts)
        files = self.weights[q_name], self.weights[scale_name]
        scales = np.concatenate([block.copy() for block in files[1].blocks(scale_name)])
        start = 0
        for q in files[0].blocks(q_name):
            if q.dtype == np.int8 and (q == -128).any():
                raise CheckpointError(
                    f"{files[0].path}: expected values from -127 to 127 in the tensor {q_name}, "
                    "found -128"
                )
            scale = scales[start : start + len(q)].reshape(len(q), -1, LANES)
            yield q.reshape(*scale.shape[:2], -1), scale
            start += len(q)

    def _packed_blocks(self, tensor: StoredTensor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield q and scale of a matrix in a GGUF file; the values are the file's own.

        Only an embedding of another type than Q8_0 is quantised here.
        """
        assert self.weight_format is not None
        kind = hf.part_format(tensor, weights=self.weight_format)
        file = self.weights[tensor.name]
        assert isinstance(file, gguf.GgufWeights)
        if QUANTISED.get(file.entries[tensor.name].dtype) != kind:
            for rows in whole_blocks(self.blocks(tensor, dtype=_DTYPES["float32"])):
                yield quantise(rows, weights=kind)
            return
        for values, scale in file.quantised_blocks(tensor.name, num_rows=tensor.shape[0]):
            if (values == -128).any():  # none of ours; made by another program, if at all
                wide = values.astype(np.float32) * scale.astype(np.float32)[..., None]
                yield quantise(wide.reshape(len(wide), -1), weights=kind)
            else:
                yield pack(values, scale, weights=kind)

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
        folder: A folder of ours, one from Hugging Face, or a GGUF file.
        progress: Told the bytes hashed so far and in all.

    Raises:
        CheckpointError: Something is missing, damaged, changed or refused; the message names the
            file and the tensor.
    """
    folder = Path(folder)
    if folder.is_file():
        return _open_gguf(folder.resolve())
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
    tokenizer = open_tokenizer(folder)
    config, num_padding_rows = _fit_vocabulary(
        config, weights=weights, tokenizer=tokenizer, place=place
    )
    hf.match_weights(
        weights,
        config=config,
        num_padding_rows=num_padding_rows,
        is_tied=raw.get("tie_word_embeddings") is not False,
        weight_format=metadata.weights,
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
        weight_format=metadata.weights,
    )


def _open_gguf(path: Path) -> StoredCheckpoint:
    """Open a GGUF file; it has no manifest, and what it says of itself is in its header."""
    file = GgufFile(path)
    weights = gguf.GgufWeights(file)
    metadata, notices = _with_known_licence(gguf.parse_own(file)), gguf.notices(file)
    config = gguf.parse_config(file, name=metadata.name)
    tokenizer = open_tokenizer(path)
    sources: Mapping[str, TensorSource] = dict.fromkeys(weights.entries, weights)
    config, num_padding_rows = _fit_vocabulary(
        config, weights=sources, tokenizer=tokenizer, place=str(path)
    )
    hf.match_weights(sources, config=config, num_padding_rows=num_padding_rows, is_tied=True)
    return StoredCheckpoint(
        folder=path,
        config=config,
        metadata=metadata,
        tokenizer=tokenizer,
        weights=sources,
        fingerprint=None,
        notices=notices,
        weight_format=gguf.find_format(config, weights),
    )


def _read_metadata(folder: Path) -> Metadata:
    """Read what the folder says of itself; one named as a known model is under its licence.

    Google's own weights, copied without their card, say nothing else of the terms they are under.
    """
    metadata = read_metadata(folder)
    return metadata if (folder / METADATA_NAME).exists() else _with_known_licence(metadata)


def _with_known_licence(metadata: Metadata) -> Metadata:
    if metadata.licence is not None:
        return metadata
    known = find_model(metadata.name.lower())
    return dataclasses.replace(metadata, licence=known.licence if known else None)


def open_tokenizer(folder: Path) -> Tokenizer:
    """Read the vocabulary of a model folder, or that in a GGUF file.

    Raises:
        CheckpointError: There is none, or it is refused.
    """
    if folder.is_file():
        data = render_sentencepiece(gguf.parse_vocabulary(GgufFile(folder)))
        backend = SentencePieceBackend(data, path=folder)
        return Tokenizer(backend, path=folder, fingerprint=hashlib.sha256(data).hexdigest())
    for name in TOKENIZER_NAMES:
        if (folder / name).exists():
            return Tokenizer.from_file(contained_file(folder, name))
    return Tokenizer.from_folder(folder)


def _fit_vocabulary(
    config: ModelConfig, *, weights: Mapping[str, TensorSource], tokenizer: Tokenizer, place: str
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
