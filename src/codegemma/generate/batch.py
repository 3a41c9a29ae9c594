# SPDX-License-Identifier: Apache-2.0
"""From prompts as token ids to finished completions: one batch of rows through the programs.

The host's side of generation: it cuts prompts into pieces, keeps one row per sample, hands over
tokens in chunks, and between chunks looks at the clock, at cancellation and at stop strings.
Rendering prompts and forming batches is `engine.py`'s part.
"""

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np

from codegemma.completion import Completion, Cut, FinishReason, Sampling, Timings, TokenLogprob
from codegemma.generate import programs
from codegemma.generate.prefix_cache import NOBODY, Owner, PrefixCache
from codegemma.generate.programs import MAX_STEPS, NO_TOKEN, Drawn
from codegemma.generate.sampling import controls_of, draw_uniforms
from codegemma.generate.speculation import PLACES, Drafter
from codegemma.generate.stop import RowText
from codegemma.model.cache import KVCache
from codegemma.model.cached_attention import BLOCK
from codegemma.model.config import ModelConfig
from codegemma.model.params import Params
from codegemma.text.tokenizer import Tokenizer

PIECE_LENGTHS: Final = (256, 64)
"""Lengths in which a prompt is read; each is one more program to load at every start."""

NUM_TOP: Final = 20
"""Alternatives that are computed when any are asked for."""

_MIN_CACHE: Final = 1024
_MAX_STOP_IDS: Final = 8
_SHORT_CHUNK_S: Final = 0.02
_LONG_CHUNK_S: Final = 0.06


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A model ready to run.

    Args:
        params: Weights on the device.
        config: Sizes.
        dtype: Activation dtype.
        cache_dtype: Dtype of the keys and values kept.
        lock: Held while the device works, so that requests take turns instead of competing.
    """

    params: Params
    config: ModelConfig
    dtype: Any
    cache_dtype: Any
    lock: threading.Lock


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt of a batch.

    Args:
        tokens: The prompt's ids, at least one.
        max_tokens: Most tokens to draw; with the prompt at most the model's context.
        stop_ids: Ids that end a completion.
        cut: What the ids leave out of the prompt.
        owner: Whose request it is, for the cache of earlier ones.
    """

    tokens: Sequence[int]
    max_tokens: int
    stop_ids: frozenset[int]
    cut: Cut | None = None
    owner: Owner = NOBODY


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """New text of one sample of one request; its completion when it ended."""

    request: int
    sample: int
    text: str
    completion: Completion | None = None


class _Row:
    """One sample of one request."""

    def __init__(
        self, request: int, sample: int, text: RowText, *, asked: Request, uniforms: np.ndarray
    ) -> None:
        self.request = request
        self.sample = sample
        self.text = text
        self.asked = asked
        self.uniforms = uniforms
        self.logprobs: list[TokenLogprob] = []

    @property
    def is_done(self) -> bool:
        return self.text.finish_reason is not None


