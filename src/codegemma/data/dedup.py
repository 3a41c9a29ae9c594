# SPDX-License-Identifier: Apache-2.0
"""Find copies: by hash, as they are and with white space folded; near ones by MinHash, verified.

The keep rule is the order of the files: one is a copy when a file that stays, given before it, is
like it. So copies never chain: each resembles a kept one. A pair whose signatures leave it open
whether it reaches the threshold is compared by its runs of five words. Memory is 3 KB a file.

Source: threshold (Jaccard 0.7) of bigcode-dataset, near_deduplication.
Differs: 42 bands of 6 rows, not 25 of 10: of pairs at the threshold 99.5 % are compared, not 51 %,
    and all are verified, so that more of them cost time and no file.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codegemma.data import shingles
from codegemma.data.document import Progress, each_told, no_progress
from codegemma.data.shingles import Words

NUM_BANDS = 42
NUM_ROWS = 6
SIGNATURE_SIZE = NUM_BANDS * NUM_ROWS
NGRAM = 5
LEAST_RELATIVE = 0.25
"""Least estimated Jaccard similarity of an altered copy of a file that is held out."""
_RELATIVE_ROWS = 2
_MIN_WORDS = 10
_MASK = np.uint32(0xFFFFFFFF)
_BLOCK = 128
"""Runs whose hashes stay in the processor's cache."""
_MAX_SHARING = 100
"""Most kept files that a file is compared with for one band, those nearest before it."""
_MAX_COMPARED = 20
"""Most kept files that a file is compared with run by run, those most alike."""
_CHUNK = 4096
_ROW_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Similarity = Callable[[int, int], float]
"""Tells how like two files are, by their places; see `jaccard`."""
Copy = tuple[Literal["exact_copy", "folded_copy", "near_copy"], int]
"""How a file is a copy, and the place of the one that stays.

Exact: byte by byte, once line ends are LF; folded: but for white space, as where it was indented
anew; near: as like as the threshold asks.
"""


class Digest(NamedTuple):
    """Hashes of a text.

    Args:
        exact: Of its bytes.
        folded: Of its words, with one blank between them.
    """

    exact: bytes
    folded: bytes


def content_hash(text: str) -> Digest:
    """Hash a text as it is, and with its runs of white space folded."""
    folded = " ".join(text.split())
    return Digest(*(hashlib.sha256(form.encode()).digest() for form in (text, folded)))


