# SPDX-License-Identifier: Apache-2.0
"""`codegemma evaluate TASK...`: measure a model on benchmarks; run again to go on."""

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codegemma.cli import options, output, results
from codegemma.errors import PrerequisiteError

if TYPE_CHECKING:
    from codegemma.evaluate.runner import RunSettings
    from codegemma.evaluate.task import Task
    from codegemma.sandbox.run import Sandbox

DRAWN_TEMPERATURE = 0.8

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
    shard: Annotated[
        str, typer.Option(help="Part i of n of the problems, as in 1/4, for many machines.")
    ] = "1/1",
    merge: Merge = None,
    n: Annotated[int, typer.Option("--n", help="Samples of each problem.", min=1)] = 1,
    temperature: Temperature = None,
    top_p: options.TopP = None,
    seed: Annotated[int, typer.Option(help="Of drawn samples.", min=0)] = 0,
    max_tokens: MaxTokens = None,
    mode: options.Mode = "auto",
    path: Annotated[
        str | None, typer.Option(help="Path line above an infill prompt; none by default.")
    ] = None,
    batch: Annotated[
        int, typer.Option(help="Prompts given to the model together; 1 for parity.", min=1)
    ] = 16,
    isolation: options.Isolation = "bubblewrap",
    data: Data = None,
    gate: Gates = None,
    no_score: Annotated[
        bool, typer.Option("--no-score", help="Draw alone; run again without it to score.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Complete the problems of benchmarks, run what came out in a sandbox, and count what passes.

    Benchmark data is read below $CODEGEMMA_BENCHMARKS. OUT/TASK gets samples, scores, settings and
    result; what is there already is neither drawn nor scored again.
    """
    from codegemma.evaluate.drawing import DrawSettings
    from codegemma.evaluate.folder import Shard
    from codegemma.evaluate.gate import Gate
    from codegemma.evaluate.registry import find_tasks
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
    chosen = [task for name in tasks for task in find_tasks(name)]
    with results.sandbox(isolation, is_wanted=not no_score) as sandbox:
        runs = _run_each(
            chosen,
            out=out,
            model=model,
            sandbox=sandbox,
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
