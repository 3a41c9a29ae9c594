# SPDX-License-Identifier: Apache-2.0
"""The index of the benchmarks, kept between runs: building it reads every benchmark file.

A file under the hash of the benchmarks and of the rules holds it whole; one that is damaged, or
cannot be written, costs a run the time of building it and nothing else.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from codegemma.data import decontaminate, results
from codegemma.data.decontaminate import BenchmarkIndex
from codegemma.data.rules import rules_version

_FOLDER: Final = "benchmarks"
_MAX_FILES: Final = 4


def benchmark_index(
    paths: Sequence[Path], *, fingerprint: str, cache: Path | None
) -> BenchmarkIndex:
    """Give the index of benchmark files: the one kept, or a new one.

    Args:
        paths: Files and folders, as `decontaminate.read_benchmarks` takes.
        fingerprint: `decontaminate.fingerprint` of them.
        cache: The user's cache folder; None keeps nothing.

    Raises:
        InputError: A path does not exist or a file is no JSON.
    """
    if cache is None or not paths:
        return decontaminate.build_index(decontaminate.read_benchmarks(paths))
    key = hashlib.sha256(f"{fingerprint}/{rules_version()}".encode()).hexdigest()
    path = cache / _FOLDER / key[:32]
    index = _read(path, key)
    if index is None:
        index = decontaminate.build_index(decontaminate.read_benchmarks(paths))
        with contextlib.suppress(OSError):  # a full or foreign disk
            _write(path, index, key)
            _remove_oldest(path.parent)
    return index


def _write(path: Path, index: BenchmarkIndex, key: str) -> None:
    words = json.dumps({"items": index.items, "short": index.short}).encode()
    sections = [index.grams.astype("<u8").tobytes(), index.owners.astype("<i4").tobytes(), words]
    results.write(path, {"sha256": _hash(sections)}, sections, key=key)


def _read(path: Path, key: str) -> BenchmarkIndex | None:
    """Read an index; None when there is none, or not all of it."""
    try:
        if not results.is_made(path, key=key):
            return None
        sections = [results.read_section(path, index) for index in range(3)]
        if results.read_head(path)["sha256"] != _hash(sections):
            return None
        words: dict[str, Any] = json.loads(sections[2])
        return BenchmarkIndex(
            np.frombuffer(sections[0], "<u8").astype(np.uint64),
            np.frombuffer(sections[1], "<i4").astype(np.int32),
            items=words["items"],
            short=[(text, item) for text, item in words["short"]],
        )
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _hash(sections: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for section in sections:
        digest.update(section)
    return digest.hexdigest()


def _remove_oldest(folder: Path) -> None:
    """Keep the indexes written last, and no partial file that a killed run left."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[_MAX_FILES:]:
        file.unlink(missing_ok=True)
