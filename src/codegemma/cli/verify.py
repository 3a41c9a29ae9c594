# SPDX-License-Identifier: Apache-2.0
"""`codegemma verify MODEL`: prove that a model is whole and completes code."""

from typing import TYPE_CHECKING, Annotated

import typer

from codegemma.cli import options
from codegemma.errors import CheckpointError

if TYPE_CHECKING:
    from codegemma.generate.verify import Report


def verify(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A name, a model folder or FILE.gguf.")
    ],
    as_json: options.Json = False,
) -> None:
    """Check a model's files, size, vocabulary and infills, and record the order it is best at."""
    from codegemma.cli.output import write_json, write_text

    with options.waiting(f"Verifying {model}") as tell:
        from codegemma.generate.verify import verify as run

        report = run(model, progress=tell)
    if as_json:
        write_json(report.raw)
    else:
        write_text(_page(report))
    if not report.is_passed:
        failed = [
            f"{check.name} ({check.detail})" for check in report.checks if not check.is_passed
        ]
        raise CheckpointError(f"{model} failed its verification: {'; '.join(failed)}")


def _page(report: "Report") -> str:
    """Lay the report out for a person."""
    lines = [
        f"{check.name:12} {'passed' if check.is_passed else 'FAILED'}  {check.detail}"
        for check in report.checks
    ]
    if report.shown and "completions" not in {check.name for check in report.checks}:
        num_ended = sum(shown.is_ended for shown in report.shown)
        lines.append(f"completions  shown   {num_ended} of {len(report.shown)} ended by themselves")
    for shown in report.shown:
        lines += [
            "",
            f"{shown.path}  {'ended by itself' if shown.is_ended else 'did not end'}",
            f"  expected  {shown.expected!r}",
            f"  drawn     {shown.drawn!r}",
        ]
    if report.record is not None:
        lines += ["", f"best order   {report.mode}, recorded in {report.record}"]
    return "\n".join(lines) + "\n"
