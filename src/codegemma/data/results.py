# SPDX-License-Identifier: Apache-2.0
"""Results of the stages on disk: one file per repository, there whole or not at all.

A file holds a line of JSON and then sections of bytes whose sizes the line names, so that the head
is read without the rest. A file that is cut short, or made from something else, counts as missing.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write(path: Path, head: dict[str, Any], sections: Sequence[bytes], *, key: str) -> None:
    """Write a result beside its place, bring it to disk, and move it there.

    Args:
        path: Its place; the folder is made when missing.
        head: JSON.
        sections: Bytes.
        key: Hash of everything the result depends on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"key": key, "sizes": [len(part) for part in sections], "head": head})
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(line.encode() + b"\n")
            file.writelines(sections)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:  # a full disk
        partial.unlink(missing_ok=True)
        raise


def is_made(path: Path, *, key: str) -> bool:
    """Tell whether a whole result of this key is there."""
    line, begin = _line(path)
    return line.get("key") == key and path.stat().st_size == begin + sum(line["sizes"])


def read_head(path: Path) -> dict[str, Any]:
    """Read the head of a result that is there."""
    return _line(path)[0]["head"]


def read_key(path: Path) -> str:
    """Read the key of a result that is there."""
    return _line(path)[0]["key"]


def offsets(path: Path) -> list[tuple[int, int]]:
    """Give the place and size of each section of a result that is there."""
    line, begin = _line(path)
    places: list[tuple[int, int]] = []
    for size in line["sizes"]:
        places.append((begin, size))
        begin += size
    return places


def read_section(path: Path, index: int) -> bytes:
    """Read one section of a result that is there."""
    return read_bytes(path, *offsets(path)[index])


def read_sections(path: Path) -> list[bytes]:
    """Read all sections of a result that is there."""
    places = offsets(path)
    with path.open("rb") as file:
        file.seek(places[0][0] if places else 0)
        return [file.read(size) for _, size in places]


def read_bytes(path: Path, begin: int, size: int) -> bytes:
    """Read a part of a result that is there, by its place and size."""
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(size)


def _line(path: Path) -> tuple[dict[str, Any], int]:
    try:
        with path.open("rb") as file:
            line = file.readline()
        return json.loads(line), len(line)
    except (FileNotFoundError, ValueError):
        return {}, 0
