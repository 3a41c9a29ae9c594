# SPDX-License-Identifier: Apache-2.0
"""What the verbs that measure share: the sandbox, a bar with the running score, and the result."""

import os
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from codegemma.evaluate.scoring import Listener, Progress
    from codegemma.sandbox.run import Isolation, Sandbox

EVERY_S: Final = 10.0
"""Seconds between lines of progress where there is no terminal."""


@contextmanager
def sandbox(
    isolation: "Isolation", *, is_wanted: bool, binds: "Iterable[Path]" = ()
) -> "Generator[Sandbox | None]":
    """Open a sandbox that uses every processor, or give None where none is wanted."""
    if not is_wanted:
        yield None
        return
    from codegemma.model.folder import cache_folder
    from codegemma.sandbox.run import Sandbox

    prepared = cache_folder() / "compilers"
    workers = os.cpu_count() or 1
    with Sandbox(
        num_workers=workers, isolation=isolation, prepared=prepared, binds=binds
    ) as opened:
        yield opened


@contextmanager
def progress() -> "Generator[Listener]":
    """Show on stderr how far a task is, its score so far, and on a terminal the time that is left.

    Elsewhere, as in the log of a job, that is a line at most every `EVERY_S` seconds.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    lines: dict[tuple[str, str], Any] = {}
    is_terminal = sys.stderr.isatty()
    told = time.monotonic()
    with Bar(*columns, console=Console(stderr=True), disable=not is_terminal) as bar:

        def show(now: "Progress") -> None:
            nonlocal told
            key = (now.task, now.stage)
            note = f"passed {100 * now.num_passed / now.num_scored:.1f} %" if now.num_scored else ""
            if not is_terminal:
                # Reading has no steps to tell of on the way: its beginning is told at once.
                is_begun = now.stage == "reading the data" and now.done == 0
                if is_begun or time.monotonic() - told >= EVERY_S:
                    told = time.monotonic()
                    counts = "" if is_begun else f" {now.done} of {now.total}"
                    words = f"{now.task}: {now.stage}{counts}{', ' if note else ''}{note}"
                    print(words, file=sys.stderr, flush=True)
                return
            if key not in lines:
                # What an earlier run did took no time: the estimate counts from here.
                lines[key] = bar.add_task(f"{now.task}: {now.stage}", note="")
            bar.update(lines[key], completed=now.done, total=now.total, note=note)

        yield show


def page(result: dict[str, Any]) -> str:
    """Lay a result out for a person, a metric a line."""
    rows = list(result["metric"].items())
    groups = result.get("group", {})
    for group, metric in groups.items() if len(groups) > 1 else ():
        rows += [(f"{name} {group}", found) for name, found in metric.items()]
    lines = [f"{result['task']}"]
    width = max((len(name) for name, _ in rows), default=0)
    for name, found in rows:
        value, low, high = (f"{100 * found[end]:.1f}" for end in ("value", "low", "high"))
        counted = f"n {found['n']}"
        if round(found["n_eff"]) != found["n"]:
            counted += f", worth {found['n_eff']:.0f}"
        lines.append(f"  {name.ljust(width)}  {value:>5} %  ({low} to {high})  {counted}")
    notes = (
        (result["num_missing"], f"of {result['num_problems']} problems have no sample"),
        (result["num_refused"], "samples stand for prompts longer than the model's context"),
        (result["num_prompts_cut"], "prompts were cut to the model's context"),
    )
    lines += [f"  {count} {words}" for count, words in notes if count]
    if not result["metric"]:
        lines.append(f"  {result['num_samples']} samples, none scored")
    return "\n".join(lines) + "\n"
