# SPDX-License-Identifier: Apache-2.0
"""Drop copies: exact ones by hash, near ones by MinHash over word 5-grams, each candidate verified.

The keep rule is the order of the calls: a file is dropped when one that stays, given before it, is
its copy. So copies never chain: each dropped file resembles a kept one. Memory is 1 KB a file, and
2 KB more for a kept one that shares a band with another.

Source: banding and threshold (25 bands of 10 rows, Jaccard 0.7) of bigcode-dataset,
near_deduplication.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from codegemma.data import shingles
from codegemma.data.shingles import Words

NUM_BANDS = 25
NUM_ROWS = 10
NGRAM = 5
LEAST_RELATIVE = 0.25
"""Least estimated Jaccard similarity of an altered copy of a file that is held out."""
_RELATIVE_ROWS = 2
_MIN_WORDS = 10
_MASK = np.uint32(0xFFFFFFFF)
_BLOCK = 128
"""Runs whose hashes stay in the processor's cache."""


def content_hash(text: str) -> bytes:
    """Hash text with runs of white space folded, so that re-indented copies are exact copies."""
    return hashlib.sha256(" ".join(text.split()).encode()).digest()


def signature(words: Words) -> NDArray[np.uint32] | None:
    """Compute the MinHash signature of a text's words, uint32 [250]; None for fewer than 10.

    The permutations are products modulo 2**32 with odd numbers: hashes of runs are random already.
    """
    if len(words.hashes) < _MIN_WORDS:
        return None
    grams = (shingles.ngram_hashes(words.hashes, n=NGRAM) >> np.uint64(32)).astype(np.uint32)
    factors = _factors()
    lowest = np.full(len(factors), _MASK, np.uint32)
    room = np.empty((_BLOCK, len(factors)), np.uint32)
    for start in range(0, len(grams), _BLOCK):
        block = grams[start : start + _BLOCK, None]
        hashed = np.multiply(block, factors, out=room[: len(block)])
        np.minimum(lowest, hashed.min(axis=0), out=lowest)
    return lowest


@lru_cache(maxsize=1)
def _factors() -> NDArray[np.uint32]:
    rng = np.random.Generator(np.random.Philox(key=20240624))
    half = rng.integers(0, 2**31, NUM_BANDS * NUM_ROWS, dtype=np.uint32)
    return half * np.uint32(2) + np.uint32(1)


def shared_bands(signatures: Sequence[NDArray[np.uint32]]) -> NDArray[np.bool_]:
    """Tell which bands each signature shares with another, bool [N, NUM_BANDS].

    A band that nobody shares need not be remembered.
    """
    shared = np.zeros((len(signatures), NUM_BANDS), np.bool_)
    for band in range(NUM_BANDS):
        rows = slice(band * NUM_ROWS, (band + 1) * NUM_ROWS)
        keys = np.array([signature[rows] for signature in signatures], np.uint32)
        if len(keys):
            _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
            shared[:, band] = counts[inverse.ravel()] > 1
    return shared


class CopyIndex:
    """Remembers the files that stay and tells of each new one whether it is a copy of one.

    Args:
        threshold: Least estimated Jaccard similarity of a near copy, in (0, 1].
    """

    def __init__(self, *, threshold: float) -> None:
        self._least_equal = threshold * NUM_BANDS * NUM_ROWS
        self._hashes: dict[bytes, str] = {}
        self._signatures: list[NDArray[np.uint32]] = []
        self._keys: list[str] = []
        self._bands: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in range(NUM_BANDS)]

    def add(
        self,
        key: str,
        digest: bytes,
        signature: NDArray[np.uint32] | None,
        *,
        shared: NDArray[np.bool_] | None = None,
    ) -> tuple[str, str] | None:
        """Keep a file, or name what it copies.

        Args:
            key: Names the file in later answers.
            digest: Its `content_hash`.
            signature: Its `signature`; None compares the hash alone.
            shared: Its row of `shared_bands`; None: any may be.

        Returns:
            None when it stays, else the rule ("exact_copy" or "near_copy") and the kept file's key.
        """
        if digest in self._hashes:
            return "exact_copy", self._hashes[digest]
        if signature is not None:
            bands = [
                (table, band.tobytes())
                for place, (table, band) in enumerate(
                    zip(self._bands, signature.reshape(NUM_BANDS, NUM_ROWS), strict=True)
                )
                if shared is None or shared[place]
            ]
            candidates = {i for table, band in bands for i in table.get(band, ())}
            for i in sorted(candidates):
                if np.count_nonzero(self._signatures[i] == signature) >= self._least_equal:
                    return "near_copy", self._keys[i]
            if bands:
                for table, band in bands:
                    table[band].append(len(self._keys))
                self._signatures.append(signature)
                self._keys.append(key)
        self._hashes[digest] = key
        return None


class RelativeIndex:
    """Tells whether a file is an altered copy of one among a few that are kept apart.

    Bands of two rows find what `CopyIndex` leaves on purpose: relatives down to a quarter of the
    runs of words. Unrelated files share next to none.
    """

    def __init__(self, signatures: Sequence[NDArray[np.uint32]]) -> None:
        self._signatures = np.array(signatures, np.uint32).reshape(-1, NUM_BANDS * NUM_ROWS)
        self._bands: list[dict[bytes, list[int]]] = []
        for start in range(0, NUM_BANDS * NUM_ROWS, _RELATIVE_ROWS):
            table: dict[bytes, list[int]] = defaultdict(list)
            for place, band in enumerate(self._signatures[:, start : start + _RELATIVE_ROWS]):
                table[band.tobytes()].append(place)
            self._bands.append(table)

    def has_relative(self, signature: NDArray[np.uint32]) -> bool:
        """Tell whether one of the files has at least `LEAST_RELATIVE` of its runs in common."""
        bands = signature.reshape(-1, _RELATIVE_ROWS)
        found = {
            place
            for table, band in zip(self._bands, bands, strict=True)
            for place in table.get(band.tobytes(), ())
        }
        if not found:
            return False
        equal = (self._signatures[sorted(found)] == signature).sum(axis=1)
        return bool(equal.max() >= LEAST_RELATIVE * NUM_BANDS * NUM_ROWS)
