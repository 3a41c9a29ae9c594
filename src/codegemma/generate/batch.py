# SPDX-License-Identifier: Apache-2.0
"""From prompts as token ids to finished completions: one batch of rows through the programs.

The host's side of generation: it cuts prompts into pieces, keeps one row per sample, hands over
tokens in chunks, and between chunks looks at the clock, at cancellation and at stop strings.
Rendering prompts and forming batches is `engine.py`'s part.
"""

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

import jax
import numpy as np

from codegemma.completion import FinishReason, Sampling, Timings
from codegemma.generate import programs
from codegemma.generate.lengths import PIECE_LENGTHS, cache_length, piece_length, row_bucket
from codegemma.generate.pace import Pace
from codegemma.generate.prefix_cache import PrefixCache
from codegemma.generate.programs import MAX_STEPS, NO_TOKEN, Drawn
from codegemma.generate.rows import Piece, Request, Row, allow
from codegemma.generate.sampling import controls_of
from codegemma.generate.speculation import PLACES, Drafter
from codegemma.generate.weights import Weights, empty_cache
from codegemma.model.cache import KVCache
from codegemma.text.tokenizer import Tokenizer

NUM_TOP: Final = 20
"""Alternatives that are computed when any are asked for."""

_MAX_STOP_IDS: Final = 8


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
        ranks: Places of the tokens in the order of bytes, on the device; None where no request has
            typed text.
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
        ranks: Any = None,
    ) -> None:
        self._weights = weights
        self._tokenizer = tokenizer
        self._ranks = ranks
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
        self._pace = Pace(1 if needs_host else MAX_STEPS, is_fixed=not needs_host)
        self._rows = [
            Row(
                request,
                request=index,
                sample=sample,
                sampling=sampling,
                seed=seed,
                tokenizer=tokenizer,
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
        longest = max(request.num_slots for request in self._requests)
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
            uniforms[row.request, row.sample] = row.uniforms(1)[0]
        allowed = self._allow(self._rows[:: self._sampling.n], num_rows)
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
                allowed=allowed,
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

    def _draw_rows(self, rows: Sequence[Row]) -> Iterator[Piece]:
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
                token[index] = row.text.tokens[-1]
                is_done[index] = row.is_done
                uniforms[index] = row.uniforms(MAX_STEPS)
            steps = self._next_steps([row for row in rows if not row.is_done])
            begin = time.perf_counter()
            drawn = self._call(
                programs.decode,
                token,
                is_done=is_done,
                stop_ids=stop_ids,
                controls=controls,
                allowed=self._allow(rows, num_rows),
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

    def _next_steps(self, rows: Sequence[Row]) -> int:
        if any(row.text.rest for row in rows):
            return 1  # what may be drawn after a token depends on it
        left = max(row.text.num_left for row in rows)
        steps = self._pace.next_steps(left, seconds_left=self._seconds_left())
        return steps if self._drafter is None else min(steps, self._drafter.patience)

    def _guess(self, row: Row) -> list[int]:
        if self._drafter is None or row.text.rest:
            return []
        return self._drafter.propose(row.text.tokens, max_tokens=row.text.num_left - 1)

    def _verify(self, row: Row, guess: list[int]) -> Iterator[Piece]:
        """Draw as many tokens as were guessed right, and one more, in one pass."""
        assert self._drafter is not None
        num_places = next(places for places in PLACES if len(guess) < places)
        num_drawn = len(row.text.tokens)
        tokens = np.zeros((1, num_places), np.int32)
        tokens[0, : len(guess) + 1] = [row.text.tokens[-1], *guess]
        drawn = self._call(
            programs.verify,
            tokens,
            num_tokens=np.full(1, len(guess) + 1, np.int32),
            controls=self._controls(1),
            uniforms=row.uniforms(num_places)[None],
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

    def _take(self, row: Row, drawn: Drawn, index: int, step: int) -> Iterator[Piece]:
        """Give a drawn token to its row."""
        text = row.take(drawn, (index, step))
        if text or row.is_done:
            yield self._piece(row, text)

    def _end(self, rows: Sequence[Row], reason: FinishReason) -> Iterator[Piece]:
        for row in rows:
            if not row.is_done:
                yield self._piece(row, row.text.end(reason))

    def _piece(self, row: Row, text: str) -> Piece:
        completion = None
        if row.is_done:
            timings = Timings(
                prompt_ms=self._prompt_ms,
                first_token_ms=self._prompt_ms,
                total_ms=self._elapsed_ms(),
            )
            completion = row.completion(cached_tokens=self._num_cached, timings=timings)
        return Piece(request=row.request, sample=row.sample, text=text, completion=completion)

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

    def _allow(self, rows: Sequence[Row], num_rows: int) -> Any:
        """Say what may be drawn next; None where no prompt may leave typed text to be drawn."""
        if self._ranks is None:
            return None
        padded = [*rows, *[None] * (num_rows - len(rows))]
        return allow(padded, table=self._tokenizer.byte_table, ranks=self._ranks)
