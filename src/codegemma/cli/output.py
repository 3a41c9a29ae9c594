# SPDX-License-Identifier: Apache-2.0
"""What the verbs that draw text print: the text itself, JSON, and how a prompt looks to the model.

Text goes to stdout byte for byte: no line end is added to it or changed in it, except one after
the last line on a terminal.
"""

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from codegemma.completion import Completer, Completion, Prompt, TokenizerProtocol
from codegemma.errors import ConfigError
from codegemma.text.tokens import RESERVED_PIECES, is_control


def write_text(text: str) -> None:
    """Write text to stdout as UTF-8, at once."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8"))
    sys.stdout.buffer.flush()


def end_line(text: str) -> None:
    """End the last line on a terminal, where the next prompt would stand behind it otherwise."""
    if sys.stdout.isatty() and not text.endswith("\n"):
        write_text("\n")


def write_json(value: dict[str, Any]) -> None:
    """Write one JSON object on one line."""
    write_text(json.dumps(value, ensure_ascii=False) + "\n")


def as_json(completion: Completion) -> dict[str, Any]:
    """Render a completion for machines."""
    return asdict(completion)


def explain(prompt: Prompt, completer: Completer) -> dict[str, Any]:
    """Give a prompt that has its ids as the model reads it, for `--explain`.

    Raises:
        ConfigError: It has none, since another process renders it.
    """
    if not prompt.tokens:
        raise ConfigError("--explain needs a model in this process: a remote one renders its own")
    return {
        "prompt": visible(prompt.tokens, completer.tokenizer),
        "prompt_tokens": prompt.tokens,
        "typed": prompt.typed,
        "seam": prompt.seam,
    }


def prompt_lines(explained: dict[str, Any]) -> list[str]:
    """Lay out what `explain` gave, for a person."""
    tokens = explained["prompt_tokens"]
    return [
        f"prompt  {len(tokens)} tokens, as the model reads it:",
        explained["prompt"],
        f"ids     {' '.join(map(str, tokens))}",
        *([f"typed   {explained['typed']!r}, drawn again"] if explained["typed"] else []),
        *([f"seam    {explained['seam']!r}, drawn at the end"] if explained["seam"] else []),
    ]


def drawn_lines(completion: Completion) -> list[str]:
    """Lay out what was drawn and why it ended, for a person."""
    rule = f", shortened by {completion.rule}" if completion.rule else ""
    return [
        f"drawn   {len(completion.tokens)} tokens, ended by {completion.finish_reason}{rule}",
        f"ids     {' '.join(map(str, completion.tokens))}",
    ]


def write_lines(lines: Sequence[str]) -> None:
    """Write lines to stderr, beside the text itself."""
    print("\n".join(lines), file=sys.stderr)


def visible(tokens: Sequence[int], tokenizer: TokenizerProtocol) -> str:
    """Decode a prompt with its control tokens spelled out, which `decode` leaves out."""
    parts: list[str] = []
    run: list[int] = []
    for token in tokens:
        if is_control(token):
            parts += [tokenizer.decode(run), RESERVED_PIECES[token]]
            run = []
        else:
            run.append(token)
    return "".join([*parts, tokenizer.decode(run)])


@contextmanager
def resumable() -> Generator[None]:
    """Say at Ctrl-C that what was done is kept."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        raise
