# SPDX-License-Identifier: Apache-2.0
"""From prompts as token ids to finished completions: rows that are drawn together, come and go.

The host's side of generation. Requests are added at any time; a step reads one piece of the
prompts of those that came, each group of them in turn, or draws a few tokens of all rows whose
prompts are read, so that a long prompt holds nobody up. Between steps the host looks at the clock,
at cancellation and at stop strings, and rows that have ended make room. Rendering prompts, and
whose turn it is to step, are `engine.py`'s part.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import jax
import numpy as np

from codegemma.completion import FinishReason, Sampling, Timings
from codegemma.generate import programs
from codegemma.generate.entries import Entry, Group
from codegemma.generate.lengths import PIECE_LENGTHS, lengths_for, piece_length, row_bucket
from codegemma.generate.pace import Pace
from codegemma.generate.places import Parked, Places
from codegemma.generate.prefix_cache import PrefixCache
from codegemma.generate.programs import MAX_STEPS, MAX_STOP_IDS, NO_TOKEN, Drawn
from codegemma.generate.reuse import Reuse
from codegemma.generate.rows import Piece, Request, Row, allow
from codegemma.generate.sampling import controls_of
from codegemma.generate.speculation import Drafter, places_of
from codegemma.generate.weights import Weights
from codegemma.model.cache import KVCache
from codegemma.text.tokenizer import Tokenizer

NUM_TOP: Final = 20
"""Alternatives that are computed when any are asked for."""

_STEPS_WHILE_OTHERS_WAIT: Final = 16


class Batch:
    """Draws completions for requests that may come at any time.

    For one thread at a time, but for `add` and `drop`, which any may call; see `shared.py`.

    Args:
        weights: The model.
        tokenizer: Turns drawn ids into text.
        max_rows: Most rows drawn together when the longest holds that many tokens, at least 1.
        ranks: Gives the places of the tokens in the order of bytes, on the device.
        kept: Rows of earlier requests; each request starts from one of them, where one begins as
            it does, and leaves its own.
    """

    def __init__(
        self,
        weights: Weights,
        tokenizer: Tokenizer,
        *,
        max_rows: Callable[[int], int],
        ranks: Callable[[], Any],
        kept: PrefixCache | None = None,
    ) -> None:
        self._weights = weights
        self._tokenizer = tokenizer
        self._max_rows = max_rows
        self._ranks = ranks
        self._reuse = Reuse(weights, kept)
        self._numbers = itertools.count()
        self._arrivals: deque[Entry] = deque()
        self._dropped: deque[int] = deque()
        self._clear()

    def _clear(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._incoming: deque[Entry] = deque()
        self._groups: deque[Group] = deque()
        self._parked: deque[Parked] = deque()
        self._places = Places(self._weights, keep=self._reuse.keep_row)
        self._pace = Pace(1)
        self._is_drawing_next = False

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._entries or self._arrivals)

    @property
    def num_rows(self) -> int:
        """Rows that are drawn."""
        return len(self._places.going)

    def add(
        self,
        request: Request,
        *,
        sampling: Sampling,
        seed: int,
        cancel: threading.Event | None = None,
        is_watched: bool = False,
        drafter: Drafter | None = None,
        piece_lengths: Sequence[int] = PIECE_LENGTHS,
    ) -> int:
        """Take a request in line, and give the number that its pieces will carry.

        Args:
            request: What to complete.
            sampling: How; `sampling.n` completions are drawn.
            seed: Of its draws.
            cancel: Ends it when set.
            is_watched: Whether text is wanted as it is drawn.
            drafter: Guesses its tokens while no other row is drawn.
            piece_lengths: Lengths of the pieces in which its prompt is read.
        """
        number = next(self._numbers)
        rows = [
            Row(
                request,
                request=number,
                sample=sample,
                sampling=sampling,
                seed=seed,
                tokenizer=self._tokenizer,
            )
            for sample in range(sampling.n)
        ]
        entry = Entry(
            number=number,
            request=request,
            sampling=sampling,
            rows=rows,
            cancel=cancel,
            is_watched=is_watched,
            drafter=drafter if sampling.n == 1 else None,
            piece_lengths=piece_lengths,
        )
        self._arrivals.append(entry)
        return number

    def drop(self, number: int) -> None:
        """Note that nobody wants a request any longer; one that has ended is no fault."""
        self._dropped.append(number)

    def fail(self) -> list[int]:
        """Give up all requests, after an error within a step; give their numbers."""
        numbers = [*self._entries, *(entry.number for entry in self._arrivals)]
        self._arrivals.clear()
        self._clear()
        return numbers

    def settle(self) -> None:
        """Take in what was added and dropped."""
        while self._arrivals:
            entry = self._arrivals.popleft()
            self._entries[entry.number] = entry
            self._incoming.append(entry)
        while self._dropped:
            entry = self._entries.get(self._dropped.popleft())
            if entry is not None:
                self._end(entry, "cancelled")
        self._tidy()

    def step(self) -> list[Piece]:
        """Read a piece of prompts or draw some tokens; give the new text, and what ended."""
        pieces: list[Piece] = []
        self.settle()
        for entry in self._entries.values():
            if (reason := entry.interruption()) is not None:
                pieces += self._end(entry, reason)
        self._tidy()
        self._open_groups()
        if self._groups and not (self.num_rows and self._is_drawing_next):
            self._is_drawing_next = True
            pieces += self._read(self._groups.popleft())
        elif self.num_rows:
            self._is_drawing_next = False
            pieces += self._draw()
        self._tidy()
        return pieces

    def _open_groups(self) -> None:
        """Begin to read the prompts that came, as far as there will be places for their rows."""
        while self._incoming and not self._parked and (entries := self._next_entries()):
            cache, num_cached = self._reuse.begin(entries)
            size = row_bucket(len(entries))
            num_read, lengths = np.zeros(size, np.int64), np.zeros(size, np.int64)
            num_read[0] = entries[0].num_cached = num_cached
            lengths[: len(entries)] = [len(entry.request.tokens) for entry in entries]
            group = Group(entries=entries, cache=cache, num_read=num_read, lengths=lengths)
            self._groups.append(group)
            if any(entry.is_watched for entry in entries):
                self._pace = Pace(1)  # their first words are wanted soon

    def _next_entries(self) -> list[Entry]:
        """Take the first request in line, and those that are read in the same pieces beside it.

        Beside a longer one it would wait for the other's end, and be padded to its pieces. One
        that starts from a kept row is read alone, in the very cache that was kept.
        """
        first = self._incoming[0]
        entries = [first]
        if not self._has_room(entries):
            return []
        if not self._reuse.num_shared(first.request):
            for entry in list(self._incoming)[1:]:
                is_alike = (entry.pieces, entry.sampling.n) == (first.pieces, first.sampling.n)
                is_alike = is_alike and not self._reuse.num_shared(entry.request)
                if is_alike and self._has_room([*entries, entry]):
                    entries.append(entry)
        for entry in entries:
            self._incoming.remove(entry)
        return entries

    def _has_room(self, entries: Sequence[Entry]) -> bool:
        """Whether there will be places for requests, beside all that is read and drawn."""
        if len(entries) == 1 and not (self.num_rows or self._groups):
            return True  # its samples are drawn in turns if need be
        read = [*(entry for group in self._groups for entry in group.entries), *entries]
        num_rows = self.num_rows + sum(entry.sampling.n for entry in read if not entry.is_done)
        longest = max(self._places.num_slots, *(entry.request.num_slots for entry in read))
        return num_rows <= self._max_rows(longest)

    def _read(self, group: Group) -> Iterator[Piece]:
        """Read a piece of each prompt; rows of prompts that end with it draw their first token."""
        entries, size = group.entries, len(group.lengths)
        left = group.lengths - group.num_read
        lengths = lengths_for(size, lengths=entries[0].piece_lengths)
        length = piece_length(int(left.max()), lengths=lengths)
        counts = np.minimum(left, length)
        tokens = np.zeros((size, length), np.int32)
        num_samples = entries[0].sampling.n
        uniforms = np.zeros((size, row_bucket(num_samples)), np.float32)
        for index, entry in enumerate(entries):
            start = group.num_read[index]
            part = entry.request.tokens[start : start + counts[index]]
            tokens[index, : len(part)] = part
            uniforms[index, :num_samples] = [row.uniforms(1)[0] for row in entry.rows]
        group.num_read += counts
        is_ended = (counts > 0) & (group.num_read == group.lengths)
        first = [None if entry.is_done else entry.rows[0] for entry in entries]
        first += [None] * (size - len(entries))
        drawn, group.cache = self._call(
            programs.prefill,
            tokens,
            group.cache,
            first,
            num_tokens=counts.astype(np.int32),
            is_end=is_ended.any(),
            uniforms=uniforms,
        )
        for index, entry in enumerate(entries):
            entry.prompt_ms = entry.elapsed_ms
            if not is_ended[index] or entry.is_done:
                continue
            for row in entry.rows:
                yield from self._take(row, drawn, index, row.sample)
        if (group.num_read < group.lengths).any():
            self._groups.append(group)
        else:
            self._park(group)

    def _park(self, group: Group) -> None:
        """Leave the rows of a group that is read to be given places."""
        rows = [
            Parked(row, group.cache, index)
            for index, entry in enumerate(group.entries)
            for row in entry.rows
            if not row.is_done
        ]
        self._parked += rows
        self._reuse.keep_prompts(group)
        self._place()

    def _place(self) -> None:
        """Give parked rows places beside the others, as far as there are any."""
        new: list[Parked] = []
        longest = self._places.num_slots
        while self._parked:
            longest = max(longest, self._parked[0].row.asked.num_slots)
            num_rows = self.num_rows + len(new)
            if num_rows and num_rows >= self._max_rows(longest):
                break
            new.append(self._parked.popleft())
        if new:
            self._places.add(new, still_parked=self._parked)

    def _draw(self) -> Iterator[Piece]:
        """Draw some tokens of every row that has a place."""
        rows, going = self._places.rows, self._places.going
        if len(rows) == 1 and (guess := self._guess(going[0])):
            yield from self._verify(going[0], guess)
            return
        size = len(rows)
        most = self._next_steps(going)
        token = np.zeros(size, np.int32)
        num_steps = np.zeros(size, np.int32)
        stop_ids = np.full((size, MAX_STOP_IDS), NO_TOKEN, np.int32)
        uniforms = np.zeros((size, MAX_STEPS), np.float32)
        for index, row in enumerate(rows):
            if row is not None:
                token[index] = row.text.tokens[-1]
                num_steps[index] = min(most, row.text.num_left)  # its slots hold no more
                stop_ids[index, : len(row.asked.stop_ids)] = sorted(row.asked.stop_ids)
                uniforms[index] = row.uniforms(MAX_STEPS)
        begin = time.perf_counter()
        drawn, self._places.cache = self._call(
            programs.decode,
            token,
            self._places.take_cache(),
            rows,
            num_steps=num_steps,
            stop_ids=stop_ids,
            uniforms=uniforms,
        )
        self._pace.record(int(num_steps.max()), time.perf_counter() - begin)
        for index, row in enumerate(rows):
            for step in range(num_steps[index]):
                if row is not None and not row.is_done:
                    yield from self._take(row, drawn, index, step)

    def _next_steps(self, rows: Sequence[Row]) -> int:
        if any(row.text.rest for row in rows):
            return 1  # what may be drawn after a token depends on it
        entries = [self._entries[row.request] for row in rows]
        steps = max(row.text.num_left for row in rows)
        if any(entry.needs_host for entry in entries):
            left = [entry.seconds_left for entry in entries]
            known = [seconds for seconds in left if seconds is not None]
            steps = self._pace.next_steps(steps, seconds_left=min(known, default=None))
        if self._incoming or self._groups or self._parked:
            steps = min(steps, _STEPS_WHILE_OTHERS_WAIT)
        if len(self._places.rows) == 1 and (drafter := entries[0].drafter) is not None:
            steps = min(steps, drafter.patience)
        return min(steps, MAX_STEPS)

    def _guess(self, row: Row) -> list[int]:
        drafter = self._entries[row.request].drafter
        if drafter is None or row.text.rest:
            return []
        return drafter.propose(row.text.tokens, max_tokens=row.text.num_left - 1)

    def _verify(self, row: Row, guess: list[int]) -> Iterator[Piece]:
        """Draw as many tokens as were guessed right, and one more, in one pass."""
        drafter = self._entries[row.request].drafter
        assert drafter is not None
        num_places = places_of(len(guess))
        tokens = np.zeros((1, num_places), np.int32)
        tokens[0, : len(guess) + 1] = [row.text.tokens[-1], *guess]
        drawn, cache = self._call(
            programs.verify,
            tokens,
            self._places.take_cache(),
            [row],
            num_tokens=np.full(1, len(guess) + 1, np.int32),
            uniforms=row.uniforms(num_places)[None],
        )
        found = drawn.tokens[0].tolist()
        num_right = next((i for i, one in enumerate(guess) if one != found[i]), len(guess))
        drafter.record(len(guess), num_right)
        length = np.full(1, row.num_held + num_right + 1, np.int32)
        self._places.cache = cache._replace(length=jax.device_put(length))
        for place in range(num_right + 1):
            if not row.is_done:
                yield from self._take(row, drawn, 0, place)

    def _call(
        self,
        program: Any,
        tokens: np.ndarray,
        cache: KVCache,
        rows: Sequence[Row | None],
        **arguments: Any,
    ) -> tuple[Any, KVCache]:
        """Run a program on a cache, which it uses up, and bring what it drew to the host.

        Args:
            program: One of `programs`.
            tokens: What it reads.
            cache: What was read before.
            rows: Whose settings count, one entry per row of the cache.
            **arguments: Of the program.
        """
        samplings = [None if row is None else self._entries[row.request].sampling for row in rows]
        asked = [sampling for sampling in samplings if sampling is not None]
        is_healing = any(sampling.heal for sampling in asked) or any(
            row.text.rest for row in rows if row is not None
        )
        if program is not programs.verify:
            arguments["allowed"] = (
                allow(rows, table=self._tokenizer.byte_table, ranks=self._ranks())
                if is_healing
                else None
            )
        with self._weights.lock:
            drawn, cache = program(
                self._weights.params,
                tokens,
                cache,
                config=self._weights.config,
                dtype=self._weights.dtype,
                num_top=_num_top(asked),
                controls=controls_of(samplings),
                **arguments,
            )
            return jax.tree.map(np.asarray, drawn), cache

    def _take(self, row: Row, drawn: Drawn, index: int, step: int) -> Iterator[Piece]:
        """Give a drawn token to its row."""
        text = row.take(drawn, (index, step))
        if text or row.is_done:
            yield self._piece(row, text)

    def _end(self, entry: Entry, reason: FinishReason) -> list[Piece]:
        return [self._piece(row, row.text.end(reason)) for row in entry.rows if not row.is_done]

    def _piece(self, row: Row, text: str) -> Piece:
        completion = None
        if row.is_done:
            entry = self._entries[row.request]
            timings = Timings(
                prompt_ms=entry.prompt_ms,
                first_token_ms=entry.prompt_ms,
                total_ms=entry.elapsed_ms,
            )
            completion = row.completion(cached_tokens=entry.num_cached, timings=timings)
        return Piece(request=row.request, sample=row.sample, text=text, completion=completion)

    def _tidy(self) -> None:
        """Take out what has ended, keep what may serve later requests, and fill the places."""
        ended = [entry for entry in self._entries.values() if entry.is_done]
        for entry in ended:
            if entry in self._incoming:
                self._incoming.remove(entry)
        for group in list(self._groups):
            self._leave_out(group)
        for one in [one for one in self._parked if one.row.is_done]:
            self._parked.remove(one)
        self._places.make_room(may_shrink=not (self._incoming or self._parked))
        self._place()
        for entry in ended:
            del self._entries[entry.number]

    def _leave_out(self, group: Group) -> None:
        """Read no more for requests that have ended; nothing where all have."""
        for index, entry in enumerate(group.entries):
            if entry.is_done and group.num_read[index] < group.lengths[index]:
                group.lengths[index] = group.num_read[index]
        if all(entry.is_done for entry in group.entries):
            self._groups.remove(group)
            self._reuse.keep_prompts(group)


def _num_top(samplings: Sequence[Sampling]) -> int | None:
    """Give the number of alternatives to compute; None where nobody wants log probabilities."""
    asked = [sampling.logprobs for sampling in samplings if sampling.logprobs is not None]
    return (NUM_TOP if any(asked) else 0) if asked else None
