# SPDX-License-Identifier: Apache-2.0
"""`codegemma inspect SHARD[:i]`: a training example as a person would read it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from codegemma.data.shards import Record
    from codegemma.text.tokenizer import Tokenizer


def inspect(
    shard: Annotated[str, typer.Argument(help="A shard file; :i names its i-th record, from 0.")],
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    epoch: Annotated[int, typer.Option(help="Epoch of the draw.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record and its ids.")] = False,
) -> None:
    """Show one packed training example: its files, their origin, and the segment it becomes."""
    import json

    from rich.console import Console

    from codegemma.data import loader, manifest
    from codegemma.text.tokenizer import Tokenizer

    path, index = _parse(shard)
    folder = path.parent.parent
    record = loader.read_record(path, index)
    tokenizer = Tokenizer.from_folder(folder)
    recipe = manifest.read_recipe(folder)
    tokens = loader.encode_record(
        record, tokenizer=tokenizer, recipe=recipe, seed=seed, epoch=epoch
    ).tolist()
    if as_json:
        files = [{"path": f.path, "origin": f.origin, "text": f.text} for f in record.files]
        print(json.dumps({"files": files, "max_tokens": record.max_tokens, "tokens": tokens}))
        return
    console = Console()
    console.print(_header(record, len(tokens)))
    console.print(_readable(tokens, tokenizer), soft_wrap=True)


def _parse(shard: str) -> tuple[Path, int]:
    match = re.fullmatch(r"(.+):(\d+)", shard)
    if match and not Path(shard).exists():
        return Path(match.group(1)), int(match.group(2))
    return Path(shard), 0


def _header(record: "Record", num_tokens: int) -> "Text":
    from rich.text import Text

    lines = [f"{f.origin}  {f.path}  ({len(f.text):,} characters)" for f in record.files]
    lines.append(f"{num_tokens:,} of at most {record.max_tokens:,} tokens")
    return Text("\n".join(lines) + "\n", style="dim")


def _readable(tokens: list[int], tokenizer: "Tokenizer") -> "Text":
    """Decode a segment with its sentinels in colour; middles stand out."""
    from rich.text import Text

    from codegemma.text import tokens as t

    text = Text()
    style = ""
    run: list[int] = []
    for token in [*tokens, t.PAD_ID]:
        if not t.is_control(token):
            run.append(token)
            continue
        text.append(tokenizer.decode(run), style=style)
        run = []
        if token == t.PAD_ID:
            break
        text.append(t.RESERVED_PIECES[token], style="bold magenta")
        style = "bold green" if token == t.FIM_MIDDLE_ID else ""
        if token in (t.FILE_SEPARATOR_ID, t.BOS_ID):
            text.append("\n")
    return text
