# SPDX-License-Identifier: Apache-2.0
"""The files of a repository on disk and what they import, kept up to date as files change.

Looks at size and time of every source file, reads those that are new or changed, and knows the
edges between all. Runs nothing, and reads nothing over `disk.MAX_FILE_BYTES`.
What was read may be kept in a file, so that another process need not read it again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

from codegemma.context.disk import MAX_FILE_BYTES, Disk, Stamp
from codegemma.data import graph
from codegemma.data.document import File
from codegemma.data.graph import Graph, Weight
from codegemma.data.pairing import Pairs
from codegemma.data.read import decode
from codegemma.data.resolve import Key, Resolver
from codegemma.text.imports import Import

_FORMAT: Final = 1
_KEPT_FRACTION: Final = 50
"""The cache, written whole, is written after changes of more than 1/50 of the files: fewer are
soon read again."""
_RELINKED_FRACTION: Final = 8
"""After changes of more than 1/8 of the files all are linked anew, which is faster then."""


@dataclass(slots=True)
class _Entry:
    stamp: Stamp
    imports: tuple[Import, ...]


class RepositoryIndex:
    """Source files of a repository, their edges, and which test tests which file.

    Args:
        root: Folder of the repository.
        cache: File to keep what was read in, replaced whole; None keeps nothing.

    Attributes:
        root: Folder of the repository.
        edges: The files that each file imports, cycles as they are; of every file.
        tests: What each test tests.
        is_whole: Whether the repository has no more than `disk.MAX_FILES`.
    """

    def __init__(self, root: Path, *, cache: Path | None = None) -> None:
        self.root = root
        self.edges: dict[str, dict[str, Weight]] = {}
        self.is_whole = True
        self._disk = Disk(root)
        self._users: dict[str, set[str]] = {}
        self._cache = cache
        self._num_unkept = 0
        self._entries: dict[str, _Entry] = _load(cache, root) if cache else {}
        self._is_linked = False
        self._pairs = Pairs(())
        self._resolver = Resolver({})
        self._wanting: dict[Key, set[str]] = {}

    @property
    def tests(self) -> Mapping[str, str]:
        """What each test tests."""
        return self._pairs.tests

    @property
    def graph(self) -> Graph:
        """The edges in both directions, cycles as they are."""
        return Graph(dependencies=self.edges, users=self._users)

    def size_bytes(self, path: str) -> int:
        """Give a file's size when it was last looked at."""
        return self._entries[path].stamp[1]

    def refresh(self) -> int:
        """Look for new, changed and vanished files; give how many there were."""
        stamps, self.is_whole = self._disk.look()
        entries = self._entries
        fresh = [
            path
            for path, stamp in stamps.items()
            if (entry := entries.get(path)) is None or entry.stamp != stamp
        ]
        gone = entries.keys() - stamps.keys()
        changed: dict[str, tuple[Import, ...] | None] = dict.fromkeys(gone)
        for path in fresh:
            imports = _read_imports(self.root, path)
            if path in entries and entries[path].imports == imports:
                entries[path].stamp = stamps[path]
            else:
                changed[path] = imports
        is_large = len(changed) > len(entries) // _RELINKED_FRACTION
        self._update(changed, stamps, is_linked=self._is_linked and not is_large)
        self._num_unkept += len(fresh) + len(gone)
        if self._cache and self._num_unkept > len(entries) // _KEPT_FRACTION:
            _store(self._cache, self.root, entries)
            self._num_unkept = 0
        return len(fresh) + len(gone)

    def imported_names(self, path: str, target: str) -> list[str]:
        """List the names that a file imports of another one."""
        entry = self._entries.get(path)
        return [
            one.name or one.parts[-1]
            for one in (entry.imports if entry else ())
            if one.parts and self._resolver.resolve(path, one) == target
        ]

    def read(self, path: str) -> str:
        """Read a file's text as it is now, "" where it cannot be read."""
        return _read_text(self.root, path)

    def _update(
        self,
        changed: Mapping[str, tuple[Import, ...] | None],
        stamps: Mapping[str, Stamp],
        *,
        is_linked: bool,
    ) -> None:
        """Take in what files import now, None for one that is gone, and link what that moves."""
        keys: set[Key] = set()
        for path, imports in changed.items():
            if path in self._entries and is_linked:
                self._want(path, self._entries[path].imports, is_there=False)
            if imports is None:
                del self._entries[path]
            else:
                self._entries[path] = _Entry(stamps[path], imports)
            if is_linked:
                keys |= self._resolver.update(path, imports)
                self._want(path, imports or ())
        if not is_linked:
            self._link_all()
            return
        self._pairs.update((path for path in changed if path not in self._entries), is_there=False)
        self._pairs.update((path for path in changed if path in self._entries), is_there=True)
        for path in {user for key in keys for user in self._wanting.get(key, ())}.union(changed):
            self._link(path)

    def _link_all(self) -> None:
        imports = {path: entry.imports for path, entry in self._entries.items()}
        self._pairs = Pairs(imports)
        self._resolver = Resolver(imports)
        self._wanting, self.edges, self._users = {}, {}, {}
        for path in imports:
            self._want(path, imports[path])
            self._link(path)
        self._is_linked = True

    def _want(self, path: str, imports: Sequence[Import], *, is_there: bool = True) -> None:
        """Remember, or forget, what would change the edges of a file."""
        keys = {key for one in imports for key in self._resolver.lookups(path, one)}
        for key in keys:
            if is_there:
                self._wanting.setdefault(key, set()).add(path)
            elif len(self._wanting[key]) > 1:
                self._wanting[key].remove(path)
            else:
                del self._wanting[key]

    def _link(self, path: str) -> None:
        """Put the edges of a file in place of those it had; of one that is gone, none."""
        for target in self.edges.pop(path, ()):
            self._users[target].discard(path)
        if path not in self._entries:
            return
        self.edges[path] = graph.link(path, self._entries[path].imports, resolver=self._resolver)
        for target in self.edges[path]:
            self._users.setdefault(target, set()).add(path)


