# SPDX-License-Identifier: Apache-2.0
"""Which file of a repository an import means: the one whose path shares the longest suffix with it.

Knows the paths of one repository and what their files import, reads no file. Of several paths that
share as much, the one nearest to the importing file is meant, then the first in order. An import
of something outside the repository means no file, though its last words may occur in a path: all
of it must be found; in JavaScript, TypeScript and C# two parts at least; in Go what is left behind
the module's own name, which is told from the imports.

Source: CodeGemma, arXiv 2406.11409, 'Multi-file packing', the longest common suffix.
Differs: by the conditions above, without which `import json` would mean any `json.py`.
Unstated: how ties are settled, and what an import of a folder means: here the file named as the
    folder, or else its first one.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from codegemma.data.pairing import is_test
from codegemma.text import syntax
from codegemma.text.imports import Import

Parts = tuple[str, ...]
Key = tuple[str, Parts]
"""A family, and what an import of one of its files may spell."""

_FAMILIES: Final = {
    "java": "jvm",
    "kotlin": "jvm",
    "javascript": "web",
    "typescript": "web",
    "tsx": "web",
    "c": "c",
    "cpp": "c",
}
_PARTIAL: Final = frozenset({"web", "csharp"})
"""Where an import may begin with a name that is no folder of the repository."""
_PACKAGE_FILE: Final = "__init__.py"
_GO_MODULE: Final[Key] = ("go", ("",))
"""Stands for the name of the module, on which all imports of Go depend."""
_RUST_ROOTS: Final = frozenset({"mod", "lib", "main"})


def family_of(path: str) -> str | None:
    """Name the languages that import one another, None for a file of no known language."""
    language = syntax.language_of(path)
    return None if language is None else _FAMILIES.get(language, language)


class Resolver:
    """The paths of a repository, by what an import may call them; kept up to date file by file.

    Args:
        imports: Imports of every file by path; files of no known language are passed over.
    """

    def __init__(self, imports: Mapping[str, Sequence[Import]]) -> None:
        packages = {
            PurePosixPath(path).parent.parts
            for path in imports
            if PurePosixPath(path).name == _PACKAGE_FILE
        }
        self._names: dict[str, _Names] = {"python": _Names("python", packages)}
        self._bases: dict[str, tuple[_Names, Parts]] = {}
        self._modules = _GoModules()
        for path in sorted(imports):
            self._put(path, imports[path])
        self._go_head = self._modules.most_common()

    def update(self, path: str, imports: Sequence[Import] | None) -> set[Key]:
        """Take in a file that is new, changed or, with None, gone.

        Returns:
            The keys that may mean another file from now on, see `lookups`.
        """
        changed = self._put(path, imports)
        head = self._modules.most_common()
        if head != self._go_head:
            self._go_head = head
            changed.add(_GO_MODULE)
        return changed

    def _put(self, path: str, imports: Sequence[Import] | None) -> set[Key]:
        family = family_of(path)
        if family is None:
            return set()
        names = self._names.setdefault(family, _Names(family))
        changed: set[Parts] = set()
        if (imports is not None) != (path in self._bases):
            changed = names.put(path, is_there=imports is not None)
        if imports is None:
            self._bases.pop(path, None)
        else:
            self._bases[path] = names, names.base(path)
        if family == "go":
            folder = names.base(path)
            is_folder = names.folder(folder) is not None
            self._modules.put(path, imports or (), folder=folder, is_folder=is_folder)
        return {(family, parts) for parts in changed}

    def lookups(self, path: str, wanted: Import) -> Iterator[Key]:
        """Give the keys that tell which file an import means; more than one may tell the same."""
        names, base = self._bases.get(path, (None, ()))
        if names is None:
            return
        if wanted.up is not None and wanted.up <= len(base):
            start = base[: len(base) - wanted.up]
            for reading in _readings(wanted):
                yield names.family, start + reading
        if wanted.up is not None and names.family != "c":
            return
        if names.family != "go":
            for tail in _tails(names, wanted):
                yield names.family, tail
        elif "." in wanted.parts[0]:
            yield _GO_MODULE
            for place in range(len(wanted.parts) + 1):
                yield "go", wanted.parts[place:]

    def resolve(self, path: str, wanted: Import) -> str | None:
        """Give the file that an import of the file `path` means, None for one outside."""
        names, base = self._bases.get(path, (None, ()))
        if names is None:
            return None
        found: str | None = None
        if wanted.up is not None and wanted.up <= len(base):
            start = base[: len(base) - wanted.up]
            found = next(filter(None, (names.exact(start + r) for r in _readings(wanted))), None)
        if found is None and (wanted.up is None or names.family == "c"):
            found = self._by_suffix(names, base, wanted)
        return None if found == path else found

    def _by_suffix(self, names: "_Names", near: Parts, wanted: Import) -> str | None:
        if names.family == "go":
            return self._go_folder(names, near, wanted.parts)
        for tail in _tails(names, wanted):
            hit = names.nearest_file(tail, near)
            if hit is None and wanted.is_folder:
                hit = names.nearest_folder(tail, near)
            if hit is not None:
                return hit
        return None

    def _go_folder(self, names: "_Names", near: Parts, parts: Parts) -> str | None:
        head = self._go_head
        if head and parts[: len(head)] == head:
            return names.folder(parts[len(head) :])
        return names.nearest_folder(parts, near) if "." in parts[0] else None


class _GoModules:
    """Counts what may be the name of a Go module: what stands before its folders' paths."""

    def __init__(self) -> None:
        self._imports: dict[str, Sequence[Import]] = {}
        self._heads_by_tail: defaultdict[Parts, Counter[Parts]] = defaultdict(Counter)
        self._heads: Counter[Parts] = Counter()
        self._folders: set[Parts] = set()

    def most_common(self) -> Parts:
        """Give the name that stands in most imports, the first of several, () for none."""
        heads = self._heads
        return min(heads, key=lambda head: (-heads[head], head), default=())

    def put(self, path: str, imports: Sequence[Import], *, folder: Parts, is_folder: bool) -> None:
        """Count a file's imports instead of those it had, and its folder if that holds files."""
        self._count(self._imports.pop(path, ()), -1)
        if is_folder != (folder in self._folders):
            self._folders ^= {folder}
            for head, count in self._heads_by_tail[folder].items():
                self._add(head, count if is_folder else -count)
        self._imports[path] = imports
        self._count(imports, 1)

    def _count(self, imports: Sequence[Import], sign: int) -> None:
        for one in imports:
            for place in range(1, len(one.parts)) if "." in one.parts[0] else ():
                head, tail = one.parts[:place], one.parts[place:]
                self._heads_by_tail[tail][head] += sign
                if tail in self._folders:
                    self._add(head, sign)

    def _add(self, head: Parts, count: int) -> None:
        self._heads[head] += count
        if not self._heads[head]:
            del self._heads[head]


