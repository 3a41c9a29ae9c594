# SPDX-License-Identifier: Apache-2.0
"""A model as generation runs it: weights on the device, and the caches that belong to them."""

import threading
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from codegemma.generate import programs
from codegemma.generate.lengths import cache_length
from codegemma.model.cache import KVCache
from codegemma.model.config import ModelConfig
from codegemma.model.params import Params


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

    def grown(self, cache: KVCache, *, num_slots: int) -> KVCache:
        """Give a cache with room for `num_slots` tokens a row, which may be the same one."""
        if cache.num_slots >= num_slots:
            return cache
        with self.lock:
            return programs.grow(cache, num_slots=num_slots)


def row_bytes(config: ModelConfig, *, num_slots: int, itemsize: int) -> int:
    """Bytes of the keys and values of one row."""
    num_values = config.num_layers * num_slots * config.num_kv_heads * config.head_dim
    return 2 * num_values * itemsize


def cache_shape(config: ModelConfig, *, num_rows: int, num_slots: int) -> tuple[int, ...]:
    """Give the shape of a cache's keys, which is that of its values."""
    return (config.num_layers, num_rows, config.num_kv_heads, num_slots, config.head_dim)


def empty_cache(weights: Weights, *, num_rows: int, num_tokens: int) -> KVCache:
    """Make a cache with room for `num_tokens` in each row, its length from a short list."""
    length = cache_length(num_tokens, context_length=weights.config.context_length)
    shape = cache_shape(weights.config, num_rows=num_rows, num_slots=length)
    # From numpy: an array made by jax would be one more program to compile.
    zeros = np.zeros(shape, weights.cache_dtype)
    return KVCache(
        jax.device_put(zeros), jax.device_put(zeros), jax.device_put(np.zeros(num_rows, np.int32))
    )
