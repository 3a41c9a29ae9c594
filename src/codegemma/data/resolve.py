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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from codegemma.data.pairing import is_test
from codegemma.text import syntax
from codegemma.text.imports import Import

Parts = tuple[str, ...]

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
_RUST_ROOTS: Final = frozenset({"mod", "lib", "main"})


def family_of(path: str) -> str | None:
    """Name the languages that import one another, None for a file of no known language."""
    language = syntax.language_of(path)
    return None if language is None else _FAMILIES.get(language, language)


class Resolver:
    """The paths of a repository, by what an import may call them.

    Args:
        imports: Imports of every file by path; files of no known language are passed over.
    """

    def __init__(self, imports: Mapping[str, Sequence[Import]]) -> None:
        packages = {
            PurePosixPath(path).parent.parts
            for path in imports
            if PurePosixPath(path).name == "__init__.py"
        }
        self._names: dict[str, _Names] = {}
        self._bases: dict[str, tuple[_Names, Parts]] = {}
        for path in sorted(imports):
            family = family_of(path)
            if family is not None:
                names = self._names.setdefault(family, _Names(family, packages))
                names.add(path)
                self._bases[path] = names, names.base(path)
        self._go_head = self._most_common_head(imports)

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
            found = next(self._suffix_hits(names, base, wanted), None)
        return None if found == path else found

    def _suffix_hits(self, names: "_Names", near: Parts, wanted: Import) -> Iterator[str]:
        if names.family == "go":
            hit = self._go_folder(names, near, wanted.parts)
            if hit is not None:
                yield hit
            return
        for reading in _readings(wanted):
            shortest = wanted.least if names.family in _PARTIAL else len(reading)
            for length in range(len(reading), max(1, shortest) - 1, -1):
                tail = reading[len(reading) - length :]
                hit = names.nearest_file(tail, near)
                if hit is None and wanted.is_folder:
                    hit = names.nearest_folder(tail, near)
                if hit is not None:
                    yield hit

    def _go_folder(self, names: "_Names", near: Parts, parts: Parts) -> str | None:
        head = self._go_head
        if head and parts[: len(head)] == head:
            return names.folder(parts[len(head) :])
        return names.nearest_folder(parts, near) if "." in parts[0] else None

    def _most_common_head(self, imports: Mapping[str, Sequence[Import]]) -> Parts:
        """Find the name of a Go module: what stands before its folders' paths in most imports."""
        names = self._names.get("go")
        if names is None:
            return ()
        heads: Counter[Parts] = Counter()
        for path, (family_names, _) in self._bases.items():
            for one in imports[path] if family_names is names else ():
                for place in range(1, len(one.parts)) if "." in one.parts[0] else ():
                    if names.folder(one.parts[place:]) is not None:
                        heads[one.parts[:place]] += 1
        return min(heads, key=lambda head: (-heads[head], head), default=())


def _readings(wanted: Import) -> Iterator[Parts]:
    """Give the import's path without none, one, ... of its optional parts."""
    last = max(wanted.least, len(wanted.parts) - wanted.optional)
    for length in range(len(wanted.parts), last - 1, -1):
        yield wanted.parts[:length]


class _Names:
    """Files and folders of one family by the suffixes of their names' parts."""

    def __init__(self, family: str, packages: set[Parts]) -> None:
        self.family = family
        self._packages = packages
        self._exact: dict[Parts, str] = {}
        self._files: dict[Parts, list[tuple[Parts, str]]] = {}
        self._folders: dict[Parts, list[tuple[Parts, str]]] = {}
        self._folder_files: dict[Parts, str] = {}

    def add(self, path: str) -> None:
        """Take in a path; paths come in order."""
        for parts in _spellings(path, self.family):
            if parts in self._exact:
                continue
            self._exact[parts] = path
            for start in range(len(parts) - 1, -1, -1):
                # Inside a package of Python a module is never called without the package's name.
                if not start or self.family != "python" or parts[:start] not in self._packages:
                    self._files.setdefault(parts[start:], []).append((parts, path))
        if self.family in ("go", "csharp", "jvm") and not is_test(path):
            self._add_folder(path)

    def _add_folder(self, path: str) -> None:
        folder = self.base(path)
        known = self._folder_files.get(folder)
        if known is None:
            for start in range(len(folder)):
                self._folders.setdefault(folder[start:], []).append((folder, ""))
        is_namesake = bool(folder) and PurePosixPath(path).stem == folder[-1]
        if known is None or is_namesake:
            self._folder_files[folder] = path

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
        """Give the file of exactly this name."""
        return self._exact.get(parts)

    def folder(self, parts: Parts) -> str | None:
        """Give the file that stands for the folder of exactly this path."""
        return self._folder_files.get(parts)

    def nearest_file(self, tail: Parts, near: Parts) -> str | None:
        """Give the file whose name ends in `tail`, the nearest to a folder."""
        found = _nearest(self._files.get(tail), near)
        return found[1] if found else None

    def nearest_folder(self, tail: Parts, near: Parts) -> str | None:
        """Give the file that stands for the folder whose path ends in `tail`, the nearest one."""
        found = _nearest(self._folders.get(tail), near)
        return self._folder_files[found[0]] if found else None


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


def _nearest(candidates: list[tuple[Parts, str]] | None, near: Parts) -> tuple[Parts, str] | None:
    """Give the candidate that shares the longest head with `near`, the first of several."""
    if not candidates:
        return None
    if len(candidates) == 1:
        return candidates[0]
    place = bisect_left(candidates, near, key=lambda candidate: candidate[0])
    around = candidates[max(0, place - 1) : place + 1]
    shared = max(_num_shared(parts, near) for parts, _ in around)
    return candidates[bisect_left(candidates, near[:shared], key=lambda candidate: candidate[0])]


def _num_shared(left: Parts, right: Parts) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count
