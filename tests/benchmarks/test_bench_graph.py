# SPDX-License-Identifier: Apache-2.0
import bench_graph


def test_records_are_filled_in_an_order_and_pairs_of_files_found_in_them() -> None:
    sizes = {"a": [4, 4], "b": [3], "c": [9], "d": [1]}

    records = bench_graph.in_order(sizes, ["a", "b", "c", "d"], room=10)

    assert records == [["a", "a"], ["b"], ["c", "d"]]
    assert bench_graph.share(records, [("a", "b"), ("c", "d"), ("d", "a"), ("a", "a")]) == 0.5
