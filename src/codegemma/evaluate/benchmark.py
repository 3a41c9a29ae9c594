# SPDX-License-Identifier: Apache-2.0
"""Benchmark data as it lies on this machine: below one folder, by the names of its own sources.

Reads JSON Lines, plain or compressed, and says where a file comes from when it is not there.
Nothing is downloaded here.
"""

import gzip
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from codegemma.errors import DataError, PrerequisiteError

FOLDER_VARIABLE: Final = "CODEGEMMA_BENCHMARKS"
"""Environment variable that names the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkFile:
    """One data file of a benchmark.

    Args:
        name: Path below the benchmark folder; a `.gz` at its end is optional on the disk.
        source: Where it comes from, for the message when it is missing.
    """

    name: str
    source: str

    def path(self, folder: Path) -> Path:
        """Find the file, compressed or not.

        Raises:
            PrerequisiteError: It is not below the folder.
        """
        for name in (self.name, self.name.removesuffix(".gz")):
            if (folder / name).is_file():
                return folder / name
        raise PrerequisiteError(
            f"{self.name} is not in {folder}, the folder that {FOLDER_VARIABLE} names; it comes "
            f"from {self.source}"
        )

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        """Read the file's rows, one JSON object a line, in file order.

        Raises:
            PrerequisiteError: The file is missing.
            DataError: It is damaged.
        """
        path = self.path(folder)
        rows: list[dict[str, Any]] = []
        try:
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"line {number} is not an object")
                    rows.append(cast("dict[str, Any]", row))
        except (OSError, EOFError, ValueError) as error:
            raise DataError(
                f"{path} is damaged: {error}; get it again from {self.source}"
            ) from error
        return rows

    def sha256(self, folder: Path) -> str:
        """Hash the file's bytes as they lie there, as hex digits.

        Raises:
            PrerequisiteError: The file is missing.
        """
        return hashlib.sha256(self.path(folder).read_bytes()).hexdigest()


def benchmark_folder() -> Path:
    """Give the folder that holds the benchmark data.

    Raises:
        PrerequisiteError: It is not named, or not there.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    if not given:
        raise PrerequisiteError(
            f"set {FOLDER_VARIABLE} to the folder that holds the benchmark data, such as "
            "human-eval/HumanEval.jsonl.gz from github.com/openai/human-eval"
        )
    folder = Path(given)
    if not folder.is_dir():
        raise PrerequisiteError(f"{FOLDER_VARIABLE} names {given}, which is no folder")
    return folder
