# SPDX-License-Identifier: Apache-2.0
"""Survive a text that kills or hangs the parser: find it afterwards, and never parse it again.

While a process is `watched`, each text is noted in a file before it is parsed and crossed out when
that came to its end; the file outlives the process. `settle` reads what was not crossed out, parses
each such text alone in a process of its own, and remembers those that this did not survive: for
whoever is watched they are from then on texts that do not parse. So the verdict depends on the text
and not on who parsed it, and nothing is paid but a few writes a text (see
docs/decisions/0005-data-engine.md). Bounds of time and depth are `syntax`'s.
"""

import hashlib
import importlib
import multiprocessing
import os
import platform
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

TRIAL_S: Final = 120.0
"""Longest time that a text is tried alone; the bounds of `syntax` are reached before."""

_KNOWN: Final = "unparsable"
_NOTES: Final = "parsing"
_HEAD: Final = struct.Struct("<Q16s")
_local = threading.local()
_given_up: set[str] = set()


class _Watch:
    """Notes the texts that one thread parses.

    Args:
        folder: Where notes are kept, and what is known of earlier ones.
    """

    def __init__(self, folder: Path) -> None:
        known = folder / _KNOWN
        self._known = set(known.read_text().split()) if known.exists() else set[str]()
        notes = folder / _NOTES
        notes.mkdir(parents=True, exist_ok=True)
        self._path = notes / f"{platform.node()}-{os.getpid()}-{threading.get_ident()}"
        self._file = self._path.open("wb", buffering=0)

    def note(self, data: bytes, language: str) -> bool:
        """Note a text that is about to be parsed; False for one known not to survive."""
        if self._known and _digest(data, language) in self._known:
            return False
        self._file.seek(_HEAD.size)
        self._file.write(data)
        self._head(len(data) + 1, language)  # last, so that no note is torn
        return True

    def cross_out(self) -> None:
        """Note that nothing is being parsed."""
        self._head(0, "")

    def close(self) -> None:
        """Take the notes away: this process lives."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _head(self, size: int, language: str) -> None:
        self._file.seek(0)
        self._file.write(_HEAD.pack(size, language.encode()))


@contextmanager
def watched(folder: Path) -> Generator[None]:
    """Note in a folder what this thread parses, and do not parse what `settle` found there."""
    before: _Watch | None = _local.__dict__.get("watch")
    watch = _local.watch = _Watch(folder)
    try:
        yield
    finally:
        _local.watch = before
        watch.close()


def give_up(data: bytes, language: str) -> None:
    """Have this process never parse a text again, which took too long."""
    _given_up.add(_digest(data, language))


@contextmanager
def noted(data: bytes, language: str) -> Generator[bool]:
    """Note a text while it is parsed, where this thread is watched; gives whether it may be."""
    if _given_up and _digest(data, language) in _given_up:
        yield False
        return
    watch: _Watch | None = _local.__dict__.get("watch")
    if watch is None:
        yield True
        return
    is_fit = watch.note(data, language)
    try:
        yield is_fit
    finally:
        watch.cross_out()


def settle(folder: Path, *, trial_s: float = TRIAL_S) -> int:
    """Try alone what was being parsed when watched processes died, and remember what dies again.

    Nobody may be watched meanwhile. Of no notes nothing is done.

    Args:
        folder: As of `watched`.
        trial_s: A text that takes longer counts as one that hangs the parser.

    Returns:
        How many texts are newly known to be survived by no parser.
    """
    num_found = 0
    for path in sorted((folder / _NOTES).glob("*")):
        found = _read(path)
        if found is not None and not _survives(*found, trial_s=trial_s):
            with (folder / _KNOWN).open("a", encoding="ascii") as file:
                file.write(f"{_digest(*found)}\n")
            num_found += 1
        path.unlink()
    return num_found


def _read(path: Path) -> tuple[bytes, str] | None:
    """Read a note that was not crossed out, None for others and those that a crash left torn."""
    content = path.read_bytes()
    if len(content) < _HEAD.size:
        return None
    size, language = _HEAD.unpack_from(content)
    data = content[_HEAD.size : _HEAD.size + size - 1]
    if not size or len(data) != size - 1:
        return None
    return data, language.rstrip(b"\0").decode()


def _survives(data: bytes, language: str, *, trial_s: float) -> bool:
    """Parse a text in a process of its own; an error that is raised is survived."""
    process = multiprocessing.get_context("spawn").Process(target=_parse, args=(data, language))
    process.start()
    process.join(trial_s)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode in (0, 1)


def _parse(data: bytes, language: str) -> None:
    syntax: Any = importlib.import_module("codegemma.text.syntax")
    syntax.parse_bytes(data, language)


def _digest(data: bytes, language: str) -> str:
    return hashlib.sha256(language.encode() + b"\0" + data).hexdigest()
