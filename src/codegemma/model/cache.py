# SPDX-License-Identifier: Apache-2.0
"""The keys and values of tokens already read, in arrays allocated once.

Row b holds its tokens in slots 0 to `length[b] - 1`; rows may have different lengths. What later
slots hold is never read. The slots of a head lie side by side, as attention reads them.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from codegemma.model.config import ModelConfig

BFLOAT16_BITS: Final = np.dtype(np.uint16)
"""Dtype of a cache that holds the bits of bfloat16 numbers.

XLA on a CPU has no update of bfloat16 in place: it converts the whole cache to float32 and back at
every step, in every layer.
"""


class KVCache(NamedTuple):
    """Keys and values of every layer, and how many tokens each row holds."""

    k: Shaped[Array, "L B K S H"]
    v: Shaped[Array, "L B K S H"]
    length: Int[Array, " B"]

    @property
    def num_slots(self) -> int:
        """Tokens that a row has room for."""
        return self.k.shape[3]


def init_cache(
    config: ModelConfig, *, batch: int, length: int, dtype: jnp.dtype | type = jnp.float32
) -> KVCache:
    """Make an empty cache of `batch` rows with room for `length` tokens each."""
    shape = (config.num_layers, batch, config.num_kv_heads, length, config.head_dim)
    return KVCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros(batch, jnp.int32))


def write(
    stored: Shaped[Array, "L B K S H"],
    new: Float[Array, "B T K H"],
    *,
    layer: int | Int[Array, ""],
    slots: Int[Array, "B T"],
) -> Shaped[Array, "L B K S H"]:
    """Put `new` into `slots` of `layer`; a slot at or beyond S is left out, never wrapped."""
    rows = jnp.arange(slots.shape[0])[:, None]
    values = new.astype(stored.dtype)
    if stored.dtype == BFLOAT16_BITS:
        values = jax.lax.bitcast_convert_type(new.astype(jnp.bfloat16), BFLOAT16_BITS)
    return stored.at[layer, rows, :, slots].set(values, mode="drop")


def to_floats(values: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Give a part of what is stored as floats."""
    is_bits = values.dtype == BFLOAT16_BITS
    return jax.lax.bitcast_convert_type(values, jnp.bfloat16) if is_bits else values


def free_slots(
    cache: KVCache, *, num_new: int, num_tokens: Int[Array, " B"]
) -> tuple[Int[Array, "B T"], Bool[Array, "B T"]]:
    """Slots of the next `num_new` tokens of each row, and which of them hold a token."""
    steps = jnp.arange(num_new, dtype=jnp.int32)[None, :]
    return cache.length[:, None] + steps, steps < num_tokens[:, None]
