# SPDX-License-Identifier: Apache-2.0
"""The compiled programs of generation: read a prompt, draw tokens in a loop, score given ones.

There are few of them and they are small, since each is compiled when it is first met: one per
prompt piece length, cache length and number of rows (all from short lists, see `engine.py`), with
greedy drawing and the reporting of alternatives as variants. Everything else is a traced array.

Numbers the host has to know go in and come out; what to read next, when to stop on text, and time
are the host's affair.
"""

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from codegemma.generate.sampling import (
    Allowed,
    Controls,
    draw,
    filter_probabilities,
    likeliest,
    restrict,
    token_logprobs,
)
from codegemma.model.cache import KVCache
from codegemma.model.config import ModelConfig
from codegemma.model.params import Params
from codegemma.model.transformer import forward_cached, unembed

MAX_STEPS: Final = 64
"""Most tokens one call of `decode` draws."""

MAX_STOP_IDS: Final = 8
"""Most ids that end a row."""

NO_TOKEN: Final = -1
"""Stands where no token was drawn, and fills lists of stop ids."""

_SCORED_VALUES: Final = 1 << 24

# Inside a loop XLA would move the conversion of a bfloat16 weight to float32 in front of it, and
# keep a second copy of the weight, twice as large, for as long as the loop runs.
_OPTIONS: Final = {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"}
_jit: Final = partial(
    jax.jit,
    static_argnames=("config", "dtype"),
    donate_argnames=("cache",),
    compiler_options=_OPTIONS,
)
_jit_draw: Final = partial(
    jax.jit,
    static_argnames=("config", "dtype", "num_top"),
    donate_argnames=("cache",),
    compiler_options=_OPTIONS,
)


class Drawn(NamedTuple):
    """Drawn tokens with the model's own log probabilities, and the best alternatives of each.

    Args:
        tokens: Ids; `NO_TOKEN` where nothing was drawn.
        logprobs: Log probability of each; 0 where none were asked for.
        top_tokens: Most likely ids, best first; of width 0 when they were not asked for.
        top_logprobs: Their log probabilities.
    """

    tokens: Int[Array, "B steps"]
    logprobs: Float[Array, "B steps"]
    top_tokens: Int[Array, "B steps top"]
    top_logprobs: Float[Array, "B steps top"]


@_jit_draw
def prefill(
    params: Params,
    tokens: Int[Array, "B T"],
    cache: KVCache,
    *,
    num_tokens: Int[Array, " B"],
    is_end: Bool[Array, ""],
    controls: Controls | None,
    uniforms: Float[Array, "B samples"],
    config: ModelConfig,
    dtype: Any,
    num_top: int | None,
    allowed: Allowed | None = None,
) -> tuple[Drawn, KVCache]:
    """Read a piece of each row's prompt and draw the token after it, once for each sample.

    The draw of a row means something only where the piece ends its prompt; a piece that ends none
    is spared the product with the whole vocabulary.

    Args:
        params: Weights.
        tokens: Pieces, padded on the right.
        cache: What was read before; its arrays are used up.
        num_tokens: Length of each piece, 0 for a row with nothing to read.
        is_end: Whether a row's prompt ends with its piece; else nothing is drawn.
        controls: Settings of the draw; None is greedy.
        uniforms: One number per row and sample.
        config: Sizes.
        dtype: Activation dtype.
        num_top: Alternatives to report; None spares the log probabilities, too.
        allowed: What may be drawn; None is anything.

    Returns:
        `Drawn` with a sample at each "step", and the cache.
    """
    hidden, cache = forward_cached(
        params, tokens, cache, config=config, num_tokens=num_tokens, dtype=dtype
    )
    last = jnp.maximum(num_tokens - 1, 0)[:, None, None]
    hidden = jnp.take_along_axis(hidden, last, axis=1)[:, 0]
    drawn = jax.lax.cond(
        is_end,
        lambda: _draw(unembed(params, hidden), controls, uniforms, allowed, num_top=num_top),
        lambda: _nothing(*uniforms.shape, num_top=num_top),
    )
    return drawn, cache


@_jit_draw
def decode(
    params: Params,
    token: Int[Array, " B"],
    cache: KVCache,
    *,
    num_steps: Int[Array, " B"],
    stop_ids: Int[Array, "B stops"],
    controls: Controls | None,
    uniforms: Float[Array, "B steps"],
    config: ModelConfig,
    dtype: Any,
    num_top: int | None,
    allowed: Allowed | None = None,
) -> tuple[Drawn, KVCache]:
    """Draw tokens of each row until it has drawn as many as it may, or one of its stop ids.

    Args:
        params: Weights.
        token: The last drawn token of each row, which the cache does not hold yet.
        cache: What was read before; its arrays are used up.
        num_steps: Most tokens of each row, for which its cache has room; 0 for one that draws
            nothing.
        stop_ids: Ids that end a row, filled up with `NO_TOKEN`.
        controls: Settings of the draw; None is greedy.
        uniforms: One number per row and step; their width is the most steps there can be.
        config: Sizes.
        dtype: Activation dtype.
        num_top: Alternatives to report; None spares the log probabilities, too.
        allowed: What the first token drawn may be; None is anything.
    """
    num_rows, max_steps = uniforms.shape

    def is_going(state: tuple[Any, ...]) -> Bool[Array, ""]:
        _, _, is_done, _, _ = state
        return ~jnp.all(is_done)

    def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
        step, token, is_done, drawn, cache = state
        hidden, cache = forward_cached(
            params,
            token[:, None],
            cache,
            config=config,
            num_tokens=jnp.where(is_done, 0, 1),
            dtype=dtype,
        )
        uniform = jax.lax.dynamic_slice_in_dim(uniforms, step, 1, axis=1)
        logits = unembed(params, hidden[:, 0])
        new = _draw(logits, controls, uniform, allowed, num_top=num_top, is_first=step == 0)
        new = new._replace(tokens=jnp.where(is_done[:, None], NO_TOKEN, new.tokens))
        drawn = jax.tree.map(
            lambda kept, part: jax.lax.dynamic_update_slice_in_dim(kept, part, step, axis=1),
            drawn,
            new,
        )
        token = jnp.where(is_done, token, new.tokens[:, 0])
        is_done |= jnp.any(token[:, None] == stop_ids, axis=1)
        is_done |= step + 1 >= num_steps
        return step + 1, token, is_done, drawn, cache

    drawn = _nothing(num_rows, max_steps, num_top=num_top)
    start = (jnp.zeros((), jnp.int32), token, num_steps <= 0, drawn, cache)
    *_, drawn, cache = jax.lax.while_loop(is_going, advance, start)
    return drawn, cache


@_jit_draw
def verify(
    params: Params,
    tokens: Int[Array, "B T"],
    cache: KVCache,
    *,
    num_tokens: Int[Array, " B"],
    controls: Controls | None,
    uniforms: Float[Array, "B T"],
    config: ModelConfig,
    dtype: Any,
    num_top: int | None,
) -> tuple[Drawn, KVCache]:
    """Read guessed tokens and draw the token after each of them, all in one pass.

    Where the guesses are what is drawn, this is what `decode` draws one by one with the same
    uniform numbers; what follows the first other token means nothing, and the caller sets the
    cache's length back to it.

    Args:
        params: Weights.
        tokens: The last drawn token of each row, which the cache does not hold yet, and guesses
            of those after it, padded on the right.
        cache: What was read before; its arrays are used up.
        num_tokens: How many of each row's tokens count.
        controls: Settings of the draw; None is greedy.
        uniforms: One number per row and place.
        config: Sizes.
        dtype: Activation dtype.
        num_top: Alternatives to report; None spares the log probabilities, too.
    """
    num_rows, num_places = tokens.shape
    hidden, cache = forward_cached(
        params, tokens, cache, config=config, num_tokens=num_tokens, dtype=dtype
    )
    logits = unembed(params, hidden).reshape(num_rows * num_places, -1)
    spread = jax.tree.map(lambda setting: jnp.repeat(setting, num_places), controls)
    drawn = _draw(logits, spread, uniforms.reshape(-1, 1), num_top=num_top)
    return jax.tree.map(lambda part: part.reshape(*tokens.shape, *part.shape[2:]), drawn), cache


@jax.jit
def gather_rows(cache: KVCache, rows: Int[Array, " rows"]) -> KVCache:
    """Give the cache rows at the indices `rows`; a row may be taken any number of times."""
    return KVCache(
        jnp.take(cache.k, rows, axis=1, mode="clip"),
        jnp.take(cache.v, rows, axis=1, mode="clip"),
        jnp.take(cache.length, rows, mode="clip"),
    )


@partial(jax.jit, donate_argnames=("cache",))
def put_row(
    cache: KVCache, other: KVCache, *, source: Int[Array, ""], place: Int[Array, ""]
) -> KVCache:
    """Put row `source` of another cache, which has no more slots, in the place of a row."""

    def put(kept: Array, part: Array) -> Array:
        row = jax.lax.dynamic_slice_in_dim(part, source, 1, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(kept, row, place, axis=1)

    length = cache.length.at[place].set(other.length[source])
    return KVCache(put(cache.k, other.k), put(cache.v, other.v), length)


@partial(jax.jit, static_argnames=("num_slots",))
def take_row(cache: KVCache, row: Int[Array, ""], *, num_slots: int) -> KVCache:
    """Copy the first slots of a row into a cache of its own."""

    def take(stored: Array) -> Array:
        sizes = (stored.shape[0], 1, stored.shape[2], num_slots, stored.shape[4])
        return jax.lax.dynamic_slice(stored, (0, row, 0, 0, 0), sizes)

    return KVCache(take(cache.k), take(cache.v), cache.length[row][None])


@partial(jax.jit, static_argnames=("num_slots",))
def grow(cache: KVCache, *, num_slots: int) -> KVCache:
    """Give a cache more slots; what it holds stays where it is."""
    more = ((0, 0), (0, 0), (0, 0), (0, num_slots - cache.num_slots), (0, 0))
    return cache._replace(k=jnp.pad(cache.k, more), v=jnp.pad(cache.v, more))


@_jit
def score(
    params: Params,
    tokens: Int[Array, "B T"],
    cache: KVCache,
    *,
    targets: Int[Array, "B T N"],
    num_tokens: Int[Array, " B"],
    config: ModelConfig,
    dtype: Any,
) -> tuple[Float[Array, "B T N"], Bool[Array, "B T N"], KVCache]:
    """Read a piece of each row and give the log probability of tokens after each position.

    Args:
        params: Weights.
        tokens: Pieces, padded on the right.
        cache: What was read before; its arrays are used up.
        targets: Ids that may follow at each position.
        num_tokens: Length of each piece.
        config: Sizes.
        dtype: Activation dtype.

    Returns:
        Log probability of each target, whether it is the most likely token, and the cache.
    """
    hidden, cache = forward_cached(
        params, tokens, cache, config=config, num_tokens=num_tokens, dtype=dtype
    )
    num_rows, num_positions, width = hidden.shape
    # A block of positions at a time: 256,000 logits each for all of them would be gigabytes.
    block = num_rows * num_positions
    while block > 2 and block * config.vocab_size > _SCORED_VALUES and block % 2 == 0:
        block //= 2

    def score_block(part: tuple[Array, Array]) -> tuple[Array, Array]:
        hidden, targets = part
        logits = unembed(params, hidden)
        logprobs = jax.nn.log_softmax(logits, axis=-1)
        best = jnp.argmax(logits, axis=-1)
        return jnp.take_along_axis(logprobs, targets, axis=-1), best[:, None] == targets

    parts = hidden.reshape(-1, block, width), targets.reshape(-1, block, targets.shape[-1])
    logprobs, is_best = jax.lax.map(score_block, parts)
    return logprobs.reshape(targets.shape), is_best.reshape(targets.shape), cache


@_jit
def read_logits(
    params: Params,
    tokens: Int[Array, "B T"],
    cache: KVCache,
    *,
    num_tokens: Int[Array, " B"],
    config: ModelConfig,
    dtype: Any,
) -> tuple[Float[Array, "B T V"], KVCache]:
    """Read a piece of each row and give the logits at each position."""
    hidden, cache = forward_cached(
        params, tokens, cache, config=config, num_tokens=num_tokens, dtype=dtype
    )
    return unembed(params, hidden), cache


def _nothing(num_rows: int, num_steps: int, *, num_top: int | None) -> Drawn:
    """Give the room for what is to be drawn, empty."""
    num_top = num_top or 0
    return Drawn(
        tokens=jnp.full((num_rows, num_steps), NO_TOKEN, jnp.int32),
        logprobs=jnp.zeros((num_rows, num_steps), jnp.float32),
        top_tokens=jnp.zeros((num_rows, num_steps, num_top), jnp.int32),
        top_logprobs=jnp.zeros((num_rows, num_steps, num_top), jnp.float32),
    )


def _draw(
    logits: Float[Array, "B V"],
    controls: Controls | None,
    uniforms: Float[Array, "B samples"],
    allowed: Allowed | None = None,
    *,
    num_top: int | None,
    is_first: Bool[Array, ""] | bool = True,
) -> Drawn:
    """Draw a token a row and sample; the samples take the place of the steps.

    What may not be drawn counts in the log probabilities, which are the model's own.
    """
    shape = uniforms.shape
    possible = logits if allowed is None else restrict(logits, allowed, is_on=is_first)
    if controls is None:
        tokens = jnp.broadcast_to(likeliest(possible)[:, None], shape)
    else:
        tokens = draw(filter_probabilities(possible, controls), uniforms)
    if num_top is None:
        return _nothing(*shape, num_top=None)._replace(tokens=tokens)
    logprobs, normaliser = token_logprobs(logits, tokens)
    top, top_tokens = jax.lax.top_k(logits, num_top)
    return Drawn(
        tokens=tokens,
        logprobs=logprobs,
        top_tokens=jnp.broadcast_to(top_tokens[:, None].astype(jnp.int32), (*shape, num_top)),
        top_logprobs=jnp.broadcast_to((top - normaliser)[:, None], (*shape, num_top)),
    )
