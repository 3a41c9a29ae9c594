# SPDX-License-Identifier: Apache-2.0
"""Attention over a cache by the native kernels, which put new keys and values into it on the way.

Scores, softmax and sums are float32 whatever the cache holds. The cost is that of the slots the
queries see: the cache is neither copied nor converted, and what it has room for is not read. This
is for decoding and for checking a few guesses; the queries of a prompt's piece are many a key, a
matrix product, which XLA does as fast.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from codegemma.kernels import native

MAX_QUERIES: Final = 64
"""Most queries of one key head that the kernels take; measured on AVX-512, beside XLA."""

_GROUP: Final = 32  # values of a head that the kernels read at a time
_MAX_HEAD_DIM: Final = 256


class Attended(NamedTuple):
    """Outputs of attention, and the cache with the new keys and values in it."""

    out: Float[Array, "B T N H"]
    k: Shaped[Array, "L B K S H"]
    v: Shaped[Array, "L B K S H"]


def can_attend(q: Float[Array, "B T N H"], stored: Shaped[Array, "L B K S H"]) -> bool:
    """Whether the kernels are here and take so many queries and heads of this width and dtype.

    Raises:
        ConfigError: The environment names a kernel that is not there.
    """
    head_dim = stored.shape[-1]
    is_known = stored.dtype in (np.dtype(np.uint16), np.dtype(np.float32))
    num_queries = q.shape[1] * q.shape[2] // stored.shape[2]
    fits = head_dim % _GROUP == 0 and head_dim <= _MAX_HEAD_DIM and num_queries <= MAX_QUERIES
    return is_known and fits and native.choose_path() is not None and native.can_attend()


def attend(
    q: Float[Array, "B T N H"],
    new: tuple[Float[Array, "B T K H"], Float[Array, "B T K H"]],
    stored: tuple[Shaped[Array, "L B K S H"], Shaped[Array, "L B K S H"]],
    *,
    layer: int | Int[Array, ""],
    length: Int[Array, " B"],
    num_tokens: Int[Array, " B"],
) -> Attended:
    """Store new keys and values behind those a cache holds, and attend to all up to each query.

    Args:
        q: Queries, rotated and scaled.
        new: Their own keys and values, keys rotated.
        stored: Keys and values of all layers; bfloat16 as its bits, or float32.
        layer: Which layer to extend and read.
        length: Slots of each row that are filled.
        num_tokens: How many of a row's T queries count; the others are not stored, and their
            outputs are 0. `length + num_tokens` is within the slots.
    """
    path = native.choose_path()
    assert path is not None, "attention by kernels that are not there"
    call = jax.ffi.ffi_call(
        native.ATTEND,
        [jax.ShapeDtypeStruct(q.shape, jnp.float32)]
        + [jax.ShapeDtypeStruct(part.shape, part.dtype) for part in stored],
        input_output_aliases={3: 1, 4: 2},
    )
    out, k, v = call(
        *(part.astype(jnp.float32) for part in (q, *new)),
        *stored,
        *(jnp.asarray(part, jnp.int32) for part in (layer, length, num_tokens)),
        path=path,
    )
    return Attended(out.astype(q.dtype), k, v)
