# SPDX-License-Identifier: Apache-2.0
r"""Hashes of word n-grams, shared by near-duplicate search and decontamination.

Words are runs of `\\w`, in lower case; everything between them is ignored, so that re-indented or
re-punctuated copies hash alike. Hashes do not depend on the process or the machine.
"""

import hashlib
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@lru_cache(maxsize=1 << 18)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def words(text: str) -> list[str]:
    """Split text into lower-case words: runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())


def ngram_hashes(words: list[str], *, n: int) -> NDArray[np.uint64]:
    """Hash every run of n words; position i covers words i to i+n-1, n > len(words) gives none."""
    if len(words) < n:
        return np.zeros(0, np.uint64)
    hashes = np.fromiter(map(_word_hash, words), np.uint64, len(words))
    grams = np.zeros(len(words) - n + 1, np.uint64)
    for offset in range(n):  # a polynomial in _FACTOR, modulo 2**64
        grams = grams * _FACTOR + hashes[offset : offset + len(grams)]
    grams ^= grams >> np.uint64(29)
    return grams * np.uint64(0xBF58476D1CE4E5B9)


WINDOW = 40


def window_hashes(data: bytes) -> NDArray[np.uint64]:
    """Hash every run of `WINDOW` bytes; position i covers bytes i to i+39, less data gives none."""
    if len(data) < WINDOW:
        return np.zeros(0, np.uint64)
    hashes = np.frombuffer(data, np.uint8).astype(np.uint64) + np.uint64(1)
    power = int(_FACTOR)
    factor = _FACTOR
    eight = eight_factor = None
    for size in (1, 2, 4, 8, 16):  # doubled: the hash of 2n bytes from two of n
        if size == 8:
            eight, eight_factor = hashes, factor
        hashes = hashes[:-size] * factor + hashes[size:]
        power = power * power % 2**64
        factor = np.uint64(power)
    assert eight is not None
    assert eight_factor is not None
    count = len(data) - WINDOW + 1
    whole = hashes[:count] * eight_factor + eight[32 : 32 + count]
    return whole * np.uint64(0xBF58476D1CE4E5B9)