def signature(words: Words) -> NDArray[np.uint32] | None:
    """Compute the MinHash signature of a text's words, uint32 [252]; None for fewer than 10.

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
    half = rng.integers(0, 2**31, SIGNATURE_SIZE, dtype=np.uint32)
    return half * np.uint32(2) + np.uint32(1)


def runs(words: Words) -> NDArray[np.uint64]:
    """Hash the different runs of words of a text, those that its signature stands for; sorted."""
    return np.unique(shingles.ngram_hashes(words.hashes, n=NGRAM))


def jaccard(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> float:
    """Give the share of the runs of two texts that both have, in [0, 1]."""
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)


def find_copies(
    digests: Sequence[Digest],
    signatures: Sequence[NDArray[np.uint32] | None],
    *,
    threshold: float,
    similarity: Similarity,
    progress: Progress = no_progress,
) -> list[Copy | None]:
    """Tell of each file whether one that stays, earlier in the order, is its copy.

    Args:
        digests: `content_hash` of each file.
        signatures: `signature` of each; None compares the hashes alone.
        threshold: Least Jaccard similarity of a near copy, in (0, 1].
        similarity: Asked where the signatures leave it open.
        progress: Told of the bands ("signatures") and the files ("copies") that were compared.
    """
    firsts: dict[bytes, int] = {}
    signed = [place for place, signature in enumerate(signatures) if signature is not None]
    bands = _Bands([one for one in signatures if one is not None], progress)
    found: list[Copy | None] = []
    row = -1
    for place in each_told(range(len(digests)), "copies", progress):
        digest, signature = digests[place], signatures[place]
        row += signature is not None
        copy: Copy | None = None
        if digest.folded in firsts:
            first = firsts[digest.folded]
            is_exact = digest.exact == digests[first].exact
            copy = ("exact_copy" if is_exact else "folded_copy", first)
        elif signature is not None:
            places = [signed[other] for other in bands.kept_with(row)]
            near = _near_copy(place, places, signatures, threshold, similarity)
            copy = None if near is None else ("near_copy", near)
            if copy is None:
                bands.keep(row)
        if copy is None:
            firsts[digest.folded] = place
        found.append(copy)
    return found


def _near_copy(
    place: int,
    places: Sequence[int],
    signatures: Sequence[NDArray[np.uint32] | None],
    threshold: float,
    similarity: Similarity,
) -> int | None:
    """Choose one of the kept files that a file is a near copy of.

    An estimate three standard deviations above the threshold is enough, one as far below is not.
    """
    if not places:
        return None
    equal = np.array([signatures[other] for other in places]) == signatures[place]
    estimates = equal.mean(axis=1)
    margin = 3 * (threshold * (1 - threshold) / SIGNATURE_SIZE) ** 0.5
    order: list[int] = np.argsort(-estimates, kind="stable")[:_MAX_COMPARED].tolist()
    if estimates[order[0]] >= threshold + margin:
        return places[order[0]]
    for i in order:
        if estimates[i] < threshold - margin:
            break
        if similarity(place, places[i]) >= threshold:
            return places[i]
    return None


class _Bands:
    """Kept files by the bands they share with others, as lists through arrays of a fixed size.

    Args:
        signatures: Of all files; a band that nobody shares is not remembered.
        progress: Told of the bands.
    """

    def __init__(self, signatures: Sequence[NDArray[np.uint32]], progress: Progress) -> None:
        self._groups = shared_bands(signatures, progress=progress)
        self._last = np.full(self._groups.max(initial=-1) + 1, -1, np.int32)
        self._before = np.full_like(self._groups, -1)

    def kept_with(self, row: int) -> list[int]:
        """Give the kept files that share a band with one, sorted."""
        bands = np.flatnonzero(self._groups[row] >= 0)
        at = self._last[self._groups[row, bands]]
        found: set[int] = set()
        for _ in range(_MAX_SHARING):
            is_there = at >= 0
            bands, at = bands[is_there], at[is_there]
            if not len(at):
                break
            found.update(at.tolist())
            at = self._before[at, bands]
        return sorted(found)

    def keep(self, row: int) -> None:
        """Remember a file."""
        bands = np.flatnonzero(self._groups[row] >= 0)
        groups = self._groups[row, bands]
        self._before[row, bands] = self._last[groups]
        self._last[groups] = row


def shared_bands(
    signatures: Sequence[NDArray[np.uint32]], *, progress: Progress = no_progress
) -> NDArray[np.int32]:
    """Number the bands that two or more files share, int32 [N, NUM_BANDS]; -1 is a file's own."""
    keys = np.empty((len(signatures), NUM_BANDS), np.uint64)
    for start in range(0, len(signatures), _CHUNK):
        block = np.array(signatures[start : start + _CHUNK]).reshape(-1, NUM_BANDS, NUM_ROWS)
        part = keys[start : start + _CHUNK]
        part[:] = 0
        for row in range(NUM_ROWS):
            part *= _ROW_FACTOR
            part += block[:, :, row]
    groups = np.empty((len(signatures), NUM_BANDS), np.int32)
    count = 0
    for band in range(NUM_BANDS):
        progress("signatures", band, NUM_BANDS)
        _, inverse, sizes = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        is_shared = sizes > 1
        numbers = np.where(is_shared, count + np.cumsum(is_shared) - 1, -1)
        groups[:, band] = numbers[inverse]
        count += int(is_shared.sum())
    return groups


class RelativeIndex:
    """Tells whether a file is an altered copy of one among a few that are kept apart.

    Bands of two rows find what `find_copies` leaves on purpose: relatives down to a quarter of the
    runs of words. Unrelated files share next to none.
    """

    def __init__(self, signatures: Sequence[NDArray[np.uint32]]) -> None:
        self._signatures = np.array(signatures, np.uint32).reshape(-1, SIGNATURE_SIZE)
        self._bands: list[dict[bytes, list[int]]] = []
        for start in range(0, SIGNATURE_SIZE, _RELATIVE_ROWS):
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
        return bool(equal.max() >= LEAST_RELATIVE * SIGNATURE_SIZE)
