# SPDX-License-Identifier: Apache-2.0
"""A model as it lies on the disk, a folder or a GGUF file: opened, checked, read on demand.

Nothing here holds more of the weights than a few megabytes: `checkpoint.py` makes a model of them,
`export.py` writes them anew.
"""

import dataclasses
import hashlib
from collections import Counter
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
    pack,
    quantise_groups,
    unpack,
    whole_blocks,
    widen,
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
from codegemma.model.tensorfile import FLOATS, TensorFile, TensorSource, is_finite
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

    @property
    def quantised_type(self) -> str | None:
        """Type of most of the matrices of a GGUF file where that is a quantised one; else None."""
        kinds = Counter(
            source.entries[tensor.name].dtype
            for tensor in hf.stored_tensors(self.config)
            if tensor.is_matrix
            and isinstance(source := self.weights.get(tensor.name), gguf.GgufWeights)
        )
        most = max(kinds, key=kinds.__getitem__, default="F32")
        return None if most in FLOATS else most

    def blocks(self, tensor: StoredTensor, *, dtype: np.dtype) -> Iterator[np.ndarray]:
        """Yield a tensor as blocks of rows in `dtype`, rows of padding left out.

        Raises:
            CheckpointError: A value is not finite, the file changed, or `dtype` cannot hold it.
        """
        if (own := self._own_format(tensor)) is not None:
            for values, scale in self.grouped_blocks(tensor, kind=own):
                yield widen(values, scale).astype(dtype, copy=False)
            return
        file = self.weights[tensor.name]
        for block in file.blocks(tensor.name, num_rows=tensor.shape[0]):
            values = block.astype(dtype, copy=False)
            if values is not block and not is_finite(values):
                raise CheckpointError(
                    f"{file.path}: the tensor {tensor.name} holds a value too large for {dtype}"
                )
            yield values

    def quantised_blocks(
        self, tensor: StoredTensor, *, kind: WeightFormat
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield q and scale of a matrix, a few of its blocks of outputs at a time.

        Values that are stored in `kind` stay what they are; all others are rounded to it.

        Raises:
            CheckpointError: A value is none of the format's, or the file changed.
        """
        if self._own_format(tensor) == kind:
            yield from self._own_blocks(tensor)
            return
        for values, scale in self.grouped_blocks(tensor, kind=kind):
            yield pack(values, scale, weights=kind)

    def fill_quantised(
        self, tensor: StoredTensor, *, kind: WeightFormat, q: np.ndarray, scale: np.ndarray
    ) -> None:
        """Read q and scale of a matrix into arrays; where they are stored so, straight from disk.

        Raises:
            CheckpointError: As of `quantised_blocks`.
        """
        start = 0
        is_own = self._own_format(tensor) == kind
        blocks = self._own_blocks(tensor, into=(q, scale)) if is_own else None
        for q_part, scale_part in blocks or self.quantised_blocks(tensor, kind=kind):
            if not is_own:
                q[start : start + len(q_part)] = q_part
                scale[start : start + len(q_part)] = scale_part
            start += len(q_part)

    def grouped_blocks(
        self, tensor: StoredTensor, *, kind: WeightFormat
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the same outputs first: int8 [rows, groups, 32] and float16 [rows, groups].

        Raises:
            CheckpointError: As of `quantised_blocks`.
        """
        file = self.weights.get(tensor.name)
        if self._own_format(tensor) == kind:
            left = tensor.shape[0]
            for q, scale in self._own_blocks(tensor):
                values, scales = unpack(q, scale)
                yield values[:left], scales[:left]
                left -= len(values)
        elif (
            isinstance(file, gguf.GgufWeights)
            and QUANTISED.get(file.entries[tensor.name].dtype) == kind
        ):
            for values, scale in file.quantised_blocks(tensor.name, num_rows=tensor.shape[0]):
                if (values == -128).any():  # none of ours; made by another program, if at all
                    yield quantise_groups(widen(values, scale), weights=kind)
                else:
                    yield values, scale
        else:
            for rows in whole_blocks(self.blocks(tensor, dtype=_DTYPES["float32"])):
                yield quantise_groups(rows, weights=kind)

    def _own_format(self, tensor: StoredTensor) -> WeightFormat | None:
        """Give the format of a matrix of a quantised folder; None of all others."""
        weights = self.metadata.weights
        return hf.part_format(tensor, weights=weights) if weights and tensor.is_matrix else None

    def _own_blocks(
        self, tensor: StoredTensor, *, into: tuple[np.ndarray, np.ndarray] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield q and scale of a matrix of a quantised folder, as they lie in its files.

        Scales that are NaN or Inf are refused; of q, only an int8 can be none of the format's.
        """
        q_part, scale_part = hf.stored_parts(tensor, weights=self.metadata.weights)
        q_file, scale_file = self.weights[q_part.name], self.weights[scale_part.name]
        assert isinstance(q_file, TensorFile)
        assert isinstance(scale_file, TensorFile)
        q, scale = into or (None, np.empty(scale_part.shape, np.float16))
        for _ in scale_file.blocks(scale_part.name, out=scale.reshape(scale_part.shape)):
            pass
        scale = scale.reshape(q_part.shape[0], -1, LANES)
        out = None if q is None else q.reshape(q_part.shape)
        start = 0
        for block in q_file.blocks(q_part.name, out=out):
            if block.dtype == np.int8 and block.min() == -128:
                raise CheckpointError(
                    f"{q_file.path}: expected values from -127 to 127 in the tensor "
                    f"{q_part.name}, found -128"
                )
            stop = start + len(block)
            yield block.reshape(len(block), scale.shape[1], -1), scale[start:stop]
            start = stop

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
