# SPDX-License-Identifier: Apache-2.0
import numpy as np

import bench_copies


def test_every_pair_that_reaches_the_threshold_is_listed_and_no_other() -> None:
    sets = [
        [1, 2, 3, 4, 5, 6, 7],
        [1, 2, 3, 4, 5, 6, 7],
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],  # 0.7 with the first two
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],  # 0.64 with them, 0.91 with the one before
        [20, 21],
        [],
    ]

    found = bench_copies.alike_pairs([np.array(one, np.uint64) for one in sets], threshold=0.7)

    assert found == {(0, 1), (0, 2), (1, 2), (2, 3)}


def test_pairs_are_those_of_comparing_all_with_all() -> None:
    rng = np.random.default_rng(0)
    pool = [rng.integers(0, 40, 30, dtype=np.uint64) for _ in range(6)]
    sets = [np.unique(pool[i % 6][: rng.integers(4, 30)]) for i in range(60)]
    shares = {
        (i, j): len(set(sets[i]) & set(sets[j])) / len(set(sets[i]) | set(sets[j]))
        for j in range(60)
        for i in range(j)
    }

    found = bench_copies.alike_pairs(sets, threshold=0.7)

    assert found == {pair for pair, share in shares.items() if share >= 0.7}
    assert 60 < len(found) < 900
