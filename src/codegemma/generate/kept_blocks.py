# SPDX-License-Identifier: Apache-2.0
"""Rows of keys and values cut into blocks, of which those of one beginning are there once.

Keys and values of a token depend on all tokens before it. So a block is known by its own tokens,
the block before it and the namespace: a radix tree, in which rows that begin with the same context
files share what holds them. Only filled slots are kept. Blocks lie in the host's memory, whatever
the device is, so cutting and joining are plain copies, and compile nothing.

Not thread-safe, but for `join`; when to cut a row, and which to drop, is `prefix_cache.py`'s part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import jax
import numpy as np

from codegemma.model.cache import KVCache

BLOCK: Final = 128
"""Most tokens of a block: two rows share what they have in common in whole ones."""


@dataclass(eq=False, kw_only=True, slots=True)
class Block:
    """Keys and values of a few tokens, [layers, heads, tokens, width]; two are never equal.

    Args:
        key: What it is known by: namespace, the block before it, and its tokens' bytes.
        k: Keys.
        v: Values.
        num_rows: Rows that hold it.
    """

    key: "Key"
    k: np.ndarray
    v: np.ndarray
    num_rows: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of its keys and values."""
        return self.k.nbytes + self.v.nbytes


Key = tuple[str | None, Block | None, bytes]
Chain = tuple[Block, ...]
"""The blocks of a row, in order."""


class Blocks:
    """The blocks of all rows that are cut.

    Attributes:
        size_bytes: Bytes of their keys and values, those of a shared block counted once.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._known: dict[Key, Block] = {}

    def cut(self, tokens: np.ndarray, cache: KVCache, *, namespace: str | None) -> Chain:
        """Copy what a row holds to blocks, but for those that are there already.

        Args:
            tokens: The ids that its first slots hold, at least one.
            cache: Of one row.
            namespace: Rows of others share nothing with it.
        """
        k, v = np.asarray(cache.k)[:, 0], np.asarray(cache.v)[:, 0]
        chain: list[Block] = []
        for start, end in pairwise([*range(0, len(tokens), BLOCK), len(tokens)]):
            key = (namespace, chain[-1] if chain else None, tokens[start:end].tobytes())
            block = self._known.get(key)
            if block is None:
                block = Block(key=key, k=k[:, :, start:end].copy(), v=v[:, :, start:end].copy())
                self._known[key] = block
                self.size_bytes += block.size_bytes
            block.num_rows += 1
            chain.append(block)
        return tuple(chain)

    def drop(self, chain: Chain) -> None:
        """Give up a row; blocks that no other one holds go."""
        for block in chain:
            block.num_rows -= 1
            if not block.num_rows:
                del self._known[block.key]
                self.size_bytes -= block.size_bytes


def join(chain: Chain, *, num_tokens: int, num_slots: int) -> KVCache:
    """Copy the beginning of a row that was cut to a cache of its own.

    Args:
        chain: The row, which may have been dropped meanwhile.
        num_tokens: How many of its tokens to copy.
        num_slots: How many the cache is to have room for, at least as many.
    """
    k = _join([block.k for block in chain], num_tokens=num_tokens, num_slots=num_slots)
    v = _join([block.v for block in chain], num_tokens=num_tokens, num_slots=num_slots)
    return KVCache(k, v, jax.device_put(np.full(1, num_tokens, np.int32)))


def _join(parts: Sequence[np.ndarray], *, num_tokens: int, num_slots: int) -> jax.Array:
    num_layers, num_heads, _, width = parts[0].shape
    # Zeros: a slot that is never read is still multiplied, by a weight of 0.
    joined = np.zeros((num_layers, 1, num_heads, num_slots, width), parts[0].dtype)
    start = 0
    for part in parts:
        end = min(start + part.shape[2], num_tokens)
        if start < end:
            joined[:, 0, :, start:end] = part[:, :, : end - start]
        start += part.shape[2]
    return jax.device_put(joined)
