# SPDX-License-Identifier: Apache-2.0
"""The nouns of the data stages: a file, a repository of files, and the ledger of what was dropped.

Stages take a repository and give a smaller one with a ledger; text is normalised to LF by `read`
and is never changed afterwards.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One source file: its path inside the repository, with "/" separators, and its text."""

    path: str
    text: str

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
    """

    name: str
    version: str = ""
    license: str = ""
    files: tuple[File, ...] = ()

    @property
    def origin(self) -> str:
        """How records name the repository: `name@version`, or the name alone."""
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(slots=True)
class Ledger:
    """Counts of files and bytes per rule, so that every drop carries its reason.

    Example: `Ledger(rows={"long_lines": [2, 4096]})` are two dropped files of 4,096 bytes in all.
    """

    rows: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    def add(self, rule: str, size_bytes: int, *, files: int = 1) -> None:
        """Count files of this many bytes under a rule."""
        row = self.rows.setdefault(rule, [0, 0])
        row[0] += files
        row[1] += size_bytes

    def merge(self, others: Iterable["Ledger"]) -> None:
        """Add the counts of other ledgers to this one."""
        for other in others:
            for rule, (files, size_bytes) in other.rows.items():
                self.add(rule, size_bytes, files=files)

    def as_json(self) -> dict[str, dict[str, int]]:
        """Give `{rule: {"files": n, "bytes": n}}`, sorted by rule."""
        return {
            rule: {"files": files, "bytes": size_bytes}
            for rule, (files, size_bytes) in sorted(self.rows.items())
        }
