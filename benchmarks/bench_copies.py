# SPDX-License-Identifier: Apache-2.0
"""Near copies: how many are found by their similarity, how many are invented, and what it costs.

- made of real files by changing words, at similarities from 0.5 to 0.9;
- among real files as they are, beside every pair of them.

Real files are Python of installed packages, none an exact copy of another.

Example:
    python benchmarks/bench_copies.py --input 60
"""

import argparse
import math
import random
import statistics
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bench_data import python_files
from codegemma.data import dedup, shingles
from codegemma.evaluate.statistics import wilson
from results import Row, cpu_name, write_rows

_THRESHOLD = 0.7
"""That of the recipes."""


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=float, default=60.0, help="megabytes of real files")
    options = parser.parse_args()
    rows = [*planted(), *real([text for _, text in python_files(options.input)])]
    print(write_rows("data-copies", rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:60} {row.value:10.3f} {row.unit} of {row.n}  {row.note}")


def edited(
    rng: random.Random, words: list[str], similarity: float, *, is_least: bool
) -> tuple[str, float]:
    """Change words one by one until runs of five are as much alike as asked; give both.

    They are the least alike that still are so much, or else the most that are no more.
    """
    before = set(zip(*(words[i:] for i in range(5)), strict=False))
    changed = list(words)
    places = list(range(len(words)))
    rng.shuffle(places)
    alike = 1.0
    for place in places:
        if alike <= similarity:
            break
        one = [*changed[:place], f"edit{rng.randrange(10**9)}", *changed[place + 1 :]]
        after = set(zip(*(one[i:] for i in range(5)), strict=False))
        next_alike = len(before & after) / len(before | after)
        if is_least and next_alike < similarity:
            break
        changed, alike = one, next_alike
    return " ".join(changed), alike


def planted() -> Iterator[Row]:
    """Make a near copy of each of some real files at each similarity."""
    rng = random.Random(0)
    texts = [text for _, text in python_files(60.0)]
    documents = [words for text in texts if 200 <= len(words := shingles.words(text)) <= 600]
    documents = documents[:300]
    for similarity in (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9):
        found, alike = 0, list[float]()
        for words in documents:
            other, exact = edited(rng, words, similarity, is_least=similarity >= _THRESHOLD)
            found += find_copies(pair := [" ".join(words), other], sign(pair))[1] is not None
            alike.append(exact)
        low, high = wilson(found / len(documents), float(len(documents)))
        yield Row(
            name=f"near-copies found at similarity {similarity}",
            value=found / len(documents),
            unit="fraction",
            n=len(documents),
            low=low,
            high=high,
            note=f"threshold {_THRESHOLD}; mean similarity {statistics.mean(alike):.3f} of runs of "
            "five; none below it is one",
        )


def sign(texts: Sequence[str]) -> list[NDArray[np.uint32] | None]:
    """Make the signatures of texts."""
    return [dedup.signature(shingles.hash_words(text)) for text in texts]


def find_copies(
    texts: Sequence[str], signatures: Sequence[NDArray[np.uint32] | None]
) -> list[dedup.Copy | None]:
    """Find copies among texts."""
    return dedup.find_copies(
        [dedup.content_hash(text) for text in texts],
        signatures,
        threshold=_THRESHOLD,
        similarity=lambda left, right: similarity_of(texts[left], texts[right]),
    )


def similarity_of(left: str, right: str) -> float:
    """Compare two texts run by run."""
    return dedup.jaccard(*(dedup.runs(shingles.hash_words(text)) for text in (left, right)))


def alike_pairs(runs: Sequence[NDArray[np.uint64]], *, threshold: float) -> set[tuple[int, int]]:
    """List every pair of sets whose Jaccard similarity reaches a threshold, without signatures.

    Of two such sets one of the rarest members of each is common to both: of n members the
    n - ceil(threshold * n) + 1 rarest, in one order for all. Sets that share one are compared.

    Args:
        runs: Sorted members of each set, none twice.
        threshold: In (0, 1].
    """
    sizes = [len(own) for own in runs]
    _, places, counts = np.unique(np.concatenate(runs), return_inverse=True, return_counts=True)
    ranks = np.empty(len(counts), np.int64)
    ranks[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    num_lone = int((counts == 1).sum())
    holders: dict[int, list[int]] = defaultdict(list)
    found: set[tuple[int, int]] = set()
    for right, own in enumerate(np.split(ranks[places], np.cumsum(sizes)[:-1])):
        rarest = np.sort(own)[: len(own) - math.ceil(threshold * len(own)) + 1]
        others: set[int] = set()
        for rank in rarest[rarest >= num_lone].tolist():
            others.update(holders[rank])
            holders[rank].append(right)
        found |= {
            (left, right)
            for left in others
            if min(sizes[left], sizes[right]) >= threshold * max(sizes[left], sizes[right])
            and dedup.jaccard(runs[left], runs[right]) >= threshold
        }
    return found


def real(texts: Sequence[str]) -> Iterator[Row]:
    """Among real files: what is invented, what is missed, and what it costs.

    The truth is every pair that is alike, compared run by run.
    """
    signed = [
        (text, s) for text in texts if (s := dedup.signature(shingles.hash_words(text))) is not None
    ]
    signatures = np.array([signature for _, signature in signed])
    digests = [dedup.content_hash(text) for text, _ in signed]
    compared = 0

    def similarity(left: int, right: int) -> float:
        nonlocal compared
        compared += 1
        return similarity_of(signed[left][0], signed[right][0])

    begin = time.process_time()
    found = dedup.find_copies(
        digests, list(signatures), threshold=_THRESHOLD, similarity=similarity
    )
    seconds, num_compared = time.process_time() - begin, compared
    near = [(i, copy[1]) for i, copy in enumerate(found) if copy and copy[0] == "near_copy"]
    invented = sum(similarity(*pair) < _THRESHOLD for pair in near)
    kept = [i for i, copy in enumerate(found) if copy is None]
    runs = [dedup.runs(shingles.hash_words(text)) for text, _ in signed]
    alike, stays = alike_pairs(runs, threshold=_THRESHOLD), set(kept)
    missed = len({right for left, right in alike if {left, right} <= stays})
    shared = dedup.shared_bands(list(signatures))
    tracemalloc.start()
    dedup.find_copies(digests, list(signatures), threshold=_THRESHOLD, similarity=lambda *_: 0.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    n, megabytes = len(signed), sum(len(text.encode()) for text, _ in signed) / 1e6
    note = f"{megabytes:.0f} MB of Python of installed packages, none exactly another"
    cost = f"{note}; {seconds:.2f} s of processor, comparing run by run included"
    yield from (
        Row(name=name, value=float(value), unit=unit, n=count, note=why)
        for name, value, unit, count, why in (
            ("near-copies of real files", len(near), "files", n, note),
            ("of them less alike than the threshold", invented, "files", len(near), note),
            ("kept though a kept file reaches the threshold", missed, "files", len(kept), note),
            ("files that share a band", (shared >= 0).any(axis=1).mean(), "fraction", n, note),
            ("pairs compared run by run", num_compared, "pairs", n, note),
            ("finding copies, signatures made before", megabytes / seconds, "MB/s", n, cost),
            ("memory beside signatures and hashes", peak / n, "bytes a file", n, "peak"),
        )
    )


if __name__ == "__main__":
    main()
