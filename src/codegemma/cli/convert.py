# SPDX-License-Identifier: Apache-2.0
"""`codegemma convert SRC DST`: write a model anew, in another layout, dtype or quantised."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from codegemma.errors import ConfigError


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="A name, a model folder or FILE.gguf.", show_default=False
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(metavar="DST", help="The folder or .gguf file to make.", show_default=False),
    ],
    to: Annotated[
        Literal["hf", "native", "gguf"] | None,
        typer.Option(
            help="hf: what transformers reads. native: that and our manifest. gguf: llama.cpp's.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        Literal["bfloat16", "float32", "float16"] | None,
        typer.Option(help="Dtype of the weights; float16 in GGUF only.", show_default="as stored"),
    ] = None,
    quantize: Annotated[
        Literal["int8", "int4"] | None,
        typer.Option(
            help="Quantise the weights to 8.5 or 4.5 bits each; Q8_0 or Q4_0 in GGUF.",
            show_default="no",
        ),
    ] = None,
    max_shard_mb: Annotated[
        int | None,
        typer.Option(
            help="Most megabytes of weights in one file; GGUF is always one.",
            min=1,
            show_default="5000",
        ),
    ] = None,
) -> None:
    """Write a model in another layout or dtype, or quantised; licences and notices travel with it.

    DST appears when all of it is written; an interrupt leaves nothing. Of the weights a
    few megabytes are in memory at a time, however large the model.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from codegemma.model.export import MAX_SHARD_BYTES, convert_checkpoint, convert_to_gguf
    from codegemma.model.hub import resolve
    from codegemma.model.quantise import quantise_checkpoint

    _check(to=to, dtype=dtype, quantize=quantize, max_shard_mb=max_shard_mb)
    folder = resolve(source)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    if not target.name:
        raise ConfigError(f"DST must name a folder to make, not {str(target)!r}")
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"Converting {source}", total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        max_bytes = max_shard_mb * 1_000_000 if max_shard_mb else MAX_SHARD_BYTES
        if to == "gguf":
            convert_to_gguf(folder, target, dtype=dtype, quantize=quantize, progress=update)
        elif quantize is not None:
            quantise_checkpoint(
                folder, target, weights=quantize, max_shard_bytes=max_bytes, progress=update
            )
        else:
            assert to is not None
            convert_checkpoint(
                folder, target, layout=to, dtype=dtype, max_shard_bytes=max_bytes, progress=update
            )
    print(f"wrote {target}", file=sys.stderr)
    if to == "hf":
        _say_mode(folder, target)


def _check(
    *, to: str | None, dtype: str | None, quantize: str | None, max_shard_mb: int | None
) -> None:
    """Refuse options that do not go together."""
    if quantize is None and to is None:
        raise ConfigError("expected --to hf, native or gguf, or --quantize int8 or int4")
    if quantize is not None and to != "gguf" and (to == "hf" or dtype is not None):
        raise ConfigError("--quantize writes layouts and dtypes of its own: no --to hf, no --dtype")
    if max_shard_mb is not None and to == "gguf":
        raise ConfigError("a GGUF file is one file: no --max-shard-mb with --to gguf")


def _say_mode(folder: Path, target: Path) -> None:
    """Say that the order a model is best at does not travel in Hugging Face's layout."""
    from codegemma.model.metadata import read_metadata

    mode = read_metadata(folder).mode
    if mode is not None:
        print(
            f"its prompt order, {mode}, has no place in this layout: codegemma verify {target} "
            "finds it again",
            file=sys.stderr,
        )
