# SPDX-License-Identifier: Apache-2.0
"""Read and write one safetensors file, a few megabytes in memory at a time.

The file is an 8-byte length, a JSON header (name -> dtype, shape, byte range) and the values. The
header is checked in full before anything is believed; values are read in blocks of rows and
refused when they hold NaN or Inf, or when the file changes meanwhile. Which tensors a model needs,
and what their names mean, is `convert/hf.py`'s affair.

Differs: the safetensors package accepts a name given twice and values that are not finite, and
writes a file only from tensors that are all in memory; hence an own reader and writer. The package
is the oracle of the tests.
"""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import ml_dtypes
import numpy as np

from codegemma.errors import CheckpointError
from codegemma.model.steadyfile import SteadyFile

DTYPES: Final = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
}
"""Dtypes whose values can be read; the header of any other tensor can."""

FLOATS: Final = ("BF16", "F32", "F16")
"""Those of weights that are not quantised."""

BLOCK_BYTES: Final = 4 << 20
"""About how much one block holds."""

_ITEM_BYTES: Final = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
_MAX_HEADER_BYTES: Final = 100_000_000
# With the sign shifted out, a value is NaN or Inf when all bits of its exponent are set.
_EXPONENT: Final = {"BF16": 0xFF00, "F16": 0xF800, "F32": 0xFF00_0000}
_FINITE_CHECK_ITEMS: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorEntry:
    """One tensor of a file: its dtype by the format's name, its shape, its first byte."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size_bytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


@runtime_checkable
class TensorSource(Protocol):
    """A file of tensors by name, read on demand: safetensors here, or another layout's."""

    readable: ClassVar[Collection[str]]
    """Dtypes whose values can be read."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def entries(self) -> Mapping[str, "Described"]:
        """Dtype and shape of every tensor."""
        ...

    def blocks(self, name: str, *, num_rows: int | None = None) -> Iterator[np.ndarray]:
        """Yield a tensor as blocks of rows."""
        ...

    def check_unchanged(self) -> None:
        """Refuse a file that is no longer the one whose header was read."""
        ...


@runtime_checkable
class Described(Protocol):
    """What is known of a tensor before it is read."""

    @property
    def dtype(self) -> str:
        """Its dtype by the format's name."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...


