# SPDX-License-Identifier: Apache-2.0
"""The source files of a repository on disk, and when each was changed.

Looks again and again, and does little each time: every file is asked for its time and size, but
the names in a folder are read anew only where the folder says that some came or went. Follows no
symbolic links and reads no file.
"""

import os
import time
from collections import deque
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple

from codegemma.text import syntax

MAX_FILES: Final = 20_000
"""Files beyond, the deepest ones, are not looked at."""
MAX_FILE_BYTES: Final = 1_000_000
"""Larger files are not looked at."""

Stamp = tuple[int, int]
"""Time of change in nanoseconds and size: what tells whether a file changed."""

_SKIPPED_FOLDERS: Final = frozenset(
    {"__pycache__", "node_modules", "site-packages", "venv", "build", "dist", "target", "vendor"}
)
_SETTLED_NS: Final = 2_500_000_000
"""A folder that changed less than this before its names were read may change once more without a
later time: clocks of file systems tick every 2 s at worst. Its names are read again."""
_MAX_TURNS: Final = 16
"""The names in a folder are read at least once in so many looks, should a file system, as some of
a network, keep no times of folders."""


class _Listing(NamedTuple):
    """What a folder holds.

    Args:
        changed: What the folder told of itself before; None where that may not tell a change.
        files: Of each source file the path from the root and the path to ask, in order.
        below: The folders in it that are looked into, from the root, in order.
    """

    changed: tuple[int, ...] | None
    files: list[tuple[str, str]]
    below: list[str]


class Disk:
    """The source files below a folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._listings: dict[str, _Listing] = {}
        self._turn = 0

    def look(self) -> tuple[dict[str, Stamp], bool]:
        """Give time and size of every source file, folders nearest to the root first.

        The second value tells whether there are no more than `MAX_FILES`.
        """
        stamps: dict[str, Stamp] = {}
        listings: dict[str, _Listing] = {}
        folders = deque([""])
        self._turn += 1
        while folders:
            inside = folders.popleft()
            is_due = (self._turn + len(listings)) % _MAX_TURNS == 0
            listing = self._list(inside, is_due=is_due)
            listings[inside] = listing
            for path, place in listing.files:
                try:
                    found = os.lstat(place)
                except OSError:
                    continue  # gone since its folder was read
                if S_ISREG(found.st_mode) and found.st_size <= MAX_FILE_BYTES:
                    stamps[path] = found.st_mtime_ns, found.st_size
            if len(stamps) > MAX_FILES:
                self._listings = listings
                return dict(list(stamps.items())[:MAX_FILES]), False
            folders.extend(listing.below)
        self._listings = listings
        return stamps, True

    def _list(self, inside: str, *, is_due: bool) -> _Listing:
        """Give what a folder holds, nothing where it is not readable or gone."""
        folder = f"{self._root}/{inside}"
        kept = self._listings.get(inside)
        try:
            changed = _change(folder)
            if kept and kept.changed == changed and not is_due:
                return kept
            is_settled = max(changed[:2]) + _SETTLED_NS < time.time_ns()
            with os.scandir(folder) as entries:
                files, below = _sorted_out(inside, list(entries))
        except OSError:
            return _Listing(None, [], [])
        return _Listing(
            changed if is_settled else None,
            [(path, f"{self._root}/{path}") for path in files],
            below,
        )


def _change(folder: str) -> tuple[int, ...]:
    """Give what is another once a name in a folder comes or goes, its two times first.

    The time of the last change of whatever kind is there since tools set the other one back.
    """
    found = os.stat(folder)  # noqa: PTH116  # a Path of each folder would cost as much again
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _sorted_out(inside: str, entries: "list[os.DirEntry[str]]") -> tuple[list[str], list[str]]:
    """Give the paths of the source files and of the folders to look into."""
    files: list[str] = []
    below: list[str] = []
    for entry in entries:
        name = entry.name
        if name[0] == "." or name in _SKIPPED_FOLDERS:
            continue
        if entry.is_dir(follow_symlinks=False):
            below.append(f"{inside}{name}/")
        else:
            _, dot, extension = name.rpartition(".")
            if dot and _is_source(extension):
                files.append(inside + name)
    return sorted(files), sorted(below)


@lru_cache
def _is_source(extension: str) -> bool:
    return syntax.language_of(f"file.{extension}") is not None
