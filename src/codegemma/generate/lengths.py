# SPDX-License-Identifier: Apache-2.0
"""The few lengths in which prompts are read and caches are made: each is a program of its own.

Pure arithmetic; nothing here knows a model.
"""

from collections.abc import Sequence
from typing import Final

from codegemma.model.cached_attention import BLOCK

PIECE_LENGTHS: Final = (256, 64)
"""Lengths in which a prompt is read; each is one more program to load at every start."""

SHORT_PIECE: Final = 16
"""Length in which the last tokens of a lone prompt are read if it holds them: those of a key."""

_MIN_CACHE: Final = 1024


def cache_length(num_tokens: int, *, context_length: int) -> int:
    """Round up to a power of two, at least 1,024, at most the context in whole blocks.

    Few lengths make few programs; an empty slot costs memory and hardly any time.
    """
    length = _MIN_CACHE
    while length < num_tokens:
        length *= 2
    return min(length, -(-context_length // BLOCK) * BLOCK)


def lengths_for(num_rows: int, *, lengths: Sequence[int] = PIECE_LENGTHS) -> tuple[int, ...]:
    """Lengths of the pieces of so many prompts that are read together.

    A lone one has `SHORT_PIECE`, too. Several have the shortest of `lengths` alone: a step is over
    soon, for those who draw beside it, and has tokens enough in all. Where all pieces are to have
    one length, that is it.
    """
    if len(lengths) == 1:
        return tuple(lengths)
    return (*lengths, SHORT_PIECE) if num_rows == 1 else (min(lengths),)


def piece_length(num_left: int, *, lengths: Sequence[int] = PIECE_LENGTHS) -> int:
    """Length of the next piece of a prompt: the longest of which at most a quarter is padding.

    `SHORT_PIECE` only where it holds all that is left: each piece reads all weights.

    Example: 300 tokens are read as 256 and 64, 200 as 256, 150 as 64, 64 and 64.
    """
    for length in lengths:
        if 4 * num_left > 3 * length and length != SHORT_PIECE:
            return length
    return min(length for length in lengths if length >= num_left)


def pieces(num_tokens: int, *, lengths: Sequence[int] = PIECE_LENGTHS) -> tuple[int, ...]:
    """Lengths of all the pieces in which a prompt is read."""
    found: list[int] = []
    while (left := num_tokens - sum(found)) > 0:
        found.append(piece_length(left, lengths=lengths))
    return tuple(found)


def only_length(num_tokens: int) -> int:
    """Length in which to read a prompt if all its pieces are to have one.

    Example: 128 tokens are read as 64 and 64, 129 as 256, 300 as 256 and 256.
    """
    short = (length for length in reversed(PIECE_LENGTHS) if num_tokens <= 2 * length)
    return next(short, PIECE_LENGTHS[0])


def row_bucket(num_rows: int) -> int:
    """Round up to a power of two."""
    return 1 << (num_rows - 1).bit_length()
