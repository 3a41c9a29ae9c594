# SPDX-License-Identifier: Apache-2.0
"""`codegemma convert SRC DST`: write a model folder anew, in another layout or dtype."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer


def convert(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A name or a model folder.", show_default=False)
    ],
    target: Annotated[
        Path, typer.Argument(metavar="DST", help="The folder to make.", show_default=False)
    ],
    to: Annotated[
        Literal["hf", "native"],
        typer.Option(
            help="hf: what transformers reads. native: that and our manifest.",
            show_default=False,
        ),
    ],
    dtype: Annotated[
        Literal["bfloat16", "float32"] | None,
        typer.Option(help="Dtype of the weights.", show_default="as stored"),
    ] = None,
    max_shard_mb: Annotated[
        int, typer.Option(help="Most megabytes of weights in one file.", min=1)
    ] = 5000,
) -> None:
    """Write a model in another layout or dtype; licences and notices travel with it.

    DST appears when all of it is written; an interrupt leaves nothing. Takes a few megabytes of
    memory, however large the model.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from codegemma.model.export import convert_checkpoint
    from codegemma.model.hub import resolve

    folder = resolve(source)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"Converting {source}", total=None)
        convert_checkpoint(
            folder,
            target,
            layout=to,
            dtype=dtype,
            max_shard_bytes=max_shard_mb * 1_000_000,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"wrote {target}", file=sys.stderr)
