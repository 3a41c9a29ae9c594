# SPDX-License-Identifier: Apache-2.0
"""A completer whose infills are shortened to what fits the code around the cursor.

The one place where `text/trim.py` meets generation: commands, server and Python API complete
through it, evaluation takes the completer below it. Only infill is trimmed; text that goes on
from left to right, and conversations, pass as they are.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from codegemma.completion import (
    Completer,
    CompleterInfo,
    Completion,
    Delta,
    Loglikelihood,
    Prompt,
    Sampling,
    TokenizerProtocol,
)
from codegemma.generate.settle import Settler
from codegemma.text.trim import trim


class Trimmed:
    """A Completer in front of another one, whose text it shortens by `trim.DEFAULT_RULES`.

    Args:
        completer: Draws the text.
    """

    def __init__(self, completer: Completer) -> None:
        self.completer = completer

    @property
    def tokenizer(self) -> TokenizerProtocol:
        """The tokenizer of the completer behind."""
        return self.completer.tokenizer

    @property
    def info(self) -> CompleterInfo:
        """What the completer behind is."""
        return self.completer.info

    def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> list[tuple[Completion, ...]]:
        """Complete, and trim every infill; `rule` names what shortened it."""
        drawn = self.completer.complete(prompts, sampling, cancel)
        return [
            tuple(_trim(completion, prompt) for completion in completions)
            for prompt, completions in zip(prompts, drawn, strict=True)
        ]

    def stream(
        self, prompt: Prompt, sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Yield an infill's text as far as it is settled, so that nothing is taken back.

        The pieces, joined, are the text that `complete` gives.
        """
        deltas = self.completer.stream(prompt, sampling, cancel)
        return deltas if prompt.suffix is None else _settle(deltas, prompt)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Score continuations by the completer behind."""
        return self.completer.loglikelihood(pairs)


def _settle(deltas: Iterator[Delta], prompt: Prompt) -> Iterator[Delta]:
    settlers: dict[int, Settler] = {}
    num_given: dict[int, int] = {}
    for delta in deltas:
        at, completion = delta.index, delta.completion
        if at not in settlers:
            settlers[at] = Settler(prefix=prompt.prefix, suffix=prompt.suffix or "")
            num_given[at] = 0
        if completion is None:
            new = settlers[at].push(delta.text)
        else:
            completion = _trim(completion, prompt)
            new = completion.text[num_given[at] :]
        num_given[at] += len(new)
        if new or completion:
            yield Delta(text=new, index=at, completion=completion)


def _trim(completion: Completion, prompt: Prompt) -> Completion:
    if prompt.suffix is None:
        return completion
    trimmed = trim(completion.text, prefix=prompt.prefix, suffix=prompt.suffix)
    return replace(completion, text=trimmed.text, rule=trimmed.rule)
