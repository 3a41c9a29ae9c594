# SPDX-License-Identifier: Apache-2.0
"""The problems of a run in a file of its folder, for tasks whose problems lie in no benchmark file.

A report reads them there: which belong together, of which part each is, and what was asked.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from codegemma.completion import Prompt, SourceFile
from codegemma.errors import DataError
from codegemma.evaluate.folder import write_json
from codegemma.evaluate.task import Problem

FILE: Final = "problems.json"
"""Its name in the folder of a task."""

_FORMAT: Final = 1
_PROMPT: Final = ("prefix", "suffix", "path", "context")


def write_problems(folder: Path, problems: Iterable[Problem]) -> None:
    """Write problems of code into a task's folder, in their order."""
    rows = [
        {
            "task_id": problem.task_id,
            "cluster": problem.cluster,
            "group": problem.group,
            "solution": problem.solution,
            "prompt": {name: prompt[name] for name in _PROMPT},
        }
        for problem, prompt in ((problem, asdict(problem.prompt)) for problem in problems)
    ]
    write_json(folder / FILE, {"format": _FORMAT, "problems": rows})


def read_problems(folder: Path) -> dict[str, Problem] | None:
    """Read the problems of a task's folder by name, None where there is no such file.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] != _FORMAT:
            raise ValueError(f"it is not of format {_FORMAT}")
        return {row["task_id"]: _problem(row) for row in kept["problems"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error!r}; run codegemma evaluate again") from error


def _problem(row: dict[str, Any]) -> Problem:
    prompt = dict(row["prompt"])
    prompt["context"] = tuple(SourceFile(**file) for file in prompt["context"])
    known = {field.name for field in fields(Problem)} - {"prompt"}
    said = {name: value for name, value in row.items() if name in known}
    return Problem(prompt=Prompt(**prompt), **said)
