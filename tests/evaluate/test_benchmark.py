# SPDX-License-Identifier: Apache-2.0

import gzip
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from codegemma.errors import DataError, PrerequisiteError
from codegemma.evaluate.benchmark import BenchmarkFile, HubData, benchmark_folder

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


NOT_DEFLATE = gzip.compress(b"")[:10] + b"\xff" * 20
"""The head of an archive, and no archive behind it."""


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b'{"a": 3}\n')[:-9], b"not gzip", gzip.compress(b"[1]"), NOT_DEFLATE],
    ids=["cut short", "not gzip", "no object", "not deflate"],
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


def _hub_file(path, *configs):
    """A file whose rows are also in a data set; the library takes a folder for its name too."""
    hub = HubData(path=str(path), configs=configs or ("",), split="test")
    return BenchmarkFile(name="set/rows.jsonl.gz", source="github.com/example/set", hub=hub)


def _write_data_set(folder):
    for config, value in (("one", 1), ("two", 2)):
        (folder / config).mkdir(parents=True)
        (folder / config / "test.jsonl").write_text(f'{{"a": {value}}}\n{{"a": {value + 10}}}\n')
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(
            f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/test.jsonl\n"
            for name in ("one", "two")
        )
        + "---\n"
    )
    return folder


def test_rows_of_the_hub_stand_in_for_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    file = _hub_file(_write_data_set(tmp_path / "hub"), "one", "two")

    assert [row["a"] for row in file.rows(tmp_path)] == [1, 11, 2, 12]
    digest = file.sha256(tmp_path)
    assert len(digest) == 64

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "rows.jsonl").write_text('{"a": 3}\n')
    assert file.rows(tmp_path) == [{"a": 3}]
    assert file.sha256(tmp_path) != digest


def test_no_folder_need_be_named_for_what_the_hub_has(tmp_path, monkeypatch):
    monkeypatch.delenv("CODEGEMMA_BENCHMARKS", raising=False)

    assert not benchmark_folder([_hub_file(tmp_path)]).exists()
    with pytest.raises(PrerequisiteError, match="set CODEGEMMA_BENCHMARKS"):
        benchmark_folder([_hub_file(tmp_path), FILE])


def test_hubs_library_does_not_tell_of_each_time_that_it_tries_again(tmp_path, monkeypatch):
    logger = logging.getLogger("huggingface_hub.utils._http")
    heard = []

    def load(*_, **__):
        heard.append(logger.isEnabledFor(logging.WARNING))
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    before = logger.isEnabledFor(logging.WARNING)

    with pytest.raises(PrerequisiteError, match="ConnectionError: no network"):
        _hub_file(tmp_path / "gone").rows(tmp_path)
    assert heard == [False]
    assert logger.isEnabledFor(logging.WARNING) == before


def test_hub_out_of_reach_is_one_clear_error(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from codegemma.errors import PrerequisiteError\n"
        "from codegemma.evaluate.registry import find_tasks\n"
        "(task,) = find_tasks('winogrande')\n"
        "try: task.problems(Path('here'))\n"
        "except PrerequisiteError as error: print(error)\n"
    )
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}

    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | settings,
    )

    assert "winogrande/validation.jsonl.gz is not in here, and allenai/winogrande" in run.stdout
    assert "run once with a network" in run.stdout
    assert run.stdout.count("\n") == 1
