# SPDX-License-Identifier: Apache-2.0
"""The held-out lines that a small model is measured on, and how a completion of one is judged.

Lines that are neither blank nor a comment, seed 0, uniform over those of the held-out packages, at
most 2 a file. The whole file around a line is the prompt; completions are compared by their first
line, without trailing whitespace. Reads prepared data; runs no model.
"""

import ast
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from codegemma.completion import Prompt
from codegemma.data.loader import ShardReader
from codegemma.data.shards import Record

MAX_LINES_A_FILE = 2
MAX_SHARED = 0.2
_LONG_LINE = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A held-out line, with its line end, and what stands around it.

    Args:
        file: Number of its file among the held-out ones; lines of one file share it.
        path: Path of the file in its package.
        prefix: Text before the line.
        middle: The line.
        suffix: Text after it.
    """

    file: int
    path: str
    prefix: str
    middle: str
    suffix: str

    @property
    def prompt(self) -> Prompt:
        """The prompt a completer gets."""
        return Prompt(prefix=self.prefix, suffix=self.suffix, path=self.path)

    @property
    def num_bytes(self) -> int:
        """Bytes of the line, its end included."""
        return len(self.middle.encode())

    def is_matched_by(self, text: str) -> bool:
        """Whether the first line of a completion is this line, up to trailing whitespace."""
        return text.split("\n", 1)[0].rstrip() == self.middle.split("\n", 1)[0].rstrip()


def read_files(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Put files together again from their windows: path and text, in the order of their origins.

    A file of which a window was dropped ends before the gap.
    """
    windows: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for record in records:
        for file in record.files:
            origin, _, line = file.origin.rpartition(":")
            windows[origin, file.path].append((int(line), file.text))
    files: list[tuple[str, str]] = []
    for (_, path), parts in sorted(windows.items()):
        text, next_line = "", 1
        for line, part in sorted(parts):
            if line != next_line:
                break
            text += part
            next_line = line + part.count("\n") + (not part.endswith("\n"))
        files.append((path, text))
    return files


def draw_lines(records: Iterable[Record], *, num_lines: int, seed: int = 0) -> list[Line]:
    """Draw lines, uniform over all that qualify; fewer than asked for where there are no more."""
    files = read_files(records)
    places: list[tuple[int, int, int]] = []
    for number, (_, text) in enumerate(files):
        start = 0
        for line in text.split("\n"):
            if line.strip() and not line.lstrip().startswith("#"):
                places.append((number, start, min(start + len(line) + 1, len(text))))
            start += len(line) + 1
    taken: dict[int, int] = defaultdict(int)
    lines: list[Line] = []
    for index in np.random.default_rng(seed).permutation(len(places)):
        number, start, end = places[index]
        if taken[number] == MAX_LINES_A_FILE:
            continue
        taken[number] += 1
        path, text = files[number]
        lines.append(
            Line(
                file=number,
                path=path,
                prefix=text[:start],
                middle=text[start:end],
                suffix=text[end:],
            )
        )
        if len(lines) == num_lines:
            break
    return lines


def find_copied(train: Iterable[Record], heldout: Collection[Record]) -> dict[str, float]:
    """Name the held-out packages that stand in the training text under another name.

    Returns:
        Of each package of whose distinct lines of more than 20 characters, comments aside, more
        than a fifth stand in the training text: the share that does.
    """
    lines: dict[str, set[str]] = defaultdict(set)
    for record in heldout:
        for file in record.files:
            lines[_package(file.origin)] |= _long_lines(file.text)
    every = set[str]().union(*lines.values())
    found = set[str]().union(
        *(_long_lines(file.text) & every for record in train for file in record.files)
    )
    shares = {name: len(own & found) / max(1, len(own)) for name, own in lines.items()}
    return {name: share for name, share in sorted(shares.items()) if share > MAX_SHARED}


def without(records: Iterable[Record], packages: Collection[str]) -> list[Record]:
    """Leave out the records of some packages."""
    return [record for record in records if _package(record.files[0].origin) not in packages]


def _package(origin: str) -> str:
    return origin.rpartition(":")[0]


def _long_lines(text: str) -> set[str]:
    lines = map(str.strip, text.split("\n"))
    return {line for line in lines if len(line) > _LONG_LINE and not line.startswith("#")}


def find_known(records: Iterable[Record], lines: Collection[Line]) -> list[bool]:
    """Tell of each line whether it also stands in the records, indentation aside."""
    wanted = {line.middle.strip() for line in lines}
    found: set[str] = set()
    for record in records:
        for file in record.files:
            found.update(wanted.intersection(map(str.strip, file.text.split("\n"))))
    return [line.middle.strip() in found for line in lines]


def read_records(reader: ShardReader) -> Iterator[Record]:
    """Read all records of a part, one after the other."""
    for index in range(len(reader)):
        yield reader[index]


def parses(text: str) -> bool:
    """Whether a Python file parses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
