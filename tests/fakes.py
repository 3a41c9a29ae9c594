# SPDX-License-Identifier: Apache-2.0
"""A completer that says what it is told to, for tests of what stands in front of a model.

Folders of tests load this file in their conftest.py; it imports no jax.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from codegemma.completion import (
    CompleterInfo,
    Completion,
    Delta,
    Loglikelihood,
    Prompt,
    Sampling,
    Timings,
    TokenLogprob,
)
from codegemma.errors import ContextLengthError

FIRST_BYTE_ID = 1000


class ByteTokenizer:
    """One token a byte: "a" (97) is 1097."""

    def encode(self, text: str) -> list[int]:
        return [FIRST_BYTE_ID + byte for byte in text.encode("utf-8")]

    def decode(self, tokens: Sequence[int]) -> str:
        kept = [token - FIRST_BYTE_ID for token in tokens if token >= FIRST_BYTE_ID]
        return bytes(kept).decode("utf-8", errors="replace")


class ScriptedCompleter:
    """Answers every prompt with `answer`, a character a token, and remembers what was asked.

    Args:
        answer: The text, or a function of the prompt and the sample's number.
        delay_s: Time each token takes.
        context_length: Most tokens of prompt and completion.
        is_instruction: Whether it claims to hold conversations.
        logprob: The log likelihood of a continuation given its context.
    """

    def __init__(
        self,
        answer: str | Callable[[Prompt, int], str] = "42",
        *,
        delay_s: float = 0.0,
        context_length: int = 8192,
        is_instruction: bool = False,
        name: str = "scripted",
        logprob: Callable[[str, str], float] = lambda context, continuation: -1.0,
    ) -> None:
        self.pairs: list[tuple[str, str]] = []
        self._logprob = logprob
        self.tokenizer = ByteTokenizer()
        self.info = CompleterInfo(
            name=name, context_length=context_length, mode="psm", is_instruction=is_instruction
        )
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []
        self.num_drawn = 0
        self.num_finished = 0
        self.hold = threading.Event()
        self.hold.set()
        self.fail: Exception | None = None
        self._answer = answer
        self._delay_s = delay_s

    def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        cancel: threading.Event | None = None,
    ) -> list[tuple[Completion, ...]]:
        found: list[tuple[Completion, ...]] = []
        for prompt in prompts:
            ends = [delta for delta in self.stream(prompt, sampling, cancel) if delta.completion]
            ends.sort(key=lambda delta: delta.index)
            found.append(tuple(delta.completion for delta in ends if delta.completion))
        return found

    def stream(
        self, prompt: Prompt, sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        self.prompts.append(prompt)
        self.samplings.append(sampling)
        shown = prompt.prefix + (prompt.suffix or "") + "".join(turn.text for turn in prompt.turns)
        num_prompt = len(prompt.tokens) or len(self.tokenizer.encode(shown)) + 1
        if num_prompt + sampling.max_tokens > self.info.context_length:
            raise ContextLengthError(
                f"the prompt has {num_prompt} tokens and {sampling.max_tokens} more are asked for, "
                f"but the context holds {self.info.context_length}"
            )
        for index in range(sampling.n):
            yield from self._sample(prompt, sampling, index, num_prompt, cancel)
        self.num_finished += 1

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        self.pairs += pairs
        return [
            Loglikelihood(logprob=self._logprob(*pair), is_greedy=False, num_tokens=1)
            for pair in pairs
        ]

    def _sample(
        self,
        prompt: Prompt,
        sampling: Sampling,
        index: int,
        num_prompt: int,
        cancel: threading.Event | None,
    ) -> Iterator[Delta]:
        answer = self._answer if isinstance(self._answer, str) else self._answer(prompt, index)
        at = min((at for stop in sampling.stop if (at := answer.find(stop)) >= 0), default=None)
        answer = answer if at is None else answer[:at]
        text, reason = "", "stop"
        for character in answer:
            if cancel is not None and self._is_cancelled(cancel):
                reason = "cancelled"
                break
            if self.fail is not None and text:
                raise self.fail
            if len(text) == sampling.max_tokens:
                reason = "length"
                break
            self.num_drawn += 1
            text += character
            yield Delta(text=character, index=index)
        tokens = tuple(token for letter in text for token in self.tokenizer.encode(letter)[:1])
        wanted = sampling.logprobs is not None
        best = ((FIRST_BYTE_ID + ord("!"), -2.0),)[: sampling.logprobs or 0]
        completion = Completion(
            text=text,
            tokens=(*tokens, 1) if reason == "stop" else tokens,
            finish_reason=reason,
            logprobs=tuple(TokenLogprob(token=token, logprob=-0.5, top=best) for token in tokens)
            if wanted
            else None,
            prompt_tokens=num_prompt,
            cached_tokens=2,
            timings=Timings(prompt_ms=4.0, first_token_ms=5.0, total_ms=10.0),
        )
        yield Delta(text="", index=index, completion=completion)

    def _is_cancelled(self, cancel: threading.Event) -> bool:
        deadline = time.monotonic() + 20
        while not self.hold.is_set() and not cancel.is_set() and time.monotonic() < deadline:
            time.sleep(0.002)
        return cancel.wait(self._delay_s) if self._delay_s else cancel.is_set()
