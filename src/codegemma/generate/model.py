# SPDX-License-Identifier: Apache-2.0
"""The Python API: a model that completes code, goes on writing, and chats.

A thin, typed front for a completer. Line ends are the caller's: prompts may hold CRLF, and
completions come back in it. Everything else, from drawing to trimming, is the completer's.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypedDict, Unpack

import numpy as np

from codegemma.completion import (
    Completer,
    CompleterInfo,
    Completion,
    Delta,
    Loglikelihood,
    Mode,
    Prompt,
    Role,
    Sampling,
    SourceFile,
    Turn,
)
from codegemma.errors import ConfigError, InputError
from codegemma.generate.trimmed import Trimmed
from codegemma.text.newlines import LineEnd, line_end_of, restore, to_lf

_ROLES: Final[dict[str, Role]] = {"user": "user", "model": "model", "assistant": "model"}


class Settings(TypedDict, total=False):
    """Keyword arguments of every method that draws; see `Sampling` for each. `heal` is true.

    `n` is missing: these methods give one completion, `Model.completer` as many as are asked for.
    """

    max_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    seed: int | None
    stop: tuple[str, ...]
    logprobs: int | None
    mode: Mode
    budget_ms: float | None
    heal: bool


class Model:
    """A loaded model. Thread-safe; requests take turns.

    Example:
        model = codegemma.load("nano")
        model.complete("def area(radius): return ").text

    Args:
        completer: Draws the text.
    """

    def __init__(self, completer: Completer) -> None:
        self.completer = completer

    @property
    def info(self) -> CompleterInfo:
        """Name, context length, infill order, device and dtype."""
        return self.completer.info

    def complete(
        self,
        prefix: str,
        suffix: str | None = "",
        *,
        path: str | None = None,
        context: Mapping[str, str] | None = None,
        **settings: Unpack[Settings],
    ) -> Completion:
        """Complete the code at a cursor.

        Args:
            prefix: Text before the cursor.
            suffix: Text after it; "" at the end of a file, None to go on from left to right.
            path: Repository path of the file.
            context: Other files of the repository, text by path, the most relevant last.
            **settings: See `Settings`.

        Returns:
            The completion, trimmed to what fits the code around the cursor; `rule` names what
            shortened it. Code that is too long for the context is cut around the cursor, and
            `cut` says what was left out.

        Raises:
            ConfigError: A setting is out of range.
            ContextLengthError: There is no suffix and the prompt is longer than the context.
            InputError: The text cannot be encoded.
        """
        prompt, line_end = _code(prefix, suffix, path, context)
        completion = self.completer.complete([prompt], _sampling(settings))[0][0]
        return replace(completion, text=restore(completion.text, line_end))

    def stream_complete(
        self,
        prefix: str,
        suffix: str | None = "",
        *,
        path: str | None = None,
        context: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
        **settings: Unpack[Settings],
    ) -> Iterator[Delta]:
        """Complete the code at a cursor, piece by piece; the last one carries the completion.

        Args:
            prefix: Text before the cursor.
            suffix: Text after it; "" at the end of a file, None to go on from left to right.
            path: Repository path of the file.
            context: Other files of the repository, text by path, the most relevant last.
            cancel: Ends the stream when set.
            **settings: See `Settings`.

        Raises:
            ConfigError: A setting is out of range.
            ContextLengthError: There is no suffix and the prompt is longer than the context.
            InputError: The text cannot be encoded.
        """
        prompt, line_end = _code(prefix, suffix, path, context)
        return _restored(self.completer.stream(prompt, _sampling(settings), cancel), line_end)

    def generate(self, prompt: str, **settings: Unpack[Settings]) -> Completion:
        """Go on writing from a prompt, left to right.

        Args:
            prompt: Text or code.
            **settings: See `Settings`.

        Raises:
            ConfigError: A setting is out of range.
            ContextLengthError: The prompt is longer than the context.
            InputError: The text cannot be encoded.
        """
        return self.complete(prompt, None, **settings)

    def stream_generate(
        self, prompt: str, *, cancel: threading.Event | None = None, **settings: Unpack[Settings]
    ) -> Iterator[Delta]:
        """Go on writing from a prompt, piece by piece; the last one carries the completion.

        Args:
            prompt: Text or code.
            cancel: Ends the stream when set.
            **settings: See `Settings`.

        Raises:
            ConfigError: A setting is out of range.
            ContextLengthError: The prompt is longer than the context.
            InputError: The text cannot be encoded.
        """
        return self.stream_complete(prompt, None, cancel=cancel, **settings)

    def chat(
        self, messages: Sequence[Turn | Mapping[str, str]], **settings: Unpack[Settings]
    ) -> Completion:
        """Answer the last message of a conversation; for instruction models.

        Args:
            messages: Turns, or mappings with "role" (user; model or assistant) and "content";
                they alternate, the user first and last.
            **settings: See `Settings`.

        Raises:
            ConfigError: A setting is out of range.
            ContextLengthError: The conversation is longer than the context.
            InputError: The model takes no conversations, or these messages are none.
        """
        prompt = Prompt(turns=_turns(messages))
        return self.completer.complete([prompt], Sampling(**settings))[0][0]

    def stream_chat(
        self,
        messages: Sequence[Turn | Mapping[str, str]],
        *,
        cancel: threading.Event | None = None,
        **settings: Unpack[Settings],
    ) -> Iterator[Delta]:
        """Answer a conversation piece by piece; the last one carries the completion.

        Args:
            messages: As for `chat`.
            cancel: Ends the stream when set.
            **settings: See `Settings`.

        Raises:
            ConfigError: A setting is out of range.
            ContextLengthError: The conversation is longer than the context.
            InputError: The model takes no conversations, or these messages are none.
        """
        prompt = Prompt(turns=_turns(messages))
        return self.completer.stream(prompt, Sampling(**settings), cancel)

    def loglikelihood(self, context: str, continuation: str) -> Loglikelihood:
        """Score a continuation: its log probability after `<bos>` and the context."""
        return self.completer.loglikelihood([(context, continuation)])[0]

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """Give the logits after each token, float32 [T, V]; put `<bos>` (2) first.

        Raises:
            ConfigError: The model does not run in this process.
            ContextLengthError: There are more tokens than the context holds.
            InputError: There are none, or an id is outside the vocabulary.
        """
        from codegemma.generate.engine import Engine  # imports jax, which a remote model needs not

        completer = self.completer
        engine = completer.completer if isinstance(completer, Trimmed) else completer
        if not isinstance(engine, Engine):
            raise ConfigError(f"{self.info.name} gives no logits: it runs in another process")
        return engine.logits(tokens)

    def tokenize(self, text: str) -> list[int]:
        """Encode plain text to ids, without `<bos>`; no control token can result.

        Raises:
            InputError: The text holds half of a surrogate pair.
        """
        return self.completer.tokenizer.encode(text)


def _sampling(settings: Settings) -> Sampling:
    return Sampling(**{"heal": True, **settings})


def _code(
    prefix: str, suffix: str | None, path: str | None, context: Mapping[str, str] | None
) -> tuple[Prompt, LineEnd]:
    """Make a prompt with LF line ends; give the line end that the code around the cursor uses."""
    files = tuple(SourceFile(path=path, text=to_lf(text)) for path, text in (context or {}).items())
    prompt = Prompt(
        prefix=to_lf(prefix),
        suffix=None if suffix is None else to_lf(suffix),
        path=path,
        context=files,
    )
    return prompt, line_end_of(prefix + (suffix or ""))


def _restored(deltas: Iterator[Delta], line_end: LineEnd) -> Iterator[Delta]:
    for delta in deltas:
        completion = delta.completion
        if completion is not None:
            completion = replace(completion, text=restore(completion.text, line_end))
        yield replace(delta, text=restore(delta.text, line_end), completion=completion)


def _turns(messages: Sequence[Turn | Mapping[str, str]]) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for number, message in enumerate(messages, 1):
        if isinstance(message, Turn):
            turns.append(message)
            continue
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES or not isinstance(content, str):
            raise InputError(
                f"message {number}: expected a role (user, model or assistant) and a content, "
                f"found the role {role!r}; these models know no system role: put instructions "
                "into the user's message"
            )
        turns.append(Turn(role=_ROLES[role], text=to_lf(content)))
    if not turns:
        raise InputError("a conversation needs at least one message of the user")
    return tuple(turns)
