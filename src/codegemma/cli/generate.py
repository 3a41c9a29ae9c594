# SPDX-License-Identifier: Apache-2.0
"""`codegemma generate PROMPT`: go on writing, left to right."""

import sys
from typing import Annotated

import typer

from codegemma.cli import options
from codegemma.completion import Completion, Prompt, Sampling
from codegemma.errors import InputError


def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Text; - is standard input.")],
    model: options.Model = "nano",
    as_json: options.Json = False,
    explain: options.Explain = False,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    heal: options.Heal = True,
) -> None:
    """Print what the model writes after the prompt, as it is drawn."""
    from codegemma.cli import output
    from codegemma.text.budget import fit_prompt
    from codegemma.text.newlines import line_end_of, restore, to_lf

    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        stop=tuple(stop or ()),
        heal=heal,
    )
    text = _standard_input() if prompt == "-" else prompt
    line_end = line_end_of(text)
    completer = options.open_completer(model)
    asked = Prompt(prefix=to_lf(text))
    asked = fit_prompt(asked, sampling, tokenizer=completer.tokenizer, info=completer.info)
    explained = output.explain(asked, completer) if explain else {}
    if explained and not as_json:
        output.write_lines(output.prompt_lines(explained))
    completion: Completion | None = None
    written = ""
    for delta in completer.stream(asked, sampling):
        completion = delta.completion or completion
        if not as_json:
            written = restore(delta.text, line_end) or written
            output.write_text(restore(delta.text, line_end))
    if as_json and completion is not None:
        found = {**output.as_json(completion), "text": restore(completion.text, line_end)}
        output.write_json({"model": completer.info.name, "completions": [found], **explained})
    elif not as_json:
        output.end_line(written)
        if explained and completion is not None:
            output.write_lines(output.drawn_lines(completion))


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 at byte {error.start}") from None
