# SPDX-License-Identifier: Apache-2.0
"""Read and write one GGUF file, a few megabytes in memory at a time.

The file is a magic word, metadata (key -> typed value), the tensors' names, shapes, types and
places, and their values. The header is checked in full before anything is believed: no count or
length in it makes this module allocate more than the file holds. What the keys and tensors mean is
`convert/gguf.py`'s affair. A chat template in the metadata is text like any other; none is run.

Differs: the gguf package maps the file and believes its counts; hence an own reader of the header.
Blocks of quantised values are decoded by the package, which is also the tests' oracle; those
written are made by our own quantiser, so that a file holds what our other formats do.

Source: the GGUF specification, versions 2 and 3, in ggml's documentation.
"""

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from codegemma.errors import CheckpointError
from codegemma.kernels.formats import LANES, WeightFormat
from codegemma.model.steadyfile import SteadyFile
from codegemma.model.tensorfile import BLOCK_BYTES, DTYPES, is_finite, read_into

Value: TypeAlias = bool | int | float | str | list[str] | np.ndarray
"""A value of the metadata; arrays of numbers are numpy arrays."""

Block: TypeAlias = np.ndarray | tuple[np.ndarray, np.ndarray]
"""Some rows of a tensor: floats, or quantised values and their scales."""

READABLE: Final = frozenset(
    [
        "F32",
        "F16",
        "BF16",
        "Q4_0",
        "Q4_1",
        "Q5_0",
        "Q5_1",
        "Q8_0",
        "Q2_K",
        "Q3_K",
        "Q4_K",
        "Q5_K",
        "Q6_K",
        "IQ4_NL",
        "IQ4_XS",
        "IQ3_XXS",
        "IQ3_S",
        "IQ2_XXS",
        "IQ2_XS",
        "IQ2_S",
        "IQ1_S",
        "IQ1_M",
    ]
)
"""Types of tensors whose values can be read; the header of any other can."""

WRITABLE: Final = ("F32", "F16", "BF16", "Q8_0", "Q4_0")
"""Types in which tensors can be written."""

