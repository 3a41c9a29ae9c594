# SPDX-License-Identifier: Apache-2.0
"""The benchmark data and one sandbox for all tests of a session; names what this machine lacks."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
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
