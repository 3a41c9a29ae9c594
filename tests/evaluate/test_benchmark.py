# SPDX-License-Identifier: Apache-2.0

import gzip

import pytest

from codegemma.errors import DataError, PrerequisiteError
from codegemma.evaluate.benchmark import BenchmarkFile, benchmark_folder

FILE = BenchmarkFile(name="set/rows.jsonl.gz", source="github.com/example/set")


def test_rows_are_read_compressed_or_plain(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "rows.jsonl").write_text('{"a": "1\\r\\n"}\n\n{"a": 2}\n')

    assert FILE.rows(tmp_path) == [{"a": "1\r\n"}, {"a": 2}]

    (tmp_path / "set" / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"a": 3}\n'))

    assert FILE.rows(tmp_path) == [{"a": 3}]


def test_hash_is_that_of_the_bytes_on_the_disk(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "rows.jsonl").write_bytes(b"abc")

    assert FILE.sha256(tmp_path).startswith("ba7816bf8f01cfea414140de5dae2223")


def test_missing_file_is_named_with_where_it_comes_from(tmp_path):
    with pytest.raises(PrerequisiteError, match=r"set/rows.jsonl.gz .* github.com/example/set"):
        FILE.rows(tmp_path)


@pytest.mark.parametrize(
    "content", [gzip.compress(b'{"a": 3}\n')[:-9], b"not gzip", gzip.compress(b"[1]")]
)
def test_damaged_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "rows.jsonl.gz").write_bytes(content)

    with pytest.raises(DataError, match=r"rows.jsonl.gz is damaged"):
        FILE.rows(tmp_path)


def test_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(tmp_path))
    assert benchmark_folder() == tmp_path

    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(tmp_path / "gone"))
    with pytest.raises(PrerequisiteError, match="which is no folder"):
        benchmark_folder()

    monkeypatch.delenv("CODEGEMMA_BENCHMARKS")
    with pytest.raises(PrerequisiteError, match="set CODEGEMMA_BENCHMARKS"):
        benchmark_folder()
