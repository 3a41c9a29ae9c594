# SPDX-License-Identifier: Apache-2.0
"""Keys and values of earlier requests, kept for later ones that begin with the same tokens.

An entry is one row of a cache and the ids it was made of. A request takes the entry with which it
shares the longest beginning, token by token; what stands behind that is cut off by setting a
length, nothing is copied. Where the entry belongs to someone else, another session or another text
after the same context files, the shared beginning is copied instead, so that both keep theirs.
Where room runs out, rows are cut into blocks before one is dropped, the least recently used first:
their empty slots are spared, and what several have in common is there once (`kept_blocks.py`). To
go on from such a row is a copy, too.

One PrefixCache belongs to one set of weights: models and adapters are apart by that. Requests of
different namespaces never see each other's entries.

Differs: a radix tree of blocks commonly holds all rows, and attention reads through it; here a row
in use is one array, which attention reads in place (docs/decisions/0007).
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import jax
import numpy as np

from codegemma.generate import programs
from codegemma.generate.kept_blocks import Blocks, Chain, join
from codegemma.model.cache import KVCache

MIN_SHARED: Final = 16
"""Fewer tokens in common are read anew rather than copied."""


class Owner(NamedTuple):
    """Whose an entry is.

    Args:
        namespace: Whoever may see it; None is a namespace like any other.
        session: The editor buffer it came from; None when not told.
    """

    namespace: str | None = None
    session: str | None = None


NOBODY: Final = Owner()
"""The owner of a request that names neither."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a request starts from: a cache of one row, and how many of its tokens are the prompt's.

    Args:
        cache: Its length is `num_tokens`.
        num_tokens: Tokens of the prompt that need not be read, at least one fewer than it has.
    """

    cache: KVCache
    num_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    tokens: np.ndarray
    row: KVCache | Chain
    num_slots: int
    owner: Owner

    @property
    def size_bytes(self) -> int:
        """Bytes of a whole row; what blocks take is counted where they are shared."""
        return self.row.k.nbytes + self.row.v.nbytes if isinstance(self.row, KVCache) else 0


class PrefixCache:
    """Rows kept from request to request, the least recently used dropped first. Thread-safe.

    Args:
        max_bytes: Most bytes of keys and values; 0 keeps nothing.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._blocks = Blocks()
        self._next = 0
        self._lock = threading.Lock()

    @property
    def num_entries(self) -> int:
        """Rows kept."""
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Bytes of their keys and values."""
        with self._lock:
            return self._size_bytes()

    def _size_bytes(self) -> int:
        return self._blocks.size_bytes + sum(one.size_bytes for one in self._entries.values())

    def take(
        self, tokens: Sequence[int], owner: Owner, *, num_slots: int | None = None
    ) -> Kept | None:
        """Find the row that shares the longest beginning with a prompt; None when none does.

        The row is the caller's: an entry of its own is taken out, another's is copied.

        Args:
            tokens: The prompt's ids.
            owner: Whose request it is.
            num_slots: Room that the row is to have, if it is put together from blocks anyway; None
                is what it had.
        """
        with self._lock:
            key, num_tokens = self._find(tokens, owner)
            if key is None:
                return None
            entry = self._entries[key]
            is_own = entry.owner.session == owner.session and (
                owner.session is not None or 2 * num_tokens >= len(entry.tokens)
            )
            if is_own:
                self._drop(key)
            else:
                self._entries.move_to_end(key)
        row = entry.row
        if not isinstance(row, KVCache):
            cache = join(row, num_tokens=num_tokens, num_slots=num_slots or entry.num_slots)
            return Kept(cache=cache, num_tokens=num_tokens)
        cache = row if is_own else programs.gather_rows(row, np.zeros(1, np.int32))
        length = jax.device_put(np.full(1, num_tokens, np.int32))
        return Kept(cache=cache._replace(length=length), num_tokens=num_tokens)

    def num_shared(self, tokens: Sequence[int], owner: Owner) -> int:
        """Say with how many tokens `take` would begin; 0 where it finds nothing."""
        with self._lock:
            return self._find(tokens, owner)[1]

    def _find(self, tokens: Sequence[int], owner: Owner) -> tuple[int | None, int]:
        """Give the row that shares the longest beginning with a prompt, and how long that is."""
        prompt = np.asarray(tokens, np.int32)
        shared = {
            key: _common_length(entry.tokens, prompt[:-1])
            for key, entry in self._entries.items()
            if entry.owner.namespace == owner.namespace
        }
        # Of equals the last used, which stands last.
        key = max(reversed(shared), key=shared.__getitem__, default=None)
        if key is None or shared[key] < MIN_SHARED:
            return None, 0
        return key, shared[key]

    def put(
        self,
        tokens: Sequence[int],
        cache: KVCache,
        owner: Owner,
        *,
        row: int = 0,
        num_slots: int | None = None,
    ) -> None:
        """Keep a row; an older one that is a beginning of it and has the same owner goes.

        A row whose filled slots alone are more than may be kept is left out.

        Args:
            tokens: The ids that its first slots hold.
            cache: Of one row, which is no longer the caller's; or of several, which stays so.
            owner: Whose it is.
            row: Which of several rows to copy.
            num_slots: How many slots of that one to copy; None is all.
        """
        num_rows = cache.length.shape[0]
        is_alone = num_rows == 1
        if is_alone or num_slots is None or num_slots > cache.num_slots:
            num_slots = cache.num_slots
        filled_bytes = (cache.k.nbytes + cache.v.nbytes) * len(tokens)
        filled_bytes //= num_rows * cache.num_slots
        if filled_bytes > self.max_bytes or len(tokens) < MIN_SHARED:
            return
        entry = _Entry(
            tokens=np.asarray(tokens, np.int32),
            row=cache if is_alone else programs.take_row(cache, row, num_slots=num_slots),
            num_slots=num_slots,
            owner=owner,
        )
        with self._lock:
            for key, old in list(self._entries.items()):
                is_within = len(old.tokens) == _common_length(old.tokens, entry.tokens)
                if old.owner == owner and is_within:
                    self._drop(key)
            self._entries[self._next] = entry
            if entry.size_bytes > self.max_bytes:
                self._cut(self._next)  # alone, it would have all others cut, too
            self._next += 1
            self._make_room()

    def _make_room(self) -> None:
        """Cut rows, and drop rows where all are cut, until what is kept is within its bounds."""
        while self._size_bytes() > self.max_bytes:
            whole = (key for key, one in self._entries.items() if isinstance(one.row, KVCache))
            key = next(whole, None)
            if key is None:
                self._drop(next(iter(self._entries)))
            else:
                self._cut(key)

    def _cut(self, key: int) -> None:
        """Turn a whole row into blocks; its place in line stays."""
        entry = self._entries[key]
        assert isinstance(entry.row, KVCache)
        chain = self._blocks.cut(entry.tokens, entry.row, namespace=entry.owner.namespace)
        self._entries[key] = replace(entry, row=chain)

    def _drop(self, key: int) -> None:
        entry = self._entries.pop(key)
        if not isinstance(entry.row, KVCache):
            self._blocks.drop(entry.row)


def _common_length(one: np.ndarray, other: np.ndarray) -> int:
    """Count the tokens at which two sequences begin alike."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length
