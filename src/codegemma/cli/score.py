# SPDX-License-Identifier: Apache-2.0
"""`codegemma score FILE --task TASK`: score samples, whoever made them."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from codegemma.cli import options
from codegemma.errors import ConfigError


def score(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="JSON Lines with task_id and completion, or solution."),
    ],
    task: Annotated[str, typer.Option(help="The benchmark that the samples answer.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File of scores to write or to go on with; default beside FILE."),
    ] = None,
    isolation: options.Isolation = "bubblewrap",
    as_json: options.Json = False,
) -> None:
    """Run samples in the sandbox and count what passes; FILE is only read.

    A `completion` goes behind the problem's prompt as it stands, a `solution` is the whole program:
    the formats of openai/human-eval and evalplus. Several lines of one task give pass@k.
    """
    from codegemma.cli import results
    from codegemma.cli.output import resumable, write_json, write_text
    from codegemma.evaluate.registry import find_tasks
    from codegemma.evaluate.scoring import score_samples

    chosen, *others = find_tasks(task)
    if others:
        names = ", ".join(each.name for each in (chosen, *others))
        raise ConfigError(f"the samples answer one task; name it: {names}")
    if out is None:
        out = _scores_beside(file)
    with (
        nullcontext() if out is None else resumable(),
        results.sandbox(isolation, is_wanted=True) as sandbox,
        results.progress() as listener,
    ):
        assert sandbox is not None
        result = score_samples(chosen, file, sandbox=sandbox, scores_file=out, listener=listener)
    if as_json:
        write_json(result)
    else:
        write_text(results.page(result))


def _scores_beside(file: Path) -> Path | None:
    """Name the file of scores: a run's own where `file` is of a run; None where none can be."""
    if not os.access(file.parent, os.W_OK):
        print(f"codegemma: {file.parent} takes no file: scores are not kept", file=sys.stderr)
        return None
    name = file.name.removesuffix(".gz").removesuffix(".jsonl")
    if name.startswith("samples") and file.with_name(f"run{name[7:]}.json").exists():
        return file.with_name(f"scores{name[7:]}.jsonl")
    return file.with_name(f"{name}.scores.jsonl")
