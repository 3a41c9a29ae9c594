# SPDX-License-Identifier: Apache-2.0
"""`codegemma complete FILE:LINE:COL`: the completion at a cursor."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codegemma.cli import options
from codegemma.completion import Prompt, Sampling

if TYPE_CHECKING:
    from codegemma.completion import Completer, Cut
    from codegemma.context.choose import Shown

DRAWN_TEMPERATURE = 0.7

Context = Annotated[
    bool,
    typer.Option(
        "--context/--no-context",
        help="Show the model other files of the repository that matter here, where they fit.",
    ),
]


def complete(
    place: Annotated[
        str, typer.Argument(metavar="FILE:LINE:COL", help="Where; - as FILE is standard input.")
    ],
    model: options.Model = "nano",
    mode: options.Mode = "auto",
    n: Annotated[int, typer.Option("--n", help="How many to draw.", min=1, max=64)] = 1,
    as_json: options.Json = False,
    explain: options.Explain = False,
    path: Annotated[
        str | None, typer.Option(help="Path to show to the model instead of the file's own.")
    ] = None,
    max_tokens: options.MaxTokens = 128,
    temperature: Annotated[
        float | None,
        typer.Option(
            help=f"0 takes the likeliest token. Default 0, with --n {DRAWN_TEMPERATURE}.",
            min=0.0,
            max=100.0,
        ),
    ] = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    heal: options.Heal = True,
    context: Context = True,
) -> None:
    """Complete the code at a cursor and print what belongs there, nothing else.

    LINE and COL count from 1, COL in characters; the column after the last one is the line's end.
    """
    from codegemma.cli import cursor, output
    from codegemma.text.budget import fit_prompt
    from codegemma.text.newlines import restore

    if temperature is None:
        temperature = 0.0 if n == 1 else DRAWN_TEMPERATURE
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        n=n,
        stop=tuple(stop or ()),
        heal=heal,
        mode=options.parse_mode(mode),
    )
    at = cursor.read_cursor(cursor.parse_place(place), path=path)
    completer = options.open_completer(model)
    prompt = Prompt(prefix=at.prefix, suffix=at.suffix, path=at.path)
    shown = _choose_context(prompt, sampling, completer, at.file) if context and at.file else ()
    prompt = dataclasses.replace(prompt, context=tuple(one.file for one in shown))
    prompt = fit_prompt(prompt, sampling, tokenizer=completer.tokenizer, info=completer.info)
    explained: dict[str, Any] = {}
    if explain:
        mode = completer.info.mode if sampling.mode == "auto" else sampling.mode
        explained = {"mode": mode, **output.explain(prompt, completer), "context": _files(shown)}
    with options.waiting("Completing"):
        drawn = completer.complete([prompt], sampling)[0]
    if (cut := prompt.cut or drawn[0].cut) is not None:  # a remote completer cuts for itself
        _say_cut(cut, completer.info.name)
    completions = [dataclasses.replace(one, text=restore(one.text, at.line_end)) for one in drawn]
    if as_json:
        found = [output.as_json(completion) for completion in completions]
        output.write_json({"model": completer.info.name, "completions": found, **explained})
        return
    if explain:
        lines = [f"mode    {explained['mode']}", *map(_context_line, explained["context"])]
        lines += output.prompt_lines(explained)
        lines += [line for one in completions for line in output.drawn_lines(one)]
        output.write_lines(lines)
    text = f"{at.line_end}---{at.line_end}".join(one.text for one in completions)
    output.write_text(text)
    output.end_line(text)


def _choose_context(
    prompt: Prompt, sampling: Sampling, completer: "Completer", file: Path
) -> "tuple[Shown, ...]":
    """Choose files of the repository for the tokens that the file itself leaves; none without one.

    What the repository's files import is kept in the cache folder from one call to the next.
    """
    from codegemma.context.choose import MIN_TOKENS, choose
    from codegemma.context.index import RepositoryIndex
    from codegemma.context.root import find_root
    from codegemma.text.budget import spare_tokens

    root = find_root(file)
    spare = spare_tokens(prompt, sampling, tokenizer=completer.tokenizer, info=completer.info)
    if root is None or spare < MIN_TOKENS:
        return ()
    index = RepositoryIndex(root, cache=options.context_cache(root))
    with options.waiting(f"Reading {root.name}"):
        index.refresh()
    path = file.absolute().relative_to(root).as_posix()
    return choose(index, path, tokenizer=completer.tokenizer, max_tokens=spare)


def _say_cut(cut: "Cut", name: str) -> None:
    print(
        f"codegemma: the file is longer than what {name} reads at a time: left out "
        f"{cut.prefix_chars} characters at its start, {cut.suffix_chars} at its end",
        file=sys.stderr,
    )


def _files(shown: "tuple[Shown, ...]") -> list[dict[str, Any]]:
    """Give the context files for `--explain`."""
    return [
        {
            "path": one.file.path,
            "tokens": one.num_tokens,
            "reason": one.reason,
            "is_whole": one.is_whole,
        }
        for one in shown
    ]


def _context_line(shown: dict[str, Any]) -> str:
    part = "" if shown["is_whole"] else ", a part"
    return f"context {shown['path']}: {shown['tokens']} tokens{part}, {shown['reason']}"
