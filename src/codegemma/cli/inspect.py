# SPDX-License-Identifier: Apache-2.0
"""`codegemma inspect SHARD[:i]`: a training example as a person would read it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from codegemma.data.loader import Encoded
    from codegemma.data.rows import Row
    from codegemma.data.shards import Record
    from codegemma.data.split import Draw
    from codegemma.text.tokenizer import Tokenizer


def inspect(
    shard: Annotated[
        str, typer.Argument(help="A shard file; :i names its i-th record or row, from 0.")
    ],
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    epoch: Annotated[int, typer.Option(help="Epoch of the draw.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record and its ids.")] = False,
) -> None:
    """Show one packed training example: its files, their origin, and the segment it becomes.

    A row that `prepare --materialize` wrote is shown as it was drawn. Sentinels and middles are
    coloured; the middle is what the model learns to fill in.
    """
    import json

    from rich.console import Console

    from codegemma.data import loader, manifest, rows, shards
    from codegemma.text.tokenizer import Tokenizer

    path, index = _parse(shard)
    data = loader.read_bytes(path, index)
    place = path.parent.resolve()  # the user may stand in it
    if rows.is_row(data):
        _show_row(rows.unpack_row(data), place.parent.parent, as_json=as_json)
        return
    record = shards.unpack_record(data)
    folder = place.parent
    tokenizer = Tokenizer.from_folder(folder)
    recipe = manifest.read_recipe(folder)
    encoded = loader.draw_segment(
        record, tokenizer=tokenizer, recipe=recipe, seed=seed, epoch=epoch
    )
    tokens = encoded.tokens.tolist()
    if as_json:
        names = ("path", "origin", "text", "line_ends", "is_broken")
        files = [{name: getattr(file, name) for name in names} for file in record.files]
        print(json.dumps({"files": files, "max_tokens": record.max_tokens, "tokens": tokens}))
        return
    console = Console()
    console.print(_files(record, encoded))
    console.print(_readable(tokens, tokenizer), soft_wrap=True)


def _show_row(row: "Row", folder: Path, *, as_json: bool) -> None:
    """Show a row that `prepare --materialize` wrote."""
    import dataclasses
    import json

    from rich.console import Console
    from rich.table import Table

    from codegemma.text.tokenizer import Tokenizer

    tokens = row.tokens.tolist()
    if as_json:
        arrays = {
            name: getattr(row, name).tolist()
            for name in ("tokens", "segment_ids", "positions", "loss_weights")
        }
        segments = [dataclasses.asdict(segment) for segment in row.segments]
        print(json.dumps({"segments": segments, **arrays}))
        return
    console = Console()
    used = sum(segment.size for segment in row.segments)
    title = f"{used:,} of {len(tokens):,} tokens"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("segment", "file", "from", "tokens from", "shown as"):
        justify = "right" if column in ("segment", "tokens from") else "left"
        table.add_column(column, justify=justify, overflow="fold")
    for number, segment in enumerate(row.segments, start=1):
        for file in segment.files:
            names = [_visible(name) for name in (file.path, file.origin)]
            words = f"{file.shown.upper()}, {file.kind}" if file.kind else file.shown
            words += "" if file.has_path else ", no path"
            table.add_row(str(number), *names, f"{file.start:,}", words)
    console.print(table)
    tokenizer = Tokenizer.from_folder(folder)
    for segment in row.segments:
        mine = tokens[segment.start : segment.start + segment.size]
        console.print(_readable(mine, tokenizer), soft_wrap=True)


def _visible(name: str) -> "Text":
    from rich.text import Text

    from codegemma.evaluate.report.text import visible

    return Text(visible(name))


def _parse(shard: str) -> tuple[Path, int]:
    match = re.fullmatch(r"(.+):(\d+)", shard)
    if match and not Path(shard).exists():
        return Path(match.group(1)), int(match.group(2))
    return Path(shard), 0


def _files(record: "Record", encoded: "Encoded") -> "Table":
    """List the files of a segment, where they are from and how each is shown."""
    from rich.table import Table

    used = f"{len(encoded.tokens):,} of at most {record.max_tokens:,} tokens"
    if encoded.is_fallback:
        used += "; left uncut, since no draw had room"
    table = Table(title=used, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "file", "from", "characters", "shown as"):
        justify = "right" if column in ("", "characters") else "left"
        table.add_column(column, justify=justify, overflow="fold")
    for number, (file, draw) in enumerate(zip(record.files, encoded.draws, strict=True), start=1):
        size = f"{len(file.text):,}"
        names = [_visible(name) for name in (file.path, file.origin)]
        shown = _shown(draw)
        shown += ", too many syntax errors to be cut" if file.is_broken else ""
        shown += f", line ends were {file.line_ends}" if file.line_ends != "lf" else ""
        table.add_row(str(number), *names, size, shown)
    return table


def _shown(draw: "Draw") -> str:
    words = "whole"
    if draw.split is not None:
        words = f"{draw.mode.upper()}, {draw.kind}, middle {len(draw.split.middle):,}"
    return words if draw.has_path else f"{words}, no path"


def _readable(tokens: list[int], tokenizer: "Tokenizer") -> "Text":
    """Decode a segment with its sentinels in colour; middles stand out."""
    from rich.text import Text

    from codegemma.evaluate.report.text import visible
    from codegemma.text import tokens as t

    text = Text()
    style = ""
    run: list[int] = []
    for token in [*tokens, t.PAD_ID]:
        if not t.is_control(token):
            run.append(token)
            continue
        text.append(visible(tokenizer.decode(run)), style=style)
        run = []
        if token == t.PAD_ID:
            break
        text.append(t.RESERVED_PIECES[token], style="bold magenta")
        style = "bold green" if token == t.FIM_MIDDLE_ID else ""
        if token in (t.FILE_SEPARATOR_ID, t.BOS_ID):
            text.append("\n")
    return text
