# SPDX-License-Identifier: Apache-2.0
"""The files of a repository on disk and what they import, kept up to date as files change.

Looks at size and time of every source file, reads those that are new or changed, and knows the
edges between all. Follows no symbolic links, runs nothing, reads nothing over `MAX_FILE_BYTES`.
What was read may be kept in a file, so that another process need not read it again.
"""

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from codegemma.data import graph
from codegemma.data.document import File
from codegemma.data.graph import Graph, Weight
from codegemma.data.pairing import pair_tests
from codegemma.data.read import decode
from codegemma.data.resolve import Resolver
from codegemma.text import syntax
from codegemma.text.imports import Import

MAX_FILES: Final = 20_000
"""Files beyond, the deepest ones, are not looked at."""
MAX_FILE_BYTES: Final = 1_000_000

_SKIPPED_FOLDERS: Final = frozenset(
    {"__pycache__", "node_modules", "site-packages", "venv", "build", "dist", "target", "vendor"}
)
_FORMAT: Final = 1


class _Stamp(NamedTuple):
    """What tells whether a file changed."""

    modified_ns: int
    size_bytes: int


@dataclass(slots=True)
class _Entry:
    stamp: _Stamp
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
        is_whole: Whether the repository has no more than `MAX_FILES`.
    """

    def __init__(self, root: Path, *, cache: Path | None = None) -> None:
        self.root = root
        self.edges: dict[str, dict[str, Weight]] = {}
        self.tests: dict[str, str] = {}
        self.is_whole = True
        self._users: dict[str, set[str]] = {}
        self._cache = cache
        self._entries: dict[str, _Entry] = _load(cache, root) if cache else {}
        self._resolver = Resolver({})
        self._is_linked = False

    @property
    def graph(self) -> Graph:
        """The edges in both directions, cycles as they are."""
        return Graph(dependencies=self.edges, users=self._users)

    def size_bytes(self, path: str) -> int:
        """Give a file's size when it was last looked at."""
        return self._entries[path].stamp.size_bytes

    def refresh(self) -> int:
        """Look for new, changed and vanished files; give how many there were."""
        stamps, self.is_whole = _scan(self.root)
        changed = [
            path
            for path, stamp in stamps.items()
            if path not in self._entries or self._entries[path].stamp != stamp
        ]
        gone = self._entries.keys() - stamps.keys()
        are_others = bool(gone) or any(path not in self._entries for path in changed)
        relinked: list[str] = []
        for path in changed:
            imports = _read_imports(self.root, path)
            if path in self._entries and self._entries[path].imports != imports:
                relinked.append(path)
            self._entries[path] = _Entry(stamps[path], imports)
        for path in gone:
            del self._entries[path]
        if are_others or not self._is_linked:
            self._link_all()
        else:
            for path in relinked:
                self._link(path)
        if (changed or gone) and self._cache:
            _store(self._cache, self.root, self._entries)
        return len(changed) + len(gone)

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

    def _link_all(self) -> None:
        imports = {path: self._entries[path].imports for path in sorted(self._entries)}
        self._resolver = Resolver(imports)
        self.tests = pair_tests(imports)
        self.edges = {}
        self._users = {}
        for path in imports:
            self._link(path)
        self._is_linked = True

    def _link(self, path: str) -> None:
        for target in self.edges.get(path, ()):
            self._users[target].discard(path)
        self.edges[path] = graph.link(path, self._entries[path].imports, resolver=self._resolver)
        for target in self.edges[path]:
            self._users.setdefault(target, set()).add(path)


def _scan(root: Path) -> tuple[dict[str, _Stamp], bool]:
    """Give time and size of every source file, folders nearest to the root first."""
    stamps: dict[str, _Stamp] = {}
    folders = deque([""])
    while folders:
        inside = folders.popleft()
        files: dict[str, _Stamp] = {}
        below: list[str] = []
        for entry in _entries(f"{root}/{inside}"):
            name = entry.name
            if name.startswith(".") or name in _SKIPPED_FOLDERS:
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(f"{inside}{name}/")
            elif _is_source(name.rpartition(".")[2]) and entry.is_file(follow_symlinks=False):
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # gone since its folder was read
                if found.st_size <= MAX_FILE_BYTES:
                    files[inside + name] = _Stamp(found.st_mtime_ns, found.st_size)
        if len(stamps) + len(files) > MAX_FILES:
            kept = sorted(files)[: MAX_FILES - len(stamps)]
            return stamps | {path: files[path] for path in kept}, False
        stamps |= files
        folders.extend(sorted(below))
    return stamps, True


def _entries(folder: str) -> "list[os.DirEntry[str]]":
    """List a folder, nothing where it is not readable or gone."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


@lru_cache
def _is_source(extension: str) -> bool:
    return syntax.language_of(f"file.{extension}") is not None


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
            path: _Entry(_Stamp(*stamp), tuple(_import(row) for row in rows))
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
