# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegemma.data import shards
from codegemma.data.shards import Record, RecordFile
from codegemma.errors import DataError


def record(*texts: str) -> Record:
    files = tuple(
        RecordFile(path=f"f{i}.py", text=text, suffix_starts=(1, 3, 4), origin="r@1:1")
        for i, text in enumerate(texts)
    )
    return Record(files=files, max_tokens=64)


def test_a_record_is_stored_as_json_with_differences_of_suffix_starts() -> None:
    assert shards.pack_record(record("é\n<x>")) == (
        '[64,[["f0.py","é\\n<x>",[1,2,1],"r@1:1"]]]'.encode()
    )


def test_what_is_unlike_most_files_is_stored_with_a_file_and_read_back() -> None:
    files = (
        RecordFile(path="a.py", text="x", suffix_starts=(), origin="r", line_ends="crlf"),
        RecordFile(path="b.py", text="y", suffix_starts=(), origin="r", is_broken=True),
    )
    before = Record(files=files, max_tokens=64)

    assert shards.pack_record(before) == (
        b'[64,[["a.py","x",[],"r",{"line_ends":"crlf"}],["b.py","y",[],"r",{"is_broken":true}]]]'
    )
    assert shards.unpack_record(shards.pack_record(before)) == before


@given(st.lists(st.text(), max_size=3), st.sets(st.integers(1, 10**6)))
def test_records_come_back_as_they_were(texts: list[str], starts: set[int]) -> None:
    texts = [text for text in texts if not any("\ud800" <= c <= "\udfff" for c in text)]
    files = tuple(
        RecordFile(path="a.py", text=text, suffix_starts=tuple(sorted(starts)), origin="r")
        for text in texts
    )
    before = Record(files=files, max_tokens=7)

    assert shards.unpack_record(shards.pack_record(before)) == before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[1]",
        b"[1,[[2]]]",
        b"\xff",
        b'[1,[["a","b",3,"c"]]]',
        b'[1,[["a","b",[],"c",5]]]',
    ],
)
def test_damaged_records_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="damaged"):
        shards.unpack_record(data)


def test_shards_do_not_depend_on_the_order_of_records(tmp_path: Path) -> None:
    packed = [shards.pack_record(record(f"text {i}")) for i in range(10)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    one = shards.write_shards(tmp_path / "a", "train", packed, records_per_shard=4)
    two = shards.write_shards(tmp_path / "b", "train", packed[::-1], records_per_shard=4)

    assert one == two
    assert [(entry["name"], entry["records"]) for entry in one] == [
        ("train-00000-of-00003.array_record", 3),
        ("train-00001-of-00003.array_record", 3),
        ("train-00002-of-00003.array_record", 4),
    ]
    for entry in one:
        assert (tmp_path / "a" / entry["name"]).stat().st_size == entry["bytes"]
        assert (tmp_path / "a" / entry["name"]).read_bytes() == (
            tmp_path / "b" / entry["name"]
        ).read_bytes()


def test_no_records_make_one_empty_shard(tmp_path: Path) -> None:
    (entry,) = shards.write_shards(tmp_path, "heldout", [], records_per_shard=4)

    assert (entry["name"], entry["records"]) == ("heldout-00000-of-00001.array_record", 0)
