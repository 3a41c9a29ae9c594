# SPDX-License-Identifier: Apache-2.0
"""The record of a training set and the files it is stored in.

A record is one packed example as text: files, their legal suffix starts, and a token budget. It is
stored as JSON in ArrayRecord files `{train,heldout}-00000-of-000NN.array_record`, records of other
genres than code in `{train,heldout}-GENRE-...`; the same records give the same bytes. Reading is
`loader`'s.
"""

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from codegemma.data.document import Genre, LineEnds
from codegemma.errors import DataError, PrerequisiteError

Part = Literal["train", "heldout"]
PARTS: Final[tuple[Part, ...]] = ("train", "heldout")
_WRITER_OPTIONS: Final = "group_size:1,zstd:3"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordFile:
    """One file, or a window of a long file, as the model sees it.

    Args:
        path: Path inside its repository; of a turn "user" or "model", of other documents "".
        text: Content, lines ended by LF.
        suffix_starts: Sorted character offsets in (0, len(text)] where a suffix may start.
        origin: `name@version` of the repository, with `:LINE` of the window's first line, from 1.
        line_ends: How the lines ended in the source.
        is_broken: Whether the file is never cut: too much of it does not parse.
    """

    path: str
    text: str
    suffix_starts: tuple[int, ...]
    origin: str
    line_ends: LineEnds = "lf"
    is_broken: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One packed example: files of one repository that together fit the budget.

    Or a document: its text is the one file, and the turns of a conversation are files.

    Args:
        files: In the order the model reads them.
        max_tokens: Most tokens of the encoded segment, `<bos>` and `<eos>` included.
        genre: What it holds.
    """

    files: tuple[RecordFile, ...]
    max_tokens: int
    genre: Genre = "code"


def pack_record(record: Record) -> bytes:
    """Serialise a record; suffix starts are stored as differences."""
    files: list[list[Any]] = []
    for file in record.files:
        starts = file.suffix_starts
        steps = [b - a for a, b in zip((0, *starts), starts, strict=False)]
        marks = {"line_ends": file.line_ends} if file.line_ends != "lf" else {}
        marks |= {"is_broken": True} if file.is_broken else {}
        files.append([file.path, file.text, steps, file.origin, *([marks] if marks else [])])
    genre = [record.genre] if record.genre != "code" else []
    row = [record.max_tokens, files, *genre]
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def unpack_record(data: bytes) -> Record:
    """Read a record back.

    Raises:
        DataError: The bytes are no record.
    """
    try:
        max_tokens, rows, *genre = json.loads(data)
        files: list[RecordFile] = []
        for path, text, steps, origin, *marks in rows:
            place, starts = 0, list[int]()
            for step in steps:
                place += step
                starts.append(place)
            files.append(
                RecordFile(
                    path=path,
                    text=text,
                    suffix_starts=tuple(starts),
                    origin=origin,
                    **cast("dict[str, Any]", marks[0] if marks else {}),
                )
            )
    except (ValueError, TypeError) as error:
        raise DataError(f"a record is damaged: {error}; prepare the data again") from error
    return Record(files=tuple(files), max_tokens=max_tokens, genre=genre[0] if genre else "code")


def record_key(data: bytes) -> bytes:
    """Hash a serialised record; records are ordered and drawn by it."""
    return hashlib.sha256(data).digest()


def array_record() -> Any:
    """Import ArrayRecord's bindings.

    Raises:
        PrerequisiteError: The package is not installed.
    """
    try:
        return importlib.import_module("array_record.python.array_record_module")
    except ImportError as error:
        raise PrerequisiteError(
            "shards need the package array-record: pip install 'codegemma[data]'"
        ) from error


def write_shards(
    folder: Path,
    part: Part,
    packed: Sequence[bytes],
    *,
    records_per_shard: int,
    genre: Genre = "code",
    written: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Write records to shards in the order of their keys, so that neighbours are unrelated.

    Args:
        folder: Where.
        part: Part of the data set.
        packed: The records.
        records_per_shard: Most records of one file.
        genre: What they hold.
        written: Told after each shard how many records are in it.

    Returns:
        One entry per shard for the manifest: name, genre, records, size and sha256.
    """
    start = part if genre == "code" else f"{part}-{genre}"
    keys = [record_key(data) for data in packed]
    ordered = sorted(range(len(keys)), key=keys.__getitem__)
    count = max(1, -(-len(ordered) // records_per_shard))
    entries: list[dict[str, Any]] = []
    for index in range(count):
        chunk = ordered[index * len(ordered) // count : (index + 1) * len(ordered) // count]
        path = folder / f"{start}-{index:05d}-of-{count:05d}.array_record"
        write_shard(path, (packed[place] for place in chunk))
        entries.append(
            {
                "name": path.name,
                "genre": genre,
                "records": len(chunk),
                "bytes": path.stat().st_size,
                "sha256": hash_file(path),
            }
        )
        written(len(chunk))
    return entries


def write_shard(path: Path, rows: Iterable[bytes]) -> None:
    """Write one ArrayRecord file; the same rows give the same bytes."""
    writer = array_record().ArrayRecordWriter(str(path), _WRITER_OPTIONS)
    for row in rows:
        writer.write(row)
    writer.close()


def hash_file(path: Path) -> str:
    """Give the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
