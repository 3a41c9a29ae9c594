# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from codegemma.data import report
from codegemma.data.document import File, Ledger, Repository
from codegemma.data.stages import Inspected
from codegemma.data.workers import Packed


def inspected(repository: Repository) -> Inspected:
    return Inspected(
        repository=repository,
        digests=(),
        signatures=(),
        hits=(),
        input_hash="ab",
        input_files=5,
        input_bytes=500,
        ledgers={},
    )


def test_rows_tell_what_was_read_and_what_came_out() -> None:
    files = (File(path="a.py", text="x = 1\n"), File(path="test_a.py", text="y\n"))
    one = Repository(name="one", version="2", license="MIT", files=files)
    two = Repository(name="two", license="ISC")
    packed = [
        Packed(records=[b"r", b"s"], num_windows=3, num_tokens=9, ledger=Ledger()),
        Packed(records=[], num_windows=0, num_tokens=0, ledger=Ledger()),
    ]

    rows = report.repository_rows([inspected(one), inspected(two)], [one, two], packed, {"two"})

    assert rows[0] == {
        "name": "one",
        "version": "2",
        "license": "MIT",
        "part": "train",
        "input_sha256": "ab",
        "input_files": 5,
        "input_bytes": 500,
        "files": 2,
        "test_files": 1,
        "bytes": 8,
        "windows": 3,
        "records": 2,
        "tokens": 9,
    }
    assert rows[1]["part"] == "heldout"
    assert report.totals(rows, "train") == {
        "repositories": 1,
        "input_files": 5,
        "input_bytes": 500,
        "files": 2,
        "test_files": 1,
        "bytes": 8,
        "windows": 3,
        "records": 2,
        "tokens": 9,
    }


def test_json_is_written_for_readers(tmp_path: Path) -> None:
    report.write_json(tmp_path / "x.json", {"name": "é"})

    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n "name": "é"\n}\n'
