# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bench_nano import bootstrap, fraction_row, nll_row, wilson
from heldout_lines import Line


def lines(*sizes: int, per_file: int = 1) -> list[Line]:
    return [
        Line(file=index // per_file, path="a.py", prefix="", middle="x" * size, suffix="")
        for index, size in enumerate(sizes)
    ]


def test_intervals_of_fractions_are_wilsons() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_equal_files_leave_no_doubt_about_a_likelihood() -> None:
    assert bootstrap(np.full(6, 4.0), lines(*[2] * 6)) == (2.0, 2.0)


def test_lines_of_one_file_count_as_one_draw() -> None:
    nats = np.repeat([1.0, 3.0] * 20, 5)
    apart, together = lines(*[1] * 200), lines(*[1] * 200, per_file=5)

    width = np.diff(bootstrap(nats, apart))[0]
    clustered = np.diff(bootstrap(nats, together))[0]

    assert clustered == pytest.approx(width * 5**0.5, rel=0.15)


def test_a_row_stands_beside_its_peer_so_that_more_than_one_is_better() -> None:
    peer = fraction_row("peer", [True, False, False, False], note="")
    row = fraction_row("ours", [True, True, True, False], note="greedy", peer=peer)

    assert (row.value, row.peer, row.peer_value, row.ratio, row.n) == (0.75, "peer", 0.25, 3.0, 4)

    peer = nll_row("peer", np.array([4.0, 8.0]), lines(2, 2), note="")
    row = nll_row("ours", np.array([2.0, 2.0]), lines(2, 2), note="", peer=peer)

    assert (row.value, row.peer_value, row.ratio, row.unit) == (1.0, 3.0, 3.0, "nats/byte")


def test_a_peer_that_hits_nothing_gives_no_ratio() -> None:
    peer = fraction_row("peer", [False], note="")

    assert fraction_row("ours", [True], note="", peer=peer).ratio is None
