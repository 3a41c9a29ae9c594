# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegemma.data import rows, shards, split
from codegemma.data.loader import Encoded
from codegemma.data.rows import Row, RowFile, RowSegment
from codegemma.data.shards import Record, RecordFile
from codegemma.data.split import Draw
from codegemma.errors import DataError
from codegemma.text.fim import Split

CUT = Draw(kind="line", mode="spm", split=Split("a", "b", "c"), has_path=False)


def record(*paths: str) -> Record:
    files = tuple(
        RecordFile(path=path, text="", suffix_starts=(), origin=f"caf\u00e9@1:{line}")
        for line, path in enumerate(paths, start=1)
    )
    return Record(files=files, max_tokens=8)


def encoded(
    *tokens: int, draws: tuple[Draw, ...] = (split.UNCUT,), starts: tuple[int, ...] = (1,)
) -> Encoded:
    return Encoded(np.array(tokens, np.int32), is_fallback=False, draws=draws, starts=starts)


def filled() -> list[Row]:
    records = [record("a.py", "b.py"), record("c.py"), record("d.py")]
    drawn = [
        encoded(2, 500, 70, 501, 1, draws=(split.UNCUT, CUT), starts=(1, 3)),
        encoded(2, 502, 503, 504, 1),
        encoded(2, 505, 1),
    ]
    return rows.fill_rows(records, drawn, row_tokens=9)


def test_a_row_holds_whole_segments_each_with_its_own_positions() -> None:
    first, second = filled()

    assert first.tokens.tolist() == [2, 500, 70, 501, 1, 2, 505, 1, 0]
    assert first.segment_ids.tolist() == [1, 1, 1, 1, 1, 2, 2, 2, 0]
    assert first.positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0]
    assert first.loss_weights.tolist() == [0, 1, 1, 1, 1, 0, 1, 1, 0]
    assert second.tokens.tolist() == [2, 502, 503, 504, 1, 0, 0, 0, 0]
    assert [array.dtype for array in (first.tokens, first.loss_weights)] == [np.int32, np.float32]


def test_every_segment_leads_back_to_repository_version_and_path() -> None:
    first, _ = filled()

    assert first.segments == (
        RowSegment(
            record=0,
            start=0,
            size=5,
            files=(
                RowFile(origin="caf\u00e9@1:1", path="a.py", start=1),
                RowFile(
                    origin="caf\u00e9@1:2",
                    path="b.py",
                    start=3,
                    shown="spm",
                    kind="line",
                    has_path=False,
                ),
            ),
        ),
        RowSegment(
            record=2,
            start=5,
            size=3,
            files=(RowFile(origin="caf\u00e9@1:1", path="d.py", start=6),),
        ),
    )


def test_stored_rows_come_back_as_they_were(tmp_path: Path) -> None:
    before = filled()
    shards.write_shard(tmp_path / "x.array_record", map(rows.pack_row, before))

    after = list(rows.read_rows(tmp_path / "x.array_record"))

    assert [row.segments for row in after] == [row.segments for row in before]
    for one, other in zip(after, before, strict=True):
        for name in ("tokens", "segment_ids", "positions", "loss_weights"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


def test_a_stored_row_is_a_line_of_json_and_four_arrays() -> None:
    line, _, body = rows.pack_row(filled()[0]).partition(b"\n")

    assert line.startswith(b'{"segments":[{"record":0,"start":0,"size":5,"files":[{"origin":"caf')
    assert len(body) == 4 * 4 * 9
    assert body[:8] == b"\x02\0\0\0\xf4\x01\0\0"
    assert body[-12:] == b"\0\0\x80\x3f\0\0\x80\x3f\0\0\0\0"
    assert rows.is_row(line)
    assert not rows.is_row(shards.pack_record(record("a.py")))


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"segments": [{}]}\n'])
def test_what_is_no_row_is_refused(damage: bytes) -> None:
    with pytest.raises(DataError, match="a row is damaged"):
        rows.unpack_row(damage)
    whole = rows.pack_row(filled()[0])
    for size in (len(whole) - 4, len(whole) - 8, len(whole) - 13):
        with pytest.raises(DataError, match="a row is damaged"):
            rows.unpack_row(whole[:size])


def test_best_fit_puts_each_into_the_fullest_bin_that_has_room() -> None:
    assert rows.best_fit([5, 3, 6, 2], room=8) == [[0, 1], [2, 3]]
    assert rows.best_fit([4, 4, 3, 5], room=8) == [[0, 1], [2, 3]]
    assert rows.best_fit([], room=8) == []


@given(st.lists(st.integers(min_value=1, max_value=50)))
def test_best_fit_loses_nothing_overfills_nothing_and_wastes_less_than_half(
    sizes: list[int],
) -> None:
    bins = rows.best_fit(sizes, room=50)

    assert sorted(item for items in bins for item in items) == list(range(len(sizes)))
    filled = [sum(sizes[item] for item in items) for items in bins]
    assert all(used <= 50 for used in filled)
    assert sum(used <= 25 for used in filled) <= 1
