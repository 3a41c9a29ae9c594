# SPDX-License-Identifier: Apache-2.0
"""What is asked of a batch, and one sample on its way: its text, its draws, what it became."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from codegemma.completion import Completion, Cut, Sampling, Timings, TokenLogprob
from codegemma.generate.prefix_cache import NOBODY, Owner
from codegemma.generate.programs import NO_TOKEN, Drawn
from codegemma.generate.sampling import MAX_SHORTER, Allowed, draw_uniforms
from codegemma.generate.stop import RowText
from codegemma.text.healing import ByteTable
from codegemma.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt of a batch.

    Args:
        tokens: The prompt's ids, at least one.
        max_tokens: Most tokens to draw; with the prompt at most the model's context.
        typed: Text that the drawn tokens begin with and that is no part of the completion.
        seam: Text that is no part of the completion where the drawn tokens end with it.
        max_drawn: Most tokens with those of the typed text; None is `max_tokens`.
        stop_ids: Ids that end a completion.
        cut: What the ids leave out of the prompt.
        owner: Whose request it is, for the cache of earlier ones.
    """

    tokens: Sequence[int]
    max_tokens: int
    stop_ids: frozenset[int]
    typed: bytes = b""
    seam: str = ""
    max_drawn: int | None = None
    cut: Cut | None = None
    owner: Owner = NOBODY

    @property
    def num_slots(self) -> int:
        """Most tokens that its cache row is to hold."""
        return len(self.tokens) + (self.max_drawn or self.max_tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """New text of one sample of one request; its completion when it ended."""

    request: int
    sample: int
    text: str
    completion: Completion | None = None


class Row:
    """One sample of one request.

    Args:
        asked: The request.
        request: Its number.
        sample: Which of its samples.
        sampling: Its settings.
        seed: Of its draws.
        tokenizer: Decodes its tokens.
    """

    def __init__(
        self,
        asked: Request,
        *,
        request: int,
        sample: int,
        sampling: Sampling,
        seed: int,
        tokenizer: Tokenizer,
    ) -> None:
        self.asked = asked
        self.request = request
        self.sample = sample
        self._num_top = sampling.logprobs
        self.text = RowText(
            tokenizer,
            stop_ids=asked.stop_ids,
            stops=sampling.stop,
            max_tokens=asked.max_tokens,
            typed=asked.typed,
            seam=asked.seam,
            max_drawn=asked.max_drawn or asked.max_tokens,
        )
        count = asked.max_drawn or asked.max_tokens
        if sampling.temperature == 0:
            self._uniforms = np.zeros(count, np.float32)
        else:
            self._uniforms = draw_uniforms(seed, index=sample, count=count)
        self.logprobs: list[TokenLogprob] = []

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.text.finish_reason is not None

    @property
    def num_held(self) -> int:
        """Tokens that are in its cache row: the prompt's, and all but the last that was drawn."""
        return len(self.asked.tokens) + len(self.text.tokens) - 1

    def uniforms(self, count: int) -> np.ndarray:
        """Give the numbers of the next `count` draws, filled up with 0."""
        start = len(self.text.tokens)
        part = self._uniforms[start : start + count]
        return np.pad(part, (0, count - len(part)))

    def take(self, drawn: Drawn, place: tuple[int, int]) -> str:
        """Take the token drawn at a place, and give the text it settles."""
        token = int(drawn.tokens[place])
        assert token != NO_TOKEN, "a row that goes on was drawn nothing"
        if self._num_top is not None:
            pairs = zip(
                drawn.top_tokens[place][: self._num_top].tolist(),
                drawn.top_logprobs[place][: self._num_top].tolist(),
                strict=True,
            )
            logprob = float(drawn.logprobs[place])
            self.logprobs.append(TokenLogprob(token=token, logprob=logprob, top=tuple(pairs)))
        return self.text.push(token)

    def completion(self, *, cached_tokens: int, timings: Timings) -> Completion:
        """Give what the row became; it has ended."""
        assert self.text.finish_reason is not None
        return Completion(
            text=self.text.text,
            tokens=tuple(self.text.tokens),
            finish_reason=self.text.finish_reason,
            logprobs=None if self._num_top is None else tuple(self.logprobs),
            prompt_tokens=len(self.asked.tokens),
            cut=self.asked.cut,
            typed=self.asked.typed.decode(),
            typed_tokens=self.text.num_typed,
            cached_tokens=cached_tokens,
            timings=timings,
        )


def allow(rows: Sequence[Row | None], *, table: ByteTable, ranks: Any) -> Allowed:
    """Say what each row may be given next; one that is None, or has no typed text left, anything.

    Args:
        rows: One entry per row of the batch.
        table: The vocabulary in the order of bytes.
        ranks: Its tokens' places, on the device.
    """
    low = np.full(len(rows), -1, np.int32)
    high = np.zeros(len(rows), np.int32)
    shorter = np.full((len(rows), MAX_SHORTER), ranks.shape[0], np.int32)
    for index, row in enumerate(rows):
        if row is not None and row.text.rest:
            found = table.agreeing(row.text.rest)
            low[index], high[index] = found.low, found.high
            ids = found.shorter[-MAX_SHORTER:]
            shorter[index, : len(ids)] = ids
    return Allowed(ranks, *map(jax.device_put, (low, high, shorter)))