QUANTISED: Final[Mapping[str, WeightFormat]] = {"Q8_0": "int8", "Q4_0": "int4"}
"""Types whose values and scales are those of a format of our kernels."""

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_ALIGNMENT: Final = 32
_ALIGNMENTS: Final = tuple(1 << shift for shift in range(17))
_MAX_HEADER_BYTES: Final = 64 << 20
_MAX_ENTRIES: Final = 1 << 16
_MAX_STRINGS: Final = 1 << 20
_MAX_NAME_BYTES: Final = 1 << 10
_MAX_DIMS: Final = 4
_STRING, _ARRAY = 8, 9
_SCALARS: Final = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufEntry:
    """One tensor of a file.

    Args:
        dtype: Its type by the format's name, such as "Q4_K".
        shape: Its shape, outermost axis first (the file has it the other way round).
        offset: Its first byte in the file.
        size_bytes: Bytes of its values.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class GgufFile:
    """The header of a GGUF file, and its tensors on demand. Thread-safe.

    Args:
        path: The file.

    Attributes:
        metadata: Values by key.
        entries: The tensors by name, in the order of the file.

    Raises:
        CheckpointError: The file cannot be read or its header is not true; the message names the
            file and the key or tensor.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = SteadyFile(path)
        with self._file.reading(buffering=-1) as file:
            header = _Header(self.path, file, self._file.signature.size_bytes)
            self.metadata, self.entries = _read_header(header)

    def blocks(self, name: str, *, num_rows: int | None = None) -> Iterator[np.ndarray]:
        """Yield a tensor in order, as blocks of whole rows; each is valid until the next.

        Plain types come as they are stored, quantised ones as float32.

        Args:
            name: A tensor of one or two dimensions; of one, all values are one row.
            num_rows: Rows to read, from the first on; None reads all.

        Raises:
            CheckpointError: The file changed or ended early, or a value is NaN or Inf.
        """
        entry = self.entries[name]
        assert entry.dtype in READABLE, entry.dtype
        for row, data in self._raw_blocks(name, num_rows=num_rows):
            block = _decode(data, entry.dtype)
            if not is_finite(block):
                raise self._not_finite(name, row, len(data))
            yield block.reshape(-1) if len(entry.shape) == 1 else block

    def quantised_blocks(
        self, name: str, *, num_rows: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield a matrix of `QUANTISED`, values and scales as stored, `LANES` rows or a multiple.

        Args:
            name: The matrix.
            num_rows: As of `blocks`.

        Returns:
            int8 [rows, groups, 32] and float16 [rows, groups]; a value is the scale times it.

        Raises:
            CheckpointError: The file changed or ended early, or a scale is NaN or Inf.
        """
        entry = self.entries[name]
        group_bytes = 34 if entry.dtype == "Q8_0" else 18
        assert entry.dtype in QUANTISED, entry.dtype
        for row, data in self._raw_blocks(name, num_rows=num_rows, multiple=LANES):
            groups = data.reshape(len(data), -1, group_bytes)
            scale = np.ascontiguousarray(groups[..., :2]).view("<f2")[..., 0]
            if not is_finite(scale):
                raise self._not_finite(name, row, len(data))
            values = groups[..., 2:]
            if entry.dtype == "Q4_0":  # the low halves of the bytes come first
                values = np.concatenate([values & 15, values >> 4], axis=-1) - np.uint8(8)
            yield np.ascontiguousarray(values).view(np.int8), scale

    def _raw_blocks(
        self, name: str, *, num_rows: int | None, multiple: int = 1
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the bytes of some rows at a time, with the number of the first."""
        entry = self.entries[name]
        rows, columns = (1, *entry.shape)[-2:]
        last = rows if num_rows is None or len(entry.shape) == 1 else num_rows
        row_bytes = entry.size_bytes // rows
        step = BLOCK_BYTES // max(row_bytes, 4 * columns) // multiple * multiple
        step = max(multiple, step)
        buffer = np.empty((min(step, last), row_bytes), np.uint8)
        with self._file.reading(entry.offset) as file:
            for row in range(0, last, step):
                data = buffer[: min(step, last - row)]
                if not read_into(file, data):
                    raise CheckpointError(f"{self.path} ended within the tensor {name}")
                yield row, data

    def _not_finite(self, name: str, row: int, num_rows: int) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: expected finite values, found NaN or Inf in the tensor {name}, in rows "
            f"{row} to {row + num_rows - 1}"
        )

    def check_unchanged(self) -> None:
        """Refuse a file that is no longer the one whose header was read.

        Raises:
            CheckpointError: It was changed, replaced or removed.
        """
        self._file.check_unchanged()


def describe(value: Value | None) -> str:
    """Say in a few words what a value of the metadata is, however large it may be."""
    if isinstance(value, list | np.ndarray):
        what = "texts" if isinstance(value, list) else value.dtype.name
        return f"a list of {len(value)} {what}"
    return repr(value[:80] if isinstance(value, str) else value)


def write_gguf(
    path: Path,
    *,
    architecture: str,
    metadata: Mapping[str, Value],
    tensors: Mapping[str, tuple[tuple[int, ...], str]],
    blocks: Callable[[str], Iterable[Block]],
) -> None:
    """Write a GGUF file, tensor by tensor.

    Args:
        path: The file, which is overwritten.
        architecture: What `general.architecture` says.
        metadata: Values by key; whole numbers become uint32, others float32.
        tensors: Shape and type (of `WRITABLE`) of each tensor by name, in their order.
        blocks: Gives a tensor's values as blocks of rows, in order; of a type of `QUANTISED` as
            `GgufFile.quantised_blocks` does, and no value is rounded.

    Raises:
        CheckpointError: A value is not finite, or too large for its type.
    """
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        _add(writer, key, value)
    for name, (shape, kind) in tensors.items():
        size_bytes = num_bytes(shape, kind)
        raw_dtype = gguf.GGMLQuantizationType[kind]
        dtype = np.dtype(np.float32)  # any but bytes, which would stand for a shape in bytes
        writer.add_tensor_info(name, shape, dtype, size_bytes, raw_dtype)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        (file,) = writer.fout
        for name, (shape, kind) in tensors.items():
            file.write(bytes(-file.tell() % _ALIGNMENT))
            start = file.tell()
            for block in blocks(name):
                file.write(_encode(block, kind, place=f"{path.name}: the tensor {name}"))
            assert file.tell() - start == num_bytes(shape, kind), name
        file.write(bytes(-file.tell() % _ALIGNMENT))
    finally:
        writer.close()


