# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from codegemma.data import report
from codegemma.data.dedup import Digest
from codegemma.data.document import Ledger, Repository
from codegemma.data.stages import Inspected, Measured
from codegemma.data.steps import Packed


def inspected(repository: Repository) -> Inspected:
    read = Ledger()
    read.add("read", 500, files=5, language="python")
    return Inspected(repository=repository, files=(), input_hash="ab", input=read, ledgers={})


def measured(path: str, size_bytes: int) -> Measured:
    return Measured(
        path=path,
        size_bytes=size_bytes,
        language="python",
        digest=Digest(b"", b""),
        signature=None,
        hits=(),
    )


def packed(records: int, windows: int, tokens: int) -> Packed:
    return Packed(num_records=records, num_windows=windows, num_tokens=tokens, ledger=Ledger())


def test_rows_tell_what_was_read_and_what_came_out() -> None:
    one = inspected(Repository(name="one", version="2", license="MIT"))
    two = inspected(Repository(name="two", license="ISC"))
    files = [measured("a.py", 6), measured("test_a.py", 2)]
    results = [packed(2, 3, 9), packed(0, 0, 0)]

    rows = report.repository_rows([one, two], [files, []], results, {"two"})

    assert rows[0] == {
        "name": "one",
        "version": "2",
        "license": "MIT",
        "part": "train",
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


def test_the_funnel_tells_what_each_stage_left_of_each_language() -> None:
    read, license, copies = Ledger(), Ledger(), Ledger()
    read.add("read", 300, files=3, language="python")
    read.add("read", 50, files=1, language="go")
    license.add("license: GPL", 100, language="python")
    copies.add("exact_copy", 50, language="go")

    table = report.funnel([read], {"license": license, "copies": copies})

    assert table == {
        "go": {"read": [1, 50], "license": [1, 50], "copies": [0, 0]},
        "python": {"read": [3, 300], "license": [2, 200], "copies": [2, 200]},
    }


def test_the_report_says_loudly_that_no_list_was_loaded() -> None:
    assert report.unsafe(["bad.txt ab"]) == {"lists": ["bad.txt ab"], "warning": ""}
    assert "NO LIST" in report.unsafe([])["warning"]
    assert report.total_counts([{"key": 1}, {"email": 2, "key": 1}]) == {"email": 2, "key": 2}
