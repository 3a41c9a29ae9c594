# SPDX-License-Identifier: Apache-2.0
r"""Hashes of word n-grams, shared by near-duplicate search and decontamination.

Words are runs of `\\w`, in lower case; everything between them is ignored, so that re-indented or
re-punctuated copies hash alike. Hashes do not depend on the process or the machine.
"""

import re
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_WORD: Final = re.compile(r"\w+")
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_INVERSE: Final = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))
_LAST_FACTOR: Final = np.uint64(0xBF58476D1CE4E5B9)
_IS_WORD: Final = np.array([bool(_WORD.match(chr(i))) for i in range(128)])


class Words(NamedTuple):
    """The words of a text, hashed and not cut out.

    Args:
        text: In lower case.
        starts: Where each begins in it, int64.
        ends: Where each ends, exclusive.
        hashes: One a word; a word has the same wherever it stands.
    """

    text: str
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    hashes: NDArray[np.uint64]

    def run(self, start: int, size: int) -> list[str]:
        """Cut out the words `start` to `start + size - 1`, fewer at the end of the text."""
        places = slice(start, start + size)
        pairs = zip(self.starts[places].tolist(), self.ends[places].tolist(), strict=True)
        return [self.text[begin:end] for begin, end in pairs]


def words(text: str) -> list[str]:
    """Split text into lower-case words: runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())


def hash_words(text: str) -> Words:
    """Find the words that `words` gives and hash them, without a step of Python for each.

    The hash of a word is the polynomial of its characters, taken from sums over the whole text:
    what is before the word is subtracted, and its place divided out.
    """
    text = text.lower()
    if text.isascii():
        points = np.frombuffer(text.encode(), np.uint8)
        is_word = _IS_WORD[points]
    else:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        is_word = _IS_WORD[np.minimum(points, 127)]
        far = points > 127
        known, places = np.unique(points[far], return_inverse=True)
        is_word[far] = np.array([bool(_WORD.match(chr(p))) for p in known.tolist()])[places]
    edges = np.flatnonzero(np.diff(is_word.view(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    powers, inverses = _powers(1 << len(points).bit_length())
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum(points * powers[: len(points)], out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * inverses[starts]
    hashes ^= hashes >> np.uint64(32)
    hashes *= _LAST_FACTOR
    return Words(text, starts, ends, hashes)


@cache
def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Give the powers of the factor and of its inverse, modulo 2**64."""
    powers = np.full((2, size), [[_FACTOR], [_INVERSE]], np.uint64)
    powers[:, 0] = 1
    np.multiply.accumulate(powers, axis=1, out=powers)
    return powers[0], powers[1]


def ngram_hashes(hashes: NDArray[np.uint64], *, n: int) -> NDArray[np.uint64]:
    """Hash every run of n words by their hashes; position i covers words i to i+n-1.

    Fewer than n words give none.
    """
    if len(hashes) < n:
        return np.zeros(0, np.uint64)
    grams = np.zeros(len(hashes) - n + 1, np.uint64)
    for offset in range(n):  # a polynomial in _FACTOR, modulo 2**64
        grams *= _FACTOR
        grams += hashes[offset : offset + len(grams)]
    grams ^= grams >> np.uint64(29)
    grams *= _LAST_FACTOR
    return grams


WINDOW: Final = 24


def window_hashes(data: bytes) -> NDArray[np.uint64]:
    """Hash every run of `WINDOW` bytes; position i covers bytes i to i+23, less data gives none."""
    if len(data) < WINDOW:
        return np.zeros(0, np.uint64)
    points = np.frombuffer(data, np.uint8)
    powers, inverses = _powers(1 << len(points).bit_length())
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum((points + np.uint64(1)) * powers[: len(points)], out=sums[1:])
    hashes = sums[WINDOW:] - sums[:-WINDOW]
    hashes *= inverses[: len(hashes)]
    hashes ^= hashes >> np.uint64(32)
    hashes *= _LAST_FACTOR
    return hashes
