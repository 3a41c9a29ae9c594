# SPDX-License-Identifier: Apache-2.0

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from codegemma.errors import InputError
from codegemma.evaluate import statistics


@pytest.mark.parametrize(
    ("num_samples", "num_passed", "k", "expected"),
    [
        (1, 1, 1, 1.0),
        (1, 0, 1, 0.0),
        (5, 2, 1, 0.4),
        (5, 2, 2, 0.7),  # 1 - C(3, 2) / C(5, 2) = 1 - 3 / 10
        (5, 3, 3, 1.0),
        (200, 100, 1, 0.5),
    ],
)
def test_pass_at_k_is_the_published_estimator(num_samples, num_passed, k, expected):
    assert statistics.pass_at_k(num_samples, num_passed, k=k) == pytest.approx(expected)


def test_pass_at_k_is_the_share_of_draws_of_k_that_hold_a_pass():
    samples = [True, True, False, False, False, False]
    draws = list(itertools.combinations(samples, 3))

    assert statistics.pass_at_k(6, 2, k=3) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("num_samples", "num_passed", "k"), [(1, 0, 2), (2, 3, 1), (2, 1, 0)])
def test_pass_at_k_of_too_few_samples_is_refused(num_samples, num_passed, k):
    with pytest.raises(InputError, match=rf"pass@{k} needs"):
        statistics.pass_at_k(num_samples, num_passed, k=k)


def test_wilson_gives_the_textbook_interval():
    assert statistics.wilson(8 / 10, 10.0) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert statistics.wilson(0.0, 10.0) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert statistics.wilson(1.0, 164.0) == pytest.approx((0.9771123, 1.0), abs=1e-6)


@pytest.mark.parametrize(("passed", "n"), [(0, 5), (1, 7), (27, 1033), (30, 1640), (164, 164)])
def test_wilson_agrees_with_scipy(passed, n):
    theirs = stats.binomtest(passed, n).proportion_ci(0.95, method="wilson")

    assert statistics.wilson(passed / n, float(n)) == pytest.approx(
        (theirs.low, theirs.high), abs=1e-12
    )


def test_interval_of_nothing_is_refused():
    with pytest.raises(InputError, match="at least one item"):
        statistics.wilson(0.5, 0.0)
    with pytest.raises(InputError, match="at least one, not 0 and 0"):
        statistics.estimate([], [])
    with pytest.raises(InputError, match="not 2 and 1"):
        statistics.estimate([1.0, 0.0], ["a"])


def test_effective_n_counts_independent_items():
    assert statistics.effective_n("abcd") == 4
    assert statistics.effective_n("aaab") == pytest.approx(16 / 10)
    assert statistics.effective_n("aaaa") == 1


