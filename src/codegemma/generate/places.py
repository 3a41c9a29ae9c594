# SPDX-License-Identifier: Apache-2.0
"""The rows that are drawn together, as they stand in one cache: how they come, go and move up.

A row comes from the cache that its prompt was read into. One that comes alone is drawn on in that
very cache; where others stand already its keys and values are copied beside theirs. What the
tokens are is `batch.py`'s affair.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from codegemma.generate import programs
from codegemma.generate.lengths import row_bucket
from codegemma.generate.rows import Row
from codegemma.generate.weights import Weights
from codegemma.model.cache import KVCache


class Parked(NamedTuple):
    """A row whose prompt is read and that waits for a place.

    Args:
        row: The row.
        cache: Where its keys and values are.
        source: Which row of that cache they are.
    """

    row: Row
    cache: KVCache
    source: int


class Places:
    """A cache whose rows are given to the rows of a batch.

    Args:
        weights: The model.
        keep: Told a row that leaves a cache, the cache, and which of its rows that is; a cache of
            that row alone is needed no longer.
    """

    def __init__(self, weights: Weights, *, keep: Callable[[Row, KVCache, int], None]) -> None:
        self._weights = weights
        self._keep = keep
        self.cache: Any = None  # a KVCache, except while a program uses it up
        self.rows: list[Row | None] = []

    @property
    def going(self) -> list[Row]:
        """The rows that have a place."""
        return [row for row in self.rows if row is not None]

    @property
    def num_slots(self) -> int:
        """Tokens that the longest of them may hold."""
        return max((row.asked.num_slots for row in self.going), default=0)

    def take_cache(self) -> KVCache:
        """Give the cache to a program that uses it up; `cache` is to be set to what it gives."""
        cache, self.cache = self.cache, None
        return cache

    def add(self, new: Sequence[Parked], *, still_parked: Sequence[Parked]) -> None:
        """Give places to rows; the cache grows as it must.

        Args:
            new: The rows, at least one.
            still_parked: Those that get none now, whose caches are to stay as they are.
        """
        size = row_bucket(len(self.going) + len(new))
        if not self.rows and len({id(one.cache) for one in new}) == 1:
            self._begin(new, size, is_free=all(p.cache is not new[0].cache for p in still_parked))
        else:
            self._make_places(size, like=new[0].cache)
            for one in new:
                self._put(one)
        for one in new:
            is_left = all(one.cache is not cache for cache in (self.cache, *_caches(still_parked)))
            if is_left and one.cache.length.shape[0] == 1:
                self._keep(one.row, one.cache, 0)

    def make_room(self, *, may_shrink: bool) -> None:
        """Free the places of rows that have ended.

        Args:
            may_shrink: Whether the cache may become smaller where few rows are left.
        """
        ended = [index for index, row in enumerate(self.rows) if row is not None and row.is_done]
        if not ended:
            return
        for index in ended:
            if (row := self.rows[index]) is not None:
                self._keep(row, self.cache, index)
        self.rows = [None if row is None or row.is_done else row for row in self.rows]
        places = [index for index, row in enumerate(self.rows) if row is not None]
        if not places:
            self.rows, self.cache = [], None
        elif may_shrink and (len(places) == 1 or 4 * len(places) <= len(self.rows)):
            size = row_bucket(len(places))
            sources = np.zeros(size, np.int32)
            sources[: len(places)] = places
            self.cache = self._copy(programs.gather_rows, self.take_cache(), sources)
            self.rows = [self.rows[at] for at in places] + [None] * (size - len(places))

    def _begin(self, new: Sequence[Parked], size: int, *, is_free: bool) -> None:
        """Draw on in the cache that the rows' prompts were read into, or in a copy of its rows."""
        cache, sources = new[0].cache, [one.source for one in new]
        if not is_free or size != cache.length.shape[0] or sources != list(range(len(new))):
            padded = np.array([*sources, *[0] * (size - len(new))], np.int32)
            cache = self._copy(programs.gather_rows, cache, padded)
        self.cache = cache
        self.rows = [one.row for one in new] + [None] * (size - len(new))

    def _make_places(self, size: int, *, like: KVCache) -> None:
        """Have at least `size` places; rows that have one stay where they are."""
        old = len(self.rows)
        if not old:
            self.cache = self._copy(programs.gather_rows, like, np.zeros(size, np.int32))
        elif old < size:
            cache = self.take_cache()
            places = np.arange(size, dtype=np.int32) % old
            self.cache = self._copy(programs.gather_rows, cache, places)
            if old == 1 and (row := self.rows[0]) is not None:
                self._keep(row, cache, 0)
        self.rows += [None] * (size - old)

    def _put(self, parked: Parked) -> None:
        """Copy a row to a free place."""
        place = self.rows.index(None)
        self.cache = self._weights.grown(self.take_cache(), num_slots=parked.cache.num_slots)
        self.cache = self._copy(
            programs.put_row,
            self.take_cache(),
            parked.cache,
            source=np.int32(parked.source),
            place=np.int32(place),
        )
        self.rows[place] = parked.row

    def _copy(self, program: Any, *words: Any, **named: Any) -> KVCache:
        with self._weights.lock:
            return program(*words, **named)


def _caches(parked: Sequence[Parked]) -> list[KVCache]:
    return [one.cache for one in parked]
