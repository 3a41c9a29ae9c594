# SPDX-License-Identifier: Apache-2.0
"""Read repositories out of JSONL and Parquet tables: one a row, or one file a row.

A row with a list `files` is a repository (The Stack v3 names its columns repo_path, commit_id and
files[].file_path, content; plainer names work too); a row with a content is a file, and rows are
grouped by their repository. Columns are found by name. Compressed JSONL (.jsonl.gz, .jsonl.zst) is
read from its start whenever a row lies before the one read last, so rows that belong together
should lie together.
"""

import gzip
import importlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

from codegemma.data import license as licenses
from codegemma.data.document import Blob, Location, Wanted
from codegemma.errors import InputError, PrerequisiteError

MAX_ROW_BYTES: Final = 1 << 30
"""Largest row of a table: a line of JSONL, the values of Parquet."""

_REPOSITORY: Final = ("repo_path", "repo_name", "repository", "repo", "max_stars_repo_name", "name")
_VERSION: Final = ("commit_id", "revision_id", "commit", "max_stars_repo_head_hexsha", "version")
_LICENSES: Final = ("detected_licenses", "licenses", "max_stars_repo_licenses", "license")
_PATH: Final = ("file_path", "path", "max_stars_repo_path", "filename")
_CONTENT: Final = ("content", "text", "code")
_KEYS: Final = frozenset((*_REPOSITORY, *_VERSION, *_LICENSES))
_BATCH_ROWS: Final = 16


SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


def is_table(path: Path) -> bool:
    """Tell by its name whether a file is a table."""
    return path.name.endswith(SUFFIXES)


def locate(paths: Iterable[Path]) -> Iterator[Location]:
    """List the repositories of tables, in the order of their first rows.

    Rows of files are grouped over all tables, as the parts of one are; a row that holds a
    repository stands for one of its own table.

    Raises:
        InputError: A row is no JSON object, or names no repository.
        PrerequisiteError: A Parquet table without pyarrow.
    """
    found: dict[tuple[str, Path | None], dict[Path, list[int]]] = {}
    heads: dict[tuple[str, Path | None], dict[str, Any]] = {}
    for path in paths:
        for place, row, is_whole in _heads(path):
            name = _text(row, _REPOSITORY)
            if not name:
                raise InputError(
                    f"a row of {path} names no repository: expected one of {', '.join(_REPOSITORY)}"
                )
            key = (name, path if is_whole else None)
            heads.setdefault(key, {name: row[name] for name in row if name in _KEYS})
            found.setdefault(key, {}).setdefault(path, []).append(place)
    for key, rows in found.items():
        (root, first), *others = ((path, tuple(places)) for path, places in rows.items())
        yield Location(
            name=key[0],
            version=_text(heads[key], _VERSION),
            license="" if others or len(first) > 1 else _license(heads[key]),
            root=root,
            kind="table",
            rows=first,
            also=tuple(others),
        )


def blobs(location: Location, *, wanted: Wanted, max_bytes: int) -> Iterator[Blob]:
    """Give the wanted files of the location's rows; of two with one path the first."""
    seen: set[str] = set()
    tables = ((location.root, location.rows), *location.also)
    for row in (read_row(path, place) for path, rows in tables for place in rows):
        files = row.get("files")
        for file in cast("list[Any]", files) if isinstance(files, list) else [row]:
            if not isinstance(file, dict):
                yield Blob(path="", rule="row_damaged")
                continue
            blob = _blob(cast("dict[str, Any]", file), max_bytes)
            if not wanted(blob.path):
                continue
            if blob.path in seen:
                blob = Blob(path=blob.path, rule="duplicate_path")
            elif _leaves(blob.path):
                blob = Blob(path=blob.path, rule="path_outside")
            seen.add(blob.path)
            yield blob


def _blob(file: dict[str, Any], max_bytes: int) -> Blob:
    path = _text(file, _PATH)
    content = next((file[name] for name in _CONTENT if file.get(name) is not None), None)
    if isinstance(content, bytes):
        data = content
    elif isinstance(content, str):
        data = content.encode("utf-8", "surrogatepass")
    else:
        return Blob(path=path, rule="row_damaged")
    if len(data) > max_bytes:
        return Blob(path=path, rule="too_large", size_bytes=len(data))
    return Blob(path=path, data=data, size_bytes=len(data), license=_license(file))