def test_items_that_stand_alone_get_wilsons_interval():
    found = statistics.estimate([1.0] * 8 + [0.0] * 2, range(10))

    assert (found.value, found.n, found.n_eff, found.method) == (0.8, 10, 10, "wilson")
    assert (found.low, found.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_clusters_of_like_items_widen_the_interval_to_that_of_their_number():
    # 20 clusters of 50 items each, all items of a cluster alike: worth 20 items, not 1000.
    clusters = np.repeat(np.arange(20), 50).tolist()
    values = np.repeat([1.0] * 10 + [0.0] * 10, 50).tolist()

    found = statistics.estimate(values, clusters)

    assert (found.value, found.n, found.n_eff) == (0.5, 1000, 20)
    assert found.method == "cluster bootstrap"
    # The standard deviation of a mean of 20 fair coins is 0.112; 1.96 of it either way.
    assert (found.low, found.high) == pytest.approx((0.28, 0.72), abs=0.03)


def test_bootstrap_agrees_with_scipys_on_equal_clusters():
    rng = np.random.default_rng(1)
    shares = rng.integers(0, 5, size=60) / 4
    values = np.concatenate([[1.0] * int(s * 4) + [0.0] * (4 - int(s * 4)) for s in shares])
    clusters = np.repeat(np.arange(60), 4).tolist()

    ours = statistics.estimate(values.tolist(), clusters)
    theirs = stats.bootstrap(
        (shares,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval

    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_estimate_is_a_function_of_its_seed():
    values = [index / 19 for index in range(20)]

    first, again = (statistics.estimate(values, range(20), seed=3) for _ in range(2))
    other = statistics.estimate(values, range(20), seed=4)

    assert first == again
    assert first.method == "cluster bootstrap"
    assert (first.low, first.high) != (other.low, other.high)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_values_all_alike_still_get_a_width(value):
    clusters = np.repeat(np.arange(30), 2).tolist()

    found = statistics.estimate([value] * 60, clusters)

    assert found.high - found.low == pytest.approx(1 - statistics.wilson(1.0, 30.0)[0])


def test_few_clusters_get_wilsons_interval_at_the_effective_n():
    found = statistics.estimate([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])

    assert found.method == "wilson"
    assert (found.low, found.high) == pytest.approx(statistics.wilson(0.5, 2.0))


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [(0, 0, 1.0), (0, 5, 0.0625), (1, 9, 0.021484375), (5, 5, 1.0), (10, 25, 0.0166738)],
)
def test_mcnemar_is_the_exact_test(only_first, only_second, expected):
    assert statistics.mcnemar(only_first, only_second) == pytest.approx(expected, abs=1e-7)


def test_mcnemar_agrees_with_scipys_binomial_test_on_many_items():
    theirs = stats.binomtest(900, 1900, 0.5).pvalue

    assert statistics.mcnemar(900, 1000) == pytest.approx(theirs)


def test_comparison_counts_and_tests_what_changed():
    first = [1.0] * 40 + [0.0] * 60
    second = [1.0] * 39 + [0.0] * 52 + [1.0] * 9

    found = statistics.compare(first, second, range(100))

    assert found.difference == pytest.approx(0.08)
    assert (found.only_first, found.only_second, found.n) == (1, 9, 100)
    assert (found.test, found.p_value) == ("mcnemar", pytest.approx(0.021484375))
    assert found.method == "newcombe"
    assert 0.0 < found.low < 0.08 < found.high < 0.16
    assert found.is_shown
    # The standard deviation of a mean of 100 changes, 10 of them 1 in size and mean 0.08.
    deviation = math.sqrt((0.10 - 0.08**2) / 100)
    assert found.min_detectable == pytest.approx(2.8016 * deviation, rel=0.1)


def test_comparison_of_clustered_items_is_of_the_clusters():
    first = [0.0] * 200
    second = [1.0] * 60 + [0.0] * 140

    alone = statistics.compare(first, second, range(200))
    clustered = statistics.compare(first, second, [index // 5 for index in range(200)])

    assert (alone.test, clustered.test) == ("mcnemar", "cluster sign flips")
    assert (clustered.method, clustered.n_eff) == ("paired cluster bootstrap", 40)
    assert clustered.high - clustered.low > 1.8 * (alone.high - alone.low)
    # Twelve clusters changed, all one way: 2 of the 4096 ways to sign them are as one-sided.
    assert clustered.p_value == pytest.approx(2 / 4096)


def test_a_change_of_few_clusters_is_no_difference_however_many_items_they_hold():
    # Three problems of a hundred lines each go from failed to passed.
    found = statistics.compare([0.0] * 300, [1.0] * 300, [index // 100 for index in range(300)])

    assert (found.difference, found.only_second, found.n, found.n_eff) == (1.0, 300, 300, 3)
    assert found.p_value == pytest.approx(2 / 8)
    assert not found.is_shown


def test_four_changes_one_way_are_no_difference_since_a_coin_does_that_too():
    found = statistics.compare([0.0] * 164, [1.0] * 4 + [0.0] * 160, range(164))

    assert found.p_value == pytest.approx(2 / 16)
    assert not found.is_shown


def test_run_compared_with_itself_shows_no_difference_and_keeps_a_width():
    found = statistics.compare([1.0, 0.0] * 50, [1.0, 0.0] * 50, range(100))

    assert (found.difference, found.p_value, found.is_shown) == (0.0, 1.0, False)
    assert -0.05 < found.low < 0 < found.high < 0.05
    assert 0 < found.min_detectable < 0.06


@pytest.mark.parametrize(
    ("both", "only_first", "only_second", "neither", "low", "high"),
    [
        (36, 12, 2, 0, 0.0569, 0.3404),  # of Newcombe's own tables
        (0, 30, 0, 0, 0.8395, 1.0),  # Wilson: 0.8865 to 1 and 0 to 0.1135
    ],
)
def test_newcombes_interval_has_the_published_values(
    both, only_first, only_second, neither, low, high
):
    counts = (both, only_first, only_second, neither)
    before = np.repeat([1.0, 1.0, 0.0, 0.0], counts)
    after = np.repeat([1.0, 0.0, 1.0, 0.0], counts)

    found = statistics.newcombe(after, before, float(sum(counts)))

    assert found == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("num_clusters", [6, 13, 40])
def test_flip_test_agrees_with_scipys_permutation_test(num_clusters):
    rng = np.random.default_rng(num_clusters)
    changes = rng.normal(0.6, 2, size=num_clusters)

    theirs = stats.permutation_test(
        (changes, np.zeros(num_clusters)),
        lambda one, other: np.mean(one - other),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue

    assert statistics.flip_test(changes) == pytest.approx(theirs, abs=0.015)


def test_flip_test_of_single_items_is_mcnemars():
    changes = np.asarray([1.0] * 9 + [-1.0] * 2 + [0.0] * 50)

    assert statistics.flip_test(changes) == pytest.approx(statistics.mcnemar(2, 9))
    assert statistics.flip_test(np.zeros(5)) == 1.0


def test_many_comparisons_are_adjusted_by_holms_method():
    assert statistics.adjust([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert statistics.adjust([0.7, 0.8]) == [1.0, 1.0]
    assert statistics.adjust([]) == []


@pytest.mark.parametrize(("rate", "spread", "num_clusters"), [(0.02, 1, 164), (0.8, 2, 12)])
def test_intervals_of_rare_passes_and_of_few_clusters_are_wide_enough(
    monkeypatch, rate, spread, num_clusters
):
    # Resampling alone holds the true value in 86 and 81 of 100 of these cases.
    monkeypatch.setattr(statistics, "NUM_RESAMPLES", 1000)
    rng = np.random.default_rng(0)
    num_held = 0
    for seed in range(100):
        sizes = rng.integers(1, 13, size=num_clusters)
        rates = rng.beta(rate * spread, (1 - rate) * spread, size=num_clusters)
        clusters = np.repeat(np.arange(num_clusters), sizes).tolist()
        values = (rng.random(len(clusters)) < np.repeat(rates, sizes)).astype(float).tolist()
        found = statistics.estimate(values, clusters, seed=seed)
        num_held += found.low <= rate <= found.high

    assert num_held >= 93


def test_interval_holds_the_true_value_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(statistics, "NUM_RESAMPLES", 1000)
    # Clusters of 1 to 12 items, their pass rates drawn from a beta of mean 1/3: the mean of items
    # over clusters is 1/3 too, since rates and sizes are drawn apart.
    rng = np.random.default_rng(0)
    num_held = 0
    for seed in range(100):
        sizes = rng.integers(1, 13, size=80)
        rates = rng.beta(1, 2, size=80)
        clusters = np.repeat(np.arange(80), sizes).tolist()
        values = (rng.random(len(clusters)) < np.repeat(rates, sizes)).astype(float).tolist()
        found = statistics.estimate(values, clusters, seed=seed)
        num_held += found.low <= 1 / 3 <= found.high

    assert 88 <= num_held <= 99


def test_ratios_are_paired_and_clustered():
    # Ten functions of two items each, the second run twice as slow in all of them.
    first = [0.1 + 0.01 * n for n in range(20)]
    clusters = [n // 2 for n in range(20)]

    slower = statistics.compare_ratios(first, [2 * one for one in first], clusters)
    same = statistics.compare_ratios(first, first, clusters)
    noisy = statistics.compare_ratios([1.0] * 4, [2.0, 0.5, 2.0, 0.5], range(4))

    assert slower.ratio == pytest.approx(2.0)
    assert (slower.low, slower.high) == (pytest.approx(2.0), pytest.approx(2.0))
    assert (slower.n, slower.n_eff, slower.p_value) == (20, 10.0, pytest.approx(2 / 1024))
    assert slower.is_shown
    assert (same.ratio, same.p_value, same.is_shown) == (1.0, 1.0, False)
    assert noisy.ratio == pytest.approx(1.0)
    assert noisy.low < 1 < noisy.high
    with pytest.raises(InputError, match="above 0"):
        statistics.compare_ratios([0.0], [1.0], [0])
