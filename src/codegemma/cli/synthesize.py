# SPDX-License-Identifier: Apache-2.0
"""`codegemma synthesize pairs|algebra`: instruction data for `codegemma prepare chat:FILE`."""

import json
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from codegemma.cli import options
from codegemma.errors import ConfigError, InputError


def synthesize(
    kind: Annotated[
        Literal["pairs", "algebra"],
        typer.Argument(help="Tasks a model makes from code, or algebra problems made by rule."),
    ],
    source: Annotated[
        list[Path] | None,
        typer.Argument(help="Of pairs: repositories that snippets are taken from."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="JSON Lines to write or to go on with.")],
    count: Annotated[int, typer.Option(help="Pairs to try, or problems to write.", min=1)] = 100,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Of pairs: the instruction model that writes."),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="The one that judges; default the one that writes.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same.", min=0)] = 0,
    unlicensed: Annotated[
        bool,
        typer.Option("--unlicensed", help="Of pairs: take code under any licence, or none."),
    ] = False,
    remove: Annotated[
        list[Path] | None,
        typer.Option(help="Of pairs: list of whose owners asked to be left out."),
    ] = None,
    unsafe_list: Annotated[
        list[Path] | None,
        typer.Option(help="Of pairs: list of unsafe content: term:, sha256: or url: a line."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make instruction data: tasks with solutions that a model writes and judges, or algebra.

    Snippets pass the stages of `codegemma prepare`: licences, removal lists, filters, redaction.
    What is judged below 4 of 5, was cut off or does not parse is counted and not kept. Run again to
    go on where it stopped; benchmarks are kept out by `codegemma prepare chat:OUT`, not before.
    """
    from codegemma.data import safety
    from codegemma.data import synthesize as making

    if kind == "algebra":
        if source or model or judge:
            raise ConfigError("algebra problems are made by rule: they take no source and no model")
        making.write_algebra(out, count=count, seed=seed)
        print(json.dumps({"kept": count}) if as_json else out)
        return
    if not source or not model:
        raise ConfigError("pairs need a source of code and a model: synthesize pairs DIR --model M")
    files = making.read_sources(
        source,
        removals=safety.read_removals(remove or ()),
        scanner=safety.read_unsafe_lists(unsafe_list or ()),
        permissive_only=not unlicensed,
    )
    if not files:
        raise InputError(
            "no source file is left to take a snippet from; --unlicensed takes code without a "
            "permissive licence that you may use all the same"
        )
    writer = options.open_completer(model)
    judging = writer if judge is None else options.open_completer(judge)
    with _bar(count) as told:
        tally = making.write_pairs(
            files,
            out=out,
            count=count,
            writer=writer,
            judge=judging,
            seed=seed,
            progress=told,
        )
    if as_json:
        print(json.dumps(dict(tally)))
        return
    for rule, number in tally.most_common():
        print(f"{number:8,}  {rule}")
    print(out)


@contextmanager
def _bar(count: int) -> Generator[Callable[[int, Counter[str]], None]]:
    """Show on a terminal's stderr how many pairs were tried and kept, and how long it will take."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("0 kept", total=count)
        yield lambda done, tally: bar.update(
            task, completed=done, description=f"{tally['kept']} kept"
        )
