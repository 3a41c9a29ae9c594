# SPDX-License-Identifier: Apache-2.0
"""Draw where a file is cut into prefix, middle and suffix, its layout, and whether it is cut.

Pure functions of (recipe, text, generator); the generator is made from (seed, record, epoch), so a
draw depends on nothing else. Encoding is `loader.encode_record`'s.

The kinds of cuts: `suffix_start` (any start, a natural suffix start as the end), `random` (both at
any character), `line` (a line or the rest of it), and `ast` (syntactic units, half one of them and
half neighbours that fit a random span best).

Source: CodeGemma model card: the suffix starts at a syntactically natural point; random ends:
    Bavarian et al., arXiv 2207.14255, section 3; `ast`: AST-FIM, arXiv 2506.00204, section 3.
Unstated: lengths of middles, and what is natural; the latter is `text.syntax.suffix_starts`.
"""

import bisect
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, NamedTuple

import numpy as np

from codegemma.data.recipes import DataRecipe, SplitKind
from codegemma.data.shards import Record, RecordFile
from codegemma.text import syntax
from codegemma.text.fim import Split
from codegemma.text.syntax import Node

_MIN_CHARS = 3


class Cut(NamedTuple):
    """Where a middle starts and ends (exclusive) in characters, and how that was drawn."""

    start: int
    end: int
    kind: SplitKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """How one file of a record is shown.

    Args:
        kind: How the cut was drawn, None for an uncut file; "random" where a text has nothing that
            the kind asked for needs.
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
    cut = split = None
    if is_cut < recipe.fim_fraction and can_be_cut(file):
        cut = draw_cut(file, kind, recipe=recipe, rng=rng)
        text = file.text
        split = Split(text[: cut.start], text[cut.start : cut.end], text[cut.end :])
    return Draw(
        kind=cut.kind if cut else None,
        mode="psm" if is_psm < recipe.psm_fraction else "spm",
        split=split,
        has_path=has_path >= recipe.no_path_fraction,
    )


def can_be_cut(file: RecordFile) -> bool:
    """Tell whether a file is long enough to be cut, and parses well enough."""
    return not file.is_broken and len(file.text.strip()) >= _MIN_CHARS


def draw_cut(
    file: RecordFile, kind: SplitKind, *, recipe: DataRecipe, rng: np.random.Generator
) -> Cut:
    """Draw the middle of a text; it is never empty.

    Raises:
        PrerequisiteError: `ast` of a language whose grammar is not installed: what is drawn must
            not depend on that.
    """
    text, longest = file.text, recipe.max_middle_chars
    if kind == "line":
        return Cut(*_line(text, rng), kind)
    if kind == "ast":
        units = _units(file, longest, rng)
        if units is not None:
            return Cut(*units, kind)
    start, end = _span(len(text), longest, rng)
    if kind == "ast" or (kind == "suffix_start" and not file.suffix_starts):
        kind = "random"
    if rng.random() < recipe.empty_suffix_fraction:
        return Cut(max(start, len(text) - (longest or len(text))), len(text), kind)
    if kind == "suffix_start":
        end = _natural_end(file.suffix_starts, start, end, len(text))
    return Cut(start, end, kind)


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


def _units(
    file: RecordFile, longest: int | None, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Draw one syntactic unit or several side by side; None where there are none short enough.

    Half are one unit, drawn by its length, half those that fit a random span best.
    """
    language = syntax.language_of(file.path)
    nodes = syntax.find_nodes(file.text, language) if language else []
    limit = min(longest or len(file.text), len(file.text.strip()) - 1)  # never the whole text
    is_single, place = rng.random(2).tolist()
    if is_single >= 0.5 and nodes:
        start, end = aligned(nodes, *_span(len(file.text), longest, rng))
        if 0 < end - start <= limit:
            return start, end
    fitting = [node for node in nodes if node.end - node.start <= limit]
    if not fitting:
        return None
    ends = list(accumulate(node.end - node.start for node in fitting))
    chosen = fitting[bisect.bisect_right(ends, place * ends[-1])]
    return chosen.start, chosen.end


def aligned(nodes: Sequence[Node], start: int, end: int) -> tuple[int, int]:
    """Give the units side by side that share most with a span, as a share of both together.

    They are children of the smallest unit that holds the span; without children, itself.

    Example: of `f(a, b)` and the span `a, ` it is `a`.
    """
    holders = [i for i, node in enumerate(nodes) if node.start <= start and end <= node.end]
    holder = holders[-1] if holders else -1
    units = [node for node in nodes if node.parent == holder]
    if not units:
        return nodes[holder].start, nodes[holder].end
    # A unit inside the span always makes a run better and one farther off than its next neighbour
    # always worse, so few runs can be the best.
    low = bisect.bisect_right(units, start, key=lambda node: node.end)
    high = bisect.bisect_left(units, end, key=lambda node: node.start) - 1
    runs = [
        (units[first].start, units[last].end)
        for first in range(max(0, low - 1), min(low + 2, len(units)))
        for last in range(max(first, high - 1), min(high + 2, len(units)))
    ]
    return max(runs, key=lambda run: (_likeness(run, (start, end)), -run[0], -run[1]))


def _likeness(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Give the length two spans share, of the length they cover together."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    return common / (one[1] - one[0] + other[1] - other[0] - common)


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
