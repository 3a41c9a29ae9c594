# SPDX-License-Identifier: Apache-2.0
"""Canaries: random secrets planted in training data, and how much a model gives them away.

A canary is a line `PREFIX SECRET` that stands a known number of times in the training data and
nowhere else. Its exposure is how far the model prefers the secret to others that might have been:
log2 of their number over the secret's rank among them. Planting is writing `Canary.line` into
files before `prepare`; the canaries themselves are kept as JSON Lines beside the prepared data.

Source: "The Secret Sharer", arXiv 1802.08232, for exposure, estimated from a sample of rivals.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from codegemma.errors import DataError, PrerequisiteError

FILE_NAME: Final = "canaries.jsonl"
NUM_RIVALS: Final = 1023
"""Other secrets that a canary's is ranked among; its exposure is then at most 10 bits."""

_NUM_DIGITS: Final = 10
_DIGITS: Final = "0123456789"


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """A secret that was planted.

    Args:
        prefix: What stands before it in its line, its last blank included.
        secret: The secret, of digits.
        copies: How often it was planted; 0 for one that never was, to compare with.
    """

    prefix: str
    secret: str
    copies: int

    @property
    def line(self) -> str:
        """The line to plant."""
        return f"{self.prefix}{self.secret}\n"

    def rivals(self) -> list[str]:
        """Give other secrets of the same form, the same ones each time."""
        rng = np.random.default_rng([int(self.secret), len(self.prefix)])
        return [secret for secret in _draw(rng, NUM_RIVALS) if secret != self.secret]


def make_canaries(num_each: int, *, copies: Sequence[int], seed: int) -> list[Canary]:
    """Make canaries of different prefixes, so many for each number of copies."""
    rng = np.random.default_rng(seed)
    numbers = [number for number in copies for _ in range(num_each)]
    return [
        Canary(prefix=f"ticket_{index:03d} = ", secret=secret, copies=number)
        for index, (number, secret) in enumerate(
            zip(numbers, _draw(rng, len(numbers)), strict=True)
        )
    ]


def exposure(logprobs: Sequence[float]) -> float:
    """Give a secret's exposure in bits from its likelihood, the first, and its rivals'.

    A rival that is as likely counts as likelier.
    """
    rank = 1 + sum(rival >= logprobs[0] for rival in logprobs[1:])
    return math.log2(len(logprobs) / rank)


def write_canaries(folder: Path, canaries: Sequence[Canary]) -> None:
    """Write canaries into a folder of prepared data."""
    lines = "".join(json.dumps(asdict(canary)) + "\n" for canary in canaries)
    (folder / FILE_NAME).write_text(lines, encoding="utf-8")


def read_canaries(folder: Path) -> list[Canary]:
    """Read the canaries of prepared data.

    Raises:
        PrerequisiteError: None were planted.
        DataError: The file is damaged.
    """
    path = folder / FILE_NAME
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        canaries = [Canary(**row) for row in rows]
        if not canaries or any(not canary.secret.isdecimal() for canary in canaries):
            raise ValueError("it needs a line for each canary, whose secret is of digits")
    except FileNotFoundError as error:
        raise PrerequisiteError(
            f"{folder} has no {FILE_NAME}: plant canaries before the data is prepared, see "
            "docs/guide/evaluating.md"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    return canaries


def _draw(rng: np.random.Generator, count: int) -> list[str]:
    digits = rng.integers(0, len(_DIGITS), (count, _NUM_DIGITS))
    return ["".join(_DIGITS[digit] for digit in row) for row in digits.tolist()]
