# SPDX-License-Identifier: Apache-2.0
"""What a run of the pipeline tells: one row per repository, sums per part, JSON on disk."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from codegemma.data import filters
from codegemma.data.document import Repository
from codegemma.data.stages import Inspected
from codegemma.data.workers import Packed

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
    repositories: Sequence[Repository],
    packed: Sequence[Packed],
    heldout: Collection[str],
) -> list[dict[str, Any]]:
    """Describe each repository: name, version, licence, what was read and what came out."""
    return [
        {
            "name": repository.name,
            "version": repository.version,
            "license": repository.license,
            "part": "heldout" if repository.name in heldout else "train",
            "input_sha256": found.input_hash,
            "input_files": found.input_files,
            "input_bytes": found.input_bytes,
            "files": len(repository.files),
            "test_files": sum(filters.is_test(file.path) for file in repository.files),
            "bytes": sum(file.size_bytes for file in repository.files),
            "windows": result.num_windows,
            "records": len(result.records),
            "tokens": result.num_tokens,
        }
        for found, repository, result in zip(inspected, repositories, packed, strict=True)
    ]


def totals(rows: Sequence[dict[str, Any]], part: str) -> dict[str, int]:
    """Add up the rows of the repositories of a part, "train" or "heldout"."""
    mine = [row for row in rows if row["part"] == part]
    sums = {key: sum(int(row[key]) for row in mine) for key in _COUNTED}
    return {"repositories": len(mine)} | sums
