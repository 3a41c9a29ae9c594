# SPDX-License-Identifier: Apache-2.0
"""How many tokens are drawn between two looks of the host at clock, cancel and stop strings."""

from typing import Final

from codegemma.generate.programs import MAX_STEPS

_SHORT_CHUNK_S: Final = 0.02
_LONG_CHUNK_S: Final = 0.06


class Pace:
    """How many tokens to draw before the host looks again: few at first, then by the clock."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._seconds_per_step = 0.0

    def next_steps(self, left: int, *, seconds_left: float | None) -> int:
        """Steps of the next call, at least 1 and at most what is left."""
        steps = min(self._steps, left)
        if seconds_left is not None and self._seconds_per_step > 0:
            steps = min(steps, int(seconds_left / self._seconds_per_step))
        return max(1, steps)

    def record(self, steps: int, seconds: float) -> None:
        """Take note of what a call took."""
        self._seconds_per_step = seconds / steps
        if seconds < _SHORT_CHUNK_S:
            self._steps = min(2 * self._steps, MAX_STEPS)
        elif seconds > _LONG_CHUNK_S:
            self._steps = max(1, self._steps // 2)
