# SPDX-License-Identifier: Apache-2.0
"""The nouns of the data stages: where a repository lies, its files, and the ledger of the dropped.

Stages take a repository and give a smaller one with a ledger; text is normalised to LF by `read`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

Genre = Literal["code", "text", "math", "chat"]
"""What a source holds: repositories, natural language, mathematics, or conversations."""
GENRES: Final[tuple[Genre, ...]] = ("code", "text", "math", "chat")

TURN_END: Final = "\x1e"
"""Stands between the turns of a conversation in the text of a file; the user's come first."""

_MAX_SAMPLES: Final = 5
_NO_TEXT: Final = re.compile("[\ud800-\udfff]")

LineEnds = Literal["lf", "crlf", "cr", "mixed"]
"""How the lines of a file ended before it was read; one without a line end counts as "lf"."""

Wanted = Callable[[str], bool]
"""Tells by its path whether a file is to be read."""

Progress = Callable[[str, int, int], None]
"""Told (stage, done, in all) as work goes on; the numbers are bytes where they are large. In all is
0 where nobody can know it."""

_TOLD_EVERY: Final = 64
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """Where a repository lies.

    Args:
        name: As in the manifest.
        version: Release or commit, "" when unknown.
        license: SPDX expression that its metadata declares, "" when none does.
        root: Folder, git repository, archive or table.
        paths: Of a folder, its files, sorted, with "/" separators; None: every file below root.
        kind: How it is read; "rows" are documents of a table of any genre but code.
        member: Of an archive, the folder inside, "" for all of it.
        rows: Of a table, the numbers (Parquet) or byte offsets (JSONL) of its rows; of a folder in
            an archive, the numbers of its first member and behind its last, () for all of it.
        also: Further tables that hold rows of the repository, each with theirs.
        genre: What it holds; of any but code, a location is a part of a source.
        aliases: Other names a removal list may know it by, such as `owner/name` of a git remote.
        is_part: Whether it is one of those found in a folder: a fault of it leaves it out alone,
            where that of one the user named ends the run.
        fault: Why it cannot be read, "" where it can as far as was seen.
    """

    name: str
    version: str
    license: str
    root: Path
    paths: tuple[str, ...] | None = None
    kind: Literal["folder", "distribution", "git", "archive", "table", "rows"] = "folder"
    member: str = ""
    rows: tuple[int, ...] = ()
    also: tuple[tuple[Path, tuple[int, ...]], ...] = ()
    genre: Genre = "code"
    aliases: tuple[str, ...] = ()
    is_part: bool = False
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """A file as a source holds it, read or left out.

    Args:
        path: Inside the repository, "/" separated, as found: it may be hostile.
        data: Its bytes; of a file left out, none.
        rule: Why it is left out, "" when it was read.
        size_bytes: Its size as far as the source tells.
        license: SPDX expression the source gives for this file, "" for none.
    """

    path: str
    data: bytes = b""
    rule: str = ""
    size_bytes: int = 0
    license: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One source file, or a document.

    Args:
        path: Inside the repository, with "/" separators; of a document where it stands in its
            source.
        text: Its content, lines ended by LF.
        line_ends: How they ended in the source.
        is_broken: Whether so much of it does not parse that a cut would teach little.
    """

    path: str
    text: str
    line_ends: LineEnds = "lf"
    is_broken: bool = False

    @property
    def size_bytes(self) -> int:
        """Length in UTF-8 bytes."""
        return len(self.text.encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """Files that belong together.

    Args:
        name: Distribution or folder name.
        version: Release or commit, "" when unknown.
        license: SPDX expression, "" when none was recognised.
        files: Sorted by path.
        licenses: SPDX expression by folder ("" is the root) or file, where one was found.
        genre: What it holds.
    """

    name: str
    version: str = ""
    license: str = ""
    files: tuple[File, ...] = ()
    licenses: tuple[tuple[str, str], ...] = ()
    genre: Genre = "code"

    @property
    def origin(self) -> str:
        """How records name the repository: `name@version`, or the name alone."""
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(slots=True)
class Ledger:
    """Counts of files and bytes per rule and language, so that every drop carries its reason.

    Args:
        rows: Files and bytes by rule.
        languages: Files and bytes by rule and language, of those whose language was told.
        samples: A few of the files by rule, chosen by hash so that their order is of no account.

    Example: `Ledger(rows={"long_lines": [2, 4096]})` are two dropped files of 4,096 bytes in all.
    """

    rows: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    languages: dict[str, dict[str, list[int]]] = field(
        default_factory=dict[str, dict[str, list[int]]]
    )
    samples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(
        self, rule: str, size_bytes: int, *, files: int = 1, language: str = "", sample: str = ""
    ) -> None:
        """Count files of this many bytes under a rule.

        Args:
            rule: Name of the rule.
            size_bytes: Bytes in all.
            files: Number of files.
            language: Theirs, "" when unknown.
            sample: Where one of them is, such as `name/path`; "" for none.
        """
        _count(self.rows, rule, files, size_bytes)
        if language:
            _count(self.languages.setdefault(rule, {}), language, files, size_bytes)
        if sample:
            self._keep(rule, [sample])

    def merge(self, others: Iterable["Ledger"]) -> None:
        """Add the counts of other ledgers to this one."""
        for other in others:
            for rule, (files, size_bytes) in other.rows.items():
                _count(self.rows, rule, files, size_bytes)
            for rule, row in other.languages.items():
                for language, (files, size_bytes) in row.items():
                    _count(self.languages.setdefault(rule, {}), language, files, size_bytes)
            for rule, samples in other.samples.items():
                self._keep(rule, samples)

    def counts(self) -> dict[str, dict[str, int]]:
        """Give `{rule: {"files": n, "bytes": n}}`, sorted by rule."""
        return {
            rule: {"files": files, "bytes": size_bytes}
            for rule, (files, size_bytes) in sorted(self.rows.items())
        }

    def counts_by_language(self) -> dict[str, dict[str, dict[str, int]]]:
        """Give `{rule: {language: {"files": n, "bytes": n}}}`, sorted, of languages that are told.

        Where a rule has more files than its languages, of the others none was told.
        """
        return {
            rule: {
                language: {"files": files, "bytes": size_bytes}
                for language, (files, size_bytes) in sorted(row.items())
            }
            for rule, row in sorted(self.languages.items())
        }

    def as_json(self) -> dict[str, Any]:
        """Give all of it as JSON, in an order of its own."""
        return {
            "rows": dict(sorted(self.rows.items())),
            "languages": {
                r: dict(sorted(row.items())) for r, row in sorted(self.languages.items())
            },
            "samples": dict(sorted(self.samples.items())),
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Ledger":
        """Read what `as_json` gave."""
        return Ledger(**values)

    def _keep(self, rule: str, samples: Iterable[str]) -> None:
        known = {*self.samples.get(rule, ()), *samples}
        self.samples[rule] = sorted(known, key=_rank)[:_MAX_SAMPLES]


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody; what stands in for a `Progress`."""


def each_told(items: Sequence[_Item], stage: str, progress: Progress) -> Iterator[_Item]:
    """Give items one after the other, and tell how many of them are done with."""
    for done, item in enumerate(items):
        if done % _TOLD_EVERY == 0:
            progress(stage, done, len(items))
        yield item
    progress(stage, len(items), len(items))


def as_unicode(text: str) -> str:
    """Give a name that can be written: what is no text in it becomes U+FFFD."""
    return _NO_TEXT.sub("\ufffd", text)


def _count(rows: dict[str, list[int]], name: str, files: int, size_bytes: int) -> None:
    row = rows.setdefault(name, [0, 0])
    row[0] += files
    row[1] += size_bytes


def _rank(sample: str) -> bytes:
    return hashlib.blake2b(sample.encode("utf-8", "surrogatepass"), digest_size=8).digest()
