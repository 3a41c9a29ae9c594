# SPDX-License-Identifier: Apache-2.0
"""The log of a run, `metrics.jsonl`, and its speed.

One JSON object a line: "start" each time a process takes the run up, "step" with loss, norm, rate
and speed, "heldout" with held-out results. A run that goes back to an earlier checkpoint drops the
lines after it, so that every step stands in the file once.
"""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

_WINDOW: Final = 20


class MetricsLog:
    """Appends lines to `metrics.jsonl`, each flushed, and tells them to a listener.

    Args:
        path: The file; made when missing.
        step: Step the run starts from; later lines of the file are dropped.
        listener: Called with each line.
    """

    def __init__(
        self, path: Path, *, step: int, listener: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self._path = path
        self._listener = listener
        self._written: set[tuple[str, int]] = set()
        if path.exists():
            kept = [line for line in read_metrics(path) if line["step"] <= step]
            self._written = {(line["kind"], line["step"]) for line in kept}
            draft = path.with_name(path.name + ".partial")
            draft.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            draft.replace(path)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line; floats are kept to six digits, and one that is not finite as text."""
        line = {"kind": kind, "step": step} | {k: _plain(v) for k, v in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        self._written.add((kind, step))
        if self._listener:
            self._listener(line)

    def holds(self, kind: str, step: int) -> bool:
        """Whether a line of this kind and step is in the file."""
        return (kind, step) in self._written


def best_order(lines: Sequence[Mapping[str, Any]]) -> Literal["psm", "spm"] | None:
    """Take the order whose middles the newest held-out line of a log shows as likelier.

    None without such a line, and where nothing is held out of code.
    """
    for line in reversed(lines):
        if line["kind"] == "heldout" and "middle_psm_nll_per_byte" in line:
            psm, spm = (line[f"middle_{order}_nll_per_byte"] for order in ("psm", "spm"))
            return "psm" if psm <= spm else "spm"
    return None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a log; a last line cut off by a kill is left out."""
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


class Speed:
    """Tokens a second over the last steps, and the time the rest will take."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=_WINDOW + 1)

    def add(self, tokens: int) -> None:
        """Count the tokens of a finished step."""
        self._marks.append((self._clock(), self._marks[-1][1] + tokens))

    def pause(self) -> "Speed":
        """Leave out the time since the last step, spent on something else than training."""
        shift = self._clock() - self._marks[-1][0]
        self._marks = deque(((at + shift, n) for at, n in self._marks), maxlen=_WINDOW + 1)
        return self

    @property
    def tokens_per_s(self) -> float:
        """Speed over at most the last 20 steps; 0 before the first."""
        (start, first), (stop, last) = self._marks[0], self._marks[-1]
        return (last - first) / (stop - start) if stop > start else 0.0

    def seconds_left(self, steps: int) -> float:
        """Time for so many more steps at the present speed; infinite before the first."""
        (start, _), (stop, _) = self._marks[0], self._marks[-1]
        done = len(self._marks) - 1
        return steps * (stop - start) / done if done else math.inf


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value
