# SPDX-License-Identifier: Apache-2.0
"""What a number of passes says: pass@k, intervals, and whether two runs differ.

Items that were cut from one problem are not independent; they share a cluster, and an interval then
comes from resampling whole clusters. Every estimate carries its n and the n of independent items
that it is worth. Draws are a function of the seed alone.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from codegemma.errors import InputError

CONFIDENCE: Final = 0.95
NUM_RESAMPLES: Final = 10_000
MIN_CLUSTERS: Final = 10
"""With fewer clusters there is too little to resample: Wilson's interval at the effective n."""

_CHUNK: Final = 1000
_POWER: Final = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean of values in [0, 1].

    Args:
        value: The mean.
        low: Lower end of the 95 % interval.
        high: Upper end.
        n: Number of items.
        n_eff: How many independent items they are worth when those of a cluster are all alike.
        method: How the interval was made.
    """

    value: float
    low: float
    high: float
    n: int
    n_eff: float
    method: Literal["wilson", "cluster bootstrap"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs on the same items, the second minus the first.

    Args:
        difference: Of the means.
        low: Lower end of its 95 % interval, by resampling clusters with both runs' values.
        high: Upper end.
        p_value: Two-sided, from the same resampling.
        mcnemar_p: Exact two-sided p of McNemar's test; None unless all values are 0 or 1 and every
            item is a cluster of its own, which the test needs.
        only_first: Items with a greater value in the first run.
        only_second: Items with a greater value in the second.
        min_detectable: Difference that a comparison of this size finds in 80 of 100 cases; a
            smaller one says little.
        n: Number of items.
        n_eff: As in `Estimate`.
    """

    difference: float
    low: float
    high: float
    p_value: float
    mcnemar_p: float | None
    only_first: int
    only_second: int
    min_detectable: float
    n: int
    n_eff: float


def pass_at_k(num_samples: int, num_passed: int, *, k: int) -> float:
    """Estimate without bias how often at least one of k draws passes.

    Source: "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, section 2.1.

    Raises:
        InputError: There are fewer than k samples, or more passes than samples.
    """
    if not 1 <= k <= num_samples or not 0 <= num_passed <= num_samples:
        raise InputError(
            f"pass@{k} needs at least {k} samples and no more passes than samples, not "
            f"{num_passed} of {num_samples}"
        )
    failed = num_samples - num_passed
    return 1.0 - math.comb(failed, k) / math.comb(num_samples, k)


def wilson(value: float, n: float, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Give Wilson's score interval of a fraction.

    Args:
        value: The fraction that passed, in [0, 1].
        n: Number of independent items, above 0; an effective one need not be whole.
        confidence: Share of such intervals that hold the true value.
    """
    if n <= 0:
        raise InputError(f"an interval needs at least one item, not {n}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and 1 one end is exact; rounding may miss it.
    low = 0.0 if value <= 0 else max(0.0, centre - half)
    high = 1.0 if value >= 1 else min(1.0, centre + half)
    return low, high


def effective_n(clusters: Sequence[Hashable]) -> float:
    """Give Kish's effective number of items when those of a cluster are all alike.

    Four clusters of one item each are worth 4; one of three and one of one, 1.6.
    """
    counts = np.bincount(_numbered(clusters))
    return float(counts.sum() ** 2 / (counts**2).sum())


def estimate(values: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0) -> Estimate:
    """Estimate a mean with its interval.

    Wilson's interval serves where every item stands alone and is 0 or 1; otherwise clusters are
    resampled. Where that can show no spread, since there are few clusters or all values are
    equal, it is Wilson's interval at the effective n.

    Args:
        values: One per item, in [0, 1].
        clusters: What each item belongs to.
        seed: Of the resampling.

    Raises:
        InputError: There are no items, or not as many values as clusters.
    """
    data = _checked(values, clusters)
    mean, n_eff = float(data.mean()), effective_n(clusters)
    num_clusters = len(set(clusters))
    is_alone = num_clusters == len(data) and bool(np.isin(data, (0.0, 1.0)).all())
    if is_alone or num_clusters < MIN_CLUSTERS or float(np.ptp(data)) == 0.0:
        method: Literal["wilson", "cluster bootstrap"] = "wilson"
        low, high = wilson(mean, n_eff)
    else:
        method = "cluster bootstrap"
        low, high = _percentiles(_resampled_means(data, clusters, seed=seed))
    return Estimate(value=mean, low=low, high=high, n=len(data), n_eff=n_eff, method=method)


def compare(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int = 0,
) -> Comparison:
    """Compare two runs item by item.

    Args:
        first: Values of the first run, in [0, 1].
        second: Values of the second run, of the same items in the same order.
        clusters: What each item belongs to.
        seed: Of the resampling.

    Raises:
        InputError: There are no items, or the lengths differ.
    """
    before, after = _checked(first, clusters), _checked(second, clusters)
    changes = after - before
    means = _resampled_means(changes, clusters, seed=seed)
    low, high = _percentiles(means)
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    only_first, only_second = int((changes < 0).sum()), int((changes > 0).sum())
    is_binary = bool(np.isin([before, after], (0.0, 1.0)).all())
    is_alone = len(set(clusters)) == len(changes)
    normal = NormalDist()
    reach = normal.inv_cdf((1 + CONFIDENCE) / 2) + normal.inv_cdf(_POWER)
    return Comparison(
        difference=float(changes.mean()),
        low=low,
        high=high,
        p_value=min(1.0, 2 * (min(below, above) + 1) / (len(means) + 1)),
        mcnemar_p=mcnemar(only_first, only_second) if is_binary and is_alone else None,
        only_first=only_first,
        only_second=only_second,
        min_detectable=reach * float(means.std()),
        n=len(changes),
        n_eff=effective_n(clusters),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Give the exact two-sided p that two runs differ by chance, from the items they differ in.

    Args:
        only_first: Items that only the first run passed.
        only_second: Items that only the second run passed.
    """
    num_changed = only_first + only_second
    fewer = min(only_first, only_second)
    tail = sum(math.comb(num_changed, count) for count in range(fewer + 1))
    return min(1.0, 2 * tail / 2**num_changed)


def _checked(values: Sequence[float], clusters: Sequence[Hashable]) -> np.ndarray:
    data = np.asarray(values, np.float64)
    if len(data) == 0 or len(data) != len(clusters):
        raise InputError(
            f"expected as many values as clusters and at least one, not {len(data)} and "
            f"{len(clusters)}"
        )
    return data


def _numbered(clusters: Sequence[Hashable]) -> np.ndarray:
    """Number clusters from 0 in the order in which they first appear."""
    numbers: dict[Hashable, int] = {}
    return np.asarray([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], np.int64)


def _resampled_means(values: np.ndarray, clusters: Sequence[Hashable], *, seed: int) -> np.ndarray:
    """Draw clusters with replacement, as many as there are, and give the mean of their items."""
    numbers = _numbered(clusters)
    sums, sizes = np.bincount(numbers, values), np.bincount(numbers)
    rng = np.random.default_rng(seed)
    even = np.full(len(sums), 1 / len(sums))
    means: list[np.ndarray] = []
    for _ in range(NUM_RESAMPLES // _CHUNK):
        weights = rng.multinomial(len(sums), even, size=_CHUNK)
        means.append((weights @ sums) / (weights @ sizes))
    return np.concatenate(means)


def _percentiles(means: np.ndarray) -> tuple[float, float]:
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (rest, 1 - rest))
    return float(low), float(high)
