# SPDX-License-Identifier: Apache-2.0
"""MBPP: 500 small Python programs to be written from one sentence and three assertions.

The prompt shows tasks 2, 3 and 4 solved, their line ends as the file has them (most are CRLF);
`mbpp:lf` shows them with plain line ends, `mbpp:0-shot` shows none, for models of a short context.

Source: "Program Synthesis with Large Language Models", arXiv 2108.07732; prompt, shots and the test
ids 11 to 510 from the README beside the data.
Unstated: where a completion ends that does not write the mark: `done` takes all of it,
`done+bigcode` ends at what bigcode-evaluation-harness ends at besides, `done+fence` takes the first
code block of it, as lm-evaluation-harness does. What stands between two shots, one line end here.
The time limit, 10 s of work here, 60 s for task 123, whose reference program works for 5 s.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from codegemma.completion import Prompt, Sampling
from codegemma.evaluate.benchmark import BenchmarkFile
from codegemma.evaluate.registry import refuse_argument
from codegemma.evaluate.task import Problem, Task, Variant
from codegemma.evaluate.tasks import humaneval
from codegemma.sandbox.program import Limits, Program
from codegemma.text.newlines import to_lf

FILE: Final = BenchmarkFile(
    name="mbpp/mbpp.jsonl.gz", source="github.com/google-research/google-research, folder mbpp"
)
STOP: Final = "[DONE]"
MORE_STOPS: Final = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n```")
"""Where bigcode-evaluation-harness ends a completion."""

_SHOT_IDS: Final = (2, 3, 4)
_TEST_IDS: Final = range(11, 511)
_ALL_IDS: Final = range(1, 975)
_LIMITS: Final = Limits(wall_s=30.0, cpu_s=10)
_SLOW_LIMITS: Final = {123: Limits(wall_s=120.0, cpu_s=60)}
_ARGUMENTS: Final = ("lf", "0-shot")
_QUESTION: Final = (
    "You are an expert Python programmer, and here is your task: {text} "
    "Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
)


def make(name: str, argument: str | None) -> tuple[Task]:
    """Make the task, plain, `lf` or `0-shot`."""
    if argument not in (None, *_ARGUMENTS):
        raise refuse_argument(name, argument, _ARGUMENTS)
    raw = Variant(name="raw", cut=lambda _, text: text, check=program)
    return (
        Task(
            name=f"{name}:{argument}" if argument else name,
            files=(FILE,),
            problems=partial(_problems, argument),
            sampling=Sampling(max_tokens=512, stop=(STOP,)),
            variants=(
                Variant(name="done", cut=lambda _, text: _cut_at((STOP,), text), check=program),
                Variant(name="done+bigcode", cut=_cut_at_more, check=program),
                Variant(name="done+fence", cut=_cut_block, check=program),
            ),
            raw=raw,
            whole=raw,
            limits=_LIMITS,
            other_ids=frozenset(map(_task_id, set(_ALL_IDS) - set(_TEST_IDS))),
        ),
    )


def program(problem: Problem, completion: str) -> Program:
    """Judge a program by the assertions, run after what sets them up."""
    row = problem.row
    tests = "\n".join([row["test_setup_code"], *row["test_list"]])
    return Program(language="python", source=completion, tests=tests, entry_point=entry_point(row))


def entry_point(row: Mapping[str, Any]) -> str | None:
    """Name the function that the assertions call and the reference program defines."""
    defined = set(re.findall(r"^(?:def|class) +(\w+)", row["code"], re.MULTILINE))
    called = re.findall(r"\b(\w+) *\(", "\n".join(row["test_list"]))
    return next((name for name in called if name in defined), None)


def _problems(argument: str | None, folder: Path) -> Sequence[Problem]:
    rows = {row["task_id"]: row for row in FILE.rows(folder)}
    shots = ""
    if argument != "0-shot":
        shots = "".join(f"{_question(rows[i])}{rows[i]['code']}\n{STOP}\n" for i in _SHOT_IDS)
    if argument == "lf":
        shots = to_lf(shots)
    return tuple(
        Problem(
            task_id=_task_id(index),
            prompt=Prompt(prefix=shots + _question(rows[index])),
            solution=rows[index]["code"],
            row=rows[index],
            limits=_SLOW_LIMITS.get(index),
        )
        for index in _TEST_IDS
    )


def _task_id(index: int) -> str:
    return f"MBPP/{index}"


def _cut_at(stops: Sequence[str], text: str) -> str:
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def _cut_at_more(problem: Problem, text: str) -> str:
    del problem
    return _cut_at((STOP, *MORE_STOPS), text)


def _cut_block(problem: Problem, text: str) -> str:
    del problem
    return humaneval.first_block(_cut_at((STOP,), text))


def _question(row: dict[str, Any]) -> str:
    return _QUESTION.format(text=row["text"], tests="\n".join(row["test_list"]))
