# SPDX-License-Identifier: Apache-2.0
"""Measure the examples of a data set as training draws them: shares of cuts, sizes, padding.

Reads records in the order of the shards, which is that of their hashes, so that the first ones are
a fair sample; draws an epoch of seed 0 with the function that training uses. Gives counts, from
which a report makes fractions and intervals.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from codegemma.data import loader, shards, split
from codegemma.data.recipes import DataRecipe
from codegemma.text.tokenizer import Tokenizer

SAMPLE_TOKENS: Final = 1_000_000
"""Where the sample ends: some thousand files, a second of work."""

_OPEN_ROWS: Final = 32
_SIZE_BINS: Final = 8
_MAX_MIDDLE: Final = 1 << 16


def measure(
    rows: Iterable[bytes],
    *,
    tokenizer: Tokenizer,
    recipe: DataRecipe,
    epoch: int = 0,
    max_tokens: int | None = SAMPLE_TOKENS,
) -> dict[str, Any]:
    """Draw records and count.

    Args:
        rows: Stored records.
        tokenizer: Which their budgets were counted in.
        recipe: How they are cut.
        epoch: Which of its draws.
        max_tokens: With how many the sample ends, the record that reaches them included; None: all.

    Returns:
        JSON: `segments`, `files` and `tokens` of the sample; of the files `broken` (too many syntax
        errors to be cut), `eligible` (that may be cut), `cut`, `psm`, `spm`, `kinds` by name,
        `with_path`, `empty_suffix`; `fallbacks`,
        segments left uncut for want of room; `segment_sizes`, by eighths of the context;
        `files_per_segment` and `middle_chars`, by the power of two that is not exceeded;
        `padding_fraction` of rows into which whole segments are packed as training does.
    """
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    files_per_segment: Counter[int] = Counter()
    middles: Counter[int] = Counter()
    sizes: list[int] = []
    tokens = 0
    for row in rows:
        record = shards.unpack_record(row)
        encoded = loader.draw_segment(
            record, tokenizer=tokenizer, recipe=recipe, seed=0, epoch=epoch
        )
        sizes.append(len(encoded.tokens))
        files_per_segment[_power(len(record.files))] += 1
        counts["fallbacks"] += encoded.is_fallback
        for file, draw in zip(record.files, encoded.draws, strict=True):
            counts["files"] += 1
            counts["broken"] += file.is_broken
            counts["eligible"] += split.can_be_cut(file)
            counts["with_path"] += draw.has_path
            if draw.split is not None:
                counts[draw.mode] += 1
                counts["empty_suffix"] += not draw.split.suffix
                kinds[str(draw.kind)] += 1
                middles[_power(len(draw.split.middle))] += 1
        tokens += len(encoded.tokens)
        if max_tokens is not None and tokens >= max_tokens:
            break
    return {
        "segments": len(sizes),
        "tokens": tokens,
        "cut": counts["psm"] + counts["spm"],
        **{
            name: counts[name]
            for name in (
                "files",
                "broken",
                "eligible",
                "psm",
                "spm",
                "with_path",
                "empty_suffix",
                "fallbacks",
            )
        },
        "kinds": {kind: kinds[kind] for kind in sorted(kinds.keys() | recipe.split_kinds.keys())},
        "files_per_segment": {str(n): files_per_segment[n] for n in sorted(files_per_segment)},
        "segment_sizes": _by_eighths(sizes, recipe.context_tokens),
        "middle_chars": {str(n): middles[n] for n in sorted(middles)},
        "padding_fraction": round(padding_fraction(sizes, row_tokens=recipe.context_tokens), 5),
    }


def padding_fraction(sizes: Iterable[int], *, row_tokens: int) -> float:
    """Give the share of padding in rows that are filled with whole segments, in [0, 1].

    A segment goes into the fullest of 32 open rows that has room; where none has, all are closed.

    Args:
        sizes: Tokens of the segments, each at most `row_tokens`.
        row_tokens: Length of a row.
    """
    rows: list[int] = []
    used = num_rows = 0
    for size in sizes:
        used += size
        room = [filled for filled in rows if filled + size <= row_tokens]
        if room:
            rows[rows.index(max(room))] += size
        elif len(rows) < _OPEN_ROWS:
            rows.append(size)
        else:
            num_rows += len(rows)
            rows = [size]
    num_rows += len(rows)
    return 1 - used / (num_rows * row_tokens) if num_rows else 0.0


def _by_eighths(sizes: Iterable[int], context_tokens: int) -> list[int]:
    bins = [0] * _SIZE_BINS
    for size in sizes:
        bins[min(_SIZE_BINS - 1, max(0, size - 1) * _SIZE_BINS // context_tokens)] += 1
    return bins


def _power(length: int) -> int:
    power = 1
    while power < length and power < _MAX_MIDDLE:
        power *= 2
    return power
