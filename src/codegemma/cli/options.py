# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share, and how they get a model."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from codegemma.completion import MODES
from codegemma.errors import ConfigError

if TYPE_CHECKING:
    from codegemma.completion import Completer
    from codegemma.completion import Mode as KnownMode
    from codegemma.generate.named import Progress

Model = Annotated[
    str, typer.Option("--model", "-m", help="A name, a model folder, FILE.gguf, or remote:URL.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show the exact prompt and its token ids on stderr.")
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Most tokens to draw.", min=1)]
Temperature = Annotated[
    float, typer.Option("--temperature", help="0 takes the likeliest token.", min=0.0, max=100.0)
]
TopK = Annotated[
    int | None, typer.Option("--top-k", help="Draw from the k likeliest tokens.", min=1)
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", help="Draw from the likeliest tokens of this share.", max=1.0),
]
MinP = Annotated[
    float | None,
    typer.Option(
        "--min-p", help="Draw from tokens this likely, beside the best.", min=0.0, max=1.0
    ),
]
Mode = Annotated[str, typer.Option("--mode", help=f"Order of the prompt: {', '.join(MODES)}.")]
Isolation = Annotated[
    Literal["bubblewrap", "landlock"],
    typer.Option("--isolation", help="landlock is weaker, where a machine grants no namespaces."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="The same seed draws the same text.", min=0)
]
Heal = Annotated[
    bool,
    typer.Option(
        "--heal/--no-heal",
        help="Draw the tokens around a cursor inside a token again with what comes between.",
    ),
]
Stop = Annotated[
    list[str] | None, typer.Option("--stop", help="End at this text; may be given again.")
]


def parse_mode(mode: str) -> "KnownMode":
    """Take the name of an order.

    Raises:
        ConfigError: There is none of that name.
    """
    for known in MODES:
        if mode == known:
            return known
    raise ConfigError(f"--mode must be one of {', '.join(MODES)}, not {mode!r}")


def open_completer(model: str) -> "Completer":
    """Open a model for completing, with a sign of life where someone watches.

    Raises:
        CodegemmaError: There is no such model, its files are refused, or a server fails.
    """
    with loading(model) as progress:
        from codegemma.generate.named import open_named

        return open_named(model, progress=progress)


def open_raw_completer(model: str) -> "Completer":
    """Open a model for measuring: what it draws is left as it is.

    Raises:
        CodegemmaError: There is no such model, its files are refused, or a server fails.
    """
    with loading(model) as progress:
        from codegemma.generate.named import open_raw

        return open_raw(model, progress=progress)


@contextmanager
def loading(model: str) -> "Generator[Progress | None]":
    """Show on a terminal's stderr how far the weights are, once the first of them is there."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Loading {model}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def waiting(what: str) -> "Generator[Callable[[str], None]]":
    """Show on a terminal's stderr that something goes on; the function it gives says what."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda now: status.update(f"{what}: {now}")


def context_cache(root: Path) -> Path:
    """Give the file of the cache folder that keeps what the files of a repository import."""
    import hashlib

    from codegemma.model.folder import cache_folder

    digest = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_folder() / "context" / f"{digest}.json"
