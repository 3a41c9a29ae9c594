# SPDX-License-Identifier: Apache-2.0
"""Rows of a benchmark and the file they are kept in: `results/<bench>-<date>-<device>.json`."""

import datetime
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "results"
_PACKAGES = ("jax", "jaxlib", "numpy", "codegemma")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure.

    Args:
        name: What was measured, such as "exact-match".
        value: The figure, or the median of several.
        unit: Its unit; fractions in [0, 1] have "fraction".
        n: Samples behind it.
        low: Lower end of the 95 % interval, or of the spread.
        high: Upper end.
        peer: What it is compared with in the same run.
        peer_value: The peer's figure.
        ratio: Ours over the peer's, turned so that above 1 is better for us.
        note: Settings that the figure depends on.
    """

    name: str
    value: float
    unit: str
    n: int
    low: float | None = None
    high: float | None = None
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    note: str = ""


def write_rows(bench: str, rows: Sequence[Row], *, device: str) -> Path:
    """Write the rows with machine, versions and commit beside each; give the file's path."""
    shared = {
        "device": device,
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _git("rev-parse", "--short", "HEAD"),
    }
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    path = _FOLDER / f"{bench}-{today}-{device}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(row) | shared for row in rows], indent=1) + "\n")
    return path


def cpu_name() -> str:
    """Name this machine's processor for a file name, such as "cpu-amd-epyc-2"."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":")[1].strip()
            break
    cores = len(
        [
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("processor")
        ]
    )
    words = "".join(c if c.isalnum() else " " for c in model.lower()).split()
    return "-".join(["cpu", *words[:3], f"{cores}core"])


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _git(*arguments: str) -> str:
    output = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return output.stdout.strip()