def _leaves(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def _text(row: dict[str, Any], names: Sequence[str]) -> str:
    return next((str(row[name]) for name in names if row.get(name)), "")


def _license(row: dict[str, Any]) -> str:
    """Give what a row says of licences as SPDX has it; a list names several that all hold."""
    value = next((row[name] for name in _LICENSES if row.get(name)), "")
    parts = cast("list[Any]", value) if isinstance(value, list) else [value]
    found = {licenses.expression_of(str(part)) for part in parts if str(part).strip()}
    return " AND ".join(sorted(f"({n})" if " OR " in n and len(found) > 1 else n for n in found))


def _heads(path: Path) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """Give the place of every row, what it tells of its repository, and whether it holds it."""
    if path.suffix == ".parquet":
        file = open_parquet(path)
        is_whole = "files" in file.schema_arrow.names
        names = [name for name in file.schema_arrow.names if name in _KEYS]
        place = 0
        for batch in file.iter_batches(columns=names):
            for row in batch.to_pylist():
                yield place, row, is_whole
                place += 1
        return
    for place, line in _lines(path):
        row = _json(line, path, place)
        yield place, row, isinstance(row.get("files"), list)


def row_places(path: Path) -> Iterator[int]:
    """Give the place of every row of a table: its number, or its byte offset in JSONL."""
    if path.suffix == ".parquet":
        yield from range(open_parquet(path).metadata.num_rows)
        return
    for place, _ in _lines(path):
        yield place


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Give the lines that hold something, with their byte offsets in the text."""
    with _expanded(path) as file:
        place = 0
        while line := _line(file, path):
            if line.strip():
                yield place, line
            place += len(line)


def _expanded(path: Path) -> io.BufferedReader:
    """Open a table of lines, whatever it is compressed with."""
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(path, "rb"))
    if path.suffix == ".zst":
        return open_zstd(path)
    return path.open("rb")


def open_zstd(path: Path) -> io.BufferedReader:
    """Open a file that Zstandard compressed.

    Raises:
        PrerequisiteError: pyarrow, which reads it, is not there.
    """
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
    except ImportError as error:
        raise PrerequisiteError(
            f"reading {path.name} needs the package pyarrow: pip install 'codegemma[data]'"
        ) from error
    return io.BufferedReader(pyarrow.CompressedInputStream(str(path), "zstd"))


def _line(file: io.BufferedReader, path: Path) -> bytes:
    try:
        return file.readline(MAX_ROW_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is damaged or was cut short: {error}") from error


def _json(line: bytes, path: Path, place: int) -> dict[str, Any]:
    if len(line) > MAX_ROW_BYTES:
        raise InputError(f"the row at byte {place} of {path} is over {MAX_ROW_BYTES} bytes long")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the row at byte {place} of {path} is no JSON: {error}; was writing it cut short?"
        ) from error
    if not isinstance(row, dict):
        raise InputError(f"the row at byte {place} of {path} is no JSON object")
    return cast("dict[str, Any]", row)


def read_row(path: Path, place: int) -> dict[str, Any]:
    """Read the row at a place.

    Raises:
        InputError: It is no JSON object, or the table was changed.
    """
    if path.suffix == ".parquet":
        return _cursor(path, path.stat().st_mtime_ns).row(place)
    if path.suffix != ".jsonl":
        return _stream(path, path.stat().st_mtime_ns).row(place)
    with path.open("rb") as file:
        file.seek(place)
        return _json(_line(file, path), path, place)


@lru_cache(maxsize=2)
def _stream(path: Path, _changed: int) -> "_Stream":
    return _Stream(path)


class _Stream:
    """Reads rows of a compressed table, cheaply where each lies behind the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _expanded(path)
        self._at = 0

    def row(self, place: int) -> dict[str, Any]:
        """Read the row at an offset of the text."""
        if place < self._at:
            self._file.close()
            self._file, self._at = _expanded(self._path), 0
        while self._at < place:
            line = _line(self._file, self._path)
            if not line:
                break
            self._at += len(line)
        line = _line(self._file, self._path)
        self._at += len(line)
        return _json(line, self._path, place)


@lru_cache(maxsize=2)
def _cursor(path: Path, _changed: int) -> "_Cursor":
    return _Cursor(path)


class _Cursor:
    """Reads rows of a Parquet file, cheaply where each lies behind the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_parquet(path)
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._begin = self._end = self._group_end = 0

    def row(self, place: int) -> dict[str, Any]:
        """Read one row, by its number in the file."""
        if not self._begin <= place < self._group_end:
            self._open_group(place)
        while place >= self._end:
            self._batch = next(self._batches)
            self._begin, self._end = self._end, self._end + self._batch.num_rows
        found = self._batch.slice(place - self._begin, 1)
        if found.nbytes > MAX_ROW_BYTES:
            raise InputError(f"row {place} of {self._path} is over {MAX_ROW_BYTES} bytes long")
        return found.to_pylist()[0]

    def _open_group(self, place: int) -> None:
        """Find the row group of a row; of a large one rows are decoded one by one.

        A value that a dictionary holds once is decoded for every row that has it.
        """
        begin = 0
        for group in range(self._file.num_row_groups):
            told = self._file.metadata.row_group(group)
            size = told.num_rows
            if place < begin + size:
                if told.total_byte_size > MAX_ROW_BYTES * size:
                    raise InputError(
                        f"one of rows {begin} to {begin + size - 1} of {self._path} is over "
                        f"{MAX_ROW_BYTES} bytes long"
                    )
                is_small = told.total_byte_size * _BATCH_ROWS <= MAX_ROW_BYTES
                self._batches = self._file.iter_batches(
                    batch_size=_BATCH_ROWS if is_small else 1,
                    row_groups=[group],
                    use_threads=False,
                )
                self._begin = self._end = begin
                self._group_end = begin + size
                return
            begin += size
        raise InputError(f"there is no row {place} in a table that was changed while it was read")


def open_parquet(path: Path) -> Any:
    """Open a Parquet file.

    Raises:
        InputError: It is none.
        PrerequisiteError: pyarrow, which reads it, is not there.
    """
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise PrerequisiteError(
            "Parquet tables need the package pyarrow: pip install 'codegemma[data]'"
        ) from error
    try:
        return parquet.ParquetFile(path)
    except (ValueError, OSError) as error:  # pyarrow's own errors are of these kinds
        raise InputError(f"{path} is no Parquet file: {error}") from error
