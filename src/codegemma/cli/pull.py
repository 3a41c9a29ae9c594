# SPDX-License-Identifier: Apache-2.0
"""`codegemma pull NAME`: fetch a model, once the terms that come with it are accepted."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codegemma.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from codegemma.model.hub import KnownModel
    from codegemma.model.pull import PullPlan


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `codegemma models`.")],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Accept the model's terms without being asked.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the hub.", show_default="main")
    ] = None,
) -> None:
    """Fetch a model from the hub, and print its folder.

    Interrupted, run it again: it goes on where it stopped. HF_TOKEN holds your token for gated
    models, HF_HOME says where the hub's cache lies.
    """
    from codegemma.model.hub import known_model

    model = known_model(name)
    print(_pull(model, revision=revision, is_accepted=yes))


def _pull(model: "KnownModel", *, revision: str | None, is_accepted: bool) -> Path:
    from codegemma.cli.options import waiting
    from codegemma.model.hub import locate

    state, folder = locate(model, revision=revision)
    try:
        with waiting(f"Asking the hub for {model.name}"):
            from codegemma.model.pull import plan_pull

            plan = plan_pull(model, revision=revision)
    except RemoteError as error:
        if folder is None or state != "ready":
            raise
        _tell(f"{model.name} is on this machine; whether it is the newest is unknown: {error}")
        return folder
    if plan.kept_bytes == plan.size_bytes and state == "ready" and folder is not None:
        _tell(f"{model.name} is on this machine already")
        return folder
    _accept_terms(plan, is_accepted=is_accepted)
    return _fetch(plan)


def _accept_terms(plan: "PullPlan", *, is_accepted: bool) -> None:
    """Show the terms of a model and what it weighs, and ask.

    Raises:
        ConfigError: There is nobody to ask.
    """
    from codegemma.model.hub import TERMS

    terms = TERMS[plan.model.licence]
    _tell(
        f"{plan.model.name} comes under the {terms.title}: {terms.url}\n\n"
        f"In short (the terms themselves decide):\n{terms.summary}\n\n"
        f"To fetch: {_gigabytes(plan.size_bytes - plan.kept_bytes)} of "
        f"{_gigabytes(plan.size_bytes)}, from {plan.model.repository}"
    )
    if is_accepted:
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            f"the terms of {plan.model.name} ask for your consent; read them, then run again "
            "with --yes"
        )
    if not typer.confirm("Do you accept these terms?", err=True):
        raise typer.Abort


def _fetch(plan: "PullPlan") -> Path:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from codegemma.model.pull import run_pull

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(
            f"Fetching {plan.model.name}", total=plan.size_bytes, completed=plan.kept_bytes
        )
        return run_pull(plan, progress=lambda done, _: bar.update(task, completed=done))


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
