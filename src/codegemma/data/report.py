# SPDX-License-Identifier: Apache-2.0
"""What a run of the pipeline tells: one row per repository, sums per part, JSON on disk."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from codegemma.data.document import Ledger
from codegemma.data.pairing import is_test
from codegemma.data.stages import Inspected, Measured
from codegemma.data.steps import Packed

_COUNTED: Final = (
    "input_files",
    "input_bytes",
    "files",
    "test_files",
    "bytes",
    "windows",
    "records",
    "tokens",
)


def write_json(path: Path, value: Any) -> None:
    """Write JSON that a person can read."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def repository_rows(
    inspected: Sequence[Inspected],
    kept: Sequence[Sequence[Measured]],
    packed: Sequence[Packed],
    heldout: Collection[str],
) -> list[dict[str, Any]]:
    """Describe each repository: name, version, licence, what was read and what came out."""
    rows: list[dict[str, Any]] = []
    for found, files, result in zip(inspected, kept, packed, strict=True):
        input_files, input_bytes = found.input.rows.get("read", (0, 0))
        rows.append(
            {
                "name": found.repository.name,
                "version": found.repository.version,
                "license": found.repository.license,
                "part": "heldout" if found.repository.name in heldout else "train",
                "input_files": input_files,
                "input_bytes": input_bytes,
                "files": len(files),
                "test_files": sum(is_test(file.path) for file in files),
                "bytes": sum(file.size_bytes for file in files),
                "windows": result.num_windows,
                "records": result.num_records,
                "tokens": result.num_tokens,
            }
        )
    return rows


def funnel(read: Iterable[Ledger], ledgers: Mapping[str, Ledger]) -> dict[str, Any]:
    """Tell by language what was read and what each stage left of it, in files and bytes.

    Args:
        read: What was read of each repository, under the rule "read".
        ledgers: What each stage dropped, in the order of the stages; what was never decoded
            ("read") and parts of files ("pack") are no part of it.
    """
    whole = Ledger()
    whole.merge(read)
    left = {name: list(row) for name, row in whole.languages.get("read", {}).items()}
    table: dict[str, Any] = {name: {"read": list(row)} for name, row in sorted(left.items())}
    for stage, ledger in ledgers.items():
        if stage in ("read", "pack"):
            continue
        for row in ledger.languages.values():
            for language, (files, size_bytes) in row.items():
                left[language][0] -= files
                left[language][1] -= size_bytes
        for language, row in left.items():
            table[language][stage] = list(row)
    return table


def drops(ledgers: Mapping[str, Ledger]) -> dict[str, Any]:
    """Tell by stage and rule what was dropped of each language, and examples."""
    return {
        "dropped": {stage: ledger.counts_by_language() for stage, ledger in ledgers.items()},
        "samples": {stage: ledger.samples for stage, ledger in ledgers.items() if ledger.samples},
    }


def total_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up counts by name."""
    whole: Counter[str] = Counter()
    for part in parts:
        whole.update(part)
    return dict(sorted(whole.items()))


NO_LIST: Final = (
    "NO LIST OF UNSAFE CONTENT WAS LOADED: nothing was looked for. Give lists with --unsafe-list."
)


def unsafe(lists: Sequence[str], scanner: str | None = None) -> dict[str, Any]:
    """Tell which lists and scanner of unsafe content were used, loudly when none was."""
    used = [*lists, *filter(None, [scanner])]
    return {"lists": used, "warning": "" if used else NO_LIST}


def totals(rows: Sequence[dict[str, Any]], part: str) -> dict[str, int]:
    """Add up the rows of the repositories of a part, "train" or "heldout"."""
    mine = [row for row in rows if row["part"] == part]
    sums = {key: sum(int(row[key]) for row in mine) for key in _COUNTED}
    return {"repositories": len(mine)} | sums
