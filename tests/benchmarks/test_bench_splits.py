# SPDX-License-Identifier: Apache-2.0
from argparse import Namespace

import numpy as np
import pytest

import bench_splits
from codegemma.text.tokens import FIM_MIDDLE_ID
from codegemma.train.input import InputConfig, pack_rows


def test_the_middles_of_a_row_are_read_with_their_separators() -> None:
    ids = np.array([2, 67, 300, 69, 301, FIM_MIDDLE_ID, 302, 303, 70, 304, 1], np.int32)
    (row,) = pack_rows([ids], config=InputConfig(row_tokens=16, rows=1))
    logprobs = -np.arange(16.0)[None]
    sizes = np.full(400, 3, np.int64)
    sizes[:108] = 0

    assert bench_splits.read_middles(row, logprobs, sizes) == (6 + 7 + 8, 6)


def test_the_interval_of_a_difference_holds_it_and_is_narrow_where_records_agree() -> None:
    theirs = np.array([[[30.0, 10], [20, 10], [40, 20], [90, 30]] * 10])
    ours = theirs * [0.9, 1]

    low, high = bench_splits.interval(ours, theirs)

    assert low < -0.1 * 180 / 70 < high < 0
    assert bench_splits.interval(theirs, theirs) == (0, 0)


def test_the_interval_of_a_difference_is_as_wide_as_seeds_are_apart() -> None:
    theirs = np.full((2, 40, 2), [20.0, 10])
    ours = theirs * np.array([[[0.9, 1]], [[1.2, 1]]])  # 0.2 better with one, 0.4 worse with other

    assert bench_splits.interval(ours, theirs) == pytest.approx((-0.2, 0.4))


def test_rows_compare_the_mixes_by_kind_of_cut() -> None:
    shape = (2, 3, 4, 2)
    losses = {"suffix_start": np.full(shape, [6.0, 4]), "random": np.full(shape, [9.0, 4])}

    rows = bench_splits.rows_of(losses, arguments=Namespace(steps=5, seeds=2))

    assert [row.name.split()[3] for row in rows] == ["suffix_start", "ast", "random"]
    assert (rows[0].value, rows[0].peer_value, rows[0].ratio) == (1.5, 2.25, pytest.approx(1.5))
    assert "interval of the difference ours minus the peer's" in rows[0].note
    assert "drawn, -0.7500 to -0.7500; by seed 1.5000, 1.5000, 2.2500, 2.2500" in rows[0].note
