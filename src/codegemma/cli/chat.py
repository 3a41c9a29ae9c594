# SPDX-License-Identifier: Apache-2.0
"""`codegemma chat`: a conversation in the terminal."""

import importlib
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from codegemma.cli import options, output
from codegemma.completion import Completion, Prompt, Sampling, Turn
from codegemma.errors import ConfigError, ContextLengthError

if TYPE_CHECKING:
    from codegemma.completion import Completer

DEFAULT_MODEL = "codegemma-1.1-7b-it"
HELP = """/reset begins anew, /exit or Ctrl-D leaves, Ctrl-C cancels an answer.
A line that ends in \\ goes on in the next one; ``` opens a block that ends at the next ```."""


def chat(
    model: options.Model = DEFAULT_MODEL,
    max_tokens: options.MaxTokens = 1024,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    seed: options.Seed = None,
    explain: options.Explain = False,
) -> None:
    """Talk with an instruction model; it remembers the conversation until you leave."""
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
    )
    completer = options.open_completer(model)
    if not completer.info.is_instruction:
        raise ConfigError(
            f"{completer.info.name} completes code and holds no conversations; pull an instruction "
            f"model, codegemma pull {DEFAULT_MODEL}, and start codegemma chat without --model"
        )
    with suppress(ImportError):
        # Line editing and recall of earlier lines, where Python has it.
        importlib.import_module("readline")

    _say(f"{completer.info.name} is ready. {HELP}\n")
    turns: list[Turn] = []
    while (message := _read_message()) is not None:
        if message == "/exit":
            return
        if message == "/reset":
            turns.clear()
            _say("A new conversation.\n")
        elif message in ("/help", "/?"):
            _say(f"{HELP}\n")
        elif message:
            said = [*turns, Turn(role="user", text=message)]
            turns = _answer(completer, said, sampling, is_explained=explain)


def _answer(
    completer: "Completer", turns: list[Turn], sampling: Sampling, *, is_explained: bool
) -> list[Turn]:
    """Print the answer as it is drawn; give the conversation as it then stands."""
    completion: Completion | None = None
    cancel = threading.Event()
    prompt = Prompt(turns=tuple(turns))
    try:
        if is_explained:
            prompt = _explain(completer, prompt, sampling)
        with interrupts(cancel):
            for delta in completer.stream(prompt, sampling, cancel):
                completion = delta.completion or completion
                _say(delta.text)
    except ContextLengthError as error:
        _say(f"{error}. Begin anew with /reset.\n")
        return turns[:-1]
    _say("\n")
    if is_explained and completion is not None:
        output.write_lines(output.drawn_lines(completion))
    if completion is None or not completion.text:
        return turns[:-1]
    if completion.finish_reason == "cancelled":
        _say("(cancelled)\n")
    elif completion.finish_reason == "length":
        _say(f"(cut at {len(completion.tokens)} tokens; see --max-tokens)\n")
    return [*turns, Turn(role="model", text=completion.text)]


def _explain(completer: "Completer", prompt: Prompt, sampling: Sampling) -> Prompt:
    """Show a prompt with its ids on stderr before it is answered; give it with them."""
    from codegemma.text.budget import fit_prompt

    prompt = fit_prompt(prompt, sampling, tokenizer=completer.tokenizer, info=completer.info)
    output.write_lines(output.prompt_lines(output.explain(prompt, completer)))
    return prompt


@contextmanager
def interrupts(cancel: threading.Event) -> Generator[None]:
    """Let Ctrl-C set `cancel` instead of ending the program; a second one ends it."""

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _read_message() -> str | None:
    """Read one message, of several lines if it asks for them; None at the end of input."""
    lines: list[str] = []
    while True:
        try:
            line = input("> " if not lines else ". ")
        except EOFError:
            _say("\n")
            return "\n".join(lines).strip() or None
        except KeyboardInterrupt:
            _say("\n")
            lines.clear()
            continue
        lines.append(line.removesuffix("\\"))
        is_open = "\n".join(lines).count("```") % 2 == 1
        if not line.endswith("\\") and not is_open:
            return "\n".join(lines).strip()


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