def _tails(names: "_Names", wanted: Import) -> Iterator[Parts]:
    """Give what the name of the wanted file may end in, the first choice first."""
    for reading in _readings(wanted):
        shortest = wanted.least if names.family in _PARTIAL else len(reading)
        for length in range(len(reading), max(1, shortest) - 1, -1):
            yield reading[len(reading) - length :]


def _readings(wanted: Import) -> Iterator[Parts]:
    """Give the import's path without none, one, ... of its optional parts."""
    last = max(wanted.least, len(wanted.parts) - wanted.optional)
    for length in range(len(wanted.parts), last - 1, -1):
        yield wanted.parts[:length]


class _Names:
    """Files and folders of one family by the suffixes of their names' parts.

    Args:
        family: Of `family_of`.
        packages: Folders of Python's whose `__init__.py` will be put in.
    """

    def __init__(self, family: str, packages: Collection[Parts] = ()) -> None:
        self.family = family
        self._packages = set(packages)
        self._exact: dict[Parts, list[str]] = {}
        self._files: dict[Parts, list[Parts]] = {}
        self._folders: dict[Parts, list[Parts]] = {}
        self._folder_files: dict[Parts, list[tuple[bool, str]]] = {}

    def put(self, path: str, *, is_there: bool) -> set[Parts]:
        """Take a path in or out; give the names and ends of names that may mean another file."""
        changed: set[Parts] = set()
        for parts in _spellings(path, self.family):
            before = self.exact(parts)
            _put(self._exact, parts, path, is_there=is_there)
            if before != self.exact(parts):
                # Inside a package of Python a module is never called without the package's name.
                starts = (s for s in range(len(parts)) if parts[:s] not in self._packages or not s)
                tails = [parts[start:] for start in starts]
                changed.update((parts, *tails))
                if before is None or self.exact(parts) is None:
                    for tail in tails:
                        _put(self._files, tail, parts, is_there=is_there)
        if self.family == "python" and PurePosixPath(path).name == _PACKAGE_FILE:
            changed |= self._put_package(self.base(path), is_there=is_there)
        if self.family in ("go", "csharp", "jvm") and not is_test(path):
            changed |= self._put_in_folder(path, is_there=is_there)
        return changed

    def _put_package(self, folder: Parts, *, is_there: bool) -> set[Parts]:
        if is_there == (folder in self._packages):
            return set()
        self._packages ^= {folder}
        size = len(folder)
        inside = [parts for parts in self._exact if len(parts) > size and parts[:size] == folder]
        for parts in inside if size else ():
            _put(self._files, parts[size:], parts, is_there=not is_there)
        return {parts[size:] for parts in inside}

    def _put_in_folder(self, path: str, *, is_there: bool) -> set[Parts]:
        folder = self.base(path)
        before = self.folder(folder)
        is_other = not folder or PurePosixPath(path).stem != folder[-1]
        _put(self._folder_files, folder, (is_other, path), is_there=is_there)
        if before == self.folder(folder):
            return set()
        tails = [folder[start:] for start in range(len(folder))]
        if before is None or self.folder(folder) is None:
            for tail in tails:
                _put(self._folders, tail, folder, is_there=is_there)
        return {folder, *tails}

    def base(self, path: str) -> Parts:
        """Give the parts that a relative import of this file starts from."""
        pure = PurePosixPath(path)
        folder = pure.parent.parts
        if self.family == "rust":
            inside = tuple(part.replace("-", "_") for part in folder if part != "src")
            return inside if pure.stem in _RUST_ROOTS else (*inside, pure.stem)
        if self.family == "csharp":
            return tuple(piece for part in folder for piece in part.split("."))
        return folder

    def exact(self, parts: Parts) -> str | None:
        """Give the file of exactly this name, the first of several."""
        return next(iter(self._exact.get(parts, ())), None)

    def folder(self, parts: Parts) -> str | None:
        """Give the file that stands for the folder of exactly this path."""
        return next((path for _, path in self._folder_files.get(parts, ())), None)

    def nearest_file(self, tail: Parts, near: Parts) -> str | None:
        """Give the file whose name ends in `tail`, the nearest to a folder."""
        found = _nearest(self._files.get(tail), near)
        return None if found is None else self.exact(found)

    def nearest_folder(self, tail: Parts, near: Parts) -> str | None:
        """Give the file that stands for the folder whose path ends in `tail`, the nearest one."""
        found = _nearest(self._folders.get(tail), near)
        return None if found is None else self.folder(found)


