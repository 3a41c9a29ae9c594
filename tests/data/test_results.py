# SPDX-License-Identifier: Apache-2.0
import errno
import os
from pathlib import Path

import pytest

from codegemma.data import results


def test_a_result_is_read_back_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "stage" / "one"
    results.write(path, {"files": 2}, [b"ab\n", b"", b"c"], key="k")

    assert results.is_made(path, key="k")
    assert results.read_head(path) == {"files": 2}
    assert results.read_key(path) == "k"
    assert [results.read_section(path, i) for i in range(3)] == [b"ab\n", b"", b"c"]
    assert [size for _, size in results.offsets(path)] == [3, 0, 1]
    assert [file.name for file in path.parent.iterdir()] == ["one"]


def test_what_is_missing_cut_short_or_of_another_key_counts_as_not_made(tmp_path: Path) -> None:
    path = tmp_path / "one"
    assert not results.is_made(path, key="k")
    results.write(path, {}, [b"0123456789"], key="k")
    whole = path.read_bytes()

    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert not results.is_made(path, key="k")
    path.write_bytes(whole)
    assert results.is_made(path, key="k")
    assert not results.is_made(path, key="other")


def test_a_full_disk_leaves_no_part_of_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        results.write(tmp_path / "one", {}, [b"x"], key="k")

    assert list(tmp_path.iterdir()) == []
