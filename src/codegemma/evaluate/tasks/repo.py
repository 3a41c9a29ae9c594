# SPDX-License-Identifier: Apache-2.0
"""Your own repository: snippets masked in functions that its tests cover, completed, and tested.

Every snippet is asked for twice: with its file alone, and with other files of the repository before
it, chosen as for a completion at a cursor. A completion passes when the tests of the function pass
with it in place, in the sandbox, with the repository's environment read-only.

Source: CodeGemma, arXiv 2406.11409, section 5: snippets of code that depends on other files are
    masked and filled in, and the tests of the changed files are run.
Differs: a test is known to notice the function's absence; the two forms of context are compared.
"""

import difflib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from codegemma.completion import Prompt, Sampling, SourceFile
from codegemma.context.choose import choose
from codegemma.context.index import RepositoryIndex
from codegemma.errors import ConfigError
from codegemma.evaluate.repository import Repository, limits
from codegemma.evaluate.survey import Covered, Told, survey
from codegemma.evaluate.task import Problem, Task, Variant
from codegemma.sandbox.program import Program
from codegemma.sandbox.run import Sandbox
from codegemma.text import trim

CONTEXT_TOKENS: Final = 2048
"""Of the other files, as estimated; what of them fits is the model's affair."""
MAX_FUNCTIONS: Final = 100
PROBLEMS_PER_FUNCTION: Final = 6
_MAX_TOKENS: Final = 256
_SLACK_S: Final = 10.0


def make(name: str, argument: str | None) -> tuple[Task]:
    """Refuse: this task needs a command, and runs before there are problems.

    Raises:
        ConfigError: Always.
    """
    del argument
    raise ConfigError(f"{name}:PATH is for `codegemma evaluate {name}:PATH --test CMD` alone")


def make_task(
    repository: Repository,
    *,
    sandbox: Sandbox,
    out: Path,
    max_functions: int = MAX_FUNCTIONS,
    told: Told | None = None,
) -> Task:
    """Make the task of a repository.

    Args:
        repository: The commit, and how it is tested.
        sandbox: Shows what `Repository.binds` names.
        out: Folder of the run of all tasks; what was found of the repository is kept in it.
        max_functions: Most functions to mask, those changed last.
        told: Told how far the search for functions is.
    """
    name = f"repo:{repository.name}"
    file = out / name.replace(":", ".") / "survey.json"

    def problems(_: Path) -> Sequence[Problem]:
        found = survey(
            repository, sandbox=sandbox, file=file, max_functions=max_functions, told=told
        )
        return _problems(repository, found)

    check = partial(_program, repository)
    return Task(
        name=name,
        files=(),
        problems=problems,
        sampling=Sampling(max_tokens=_MAX_TOKENS),
        variants=(
            Variant(name="trimmed", cut=_cut, check=check),
            Variant(name="exact-match", cut=_cut, check=_is_exact, is_pass_rate=False),
            Variant(name="edit-similarity", cut=_cut, check=_similarity, is_pass_rate=False),
        ),
        raw=Variant(name="raw", cut=lambda _, text: text, check=check),
        has_slow_programs=True,  # each runs tests
    )


def _problems(repository: Repository, found: Sequence[Covered]) -> list[Problem]:
    index = RepositoryIndex(repository.folder)
    index.refresh()
    problems: list[Problem] = []
    for function in found:
        text = (repository.folder / function.path).read_bytes().decode("utf-8")
        shown = choose(index, function.path, tokenizer=None, max_tokens=CONTEXT_TOKENS)
        files = tuple(one.file for one in shown)
        for span in function.spans:
            for label, context in (("alone", ()), ("with context", files)):
                problems.append(_problem(repository, function, span.kind, label, text, context))
    return problems


def _problem(
    repository: Repository,
    function: Covered,
    kind: str,
    label: str,
    text: str,
    context: tuple[SourceFile, ...],
) -> Problem:
    span = next(span for span in function.spans if span.kind == kind)
    where = f"{function.path}::{function.name}"
    return Problem(
        task_id=f"{where}/{kind}/{label}",
        prompt=Prompt(
            prefix=text[: span.start], suffix=text[span.end :], path=function.path, context=context
        ),
        solution=text[span.start : span.end],
        cluster=where,
        row={
            "commit": repository.commit,
            "path": function.path,
            "kind": kind,
            "tests": list(function.tests),
            "ending": function.ending,
            "changed": function.changed,
        },
        limits=limits(float(round(_SLACK_S + 4 * function.wall_s))),
        group=f"{kind}, {label}",
    )


def _cut(problem: Problem, text: str) -> str:
    """Trim as a completion at a cursor is, one of a line to that line."""
    rules = trim.LINE_RULES if problem.row["kind"] == "line" else trim.DEFAULT_RULES
    prompt = problem.prompt
    return trim.trim(text, prefix=prompt.prefix, suffix=prompt.suffix, rules=rules).text


def _program(repository: Repository, problem: Problem, completion: str) -> Program:
    text = problem.prompt.prefix + completion + (problem.prompt.suffix or "")
    return repository.program(
        changed=(problem.row["path"], text),
        tests=problem.row["tests"],
        ending=problem.row["ending"],
    )


def _is_exact(problem: Problem, completion: str) -> float:
    return float(completion.strip() == (problem.solution or "").strip())


def _similarity(problem: Problem, completion: str) -> float:
    """Give the share of characters in matching blocks, as difflib counts them."""
    wanted = (problem.solution or "").strip()
    return difflib.SequenceMatcher(None, completion.strip(), wanted, autojunk=False).ratio()
