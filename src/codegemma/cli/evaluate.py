# SPDX-License-Identifier: Apache-2.0
"""`codegemma evaluate TASK...`: measure a model on benchmarks; run again to go on."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codegemma.cli import options, output, results
from codegemma.errors import ConfigError, PrerequisiteError

if TYPE_CHECKING:
    from codegemma.evaluate.repository import Repository
    from codegemma.evaluate.runner import RunSettings
    from codegemma.evaluate.task import Task
    from codegemma.sandbox.run import Sandbox

DRAWN_TEMPERATURE = 0.8
_REPOSITORY = "repo:"

Limit = Annotated[int | None, typer.Option(help="The first so many problems of each task.", min=1)]
Merge = Annotated[
    list[Path] | None,
    typer.Option(help="Take over the samples of this run's folder; may be given again."),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help=f"0 takes the likeliest token. Default 0, with --n {DRAWN_TEMPERATURE}.",
        min=0.0,
        max=100.0,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Prepared data, whose documents memorization looks for."),
]
Gates = Annotated[
    list[str] | None,
    typer.Option("--gate", help="Exit with 3 unless METRIC<=FRACTION (or >=); may be given again."),
]
MaxTokens = Annotated[
    int | None, typer.Option(help="Most tokens of a sample; default is the task's own.", min=1)
]
Part = Annotated[
    str, typer.Option("--shard", help="Part i of n of the problems, as in 1/4, for many machines.")
]
NoScore = Annotated[
    bool, typer.Option("--no-score", help="Draw alone; run again without it to score.")
]
PathLine = Annotated[
    str | None, typer.Option(help="Path line above an infill prompt; none by default.")
]
Batch = Annotated[
    int, typer.Option(help="Prompts given to the model together; 1 for parity.", min=1)
]
Test = Annotated[str | None, typer.Option(help="For repo:PATH, the command that tests it.")]
Env = Annotated[
    Path | None,
    typer.Option(
        help="For repo:PATH, the virtual environment, or folder with node_modules, of its tests."
    ),
]


def evaluate(
    tasks: Annotated[
        list[str],
        typer.Argument(
            metavar="TASK...", help="Such as humaneval mbpp humaneval-infilling-single."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; run again to resume.")],
    model: options.Model = "nano",
    limit: Limit = None,
    shard: Part = "1/1",
    merge: Merge = None,
    n: Annotated[int, typer.Option("--n", help="Samples of each problem.", min=1)] = 1,
    temperature: Temperature = None,
    top_p: options.TopP = None,
    seed: Annotated[int, typer.Option(help="Of drawn samples.", min=0)] = 0,
    max_tokens: MaxTokens = None,
    mode: options.Mode = "auto",
    path: PathLine = None,
    batch: Batch = 16,
    test: Test = None,
    env: Env = None,
    isolation: options.Isolation = "bubblewrap",
    data: Data = None,
    gate: Gates = None,
    no_score: NoScore = False,
    as_json: options.Json = False,
) -> None:
    """Complete the problems of benchmarks, run what came out in a sandbox, and count what passes.

    Benchmark data is read below $CODEGEMMA_BENCHMARKS. OUT/TASK gets samples, scores, settings and
    result; what is there already is neither drawn nor scored again. repo:PATH masks code of a git
    repository and asks its own tests.
    """
    from codegemma.evaluate.drawing import DrawSettings
    from codegemma.evaluate.folder import Shard
    from codegemma.evaluate.gate import Gate
    from codegemma.evaluate.runner import RunSettings

    if temperature is None:
        temperature = 0.0 if n == 1 else DRAWN_TEMPERATURE
    settings = RunSettings(
        draw=DrawSettings(
            n=n,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            mode=options.parse_mode(mode),
            path=path,
            seed=seed,
            batch=batch,
        ),
        limit=limit,
        shard=Shard.parse(shard),
    )
    gates = [Gate.parse(text) for text in gate or ()]
    paths = [name.removeprefix(_REPOSITORY) for name in tasks if name.startswith(_REPOSITORY)]
    named = _named([name for name in tasks if not name.startswith(_REPOSITORY)])
    with output.resumable(), ExitStack() as stack:
        opened = _open_repositories(paths, test=test, env=env, stack=stack)
        binds = [bind for repository in opened for bind in repository.binds]
        sandbox = stack.enter_context(
            results.sandbox(isolation, is_wanted=not no_score or bool(opened), binds=binds)
        )
        chosen = [*named, *_repository_tasks(opened, sandbox, out=out, limit=limit, stack=stack)]
        runs = _run_each(
            chosen,
            out=out,
            model=model,
            sandbox=None if no_score else sandbox,
            settings=settings,
            merge=merge or (),
            prepared=data,
        )
        found = [_shown(result, as_json=as_json) for result in runs]
    breaches = [words for each in gates for words in each.breaches(found)]
    if breaches:
        print(f"codegemma: {'; '.join(breaches)}", file=sys.stderr)
        raise typer.Exit(3)


def _shown(result: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """Print a result as soon as it is there, and give it."""
    if as_json:
        output.write_json(result)
    else:
        output.write_text(results.page(result))
    return result


def _named(names: "Sequence[str]") -> "list[Task]":
    """Give the tasks that have a name of their own."""
    from codegemma.evaluate.registry import find_tasks

    return [task for name in names for task in find_tasks(name)]


def _open_repositories(
    paths: "Sequence[str]", *, test: str | None, env: Path | None, stack: ExitStack
) -> "list[Repository]":
    """Open the repositories of `repo:PATH`, until the stack is closed.

    Raises:
        ConfigError: There is no command to test them, or one for none.
    """
    from codegemma.evaluate.repository import Command, Repository

    if not paths:
        if test is not None or env is not None:
            raise ConfigError("--test and --env are for repo:PATH")
        return []
    if test is None:
        raise ConfigError("repo:PATH needs --test CMD, such as --test 'python -m pytest -q'")
    names = [Path(path).absolute().name for path in paths]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ConfigError(f"several repositories are named {twins[0]}; measure one after the other")
    command = Command.parse(test, environment=env)
    return [stack.enter_context(Repository(Path(path), test=command)) for path in paths]


def _repository_tasks(
    repositories: "Sequence[Repository]",
    sandbox: "Sandbox | None",
    *,
    out: Path,
    limit: int | None,
    stack: ExitStack,
) -> "list[Task]":
    """Make the tasks of repositories; a limit bounds what is looked for."""
    if not repositories or sandbox is None:
        return []
    from codegemma.evaluate.scoring import Progress
    from codegemma.evaluate.tasks import repo

    show = stack.enter_context(results.progress())

    def told(done: int, total: int) -> None:
        show(Progress("repo", "looking for functions", done, total, 0, 0))

    most = repo.MAX_FUNCTIONS
    if limit is not None:
        most = min(most, -(-limit // repo.PROBLEMS_PER_FUNCTION))
    return [
        repo.make_task(one, sandbox=sandbox, out=out, max_functions=most, told=told)
        for one in repositories
    ]


def _run_each(
    tasks: "Sequence[Task]",
    *,
    out: Path,
    model: str,
    sandbox: "Sandbox | None",
    settings: "RunSettings",
    merge: "Sequence[Path]",
    prepared: Path | None,
) -> "Iterator[dict[str, Any]]":
    """Yield the results of tasks.

    Raises:
        PrerequisiteError: Some lacked data or tools; the others were run before.
    """
    from codegemma.evaluate.runner import run_task

    open_completer = cache(lambda: options.open_raw_completer(model))
    lacking: list[str] = []
    for task in tasks:
        try:
            with results.progress() as listener:
                result = run_task(
                    task,
                    out=out,
                    model=model,
                    open_completer=open_completer,
                    sandbox=sandbox,
                    settings=settings,
                    merge=merge,
                    prepared=prepared,
                    listener=listener,
                )
        except PrerequisiteError as error:
            lacking.append(f"{task.name} was not run: {error}")
        else:
            yield result
    if lacking:
        raise PrerequisiteError("; ".join(lacking))
