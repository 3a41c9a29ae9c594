# SPDX-License-Identifier: Apache-2.0
"""BC-MBPP: the 342 problems of sanitized MBPP that eight languages can say.

Reads `sanitized-mbpp.json` as published, one JSON array; the other 85 problems are refused, among
them the few whose first test compares nothing.
"""

import ast
import gzip
import json
from pathlib import Path
from typing import Any, Final, cast

from codegemma.errors import DataError, InputError
from codegemma.evaluate.babelcode.convert import convert
from codegemma.evaluate.babelcode.schema import Question
from codegemma.evaluate.benchmark import BenchmarkFile

SANITIZED: Final = BenchmarkFile(
    name="mbpp/sanitized-mbpp.json.gz",
    source="github.com/google-research/google-research (mbpp/sanitized-mbpp.json)",
)


def read_mbpp(folder: Path) -> list[Question]:
    """Read the problems of BC-MBPP from the benchmark folder, in the order of their numbers.

    Raises:
        PrerequisiteError: The file is missing.
        DataError: It is damaged.
    """
    questions: list[Question] = []
    for row in sorted(_rows(folder), key=lambda row: int(row["task_id"])):
        try:
            questions.append(from_mbpp(row))
        except InputError:
            continue
    return questions


def from_mbpp(row: dict[str, Any]) -> Question:
    """Convert one row of sanitized MBPP.

    Raises:
        InputError: Not every language can say it.
    """
    tests = cast("list[str]", row["test_list"])
    body = ast.parse("\n".join(tests)).body
    match body:
        case [ast.Assert(test=ast.Compare(left=ast.Call(func=ast.Name(id=name)))), *_]:
            pass
        case _:
            raise InputError(f"the first test compares no result: {tests[0]}")
    return convert(
        number=str(row["task_id"]),
        text=row["prompt"],
        solution=row["code"].replace("\r\n", "\n"),
        tests=body,
        name=name,
    )


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = SANITIZED.path(folder)
    try:
        data = path.read_bytes()
        rows = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        if not isinstance(rows, list):
            raise ValueError("not an array")
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}; get it from {SANITIZED.source}") from error
    return cast("list[dict[str, Any]]", rows)
