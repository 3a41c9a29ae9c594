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
"""With fewer clusters above 0, or below 1, there is too little to resample: it would hold the true
value in 80 to 90 of 100 cases. Wilson's interval at the effective n holds it in more than 95."""

_CHUNK: Final = 1000
_POWER: Final = 0.8
_MOST_EXACT_FLIPS: Final = 13
_SIGNIFICANCE: Final = 1 - CONFIDENCE


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
        low: Lower end of its 95 % interval.
        high: Upper end.
        method: How the interval was made.
        p_value: Two-sided and exact, or from random draws where there are too many cases.
        test: What it is the p of.
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
    method: Literal["newcombe", "paired cluster bootstrap"]
    p_value: float
    test: Literal["mcnemar", "cluster sign flips"]
    only_first: int
    only_second: int
    min_detectable: float
    n: int
    n_eff: float

    @property
    def is_shown(self) -> bool:
        """Whether interval and test both say that the runs differ."""
        return not self.low <= 0 <= self.high and self.p_value < _SIGNIFICANCE


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
    resampled. Where few of them hold anything but 0, or anything but 1, that shows too little
    spread, and it is Wilson's interval at the effective n.

    Args:
        values: One per item, in [0, 1].
        clusters: What each item belongs to.
        seed: Of the resampling.

    Raises:
        InputError: There are no items, or not as many values as clusters.
    """
    data = _checked(values, clusters)
    mean, n_eff = float(data.mean()), effective_n(clusters)
    is_alone = len(set(clusters)) == len(data) and bool(np.isin(data, (0.0, 1.0)).all())
    if is_alone or _too_few(data != 0, clusters) or _too_few(data != 1, clusters):
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

    Items of 0 and 1 that stand alone get Newcombe's interval and McNemar's test; otherwise clusters
    are resampled with both runs' values, and tested by flipping their signs. Where few clusters
    changed, resampling shows too little spread: Newcombe's interval at the effective n stands in.

    Args:
        first: Values of the first run, in [0, 1].
        second: Values of the second run, of the same items in the same order.
        clusters: What each item belongs to.
        seed: Of the resampling.

    Raises:
        InputError: There are no items, or the lengths differ.
    """
    before, after = _checked(first, clusters), _checked(second, clusters)
    changes, n_eff = after - before, effective_n(clusters)
    only_first, only_second = int((changes < 0).sum()), int((changes > 0).sum())
    is_binary = bool(np.isin([before, after], (0.0, 1.0)).all())
    is_alone = is_binary and len(set(clusters)) == len(changes)
    if is_alone or _too_few(changes != 0, clusters):
        method: Literal["newcombe", "paired cluster bootstrap"] = "newcombe"
        low, high = newcombe(before, after, n_eff)
    else:
        method = "paired cluster bootstrap"
        low, high = _percentiles(_resampled_means(changes, clusters, seed=seed))
    normal = NormalDist()
    edge = normal.inv_cdf((1 + CONFIDENCE) / 2)
    return Comparison(
        difference=float(changes.mean()),
        low=low,
        high=high,
        method=method,
        p_value=mcnemar(only_first, only_second)
        if is_alone
        else flip_test(np.bincount(_numbered(clusters), changes), seed=seed),
        test="mcnemar" if is_alone else "cluster sign flips",
        only_first=only_first,
        only_second=only_second,
        min_detectable=(high - low) / 2 * (1 + normal.inv_cdf(_POWER) / edge),
        n=len(changes),
        n_eff=n_eff,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """What two runs' measures of the same items say of their ratio.

    Args:
        ratio: Geometric mean of the second run's measures over the first's.
        low: Lower end of its interval at `CONFIDENCE`, by resampling clusters.
        high: Upper end.
        p_value: That log ratios as one-sided as these come by chance, by flipping clusters' signs.
        n: Number of items.
        n_eff: Number of independent items that they are worth.
    """

    ratio: float
    low: float
    high: float
    p_value: float
    n: int
    n_eff: float

    @property
    def is_shown(self) -> bool:
        """Whether both the interval and the test say that the ratio is not 1."""
        return not self.low <= 1.0 <= self.high and self.p_value < 1 - CONFIDENCE


def compare_ratios(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0
) -> Ratio:
    """Compare measures above 0, such as seconds, of the same items.

    Raises:
        InputError: There are no items, the lengths differ, or a measure is not above 0.
    """
    before, after = _checked(first, clusters), _checked(second, clusters)
    if min(before.min(), after.min()) <= 0:
        raise InputError("a ratio is of measures above 0")
    changes = np.log(after) - np.log(before)
    low, high = _percentiles(_resampled_means(changes, clusters, seed=seed))
    return Ratio(
        ratio=math.exp(float(changes.mean())),
        low=math.exp(low),
        high=math.exp(high),
        p_value=flip_test(np.bincount(_numbered(clusters), changes), seed=seed),
        n=len(changes),
        n_eff=effective_n(clusters),
    )


def newcombe(before: np.ndarray, after: np.ndarray, n: float) -> tuple[float, float]:
    """Give an interval of the difference of two fractions measured on the same items.

    Wilson's intervals of both, put together with the correlation of the two; it has a width even
    where no item changed.

    Args:
        before: Values of the first run, in [0, 1].
        after: Values of the second.
        n: Number of independent items that they are worth.

    Source: R. Newcombe, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17 (1998), method 10.
    """
    first, second = float(before.mean()), float(after.mean())
    first_low, first_high = wilson(first, n)
    second_low, second_high = wilson(second, n)
    shared = float(((before - first) * (after - second)).mean())
    shared = max(shared - 1 / (2 * n), 0.0) if shared > 0 else shared
    spread = math.sqrt(first * (1 - first) * second * (1 - second))
    phi = shared / spread if spread > 0 else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))

    low = second - first - reach(second - second_low, first_high - first)
    high = second - first + reach(second_high - second, first - first_low)
    return low, high


def flip_test(changes: np.ndarray, *, seed: int = 0) -> float:
    """Give the two-sided p that changes are as one-sided as these by chance.

    If the runs do not differ, each cluster's change could as well have had the other sign. All
    signs are tried where few clusters changed; otherwise they are drawn. With clusters of one item
    and changes of 1 it is McNemar's test.

    Args:
        changes: Sum of the changes of each cluster.
        seed: Of the draws.
    """
    sizes = np.abs(changes[changes != 0])
    bound = abs(float(changes.sum())) - 1e-9
    if len(sizes) <= _MOST_EXACT_FLIPS:
        cases = (np.arange(1 << len(sizes))[:, None] >> np.arange(len(sizes))) & 1
        return float((np.abs((2 * cases - 1) @ sizes) >= bound).mean())
    rng = np.random.default_rng(seed)
    num_beyond = 0
    for _ in range(NUM_RESAMPLES // _CHUNK):
        signs = 2 * rng.integers(0, 2, size=(_CHUNK, len(sizes)), dtype=np.int8) - 1
        num_beyond += int((np.abs(signs @ sizes) >= bound).sum())
    return (num_beyond + 1) / (NUM_RESAMPLES + 1)


def adjust(p_values: Sequence[float]) -> list[float]:
    """Raise the p of several comparisons so that all hold together, by Holm's method."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


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


def _too_few(is_telling: np.ndarray, clusters: Sequence[Hashable]) -> bool:
    """Say whether less than MIN_CLUSTERS clusters hold an item that tells something."""
    return int((np.bincount(_numbered(clusters), is_telling) > 0).sum()) < MIN_CLUSTERS


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
