# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share, and how they get a model."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from codegemma.completion import Completer

Model = Annotated[str, typer.Option("--model", "-m", help="A name or a model folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
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
Seed = Annotated[
    int | None, typer.Option("--seed", help="The same seed draws the same text.", min=0)
]
Stop = Annotated[
    list[str] | None, typer.Option("--stop", help="End at this text; may be given again.")
]


def open_completer(model: str) -> "Completer":
    """Load a model for completing, with a sign of life where someone watches.

    Raises:
        CodegemmaError: There is no such model, or its files are refused.
    """
    with waiting(f"Loading {model}"):
        from codegemma.generate.load import load_completer

        return load_completer(model)


@contextmanager
def waiting(what: str) -> Generator[None]:
    """Show on a terminal's stderr that something goes on."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