def _put(lists: dict[Any, list[Any]], key: Any, item: Any, *, is_there: bool) -> None:
    """Take an item in or out of one of the sorted lists, of which none stays empty."""
    found = lists.setdefault(key, [])
    place = bisect_left(found, item)
    found[place : place + (not is_there)] = [item] if is_there else []
    if not found:
        del lists[key]


def _spellings(path: str, family: str) -> Iterator[Parts]:
    """Give the names of a file, as an import's parts spell them from the repository's root."""
    pure = PurePosixPath(path)
    folder = pure.parent.parts
    stem = pure.stem
    if family == "c":
        yield (*folder, pure.name)
    elif family == "python":
        yield folder if stem == "__init__" else (*folder, stem)
    elif family == "rust":
        inside = tuple(part.replace("-", "_") for part in folder if part != "src")
        yield inside if stem in _RUST_ROOTS else (*inside, stem)
    elif family == "csharp":
        yield (*(piece for part in folder for piece in part.split(".")), stem)
    else:
        yield (*folder, stem.removesuffix(".d") if family == "web" else stem)
        if family == "web" and stem == "index":
            yield folder


def _nearest(candidates: Sequence[Parts] | None, near: Parts) -> Parts | None:
    """Give the one of sorted names that shares the longest head with `near`, the first of several.

    None where there are none.
    """
    if not candidates:
        return None
    if len(candidates) == 1:
        return candidates[0]
    place = bisect_left(candidates, near)
    shared = max(_num_shared(parts, near) for parts in candidates[max(0, place - 1) : place + 1])
    return candidates[bisect_left(candidates, near[:shared])]


def _num_shared(left: Parts, right: Parts) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count
