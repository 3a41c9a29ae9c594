# SPDX-License-Identifier: Apache-2.0
"""Benchmark data: below one folder, by the names of its own sources, or from the hub.

Reads JSON Lines, plain or compressed, and says where a file comes from when it is not there. What
is in the folder counts; only a file that names its data set on the Hugging Face hub is looked for
there, and in the cache of an earlier time.
"""

import gzip
import hashlib
import importlib
import json
import logging
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from codegemma.errors import DataError, PrerequisiteError

FOLDER_VARIABLE: Final = "CODEGEMMA_BENCHMARKS"
"""Environment variable that names the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubData:
    """Rows of a data set on the Hugging Face hub.

    Args:
        path: Its name there.
        configs: Its configurations, whose rows follow each other.
        split: Such as "test".
    """

    path: str
    configs: tuple[str, ...]
    split: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkFile:
    """One data file of a benchmark.

    Args:
        name: Path below the benchmark folder; a `.gz` at its end is optional on the disk.
        source: Where it comes from, for the message when it is missing.
        hub: The same rows on the hub, for where the file is missing; None if they are not there.
    """

    name: str
    source: str
    hub: HubData | None = None

    def path(self, folder: Path) -> Path:
        """Find the file, compressed or not.

        Raises:
            PrerequisiteError: It is not below the folder.
        """
        path = self._find(folder)
        if path is None:
            raise PrerequisiteError(
                f"{self.name} is not in {folder}, the folder that {FOLDER_VARIABLE} names; it "
                f"comes from {self.source}"
            )
        return path

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        """Read the file's rows, one JSON object a line, in file order, or those of the hub.

        Raises:
            PrerequisiteError: The file is missing, and the hub does not answer.
            DataError: It is damaged.
        """
        if self.hub is not None and self._find(folder) is None:
            return self._hub_rows(self.hub, folder)
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
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise DataError(
                f"{path} is damaged: {error}; get it again from {self.source}"
            ) from error
        return rows

    def sha256(self, folder: Path) -> str:
        """Hash the file's bytes as they lie there, or the rows of the hub, as hex digits.

        Raises:
            PrerequisiteError: The file is missing, and the hub does not answer.
        """
        if self.hub is not None and self._find(folder) is None:
            rows = json.dumps(self._hub_rows(self.hub, folder), sort_keys=True)
            return hashlib.sha256(rows.encode()).hexdigest()
        return hashlib.sha256(self.path(folder).read_bytes()).hexdigest()

    def _find(self, folder: Path) -> Path | None:
        names = (self.name, self.name.removesuffix(".gz"))
        return next((folder / name for name in names if (folder / name).is_file()), None)

    def _hub_rows(self, hub: HubData, folder: Path) -> list[dict[str, Any]]:
        try:
            return _load(hub)
        except ImportError as error:
            raise PrerequisiteError(
                f"{hub.path} on the hub needs the package datasets: pip install "
                "'codegemma[evaluate]'"
            ) from error
        except Exception as error:  # offline, gated, renamed: the library raises many kinds
            raise PrerequisiteError(
                f"{self.name} is not in {folder}, and {hub.path} was not had from the Hugging "
                f"Face hub or its cache ({type(error).__name__}: {error}); put the file there, "
                "from " + self.source + ", or run once with a network"
            ) from error


@cache
def _load(hub: HubData) -> list[dict[str, Any]]:
    datasets: Any = importlib.import_module("datasets")
    rows: list[dict[str, Any]] = []
    library = logging.getLogger("huggingface_hub")
    level = library.level
    library.setLevel(logging.ERROR)  # a line for each time that it tries again
    try:
        for config in hub.configs:
            rows += datasets.load_dataset(hub.path, config or None, split=hub.split)
    finally:
        library.setLevel(level)
    return rows


def benchmark_folder(files: Sequence[BenchmarkFile] = ()) -> Path:
    """Give the folder that holds the benchmark data.

    Args:
        files: What is wanted of it. Where all of it is on the hub, no folder need be named; the
            one given then holds nothing.

    Raises:
        PrerequisiteError: It is not named, or not there.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    if not given and files and all(file.hub is not None for file in files):
        return Path(f"${FOLDER_VARIABLE}")
    if not given:
        raise PrerequisiteError(
            f"set {FOLDER_VARIABLE} to the folder that holds the benchmark data, such as "
            "human-eval/HumanEval.jsonl.gz from github.com/openai/human-eval"
        )
    folder = Path(given)
    if not folder.is_dir():
        raise PrerequisiteError(f"{FOLDER_VARIABLE} names {given}, which is no folder")
    return folder
