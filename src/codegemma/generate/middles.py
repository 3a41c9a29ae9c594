# SPDX-License-Identifier: Apache-2.0
"""How well a model knows the middles of bundled files: the measure behind `verify`.

Reads eight short source files in seven languages, made for this purpose and shipped with the
package, cuts each in two fixed ways, and takes the negative log likelihood of every middle, and
of ending there, under the three infill orders and under orders whose sentinels are exchanged. It
judges nothing.
"""

import importlib.resources
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np

from codegemma.completion import Prompt
from codegemma.generate.engine import Engine
from codegemma.text.fim import InfillMode, Split, render_prompt
from codegemma.text.tokens import (
    BOS_ID,
    FILE_SEPARATOR_ID,
    FIM_MIDDLE_ID,
    FIM_PREFIX_ID,
    FIM_SUFFIX_ID,
)

MODES: Final[tuple[InfillMode, ...]] = ("psm", "spm", "spm2")

_FOLDER: Final = "verify_files"
_SENTINELS: Final = (FIM_PREFIX_ID, FIM_MIDDLE_ID, FIM_SUFFIX_ID)


@dataclass(frozen=True, kw_only=True, slots=True)
class Middle:
    """A middle of a bundled file, and where it was cut from."""

    path: str
    split: Split

    @property
    def num_bytes(self) -> int:
        """Bytes of the middle."""
        return len(self.split.middle.encode())


def read_texts() -> list[str]:
    """Read the bundled files, in the order of their names."""
    return [text for _, text in _files()]


def read_middles() -> list[Middle]:
    """Cut each bundled file in two ways, in the order of the names."""
    return [Middle(path=path, split=split) for path, text in _files() for split in cut(text)]


def cut(text: str) -> Iterator[Split]:
    """Cut a file inside a line a third down, and around two lines two thirds down.

    The first middle is the second half of its line, up to the line's end; the second one begins
    behind the indentation of its first line. Blank lines are passed over.
    """
    lines = text.splitlines(keepends=True)
    starts = np.cumsum([0, *map(len, lines)]).tolist()

    def visible(row: int) -> int:
        return next(row for row in range(row, len(lines)) if len(lines[row].strip()) > 1)

    first, second = visible(len(lines) // 3), visible(2 * len(lines) // 3)
    half = len(lines[first].strip()) // 2
    spans = (
        (starts[first] + _indentation(lines[first]) + half, starts[first + 1] - 1),
        (starts[second] + _indentation(lines[second]), starts[min(second + 2, len(lines))] - 1),
    )
    for start, end in spans:
        yield Split(text[:start], text[start:end], text[end:])


def exchanges() -> list[dict[int, int]]:
    """List the five ways of exchanging the three sentinels, by what takes the place of which."""
    orders = list(permutations(_SENTINELS))[1:]
    return [dict(zip(_SENTINELS, order, strict=True)) for order in orders]


def measure_middles(
    engine: Engine,
    middles: Sequence[Middle],
    *,
    mode: InfillMode,
    exchange: dict[int, int] | None = None,
) -> np.ndarray:
    """Take the negative log likelihood of each middle and its end, in nats per byte, float64.

    Args:
        engine: The model.
        middles: What to score.
        mode: Order of the infill prompt.
        exchange: Sentinels to put in the place of others; None keeps them.
    """
    pairs: list[tuple[list[int], list[int]]] = []
    for middle in middles:
        prompt = Prompt(prefix=middle.split.prefix, suffix=middle.split.suffix, path=middle.path)
        context = render_prompt(engine.tokenizer, prompt, mode=mode)
        if exchange is not None:
            context = [exchange.get(token, token) for token in context]
        known = [*engine.tokenizer.encode(middle.split.middle), FILE_SEPARATOR_ID]
        pairs.append((context, known))
    scored = engine.score(pairs)
    return np.array(
        [-one.logprob / middle.num_bytes for one, middle in zip(scored, middles, strict=True)]
    )


def measure_texts(engine: Engine, texts: Sequence[str]) -> np.ndarray:
    """Take the negative log likelihood of whole texts, in nats per byte, float64."""
    scored = engine.score([([BOS_ID], engine.tokenizer.encode(text)) for text in texts])
    return np.array(
        [-one.logprob / len(text.encode()) for one, text in zip(scored, texts, strict=True)]
    )


def paired_t(lower: np.ndarray, higher: np.ndarray) -> float:
    """Give Student's t of the mean of `higher - lower`, pair by pair."""
    difference = higher - lower
    spread = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return float(difference.mean()) / max(spread, 1e-12)


def _files() -> Iterator[tuple[str, str]]:
    folder = importlib.resources.files("codegemma.generate") / _FOLDER
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        yield file.name.removesuffix(".txt"), file.read_text(encoding="utf-8")


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
