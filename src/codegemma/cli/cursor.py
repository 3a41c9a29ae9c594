# SPDX-License-Identifier: Apache-2.0
r"""A cursor in a file: FILE:LINE:COL to the text before and after it.

LINE and COL count from 1, COL in characters of the decoded line, one past its end allowed. The
text inside has LF line ends and no byte order mark; the file's own line end is kept beside it, for
what will be inserted. The path shown to a model is relative to the repository's root, as in
training.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from codegemma.context.root import find_root
from codegemma.errors import InputError
from codegemma.text.newlines import LineEnd, line_end_of, to_lf

STDIN = "-"
_PLACE = re.compile(r"(?P<file>.+):(?P<line>\d+):(?P<column>\d+)", re.DOTALL)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A file, "-" for standard input, and a position in it.

    Args:
        file: Path as the user gave it.
        line: Line, from 1.
        column: Character of the line, from 1; one past its end is its end.
    """

    file: str
    line: int
    column: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """What stands around a cursor.

    Args:
        prefix: Text before it, LF.
        suffix: Text after it, LF.
        path: Path in the repository, None when unknown.
        file: The file itself, None for standard input and under a path that is not its own.
        line_end: The file's own line end.
    """

    prefix: str
    suffix: str
    path: str | None
    line_end: LineEnd
    file: Path | None = None


def parse_place(text: str) -> Place:
    r"""Read FILE:LINE:COL; the file may hold colons, as in `C:\app.py:3:1`.

    Raises:
        InputError: There is no position at the end.
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        raise InputError(f"expected FILE:LINE:COL, such as src/app.py:10:5, not {text!r}")
    line, column = match["line"], match["column"]
    # More digits than any file has lines: told as out of range, never converted.
    if len(line) > 12 or len(column) > 12:
        raise InputError(f"the position {line[:12]}...:{column[:12]} is in no file")
    return Place(file=match["file"], line=int(line), column=int(column))


def read_cursor(place: Place, *, path: str | None = None) -> Cursor:
    """Read the file and cut it at the position.

    Args:
        place: File and position.
        path: Path to show to the model instead of the file's own.

    Raises:
        InputError: The file is missing, no text in UTF-8, or has no such position.
    """
    name = "standard input" if place.file == STDIN else place.file
    raw = _decode(_read(place.file), name=name)
    text = to_lf(raw)
    at = offset_of(text, line=place.line, column=place.column, name=name)
    file: Path | None = None
    if path is None and place.file != STDIN:
        file = Path(place.file)
        path = repository_path(file)
    return Cursor(
        prefix=text[:at], suffix=text[at:], path=path, line_end=line_end_of(raw), file=file
    )


def offset_of(text: str, *, line: int, column: int, name: str = "the text") -> int:
    """Turn a position into an offset in an LF text.

    Raises:
        InputError: The text has no such position; the message says which it has.
    """
    lines = text.split("\n")
    if not 1 <= line <= len(lines):
        raise InputError(f"{name} has lines 1 to {len(lines)}, not {line}")
    width = len(lines[line - 1])
    if not 1 <= column <= width + 1:
        raise InputError(f"line {line} of {name} has columns 1 to {width + 1}, not {column}")
    return sum(len(before) + 1 for before in lines[: line - 1]) + column - 1


def repository_path(file: Path) -> str:
    """Path of a file from the root of its repository, else from the working folder."""
    absolute = file.absolute()
    root = find_root(file) or Path.cwd()
    if absolute.is_relative_to(root):
        return absolute.relative_to(root).as_posix()
    return absolute.name


def _read(file: str) -> bytes:
    if file == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {file}") from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None


def _decode(data: bytes, *, name: str) -> str:
    if b"\0" in data:
        raise InputError(f"{name} is a binary file, or text that is not UTF-8")
    try:
        return data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 at byte {error.start}") from None
