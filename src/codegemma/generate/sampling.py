# SPDX-License-Identifier: Apache-2.0
"""How a token is drawn from logits: temperature, top-k, top-p, min-p, one uniform number a token.

Pure functions that run inside the jitted decode loop. Every setting is a traced array with one
entry per row, so that one compiled program serves every request. The uniform numbers come from
numpy on the host: a row's draw depends on its seed and its index among the n samples alone, never
on the rows beside it.

Every filter keeps the tokens above some probability, so the largest such threshold is found by
bisection over the bits of a float. That is exact, needs no sort of 256,000 entries, and compiles
in a fraction of a sort's time.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from codegemma.completion import Sampling

MAX_SHORTER = 64
"""Most tokens of `Allowed` that are listed one by one."""

_ONE_BITS = 0x3F800000
_EXCLUDED = -1e30
_BLOCK = 512


class Controls(NamedTuple):
    """Settings of the draw, one entry per row.

    Args:
        temperature: Divisor of the logits, above 0.
        top_k: Tokens kept; 0 keeps all.
        top_p: Probability mass kept, in (0, 1]; 1 keeps all.
        min_p: Least probability kept, as a fraction of the best token's; 0 keeps all.
    """

    temperature: Float[Array, " B"]
    top_k: Int[Array, " B"]
    top_p: Float[Array, " B"]
    min_p: Float[Array, " B"]


class Allowed(NamedTuple):
    """Which tokens may be drawn, one entry per row; see `text/healing.py`.

    Args:
        rank: Place of each token in the order of bytes, -1 for those that stand for no text.
        low: First place of the tokens that may be drawn; -1 where all may.
        high: Place after the last of them.
        shorter: Ids of further ones, filled up with the vocabulary's size.
    """

    rank: Int[Array, " V"]
    low: Int[Array, " B"]
    high: Int[Array, " B"]
    shorter: Int[Array, "B shorter"]


def restrict(
    logits: Float[Array, "B V"], allowed: Allowed, *, is_on: Bool[Array, ""] | bool = True
) -> Float[Array, "B V"]:
    """Put the logits of tokens that may not be drawn out of reach, where a row says which.

    Args:
        logits: Finite, float32.
        allowed: One entry per row.
        is_on: Whether it holds at all.
    """

    def exclude() -> Float[Array, "B V"]:
        rank, low, high = allowed.rank[None, :], allowed.low[:, None], allowed.high[:, None]
        is_allowed = (low < 0) | ((rank >= low) & (rank < high))
        rows = jnp.arange(logits.shape[0])[:, None]
        is_allowed = is_allowed.at[rows, allowed.shorter].set(True, mode="drop")
        return jnp.where(is_allowed, logits, _EXCLUDED)

    return jax.lax.cond(is_on & jnp.any(allowed.low >= 0), exclude, lambda: logits)


def controls_of(samplings: Sequence[Sampling | None]) -> Controls | None:
    """Give the settings of rows that may be asked for differently; None where all are greedy.

    Beside others, a greedy row draws from the likeliest token alone.

    Args:
        samplings: One entry per row; what a row without any draws is of no account.
    """
    if not any(sampling and sampling.temperature for sampling in samplings):
        return None
    greedy = Sampling(top_k=1)
    rows = [sampling if sampling and sampling.temperature else greedy for sampling in samplings]

    def spread(values: Sequence[float | int], dtype: type) -> Array:
        return jax.device_put(np.array(values, dtype))

    return Controls(
        temperature=spread([row.temperature or 1.0 for row in rows], np.float32),
        top_k=spread([row.top_k or 0 for row in rows], np.int32),
        top_p=spread([1.0 if row.top_p is None else row.top_p for row in rows], np.float32),
        min_p=spread([row.min_p or 0.0 for row in rows], np.float32),
    )


def draw_uniforms(seed: int, *, index: int, count: int) -> np.ndarray:
    """Give the `count` uniform numbers in [0, 1) of sample `index`, float32.

    Args:
        seed: Any integer; negative ones are taken modulo 2**64.
        index: Which of the n samples of a prompt.
        count: Most tokens the row may draw.
    """
    words = (seed % 2**64, index)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
    return rng.random(count, dtype=np.float32)


def filter_probabilities(logits: Float[Array, "B V"], controls: Controls) -> Float[Array, "B V"]:
    """Give the probabilities of the tokens that the settings keep, 0 for all others.

    Order: temperature, then top-k, then top-p over what top-k left, then min-p. Tokens that tie
    with the last kept one are kept too. The rows do not sum to 1; `draw` does not need it.

    Args:
        logits: Finite, float32.
        controls: One entry per row.
    """
    scaled = logits / controls.temperature[:, None]
    probabilities = jax.nn.softmax(scaled, axis=-1)
    k_threshold = _largest_threshold(
        lambda kept: jnp.sum(kept, axis=-1) >= controls.top_k, probabilities
    )
    k_threshold = jnp.where(controls.top_k > 0, k_threshold, 0.0)
    mass = controls.top_p * _mass(probabilities, probabilities >= k_threshold[:, None])
    p_threshold = _largest_threshold(lambda kept: _mass(probabilities, kept) >= mass, probabilities)
    p_threshold = jnp.where(controls.top_p < 1, p_threshold, 0.0)
    min_threshold = controls.min_p * jnp.max(probabilities, axis=-1)
    threshold = jnp.maximum(jnp.maximum(k_threshold, p_threshold), min_threshold)
    return jnp.where(probabilities >= threshold[:, None], probabilities, 0.0)


def draw(
    weights: Float[Array, "B V"], uniforms: Float[Array, "B samples"]
) -> Int[Array, "B samples"]:
    """Draw tokens: the first at which the running sum of weights exceeds u times the whole sum.

    The running sum is taken over blocks first, then within one block, so that its rounding error
    stays that of a short sum. A token of weight 0 is never drawn.

    Args:
        weights: At least 0 and not all 0 in a row; they need not sum to 1.
        uniforms: In [0, 1), one for each token to draw from the row.
    """
    blocks = _blocks(weights, filled_with=0.0)
    sums = jnp.cumsum(jnp.sum(blocks, axis=-1), axis=-1)
    target = uniforms * sums[:, -1:]
    index = _first_above(sums[:, None], target)
    before = jnp.take_along_axis(sums, jnp.maximum(index - 1, 0), axis=1)
    before = jnp.where(index > 0, before, 0.0)
    block = jnp.take_along_axis(blocks, index[:, :, None], axis=1)
    return index * _BLOCK + _first_above(jnp.cumsum(block, axis=-1), target - before)


def likeliest(logits: Float[Array, "B V"]) -> Int[Array, " B"]:
    """Give the first of the tokens of the largest logit of each row.

    As `argmax` does, a tenth of whose time it takes on a CPU, which compares values alone much
    faster than values with their places.
    """
    blocks = _blocks(logits, filled_with=-jnp.inf)
    index = jnp.argmax(jnp.max(blocks, axis=-1), axis=-1)
    block = jnp.take_along_axis(blocks, index[:, None, None], axis=1)[:, 0]
    return (index * _BLOCK + jnp.argmax(block, axis=-1)).astype(jnp.int32)


def token_logprobs(
    logits: Float[Array, "B V"], tokens: Int[Array, "B samples"]
) -> tuple[Float[Array, "B samples"], Float[Array, "B 1"]]:
    """Give the log probability of tokens of each row, and the row's log normaliser.

    These are the model's own: neither temperature nor any filter touches them.
    """
    normaliser = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return jnp.take_along_axis(logits, tokens, axis=-1) - normaliser, normaliser


def _blocks(values: Float[Array, "B V"], *, filled_with: float) -> Float[Array, "B blocks block"]:
    num_rows, vocab_size = values.shape
    padding = -vocab_size % _BLOCK
    filled = jnp.pad(values, ((0, 0), (0, padding)), constant_values=filled_with)
    return filled.reshape(num_rows, -1, _BLOCK)


def _mass(probabilities: Float[Array, "B V"], kept: Bool[Array, "B V"]) -> Float[Array, " B"]:
    return jnp.sum(jnp.where(kept, probabilities, 0.0), axis=-1)


def _largest_threshold(is_enough, probabilities: Float[Array, "B V"]) -> Float[Array, " B"]:
    """Find the largest threshold t at which the tokens with probability >= t are still enough.

    Non-negative floats sort like their bits, so 31 halvings of an integer range find it exactly.
    """

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) // 2
        threshold = jax.lax.bitcast_convert_type(middle, jnp.float32)
        enough = is_enough(probabilities >= threshold[:, None])
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low = jnp.zeros(probabilities.shape[0], jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, halve, (low, jnp.full_like(low, _ONE_BITS + 1)))
    return jax.lax.bitcast_convert_type(low, jnp.float32)


def _first_above(
    sums: Float[Array, "B #samples sums"], target: Float[Array, "B samples"]
) -> Int[Array, "B samples"]:
    """Find the first entry of a running sum above the target, at most the last that still grew."""
    index = jnp.sum(sums <= target[:, :, None], axis=-1)
    last = jnp.sum(sums < sums[:, :, -1:], axis=-1)
    return jnp.minimum(index, last).astype(jnp.int32)