class Batch:
    """Draws `sampling.n` completions for each request.

    Args:
        weights: The model.
        tokenizer: Turns drawn ids into text.
        requests: At most `max_rows` of them.
        sampling: Settings of all of them.
        max_rows: Most rows drawn together; more samples go one group after the other.
        cancel: Ends the batch when set.
        is_watched: Whether text is wanted as it is drawn.
        piece_lengths: Lengths of the pieces in which prompts are read, from `PIECE_LENGTHS`.
        kept: Rows of earlier requests; a batch of one request starts from one and leaves its own.
        drafter: Guesses tokens; for a batch of one row.
    """

    def __init__(
        self,
        weights: Weights,
        tokenizer: Tokenizer,
        requests: Sequence[Request],
        *,
        sampling: Sampling,
        seed: int,
        max_rows: int,
        cancel: threading.Event | None = None,
        is_watched: bool = False,
        piece_lengths: Sequence[int] = PIECE_LENGTHS,
        kept: PrefixCache | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        self._weights = weights
        self._kept = kept if kept and len(requests) == 1 else None
        self._drafter = drafter if len(requests) == sampling.n == 1 else None
        self._cache: Any = None  # a KVCache, except while a program uses it up
        self._num_cached = self._num_held = 0
        self._requests = requests
        self._piece_lengths = piece_lengths
        self._sampling = sampling
        self._max_rows = max_rows
        self._cancel = cancel
        self._start = time.perf_counter()
        budget_ms = sampling.budget_ms
        self._deadline = None if budget_ms is None else self._start + budget_ms / 1e3
        self._num_top = NUM_TOP if sampling.logprobs else 0
        self._prompt_ms = 0.0
        needs_host = bool(cancel or sampling.stop or budget_ms is not None or is_watched)
        self._pace = _Pace(1 if needs_host else MAX_STEPS, is_fixed=not needs_host)
        self._rows = [
            _Row(
                index,
                sample,
                RowText(
                    tokenizer,
                    stop_ids=request.stop_ids,
                    stops=sampling.stop,
                    max_tokens=request.max_tokens,
                ),
                asked=request,
                uniforms=self._uniforms(seed, sample, request.max_tokens),
            )
            for index, request in enumerate(requests)
            for sample in range(sampling.n)
        ]

    def run(self) -> Iterator[Piece]:
        """Yield text as it is drawn, and each completion with its last piece."""
        self._cache, self._num_cached = self._begin()
        self._num_held = self._num_cached
        try:
            if not (yield from self._read_prompts()):
                return
            for start in range(0, len(self._rows), self._max_rows):
                rows = self._rows[start : start + self._max_rows]
                if not all(row.is_done for row in rows):
                    yield from self._draw_rows(rows)
        finally:
            self._keep()

    def _begin(self) -> tuple[KVCache, int]:
        """Give the cache to read into, and how many of the prompt's tokens it holds already."""
        longest = max(len(request.tokens) + request.max_tokens for request in self._requests)
        found = None
        if self._kept:
            with self._weights.lock:
                found = self._kept.take(self._requests[0].tokens, self._requests[0].owner)
        if found is None:
            num_rows = row_bucket(len(self._requests))
            return empty_cache(self._weights, num_rows=num_rows, num_tokens=longest), 0
        context_length = self._weights.config.context_length
        num_slots = cache_length(longest, context_length=context_length)
        if found.cache.k.shape[2] >= num_slots:
            return found.cache, found.num_tokens
        with self._weights.lock:
            return programs.grow(found.cache, num_slots=num_slots), found.num_tokens

    def _keep(self) -> None:
        """Leave the row of a single request for later ones, as far as it is known what it holds.

        Of several samples only the prompt is kept: what they drew went to other rows.
        """
        if self._kept is None or self._cache is None or self._cache.length.shape[0] > 1:
            return
        (request, *_) = self._requests
        held = [*request.tokens, *(self._rows[0].text.tokens if len(self._rows) == 1 else ())]
        self._kept.put(held[: self._num_held], self._cache, request.owner)

    def _read_prompts(self) -> Generator[Piece, None, bool]:
        """Read all prompts and draw each row's first token; tell whether it came to the end."""
        prompts = [np.asarray(request.tokens, np.int32) for request in self._requests]
        num_rows = row_bucket(len(prompts))
        read = np.zeros(num_rows, np.int64)
        read[0] = self._num_cached
        lengths = np.ones(num_rows, np.int64)
        lengths[: len(prompts)] = [len(prompt) for prompt in prompts]
        uniforms = np.zeros((num_rows, self._sampling.n), np.float32)
        for row in self._rows:
            uniforms[row.request, row.sample] = row.uniforms[0]
        while (read < lengths).any():
            if (reason := self._interruption()) is not None:
                yield from self._end(self._rows, reason)
                return False
            length = piece_length(int((lengths - read).max()), lengths=self._piece_lengths)
            tokens = np.zeros((num_rows, length), np.int32)
            counts = np.minimum(lengths - read, length)
            for index, prompt in enumerate(prompts):
                part = prompt[read[index] : read[index] + counts[index]]
                tokens[index, : len(part)] = part
            read += counts
            drawn = self._call(
                programs.prefill,
                tokens,
                num_tokens=counts.astype(np.int32),
                is_end=((counts > 0) & (read == lengths)).any(),
                controls=self._controls(num_rows),
                uniforms=uniforms,
            )
            ended = [
                row
                for row in self._rows
                if counts[row.request] and read[row.request] == lengths[row.request]
            ]
            self._num_held = int(read[0])
            self._prompt_ms = self._elapsed_ms()
            for row in ended:
                yield from self._take(row, drawn, row.request, row.sample)
        return True

    def _draw_rows(self, rows: Sequence[_Row]) -> Iterator[Piece]:
        prompts = self._cache
        num_rows = row_bucket(len(rows))
        source = np.zeros(num_rows, np.int32)
        source[: len(rows)] = [row.request for row in rows]
        is_gathered = num_rows != prompts.length.shape[0] or self._sampling.n > 1
        if is_gathered or len(self._rows) > len(rows):
            with self._weights.lock:
                self._cache = programs.gather_rows(prompts, source)
        controls = self._controls(num_rows)
        stop_ids = np.full((num_rows, _MAX_STOP_IDS), NO_TOKEN, np.int32)
        for index, row in enumerate(rows):
            stop_ids[index, : len(row.asked.stop_ids)] = sorted(row.asked.stop_ids)
        while not all(row.is_done for row in rows):
            if (reason := self._interruption()) is not None:
                yield from self._end(rows, reason)
                break
            if guess := self._guess(rows[0]):
                yield from self._verify(rows[0], guess)
                continue
            token = np.zeros(num_rows, np.int32)
            is_done = np.ones(num_rows, bool)
            uniforms = np.zeros((num_rows, MAX_STEPS), np.float32)
            for index, row in enumerate(rows):
                num_drawn = len(row.text.tokens)
                token[index] = row.text.tokens[-1]
                is_done[index] = row.is_done
                part = row.uniforms[num_drawn : num_drawn + MAX_STEPS]
                uniforms[index, : len(part)] = part
            left = max(r.asked.max_tokens - len(r.text.tokens) for r in rows if not r.is_done)
            steps = self._pace.next_steps(left, seconds_left=self._seconds_left())
            if self._drafter is not None:
                steps = min(steps, self._drafter.patience)
            begin = time.perf_counter()
            drawn = self._call(
                programs.decode,
                token,
                is_done=is_done,
                stop_ids=stop_ids,
                controls=controls,
                uniforms=uniforms,
                num_steps=np.int32(steps),
            )
            self._pace.record(steps, time.perf_counter() - begin)
            for index, row in enumerate(rows):
                for step in range(steps):
                    if not row.is_done:
                        yield from self._take(row, drawn, index, step)
            # All but the last token that a row drew is in its cache.
            self._num_held = len(self._requests[0].tokens) + len(rows[0].text.tokens) - 1
        if self._sampling.n > 1:
            self._cache, self._num_held = prompts, len(self._requests[0].tokens)

    def _guess(self, row: _Row) -> list[int]:
        if self._drafter is None:
            return []
        left = row.asked.max_tokens - len(row.text.tokens)
        return self._drafter.propose(row.text.tokens, max_tokens=left - 1)

    def _verify(self, row: _Row, guess: list[int]) -> Iterator[Piece]:
        """Draw as many tokens as were guessed right, and one more, in one pass."""
        assert self._drafter is not None
        num_places = next(places for places in PLACES if len(guess) < places)
        num_drawn = len(row.text.tokens)
        tokens = np.zeros((1, num_places), np.int32)
        tokens[0, : len(guess) + 1] = [row.text.tokens[-1], *guess]
        uniforms = np.zeros((1, num_places), np.float32)
        part = row.uniforms[num_drawn : num_drawn + num_places]
        uniforms[0, : len(part)] = part
        drawn = self._call(
            programs.verify,
            tokens,
            num_tokens=np.full(1, len(guess) + 1, np.int32),
            controls=self._controls(1),
            uniforms=uniforms,
        )
        found = drawn.tokens[0].tolist()
        num_right = next((i for i, one in enumerate(guess) if one != found[i]), len(guess))
        self._drafter.record(len(guess), num_right)
        self._num_held = len(row.asked.tokens) + num_drawn + num_right
        length = jax.device_put(np.full(1, self._num_held, np.int32))
        self._cache = self._cache._replace(length=length)
        for place in range(num_right + 1):
            if not row.is_done:
                yield from self._take(row, drawn, 0, place)

    def _call(self, program: Any, tokens: np.ndarray, **arguments: Any) -> Any:
        """Run a program on the cache, which it uses up, and bring what it drew to the host."""
        cache, self._cache = self._cache, None
        with self._weights.lock:
            drawn, cache = program(
                self._weights.params,
                tokens,
                cache,
                config=self._weights.config,
                dtype=self._weights.dtype,
                num_top=self._num_top,
                **arguments,
            )
            drawn = jax.tree.map(np.asarray, drawn)
        self._cache = cache
        return drawn

    def _take(self, row: _Row, drawn: Drawn, index: int, step: int) -> Iterator[Piece]:
        """Give a drawn token to its row."""
        token = int(drawn.tokens[index, step])
        assert token != NO_TOKEN, "a row that goes on was drawn nothing"
        num_top = self._sampling.logprobs
        if num_top is not None:
            pairs = zip(
                drawn.top_tokens[index, step, :num_top].tolist(),
                drawn.top_logprobs[index, step, :num_top].tolist(),
                strict=True,
            )
            logprob = float(drawn.logprobs[index, step])
            row.logprobs.append(TokenLogprob(token=token, logprob=logprob, top=tuple(pairs)))
        text = row.text.push(token)
        completion = self._complete(row) if row.is_done else None
        if text or completion:
            yield Piece(request=row.request, sample=row.sample, text=text, completion=completion)

    def _end(self, rows: Sequence[_Row], reason: FinishReason) -> Iterator[Piece]:
        for row in rows:
            if not row.is_done:
                text = row.text.end(reason)
                yield Piece(
                    request=row.request,
                    sample=row.sample,
                    text=text,
                    completion=self._complete(row),
                )

    def _complete(self, row: _Row) -> Completion:
        assert row.text.finish_reason is not None
        return Completion(
            text=row.text.text,
            tokens=tuple(row.text.tokens),
            finish_reason=row.text.finish_reason,
            logprobs=None if self._sampling.logprobs is None else tuple(row.logprobs),
            prompt_tokens=len(row.asked.tokens),
            cut=row.asked.cut,
            cached_tokens=self._num_cached,
            timings=Timings(
                prompt_ms=self._prompt_ms,
                first_token_ms=self._prompt_ms,
                total_ms=self._elapsed_ms(),
            ),
        )

    def _interruption(self) -> FinishReason | None:
        if self._cancel is not None and self._cancel.is_set():
            return "cancelled"
        seconds_left = self._seconds_left()
        return "deadline" if seconds_left is not None and seconds_left <= 0 else None

    def _seconds_left(self) -> float | None:
        return None if self._deadline is None else self._deadline - time.perf_counter()

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._start) * 1e3

    def _controls(self, num_rows: int) -> Any:
        if self._sampling.temperature == 0:
            return None
        return controls_of(self._sampling, num_rows=num_rows)

    def _uniforms(self, seed: int, sample: int, count: int) -> np.ndarray:
        if self._sampling.temperature == 0:
            return np.zeros(count, np.float32)
        return draw_uniforms(seed, index=sample, count=count)