def num_bytes(shape: Sequence[int], kind: str) -> int:
    """Bytes of the values of a tensor whose rows the type divides."""
    num_values, block_bytes = _block_sizes(kind)
    return math.prod(shape) // num_values * block_bytes


class _Header:
    """Takes numbers and strings from the start of a file, never more than the file has."""

    def __init__(self, path: Path, file: Any, size_bytes: int) -> None:
        self.path = path
        self.position = 0
        self.size_bytes = size_bytes
        self._file = file

    def take(self, count: int, what: str) -> bytes:
        left = min(self.size_bytes, _MAX_HEADER_BYTES) - self.position
        if count > left:
            raise CheckpointError(
                f"{self.path} is truncated or damaged: {what} should take {count} bytes, its "
                f"header has {left} more"
            )
        data = self._file.read(count)
        if len(data) < count:
            raise CheckpointError(f"{self.path} is truncated: it ended within {what}")
        self.position += count
        return data

    def number(self, code: str, what: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what))[0]

    def string(self, what: str, *, max_bytes: int = _MAX_HEADER_BYTES) -> str:
        length = self.number("Q", f"the length of {what}")
        if length > max_bytes:
            raise CheckpointError(f"{self.path} is damaged: {what} announces {length} bytes")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self.path} is damaged: {what} is not UTF-8") from error

    def value(self, kind: int, what: str) -> Value:
        if kind == _STRING:
            return self.string(what)
        if kind in _SCALARS:
            return self.number(_SCALARS[kind], what)
        if kind != _ARRAY:
            raise CheckpointError(f"{self.path}: {what} is of the unknown type {kind}")
        kind, count = self.number("I", what), self.number("Q", what)
        if kind in _SCALARS:
            dtype = np.dtype(f"<{_SCALARS[kind]}")
            return np.frombuffer(self.take(count * dtype.itemsize, what), dtype)
        if kind != _STRING:
            raise CheckpointError(f"{self.path}: {what} is a list of the type {kind}")
        if count > _MAX_STRINGS:
            raise CheckpointError(f"{self.path} is damaged: {what} announces {count} strings")
        return [self.string(what) for _ in range(count)]


def _read_header(header: _Header) -> tuple[dict[str, Value], dict[str, GgufEntry]]:
    path = header.path
    if header.size_bytes < 24 or header.take(4, "its first word") != _MAGIC:
        raise CheckpointError(f"{path} is no GGUF file: it does not begin with GGUF")
    version = header.number("I", "its version")
    if version not in _VERSIONS:
        hint = "; it is big-endian" if version & 0xFFFF == 0 else ""
        raise CheckpointError(f"{path}: expected GGUF version 2 or 3, found {version}{hint}")
    num_tensors, num_keys = header.number("Q", "a count"), header.number("Q", "a count")
    for count, what in ((num_tensors, "tensors"), (num_keys, "metadata keys")):
        if count > _MAX_ENTRIES:
            raise CheckpointError(f"{path} is damaged: it announces {count} {what}")
    metadata: dict[str, Value] = {}
    for _ in range(num_keys):
        key = header.string("a metadata key", max_bytes=_MAX_NAME_BYTES)
        if key in metadata:
            raise CheckpointError(f"{path}: the metadata key {key!r} is given twice")
        metadata[key] = header.value(header.number("I", key), f"the metadata {key!r}")
    entries: dict[str, GgufEntry] = {}
    for _ in range(num_tensors):
        name = header.string("a tensor's name", max_bytes=_MAX_NAME_BYTES)
        if name in entries:
            raise CheckpointError(f"{path}: the tensor {name} is given twice")
        entries[name] = _read_entry(header, name)
    return metadata, _place(entries, header, metadata.get("general.alignment", _ALIGNMENT))


