# SPDX-License-Identifier: Apache-2.0
"""BC-HumanEval: the 161 problems of HumanEval that eight languages can say.

Reads `HumanEval.jsonl`. The question is the documentation of its function, each line moved to the
margin and the examples in double quotes; the tests are the assertions of `check`. HumanEval/25, 38
and 50 are refused, since they test what is not written out; `changes.py` tells what BabelCode
changed in others so that they can be said at all.
"""

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from codegemma.errors import DataError, InputError
from codegemma.evaluate.babelcode.changes import CHANGES, Change, Edits
from codegemma.evaluate.babelcode.convert import convert
from codegemma.evaluate.babelcode.schema import Question
from codegemma.evaluate.benchmark import BenchmarkFile

HUMAN_EVAL: Final = BenchmarkFile(
    name="human-eval/HumanEval.jsonl.gz", source="github.com/openai/human-eval (data)"
)
_DOCUMENTATION = re.compile(r"(\"\"\"|''')(.*?)\1", re.DOTALL)


def read_human_eval(folder: Path) -> list[Question]:
    """Read the problems of BC-HumanEval from the benchmark folder, in its order.

    Raises:
        PrerequisiteError: The file is missing.
        DataError: It is damaged, or another edition of HumanEval.
    """
    questions: list[Question] = []
    for row in HUMAN_EVAL.rows(folder):
        try:
            questions.append(from_human_eval(row))
        except InputError:
            continue
    return questions


def from_human_eval(row: dict[str, Any]) -> Question:
    """Convert one row of HumanEval.

    Raises:
        InputError: Not every language can say it.
        DataError: It is not the row that the changes were made for.
    """
    number = row["task_id"].partition("/")[2]
    change = CHANGES.get(number, Change())
    name = change.name or row["entry_point"]
    text = documentation(row["prompt"], row["entry_point"])
    solution = row["prompt"] + row["canonical_solution"]
    if number in CHANGES:
        text = _edit(text.lstrip("\n") if change.text else text, change.text, number)
        solution = re.sub(rf"\b{row['entry_point']}\b", name, solution)
    if change.parameters:
        solution = f"def {name}({change.parameters}):\n    pass\n"
    tests = change.tests
    if not isinstance(tests, str):
        tests = _edit(row["test"], tests, number)
    question = convert(
        number=number, text=text, solution=solution, tests=_assertions(tests, name), name=name
    )
    return replace(question, solution="") if number in CHANGES else question


def documentation(prompt: str, name: str) -> str:
    """Give the documentation of the function `name` as BabelCode words it.

    Raises:
        InputError: The function has none.
    """
    found = _DOCUMENTATION.search(prompt, prompt.rindex(f"def {name}"))
    if found is None:
        raise InputError(f"{name} has no documentation")
    lines: list[str] = []
    is_example = False
    for line in found[2].split("\n"):
        line = line.lstrip()
        is_example = line.startswith(">>>") or (is_example and bool(line))
        lines.append(line.replace("'", '"') if is_example else line)
    return "\n".join(lines)


def _assertions(tests: str, name: str) -> list[ast.stmt]:
    """Give the assertions of the function `check`, or of bare lines, about `name`."""
    body = ast.parse(re.sub(r"\bcandidate\b", name, tests)).body
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == "check":
            body = node.body
    return [node for node in body if isinstance(node, ast.Assert)]


def _edit(text: str, edits: Edits, number: str) -> str:
    for old, new in edits:
        if old not in text:
            raise DataError(
                f"HumanEval/{number} has no {old!r}: not the edition that BabelCode changed"
            )
        text = text.replace(old, new)
    return text
