# SPDX-License-Identifier: Apache-2.0
"""The benchmark data and one sandbox for all tests of a session; names what this machine lacks."""

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from codegemma.sandbox.run import Sandbox

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def benchmarks() -> Path:
    folder = Path(os.environ.get("CODEGEMMA_BENCHMARKS") or ROOT.parent / "shared" / "benchmarks")
    if not folder.is_dir():
        pytest.skip("no benchmark data: set CODEGEMMA_BENCHMARKS to its folder")
    return folder


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    with Sandbox(num_workers=2) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fakes", ROOT / "tests" / "fakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def repository_files() -> ModuleType:
    """A small git repository under test."""
    path = ROOT / "tests" / "evaluate" / "repository_files.py"
    spec = importlib.util.spec_from_file_location("repository_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def few_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A benchmark folder with twelve problems in HumanEval's form; `return N` answers number N."""
    folder = tmp_path / "benchmarks"
    (folder / "human-eval").mkdir(parents=True)
    rows = [
        {
            "task_id": f"HumanEval/{number}",
            "prompt": f"def f{number}():\n",
            "entry_point": f"f{number}",
            "canonical_solution": f"    return {number}\n",
            "test": f"def check(candidate):\n    assert candidate() == {number}\n",
        }
        for number in range(12)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "human-eval" / "HumanEval.jsonl").write_text(lines)
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(folder))
    return folder


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Path]:
    """Write prepared data of given documents, a record each, under the golden vocabulary."""
    pytest.importorskip("array_record", reason="array-record is not installed")
    from codegemma.data.shards import PARTS, Record, RecordFile, pack_record, write_shards

    def write(*, train: Sequence[str], heldout: Sequence[str] = ()) -> Path:
        folder = tmp_path / "prepared"
        (folder / "shards").mkdir(parents=True)
        shards = {}
        for part, texts in zip(PARTS, (train, heldout), strict=True):
            packed = [
                pack_record(
                    Record(
                        files=(
                            RecordFile(
                                path=f"{part}{n}.py", text=text, suffix_starts=(), origin="a@1:1"
                            ),
                        ),
                        max_tokens=1024,
                    )
                )
                for n, text in enumerate(texts)
            ]
            shards[part] = (
                write_shards(folder / "shards", part, packed, records_per_shard=100)
                if packed
                else []
            )
        manifest = {"format": 1, "shards": shards}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        shutil.copy(ROOT / "tests" / "golden" / "tokenizer" / "tokenizer.model", folder)
        return folder

    return write