def _read_entry(header: _Header, name: str) -> GgufEntry:
    """Read one tensor's description; its offset still counts from the first value."""
    import gguf

    what = f"the tensor {name}"
    num_dims = header.number("I", what)
    if not 1 <= num_dims <= _MAX_DIMS:
        raise CheckpointError(f"{header.path}: {what} has {num_dims} dimensions")
    shape = tuple(header.number("Q", what) for _ in range(num_dims))[::-1]
    number, offset = header.number("I", what), header.number("Q", what)
    try:
        kind = gguf.GGMLQuantizationType(number).name
    except ValueError as error:
        raise CheckpointError(f"{header.path}: {what} is of the unknown type {number}") from error
    if 0 in shape or shape[-1] % _block_sizes(kind)[0]:
        raise CheckpointError(
            f"{header.path}: {what} of shape {list(shape)} cannot be of the type {kind}"
        )
    size_bytes = num_bytes(shape, kind)
    return GgufEntry(dtype=kind, shape=shape, offset=offset, size_bytes=size_bytes)


def _place(
    entries: Mapping[str, GgufEntry], header: _Header, alignment: Value
) -> dict[str, GgufEntry]:
    """Find every tensor's place in the file, and refuse one outside it or over another."""
    path, size_bytes = header.path, header.size_bytes
    if type(alignment) is not int or alignment not in _ALIGNMENTS:
        raise CheckpointError(
            f"{path}: expected an alignment of a power of two, not {describe(alignment)}"
        )
    start = -(-header.position // alignment) * alignment
    placed: dict[str, GgufEntry] = {}
    end, before = 0, "the header"
    for name, entry in sorted(entries.items(), key=lambda item: item[1].offset):
        if entry.offset % alignment or start + entry.offset + entry.size_bytes > size_bytes:
            raise CheckpointError(
                f"{path} is truncated or damaged: the tensor {name} of {entry.size_bytes} bytes "
                f"should begin at {start + entry.offset}, the file has {size_bytes} bytes in "
                f"steps of {alignment}"
            )
        if entry.offset < end:
            raise CheckpointError(f"{path}: the tensors {before} and {name} overlap")
        end, before = entry.offset + entry.size_bytes, name
        placed[name] = GgufEntry(
            dtype=entry.dtype,
            shape=entry.shape,
            offset=start + entry.offset,
            size_bytes=entry.size_bytes,
        )
    return {name: placed[name] for name in entries}


def _block_sizes(kind: str) -> tuple[int, int]:
    """Give how many values one block of a type holds, and its bytes."""
    import gguf

    return gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]


def _decode(data: np.ndarray, kind: str) -> np.ndarray:
    if kind in DTYPES:
        return data.view(DTYPES[kind])
    import gguf

    with np.errstate(over="ignore", invalid="ignore"):
        return gguf.dequantize(data, gguf.GGMLQuantizationType[kind])


def _encode(block: Block, kind: str, *, place: str) -> memoryview:
    if isinstance(block, tuple):
        values, scale = block
        assert kind in QUANTISED, kind
        checked = np.ascontiguousarray(scale, "<f2")
        encoded = _join_groups(values, checked, kind)
    else:
        with np.errstate(over="ignore"):
            checked = encoded = np.ascontiguousarray(block.astype(DTYPES[kind], copy=False))
    if not is_finite(checked):
        raise CheckpointError(f"{place} holds a value that is not finite or too large for {kind}")
    return encoded.reshape(-1).view(np.uint8).data


def _join_groups(values: np.ndarray, scale: np.ndarray, kind: str) -> np.ndarray:
    """Put each group's scale before its values; of Q4_0, the first half in the low bits."""
    if kind == "Q4_0":
        raised = (values + np.int8(8)).view(np.uint8)
        half = raised.shape[-1] // 2
        values = raised[..., :half] | raised[..., half:] << 4
    scale_bytes = scale.view(np.uint8).reshape(*scale.shape, 2)
    return np.concatenate([scale_bytes, values.view(np.uint8)], axis=-1)


def _add(writer: Any, key: str, value: Value) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case np.ndarray():
            writer.add_array(key, value.tolist())
        case _:
            writer.add_array(key, value)
