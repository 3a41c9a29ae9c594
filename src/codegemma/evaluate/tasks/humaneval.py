# SPDX-License-Identifier: Apache-2.0
"""HumanEval: 164 Python functions to be written from their signature and docstring.

The prompt goes in verbatim, one `<bos>` before it; `humaneval:stripped` takes the blanks off both
its ends, as some harnesses do. `humaneval:chat` asks an instruction model in one turn and scores
the first code block of its reply, with the imports and helpers of the prompt before it.

Source: "Evaluating Large Language Models Trained on Code", arXiv 2107.03374.
Unstated: CodeGemma's stop strings; the list here gives Gemma's published value at batch size 1
(lm-evaluation-harness, pull request 1992). The wording of the chat turn is ours.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from codegemma.completion import Prompt, Sampling, Turn
from codegemma.evaluate.benchmark import BenchmarkFile
from codegemma.evaluate.registry import refuse_argument
from codegemma.evaluate.task import Problem, Task, Variant
from codegemma.sandbox.program import Limits, Program
from codegemma.text import trim

FILE: Final = BenchmarkFile(
    name="human-eval/HumanEval.jsonl.gz", source="github.com/openai/human-eval"
)
LIMITS: Final = Limits(wall_s=12.0, cpu_s=3)
"""The published 3 s, counted as the program works rather than as a busy machine waits."""

STOPS: Final = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where a completion ends, as in lm-evaluation-harness."""

MORE_STOPS: Final = ("\n@", "\n```")
"""Where bigcode-evaluation-harness ends it besides."""

_ARGUMENTS: Final = ("stripped", "chat")
_QUESTION: Final = (
    "Complete this Python function. Reply with the whole function in one code block.\n\n"
    "```python\n{prompt}```"
)
_FENCE: Final = re.compile(r"^ *```[^\n`]*\n(.*?)(?:^ *```|\Z)", re.DOTALL | re.MULTILINE)


def make(name: str, argument: str | None) -> tuple[Task]:
    """Make the task, plain, `stripped` or `chat`."""
    if argument not in (None, *_ARGUMENTS):
        raise refuse_argument(name, argument, _ARGUMENTS)
    is_chat = argument == "chat"
    plain = (
        Variant(name="stop", cut=partial(_cut_at, STOPS), check=program),
        Variant(name="stop+bigcode", cut=partial(_cut_at, STOPS + MORE_STOPS), check=program),
        Variant(name="dedent-block", cut=_cut_block, check=program),
    )
    chat = Variant(name="fence", cut=lambda _, text: first_block(text), check=_chat_program)
    return (
        Task(
            name=f"{name}:{argument}" if argument else name,
            files=(FILE,),
            problems=partial(_problems, argument),
            sampling=Sampling(max_tokens=1024 if is_chat else 512, stop=() if is_chat else STOPS),
            variants=(chat,) if is_chat else plain,
            raw=chat if is_chat else Variant(name="raw", cut=lambda _, text: text, check=program),
            whole=WHOLE,
            limits=LIMITS,
        ),
    )


def program(problem: Problem, completion: str) -> Program:
    """Put a completion behind its prompt, with the problem's tests."""
    return tested(problem, problem.prompt.prefix + completion)


def tested(problem: Problem, source: str) -> Program:
    """Judge a whole program by the problem's tests, which have the prompt's own functions."""
    entry = problem.row["entry_point"]
    tests = f"{_given(problem.row)}{problem.row['test']}\ncheck({entry})"
    return Program(language="python", source=source, tests=tests, entry_point=entry)


WHOLE: Final = Variant(name="solution", cut=lambda _, text: text, check=tested)
"""For samples that are whole programs."""


def first_block(text: str) -> str:
    """Give the first fenced code block of a reply, cut off or not; without one the reply itself."""
    match = _FENCE.search(text)
    return match.group(1) if match else text


def _problems(argument: str | None, folder: Path) -> Sequence[Problem]:
    return tuple(_problem(row, argument) for row in FILE.rows(folder))


def _problem(row: dict[str, Any], argument: str | None) -> Problem:
    text, solution = row["prompt"], row["canonical_solution"]
    if argument == "chat":
        prompt = Prompt(turns=(Turn(role="user", text=_QUESTION.format(prompt=text)),))
        solution = f"```python\n{text}{solution}```"
    elif argument == "stripped":
        prompt = Prompt(prefix=text.strip())
        solution = text[len(text.rstrip()) :] + solution
    else:
        prompt = Prompt(prefix=text)
    return Problem(task_id=row["task_id"], prompt=prompt, solution=solution, row=row)


def _given(row: Mapping[str, Any]) -> str:
    """Give the functions that the prompt defines before the one it asks for, as it defines them.

    The tests of three problems call them, and a completion may define others of their names.
    """
    starts = list(re.finditer(rf"^def {row['entry_point']}\b", row["prompt"], re.MULTILINE))
    given = row["prompt"][: starts[-1].start()] if starts else ""
    return given if re.search(r"^def ", given, re.MULTILINE) else ""


def _chat_program(problem: Problem, code: str) -> Program:
    """Put what stands before the function in the prompt before the code, else the whole prompt."""
    text, entry = problem.row["prompt"], problem.row["entry_point"]
    if re.search(rf"^def {entry}\b", code, re.MULTILINE):
        text = text[: text.index(f"def {entry}")]
    return tested(problem, text + code)


def _cut_at(stops: Sequence[str], problem: Problem, text: str) -> str:
    del problem
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def _cut_block(problem: Problem, text: str) -> str:
    return trim.block(text, prefix=problem.prompt.prefix, suffix="")
