# SPDX-License-Identifier: Apache-2.0
"""Requests in a batch: how each was asked for, how long it may take, which are read together."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codegemma.completion import FinishReason, Sampling
from codegemma.generate.lengths import pieces
from codegemma.generate.rows import Request, Row
from codegemma.generate.speculation import Drafter


@dataclass(kw_only=True, slots=True, eq=False)
class Entry:
    """A request on its way through a batch: how it was asked for, and its rows."""

    number: int
    request: Request
    sampling: Sampling
    rows: list[Row]
    cancel: threading.Event | None
    is_watched: bool
    drafter: Drafter | None
    piece_lengths: Sequence[int]
    start: float = field(default_factory=lambda: time.perf_counter())
    prompt_ms: float = 0.0
    num_cached: int = 0

    @property
    def is_done(self) -> bool:
        """Whether all its rows have ended."""
        return all(row.is_done for row in self.rows)

    @property
    def pieces(self) -> tuple[int, ...]:
        """Lengths of the pieces in which all of its prompt is read."""
        return pieces(len(self.request.tokens), lengths=self.piece_lengths)

    @property
    def needs_host(self) -> bool:
        """Whether the host has to look between tokens."""
        has_budget = self.sampling.budget_ms is not None
        return bool(self.cancel or self.sampling.stop or has_budget or self.is_watched)

    @property
    def seconds_left(self) -> float | None:
        """What is left of its time; None where it may take any."""
        if self.sampling.budget_ms is None:
            return None
        return self.start + self.sampling.budget_ms / 1e3 - time.perf_counter()

    @property
    def elapsed_ms(self) -> float:
        """Time since it was added."""
        return (time.perf_counter() - self.start) * 1e3

    def interruption(self) -> FinishReason | None:
        """Say why it is to end before its time, None where it is not."""
        if self.cancel is not None and self.cancel.is_set():
            return "cancelled"
        left = self.seconds_left
        return "deadline" if left is not None and left <= 0 else None


@dataclass(kw_only=True, slots=True, eq=False)
class Group:
    """Requests whose prompts are read together, in the same pieces: a row of `cache` each."""

    entries: list[Entry]
    cache: Any
    num_read: np.ndarray
    lengths: np.ndarray
