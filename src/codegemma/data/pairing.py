# SPDX-License-Identifier: Apache-2.0
"""Which file a unit test tests, by their names: `TestFoo.java` and `Foo.java`.

Knows the habits of the languages of `text/syntax.py`, by name alone; reads no file. Folders for
tests are looked through: `src/test/java/a/FooTest.java` tests `src/main/java/a/Foo.java`.

Source: CodeGemma, arXiv 2406.11409, 'Multi-file packing', unit test-based lexical packing.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

Parts = tuple[str, ...]

_FOLDERS: Final = frozenset(
    {
        "test",
        "tests",
        "testing",
        "_tests",
        "__tests__",
        "idle_test",
        "spec",
        "specs",
        "Tests",
        "Test",
    }
)
_DECORATION: Final = re.compile(
    r"^tests?_|^test-|_tests?$|_spec$|-test$|\.(?:test|spec)$|^Test(?=[A-Z0-9])"
    r"|(?<=[a-z0-9])(?:Tests?|TestCase|IT|Spec)$"
)
_SOURCE_ROOTS: Final = frozenset({"src", "lib", "main", "source"})
_NAMELESS: Final = frozenset({"__init__", "__main__", "conftest", "index", "mod", "lib", "main"})
"""Files that no test is named for."""


def is_test(path: str) -> bool:
    """Tell whether a path is a test, or serves tests, by its name or its folder."""
    pure = PurePosixPath(path)
    is_named = pure.stem == "conftest" or _DECORATION.search(pure.stem) is not None
    return is_named or any(map(_is_test_folder, pure.parent.parts))


def pair_tests(paths: Iterable[str]) -> dict[str, str]:
    """Map each test to the file it tests, where there is one of its name.

    Of several, the one whose folder is most like the test's own, then the first in order.

    Example: `{"pkg/tests/test_shape.py": "pkg/shape.py"}`.
    """
    return Pairs(paths).tests


class Pairs:
    """The tests among paths that come and go, and what they test.

    Args:
        paths: Those that are there at first.

    Attributes:
        tests: As `pair_tests` gives them.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self.tests: dict[str, str] = {}
        self._sources: dict[tuple[str, str], dict[str, Parts]] = {}
        self._tests: dict[tuple[str, str], set[str]] = {}
        self.update(paths, is_there=True)

    def update(self, paths: Iterable[str], *, is_there: bool) -> None:
        """Take paths in, or out."""
        changed: set[tuple[str, str]] = set()
        for path in paths:
            pure = PurePosixPath(path)
            if is_test(path):
                key = (_plain(_DECORATION.sub("", pure.stem)), pure.suffix)
                tests = self._tests.setdefault(key, set())
                (tests.add if is_there else tests.discard)(path)
                self.tests.pop(path, None)
            elif pure.stem in _NAMELESS:
                continue
            else:
                key = (_plain(pure.stem), pure.suffix)
                sources = self._sources.setdefault(key, {})
                if is_there:
                    sources[path] = _plain_folder(pure)
                else:
                    sources.pop(path, None)
            changed.add(key)
        for key in changed:
            for test in self._tests.get(key, ()):
                self._pair(test, self._sources.get(key, {}))

    def _pair(self, test: str, sources: Mapping[str, Parts]) -> None:
        self.tests.pop(test, None)
        if sources:
            own = _plain_folder(PurePosixPath(test))
            self.tests[test] = min(sources, key=lambda one: (-_likeness(own, sources[one]), one))


def beside_tested(order: Iterable[str], tests: Mapping[str, str]) -> list[str]:
    """Put the tests that `order` does not hold behind what they test, several of one by path.

    Args:
        order: Paths.
        tests: What each test tests; tests of files outside `order` are left out.
    """
    placed = list(order)
    present = set(placed)
    by_tested: dict[str, list[str]] = {}
    for test, tested in sorted(tests.items()):
        if test not in present:
            by_tested.setdefault(tested, []).append(test)
    return [path for one in placed for path in (one, *by_tested.get(one, ()))]


def _likeness(one: Parts, other: Parts) -> float:
    """Count the parts that two folders share at their ends, and those at their heads for half."""
    pairs = list(zip(reversed(one), reversed(other), strict=False))
    ends = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    pairs = list(zip(one, other, strict=False))
    heads = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    return ends + heads / 2


def _plain(stem: str) -> str:
    return stem.removeprefix("_").lower()


def _plain_folder(path: PurePosixPath) -> Parts:
    """Give a folder's parts without those for tests and for sources."""
    parts = (re.sub(r"\.Tests?$", "", part) for part in path.parent.parts)
    return tuple(part for part in parts if part and part not in _FOLDERS | _SOURCE_ROOTS)


def _is_test_folder(part: str) -> bool:
    return part in _FOLDERS or part.endswith((".Tests", ".Test"))
