# SPDX-License-Identifier: Apache-2.0
"""The questions of both benchmarks, and what BabelCode made of them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from codegemma.evaluate.babelcode.humaneval import read_human_eval
from codegemma.evaluate.babelcode.mbpp import read_mbpp
from codegemma.evaluate.babelcode.schema import Question

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def questions(benchmarks: Path) -> dict[str, dict[str, Question]]:
    """Both benchmarks by the name of their folder, each question by its number."""
    return {
        "human_eval": {each.number: each for each in read_human_eval(benchmarks)},
        "sanitized_mbpp": {each.number: each for each in read_mbpp(benchmarks)},
    }


def _published(benchmarks: Path, name: str) -> Rows:
    rows: Rows = {}
    for folder in ("human_eval", "sanitized_mbpp"):
        path = benchmarks / "babelcode" / folder / f"{name}.jsonl.gz"
        if not path.is_file():
            pytest.skip(f"no {name} of BabelCode in CODEGEMMA_BENCHMARKS")
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows[folder] = [json.loads(line) for line in file]
    return rows


@pytest.fixture(scope="session")
def published_programs(benchmarks: Path) -> Rows:
    return _published(benchmarks, "testing_code.8langs")


@pytest.fixture(scope="session")
def published_prompts(benchmarks: Path) -> Rows:
    return _published(benchmarks, "prompt_info.8langs")


@pytest.fixture(scope="session")
def published_questions(benchmarks: Path) -> Rows:
    return _published(benchmarks, "parsed")


@pytest.fixture(scope="session")
def golden_python(benchmarks: Path) -> Rows:
    return _published(benchmarks, "golden_python")
