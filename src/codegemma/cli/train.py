# SPDX-License-Identifier: Apache-2.0
"""`codegemma train`: prepared data to a model folder; run again to go on."""

import json
import math
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from codegemma.errors import ConfigError, PrerequisiteError


def train(
    data: Annotated[Path, typer.Option("--data", help="Output folder of `codegemma prepare`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; run again to resume.")],
    recipe: Annotated[str, typer.Option(help="What is trained, and how.")] = "nano",
    start: Annotated[
        Path | None, typer.Option("--start", help="Step folder of another run to go on from.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model whose weights a new run begins with.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Length of the run: schedule.num_steps.", min=1)
    ] = None,
    decay_steps: Annotated[
        int | None,
        typer.Option(help="End the stable phase now; lower the rate over so many steps.", min=1),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Save and stop after so long.", min=0.01)
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, as path.to.field=value.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line of the log.")] = False,
) -> None:
    """Train from scratch or from a model's weights, or go on with the run in OUT.

    Writes OUT/config.json, OUT/metrics.jsonl, OUT/steps/N and OUT/model.
    """
    from codegemma.train.memory import keep_freed_memory

    keep_freed_memory()
    try:
        from codegemma.train import loop, recipes
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            f"training needs the package {error.name}: pip install 'codegemma[train]'"
        ) from error

    from codegemma.model import hub

    if start is not None and model is not None:
        raise ConfigError("--start and --model exclude each other: both say what to begin with")
    assignments = list(changes or ())
    if steps is not None:
        assignments.append(f"schedule.num_steps={steps}")
    chosen = recipes.override(recipes.by_name(recipe), assignments)
    initial = None if model is None else hub.resolve(model)
    try:
        with _json_lines() if as_json else _progress() as listener:
            outcome = loop.train(
                chosen,
                data=data,
                out=out,
                start=start,
                model=initial,
                decay_steps=decay_steps,
                max_minutes=minutes,
                listener=listener,
            )
    except KeyboardInterrupt:
        model_folder = out / "model"
        saved = f"its model is {model_folder}; " if model_folder.is_dir() else ""
        print(f"stopped; {saved}the same command goes on from the last step", file=sys.stderr)
        raise
    if as_json:
        result = {
            "step": outcome.step,
            "finished": outcome.is_finished,
            "model": str(outcome.model),
        }
        print(json.dumps({"kind": "end"} | result))
        return
    print(f"{'finished' if outcome.is_finished else 'stopped'} at step {outcome.step}")
    print(outcome.model)


@contextmanager
def _json_lines() -> Generator[Callable[[Mapping[str, Any]], None]]:
    yield lambda line: print(json.dumps(line), flush=True)


@contextmanager
def _progress() -> Generator[Callable[[Mapping[str, Any]], None]]:
    """Show a bar on stderr once the run starts; held-out results scroll above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("step"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task("train", note="compiling")
    total = 0

    def show(line: Mapping[str, Any]) -> None:
        nonlocal total
        if line["kind"] == "start":
            total = line["num_steps"]
            bar.update(task, completed=line["step"], total=total)
            bar.start()
            if bar.disable:
                print(f"step {line['step']}/{total} compiling", file=sys.stderr, flush=True)
        elif line["kind"] == "step":
            note = f"loss {line['loss']:.3f}  {line['tokens_per_s']:.0f} tok/s  {_left(line)} left"
            bar.update(task, completed=line["step"], note=note)
            if bar.disable:
                print(f"step {line['step']}/{total} {note}", file=sys.stderr, flush=True)
        elif line["kind"] == "heldout":
            values = "  ".join(f"{k} {v}" for k, v in line.items() if k.endswith("per_byte"))
            bar.console.print(f"step {line['step']}  held out: {values}", highlight=False)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


def _left(line: Mapping[str, Any]) -> str:
    seconds = float(line["seconds_left"])
    if not math.isfinite(seconds):
        return "?"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
