# SPDX-License-Identifier: Apache-2.0
"""How much of each genre there is to train on, and how often training draws from it.

A share of the mixture is one of tokens; training draws whole records, whose lengths differ between
genres, so that it draws the longer ones less often. Genres a recipe has a share for and no source
are left out, and the others keep their proportions.

Source: CodeGemma, arXiv 2406.11409, 'Pretraining Data': all code for 2B, 80 % for 7B.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from codegemma.data.document import Genre

if TYPE_CHECKING:
    from codegemma.data.steps import Packed

_SEGMENT_TOKENS = 2
_FILE_TOKENS = 4
"""Sentinels and separator of a cut file; training shows them and packing does not count them."""


def describe(
    packed: Iterable[tuple[Genre, "Packed"]], *, shares: Mapping[Genre, float]
) -> dict[Genre, dict[str, Any]]:
    """Tell of each genre its records, the tokens training sees of them, and its weight, in sum 1.

    Args:
        packed: What there is to train on.
        shares: Of the recipe.
    """
    found: dict[Genre, dict[str, Any]] = {}
    for genre, result in packed:
        if not result.num_records:
            continue
        row = found.setdefault(genre, {"weight": 0.0, "records": 0, "tokens": 0})
        row["records"] += result.num_records
        row["tokens"] += result.num_tokens
        if genre == "code":
            row["tokens"] += _SEGMENT_TOKENS * result.num_records
            row["tokens"] += _FILE_TOKENS * result.num_windows
    total = sum(shares[genre] for genre in found)
    for genre, row in found.items():
        row["weight"] = shares[genre] / total
    return found


def record_weights(manifest: Mapping[str, Any]) -> dict[Genre, float]:
    """Tell how often a record of each genre is drawn, in sum 1; a data set of old is all code."""
    old = {"code": {"weight": 1.0, "records": 1, "tokens": 1}}
    rows = cast("dict[Genre, dict[str, Any]]", manifest.get("mixture") or old)
    weights: dict[Genre, float] = {}
    for genre, row in rows.items():
        weights[genre] = row["weight"] * row["records"] / row["tokens"]
    total = sum(weights.values())
    for genre in weights:
        weights[genre] /= total
    return weights
