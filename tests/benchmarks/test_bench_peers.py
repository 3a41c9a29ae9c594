# SPDX-License-Identifier: Apache-2.0
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import bench_peers


def test_dropped_files_are_judged_by_what_they_are_like_and_kept_pairs_are_missed() -> None:
    pairs = {(0, 1), (1, 2), (5, 6), (7, 8)}

    # 1 is like 0, which stays; 5 and 6 are like one another, and both went; 9 is like none.
    assert bench_peers.judge({1, 5, 6, 9}, pairs) == (1, 3, 1)


def test_datatrove_drops_a_copy_and_keeps_the_rest(tmp_path: Path) -> None:
    names = ["".join(letters) for letters in product("abcdef", repeat=3)]  # its words lose digits
    texts = [" ".join(names[start : start + 70]) for start in (0, 70, 140)]
    context = multiprocessing.get_context("spawn")  # datatrove forks; jax runs here
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        done = pool.submit(find_by_datatrove, tmp_path, [*texts, texts[1] + " more"]).result()

    assert list(done.seconds) == ["signatures", "buckets", "cluster", "filter"]
    assert len(done.dropped) == 1
    assert done.dropped < {1, 3}
    assert bench_peers.find([*texts, texts[1] + " more"]).dropped == {3}


def find_by_datatrove(folder: Path, texts: list[str]) -> Any:
    return bench_peers.Peer(folder, buckets=14, hashes=8).find(texts, "first")