class TensorFile:
    """The header of a safetensors file, and its tensors on demand. Thread-safe.

    Args:
        path: The file.

    Attributes:
        entries: The tensors by name, in the order of their bytes.

    Raises:
        CheckpointError: The file cannot be read or its header is not true; the message names both
            file and tensor.
    """

    readable: ClassVar[Collection[str]] = FLOATS

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = SteadyFile(path)
        size_bytes = self._file.signature.size_bytes
        with self._file.reading(buffering=-1) as file:
            raw, start = _read_header(self.path, file, size_bytes)
        self.entries = _parse_entries(self.path, raw, start=start, size_bytes=size_bytes)

    def blocks(
        self, name: str, *, num_rows: int | None = None, out: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Yield a tensor in order, as blocks of whole rows; each is valid until the next.

        Args:
            name: A tensor of one or two dimensions; of one, each value is a row.
            num_rows: Rows to read, from the first on; None reads all.
            out: Contiguous array of those rows that takes them; the blocks are its parts then.

        Raises:
            CheckpointError: The file changed or ended early, or a value is NaN or Inf.
        """
        entry = self.entries[name]
        dtype = DTYPES[entry.dtype]
        columns = math.prod(entry.shape[1:])
        last = entry.shape[0] if num_rows is None else num_rows
        step = max(1, BLOCK_BYTES // max(1, columns * dtype.itemsize))
        shape = (min(step, last), *entry.shape[1:])
        buffer = np.empty(shape, dtype) if out is None else out
        with self._file.reading(entry.offset) as file:
            for row in range(0, last, step):
                start = 0 if out is None else row
                block = buffer[start : start + min(step, last - row)]
                if not read_into(file, block):
                    raise CheckpointError(f"{self.path} ended within the tensor {name}")
                if not is_finite(block):
                    raise CheckpointError(
                        f"{self.path}: expected finite values, found NaN or Inf in the tensor "
                        f"{name}, in rows {row} to {row + len(block) - 1}"
                    )
                yield block

    def check_unchanged(self) -> None:
        """Refuse a file that is no longer the one whose header was read.

        Raises:
            CheckpointError: It was changed, replaced or removed.
        """
        self._file.check_unchanged()


def is_finite(values: np.ndarray) -> bool:
    """Whether no value of a contiguous array of a dtype in `DTYPES` is NaN or Inf.

    Works on the bits, in pieces that stay in the processor's cache; whole numbers always are.
    """
    if values.dtype.kind in "iu":
        return True
    name = next(name for name, dtype in DTYPES.items() if dtype == values.dtype)
    bits = values.reshape(-1).view(np.dtype(f"u{values.itemsize}"))
    scratch = np.empty(min(_FINITE_CHECK_ITEMS, bits.size), bits.dtype)
    for start in range(0, bits.size, _FINITE_CHECK_ITEMS):
        piece = bits[start : start + _FINITE_CHECK_ITEMS]
        shifted = np.left_shift(piece, 1, out=scratch[: piece.size])
        if shifted.max() >= _EXPONENT[name]:
            return False
    return True


def write_tensorfile(
    path: Path,
    tensors: Mapping[str, tuple[int, ...]],
    *,
    dtype: np.dtype | Mapping[str, np.dtype],
    blocks: Callable[[str], Iterable[np.ndarray]],
) -> str:
    """Write a safetensors file, tensor by tensor.

    Args:
        path: The file, which is overwritten.
        tensors: Shape of each tensor by name, in the order of their bytes.
        dtype: Dtype of all of them, or of each by name; of those in `DTYPES`.
        blocks: Gives a tensor's values as contiguous blocks of its dtype, in order.

    Returns:
        sha256 of the file, in hexadecimal.

    Raises:
        CheckpointError: A value is NaN or Inf.
    """
    dtypes = dtype if isinstance(dtype, Mapping) else dict.fromkeys(tensors, dtype)
    kinds = {known: kind for kind, known in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        start, end = end, end + math.prod(shape) * dtypes[name].itemsize
        header[name] = {
            "dtype": kinds[dtypes[name]],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(encoded).to_bytes(8, "little"), encoded):
            digest.update(part)
            file.write(part)
        for name in tensors:
            for block in blocks(name):
                assert block.dtype == dtypes[name], (name, block.dtype)
                if not is_finite(block):
                    raise CheckpointError(
                        f"refused to write {path.name}: the tensor {name} holds NaN or Inf"
                    )
                data = block.reshape(-1).view(np.uint8).data
                digest.update(data)
                file.write(data)
        written = file.tell() - 8 - len(encoded)
        assert written == end, f"{path}: {end} bytes announced, {written} written"
    return digest.hexdigest()


def _read_header(path: Path, file: Any, size_bytes: int) -> tuple[bytes, int]:
    """Return the header's text and where the values start."""
    prefix = file.read(8)
    if len(prefix) < 8:
        raise CheckpointError(f"{path} is no safetensors file: it has {size_bytes} bytes")
    length = int.from_bytes(prefix, "little")
    if length > min(_MAX_HEADER_BYTES, size_bytes - 8):
        raise CheckpointError(
            f"{path} is damaged or no safetensors file: it announces a header of {length} bytes "
            f"in a file of {size_bytes}"
        )
    return file.read(length), 8 + length


def _parse_entries(
    path: Path, raw: bytes, *, start: int, size_bytes: int
) -> dict[str, TensorEntry]:
    def object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))
            raise CheckpointError(f"{path}: the tensor {twice} is given twice")
        return found

    try:
        header = json.loads(raw, object_pairs_hook=object_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its safetensors header is not valid JSON") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its safetensors header is not a JSON object")
    header.pop("__metadata__", None)
    spans = sorted(
        (_parse_entry(path, name, fields) for name, fields in header.items()),
        key=lambda span: span[2],
    )
    entries: dict[str, TensorEntry] = {}
    position = 0
    for name, entry, begin, end in spans:
        if begin != position or end - begin != entry.size_bytes:
            raise CheckpointError(
                f"{path}: the tensor {name} of shape {list(entry.shape)} {entry.dtype} should "
                f"take the bytes {position} to {position + entry.size_bytes}, its header says "
                f"{begin} to {end}"
            )
        position = end
        entries[name] = TensorEntry(
            dtype=entry.dtype, shape=entry.shape, offset=start + entry.offset
        )
    if start + position != size_bytes:
        raise CheckpointError(
            f"{path} is truncated or damaged: its header describes {start + position} bytes, the "
            f"file has {size_bytes}"
        )
    return entries


def _parse_entry(path: Path, name: str, fields: Any) -> tuple[str, TensorEntry, int, int]:
    match fields:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            is_shape = all(type(size) is int and 0 <= size < 1 << 48 for size in shape)
            if is_shape and dtype in _ITEM_BYTES and 0 <= begin <= end:
                entry = TensorEntry(dtype=dtype, shape=tuple(shape), offset=begin)
                return name, entry, begin, end
    raise CheckpointError(
        f"{path}: the header of the tensor {name} is not valid: {str(fields)[:100]}"
    )


def read_into(file: Any, block: np.ndarray) -> bool:
    """Fill `block` from the file; False where the file ends first."""
    view = block.reshape(-1).view(np.uint8).data
    while view:
        count = file.readinto(view)
        if not count:
            return False
        view = view[count:]
    return True