def _read_text(root: Path, path: str) -> str:
    try:
        with (root / path).open("rb") as file:
            return decode(file.read(MAX_FILE_BYTES))[0]
    except OSError:
        return ""


def _read_imports(root: Path, path: str) -> tuple[Import, ...]:
    return graph.imports_of(File(path=path, text=_read_text(root, path)))


def _load(cache: Path, root: Path) -> dict[str, _Entry]:
    """Read what was kept of this repository; nothing where that is damaged or of another form."""
    try:
        kept = json.loads(cache.read_bytes())
        if kept["format"] != _FORMAT or kept["root"] != str(root):
            return {}
        return {
            path: _Entry(_stamp(*stamp), tuple(_import(row) for row in rows))
            for path, (stamp, rows) in kept["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _store(cache: Path, root: Path, entries: Mapping[str, _Entry]) -> None:
    """Write a cache, whole or not at all; a folder that cannot be written to keeps none."""
    files = {
        path: (entry.stamp, [astuple(one) for one in entry.imports])
        for path, entry in entries.items()
    }
    text = json.dumps({"format": _FORMAT, "root": str(root), "files": files})
    partial = cache.with_suffix(f".{os.getpid()}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(cache)
    except OSError:
        with suppress(OSError):
            partial.unlink()


def _stamp(modified_ns: int, size_bytes: int) -> Stamp:
    return modified_ns, size_bytes


def _import(row: Sequence[Any]) -> Import:
    parts, up, optional, is_folder, least, name, is_eager = row
    return Import(
        parts=tuple(parts),
        up=up,
        optional=optional,
        is_folder=is_folder,
        least=least,
        name=name,
        is_eager=is_eager,
    )
