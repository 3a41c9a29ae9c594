# SPDX-License-Identifier: Apache-2.0
"""Draw where a file is cut into prefix, middle and suffix, its layout, and whether it is cut.

Pure functions of (recipe, text, generator); the generator is made from (seed, record, epoch), so a
draw depends on nothing else. Encoding is `loader.encode_record`'s.

Source: CodeGemma model card: the suffix starts at a syntactically natural point.
Unstated: lengths of middles, and what is natural; the latter is `text.syntax.suffix_starts`.
"""

import bisect
import hashlib
import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from codegemma.data.recipes import DataRecipe, SplitKind
from codegemma.data.shards import Record, RecordFile
from codegemma.text.fim import Split

_MIN_CHARS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """How one file of a record is shown.

    Args:
        kind: How the cut was drawn, None for an uncut file.
        mode: Order of the parts.
        split: The parts, None for an uncut file.
        has_path: Whether its path line is shown.
    """

    kind: SplitKind | None
    mode: Literal["psm", "spm"]
    split: Split | None
    has_path: bool


UNCUT: Final = Draw(kind=None, mode="psm", split=None, has_path=True)
"""A file shown whole, under its path."""


def generator(record: Record, *, seed: int, epoch: int, purpose: str) -> np.random.Generator:
    """Make the generator of a record's draws from its content, counter-based (Philox)."""
    digest = hashlib.blake2b(f"{purpose}/{seed}/{epoch}".encode(), digest_size=16)
    for file in record.files:
        digest.update(f"{len(file.path)}/{len(file.text)}/{file.path}{file.text}".encode())
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest(), "little")))


def draw_file(file: RecordFile, *, recipe: DataRecipe, rng: np.random.Generator) -> Draw:
    """Draw how one file is shown. Always takes the same number of leading draws from rng."""
    is_cut, is_psm, has_path, kind_draw = rng.random(4).tolist()
    kinds = list(recipe.split_kinds.items())
    total = sum(weight for _, weight in kinds)
    kind = kinds[-1][0]
    for name, weight in kinds:
        kind_draw -= weight / total
        if kind_draw < 0:
            kind = name
            break
    split = None
    if is_cut < recipe.fim_fraction and len(file.text.strip()) >= _MIN_CHARS:
        start, end = draw_cut(file, kind, recipe=recipe, rng=rng)
        split = Split(file.text[:start], file.text[start:end], file.text[end:])
    return Draw(
        kind=kind if split else None,
        mode="psm" if is_psm < recipe.psm_fraction else "spm",
        split=split,
        has_path=has_path >= recipe.no_path_fraction,
    )


def draw_cut(
    file: RecordFile, kind: SplitKind, *, recipe: DataRecipe, rng: np.random.Generator
) -> tuple[int, int]:
    """Draw the middle's start and end (exclusive) in characters; the middle is never empty."""
    text = file.text
    if kind == "line":
        return _line(text, rng)
    start, end = _span(len(text), recipe.max_middle_chars, rng)
    if rng.random() < recipe.empty_suffix_fraction:
        longest = recipe.max_middle_chars or len(text)
        return max(start, len(text) - longest), len(text)
    if kind == "suffix_start":
        end = _natural_end(file.suffix_starts, start, end, len(text))
    return start, end


def _span(size: int, longest: int | None, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a span of at least one character: both ends uniform, or a log-uniform length."""
    if longest is None:
        first, second = sorted(rng.integers(0, size + 1, 2).tolist())
        return (
            (first, second) if first < second else (min(first, size - 1), min(first, size - 1) + 1)
        )
    start = int(rng.integers(0, size))
    length = math.exp(rng.random() * math.log(longest))
    return start, min(size, start + max(1, round(length)))


def _natural_end(starts: tuple[int, ...], start: int, end: int, size: int) -> int:
    """Move an end to the next natural suffix start, or back to the last one after the start."""
    place = bisect.bisect_left(starts, end)
    if place < len(starts):
        return starts[place]
    if place and starts[place - 1] > start:
        return starts[place - 1]
    return size


def _line(text: str, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a line that is neither blank nor a comment, and take all of it or the rest of it.

    Half of the middles start where the line starts, a quarter after its indentation and a quarter
    at any character; half hold the line end.
    """
    where, start_draw, end_draw = rng.random(3).tolist()
    line_start = text.rfind("\n", 0, int(where * len(text))) + 1
    for _ in range(text.count("\n") + 1):
        line_end = text.find("\n", line_start)
        line_end = len(text) if line_end < 0 else line_end
        stripped = text[line_start:line_end].strip()
        if stripped and not stripped.startswith("#"):
            break
        line_start = line_end + 1 if line_end < len(text) else 0
    else:
        line_start, line_end = 0, max(1, text.find("\n"))
        stripped = text[line_start:line_end]
    first = text.index(stripped, line_start) if stripped else line_start
    start = line_start
    if start_draw >= 0.75:
        start = first + int((start_draw - 0.75) * 4 * len(stripped))
    elif start_draw >= 0.5:
        start = first
    has_line_end = end_draw < 0.5 and line_end < len(text)
    return start, line_end + has_line_end