class _Pace:
    """How many tokens to draw before the host looks again: few at first, then by the clock."""

    def __init__(self, steps: int, *, is_fixed: bool) -> None:
        self._steps = steps
        self._is_fixed = is_fixed
        self._seconds_per_step = 0.0

    def next_steps(self, left: int, *, seconds_left: float | None) -> int:
        """Steps of the next call, at least 1 and at most what is left."""
        steps = min(self._steps, left)
        if seconds_left is not None and self._seconds_per_step > 0:
            steps = min(steps, int(seconds_left / self._seconds_per_step))
        return max(1, steps)

    def record(self, steps: int, seconds: float) -> None:
        """Take note of what a call took."""
        self._seconds_per_step = seconds / steps
        if self._is_fixed:
            return
        if seconds < _SHORT_CHUNK_S:
            self._steps = min(2 * self._steps, MAX_STEPS)
        elif seconds > _LONG_CHUNK_S:
            self._steps = max(1, self._steps // 2)


def empty_cache(weights: Weights, *, num_rows: int, num_tokens: int) -> KVCache:
    """Make a cache with room for `num_tokens` in each row, its length from a short list."""
    config = weights.config
    length = cache_length(num_tokens, context_length=config.context_length)
    shape = (config.num_layers, num_rows, length, config.num_kv_heads, config.head_dim)
    # From numpy: an array made by jax would be one more program to compile.
    zeros = np.zeros(shape, weights.cache_dtype)
    return KVCache(
        jax.device_put(zeros), jax.device_put(zeros), jax.device_put(np.zeros(num_rows, np.int32))
    )


def cache_length(num_tokens: int, *, context_length: int) -> int:
    """Round up to a power of two, at least 1,024, at most the context in whole blocks.

    Few lengths make few programs; an empty slot costs memory and hardly any time.
    """
    length = _MIN_CACHE
    while length < num_tokens:
        length *= 2
    return min(length, -(-context_length // BLOCK) * BLOCK)


def piece_length(num_left: int, *, lengths: Sequence[int] = PIECE_LENGTHS) -> int:
    """Length of the next piece of a prompt: the longest of which at most a quarter is padding.

    Example: 300 tokens are read as 256 and 64, 200 as 256, 150 as 64, 64 and 64.
    """
    for length in lengths:
        if 4 * num_left > 3 * length:
            return length
    return lengths[-1]


def only_length(num_tokens: int) -> int:
    """Length in which to read a prompt if all its pieces are to have one.

    Example: 128 tokens are read as 64 and 64, 129 as 256, 300 as 256 and 256.
    """
    short = (length for length in reversed(PIECE_LENGTHS) if num_tokens <= 2 * length)
    return next(short, PIECE_LENGTHS[0])


def row_bucket(num_rows: int) -> int:
    """Round up to a power of two."""
    return 1 << (num_rows - 1).bit_length()
