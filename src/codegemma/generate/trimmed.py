# SPDX-License-Identifier: Apache-2.0
"""A completer whose infills are shortened to what fits the code around the cursor.

The one place where `text/trim.py` meets generation: commands, server and Python API complete
through it, evaluation takes the completer below it. Only infill is trimmed; text that goes on
from left to right, and conversations, pass as they are.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

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
from codegemma.text.tokens import CHAT_STOP_IDS, EOS_ID, RESERVED_PIECES, START_OF_TURN_ID
from codegemma.text.trim import DEFAULT_RULES, Rule, trim

_SPELLINGS: Final = tuple(
    RESERVED_PIECES[token] for token in sorted(CHAT_STOP_IDS - {EOS_ID} | {START_OF_TURN_ID})
)

_HELD_CHARS: Final = 1024


class Trimmed:
    """A Completer in front of another one.

    Args:
        completer: Draws the text.
        rules: How an infill is shortened, in order.
    """

    def __init__(self, completer: Completer, *, rules: Sequence[Rule] = DEFAULT_RULES) -> None:
        self.completer = completer
        self._rules = tuple(rules)

    @property
    def tokenizer(self) -> TokenizerProtocol:
        """The tokenizer of the completer behind."""
        return self.completer.tokenizer

    @property
    def info(self) -> CompleterInfo:
        """What the completer behind is."""
        return self.completer.info

    def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling
    ) -> list[tuple[Completion, ...]]:
        """Complete, and trim every infill; `rule` names what shortened it."""
        drawn = self.completer.complete(prompts, sampling)
        return [
            tuple(self._trim(completion, prompt) for completion in completions)
            for prompt, completions in zip(prompts, drawn, strict=True)
        ]

    def stream(
        self, prompt: Prompt, sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Yield an infill's text as far as it is settled, so that nothing is taken back.

        The pieces, joined, are the text of the completion. A loop is the one thing that can be
        settled too early: of it, the rounds before it was known for one are kept.
        """
        deltas = self.completer.stream(prompt, sampling, cancel)
        if prompt.suffix is None:
            return deltas
        return self._settle(deltas, prompt)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        """Score continuations by the completer behind."""
        return self.completer.loglikelihood(pairs)

    def _settle(self, deltas: Iterator[Delta], prompt: Prompt) -> Iterator[Delta]:
        drawn: dict[int, str] = {}
        given: dict[int, str] = {}
        for delta in deltas:
            text = drawn[delta.index] = drawn.get(delta.index, "") + delta.text
            before = given.get(delta.index, "")
            completion = delta.completion
            if completion is None:
                kept = self._rest(text[: len(text) - self._num_open(text, prompt)], prompt)
            else:
                completion = self._trim(completion, prompt)
                if len(completion.text) < len(before):
                    completion = replace(completion, text=before)
                kept = completion.text
            new = kept[len(before) :]
            given[delta.index] = before + new
            if new or completion:
                yield Delta(text=new, index=delta.index, completion=completion)

    def _trim(self, completion: Completion, prompt: Prompt) -> Completion:
        if prompt.suffix is None:
            return completion
        trimmed = trim(
            completion.text, prefix=prompt.prefix, suffix=prompt.suffix, rules=self._rules
        )
        return replace(completion, text=trimmed.text, rule=trimmed.rule)

    def _rest(self, text: str, prompt: Prompt) -> str:
        return trim(text, prefix=prompt.prefix, suffix=prompt.suffix, rules=self._rules).text

    @staticmethod
    def _num_open(text: str, prompt: Prompt) -> int:
        """Length of the longest end of the text that begins the suffix or a control's spelling.

        What follows may make it a repetition of the suffix, or a spelling to be cut at. A longer
        repetition than `_HELD_CHARS` is given out, so that a piece costs the same however long
        the text before it.
        """
        starts = (prompt.suffix or "", *_SPELLINGS)
        tail = text[-_HELD_CHARS:]
        for start in range(len(tail)):
            if any(begin.startswith(tail[start:]) for begin in starts):
                return len(tail) - start
        return 0
