# SPDX-License-Identifier: Apache-2.0
"""The Gemma transformer: tokens in, hidden states or logits out, with and without a cache.

Pure functions of (params, tokens): `forward` for training and scoring, `forward_cached` for
generation, `unembed` for logits. Weights are cast to the activation dtype where they are used;
norms, rotary angles, softmax and logits are float32. Drawing tokens is `generate`'s part.

Source: Gemma, arXiv 2403.08295, section 2; gemma_pytorch.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from codegemma.kernels.weights import QuantisedWeight
from codegemma.model import cache as kv_cache
from codegemma.model import layers
from codegemma.model.attention import attention
from codegemma.model.cache import KVCache
from codegemma.model.cached_attention import extend_cache
from codegemma.model.config import ModelConfig
from codegemma.model.params import Params

Angles = tuple[Float[Array, "B T half"], Float[Array, "B T half"]]


def forward(
    params: Params,
    tokens: Int[Array, "B T"],
    *,
    config: ModelConfig,
    positions: Int[Array, "B T"] | None = None,
    segment_ids: Int[Array, "B T"] | None = None,
    dtype: layers.DType = jnp.float32,
    unroll: bool = False,
) -> Float[Array, "B T D"]:
    """Hidden states after the final norm, ready for `unembed`.

    Args:
        params: Weights in any float dtype.
        tokens: Ids; each row is read from left to right.
        config: Sizes.
        positions: Position of each token in its segment; None counts from 0 along the row.
        segment_ids: Segment of each token of a packed row; None makes a row one segment.
        dtype: Activation dtype.
        unroll: Lay the layers out one after the other (longer to compile, faster on a CPU)
            instead of looping over them.
    """
    if positions is None:
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    angles = _angles(positions, config)

    def block(x: Array, layer: dict[str, Any]) -> tuple[Array, None]:
        q, k, v = _queries_keys_values(x, layer, angles, config)
        x = x + layers.project(attention(q, k, v, segment_ids=segment_ids), layer["o"], num_dims=2)
        return _feed_forward(x, layer, config), None

    x = layers.embed(params["embedding"], tokens, dtype=dtype)
    x, _ = jax.lax.scan(block, x, params["layers"], unroll=config.num_layers if unroll else 1)
    return layers.rms_norm(x, params["final_norm"], eps=config.norm_eps)


def unembed(params: Params, hidden: Float[Array, "... D"]) -> Float[Array, "... V"]:
    """Logits of hidden states, float32; the embedding table, unscaled, is the output layer."""
    return layers.unembed(params["embedding"], hidden)


def forward_cached(
    params: Params,
    tokens: Int[Array, "B T"],
    cache: KVCache,
    *,
    config: ModelConfig,
    num_tokens: Int[Array, " B"],
    dtype: layers.DType = jnp.float32,
    unroll: bool = False,
) -> tuple[Float[Array, "B T D"], KVCache]:
    """Read further tokens of each row, after those its cache row already holds.

    Args:
        params: Weights in any float dtype; stacked, or as `unstack_layers` gives them, which
            inside a decode loop saves a CPU a copy of every weight at every step.
        tokens: New ids, padded on the right; T = 1 is a decode step.
        cache: Keys and values so far. The caller keeps `length + num_tokens` within its slots.
        config: Sizes.
        num_tokens: How many of each row's T ids are tokens; the others are neither read nor stored.
        dtype: Activation dtype.
        unroll: As in `forward`.

    Returns:
        Hidden states (those of padding mean nothing), and the cache with the new tokens in it.
    """
    slots, _ = kv_cache.free_slots(cache, num_new=tokens.shape[1], num_tokens=num_tokens)
    angles = _angles(slots, config)

    def block(
        carry: tuple[Array, Array, Array], inputs: tuple[dict[str, Any], Array]
    ) -> tuple[tuple[Array, Array, Array], None]:
        x, all_k, all_v = carry
        layer, index = inputs
        q, k, v = _queries_keys_values(x, layer, angles, config)
        before = KVCache(all_k, all_v, cache.length)
        heads, all_k, all_v = extend_cache(q, (k, v), before, layer=index, num_tokens=num_tokens)
        x = x + layers.project(heads, layer["o"], num_dims=2)
        return (_feed_forward(x, layer, config), all_k, all_v), None

    x = layers.embed(params["embedding"], tokens, dtype=dtype)
    carry = (x, cache.k, cache.v)
    if isinstance(params["layers"], tuple):
        traced_once = jax.jit(block)
        for index, layer in enumerate(params["layers"]):
            carry, _ = traced_once(carry, (layer, jnp.asarray(index, jnp.int32)))
    else:
        # Quantised weights stay whole, the kernel takes the layer's index; others are cut.
        whole, cut = _part(params["layers"])

        def numbered(carry: tuple[Array, Array, Array], inputs: tuple[Any, Array]) -> Any:
            layer, index = inputs
            chosen = {name: weight.of_layer(index) for name, weight in whole.items()}
            return block(carry, (layer | chosen, index))

        indices = jnp.arange(config.num_layers)
        unrolled = config.num_layers if unroll else 1
        carry, _ = jax.lax.scan(numbered, carry, (cut, indices), unroll=unrolled)
    x, all_k, all_v = carry
    hidden = layers.rms_norm(x, params["final_norm"], eps=config.norm_eps)
    return hidden, KVCache(all_k, all_v, cache.length + num_tokens)


def _part(layer: dict[str, Any]) -> tuple[dict[str, QuantisedWeight], dict[str, Any]]:
    whole = {name: w for name, w in layer.items() if isinstance(w, QuantisedWeight)}
    return whole, {name: w for name, w in layer.items() if name not in whole}


def _angles(positions: Int[Array, "B T"], config: ModelConfig) -> Angles:
    return layers.rotary_angles(positions, head_dim=config.head_dim, theta=config.rope_theta)


def _queries_keys_values(
    x: Float[Array, "B T D"], layer: dict[str, Any], angles: Angles, config: ModelConfig
) -> tuple[Float[Array, "B T N H"], Float[Array, "B T K H"], Float[Array, "B T K H"]]:
    normed = layers.rms_norm(x, layer["attn_norm"], eps=config.norm_eps)
    q, k, v = layers.project_each(normed, [layer["q"], layer["k"], layer["v"]])
    return layers.rotate(q, angles) * config.head_dim**-0.5, layers.rotate(k, angles), v


def _feed_forward(
    x: Float[Array, "B T D"], layer: dict[str, Any], config: ModelConfig
) -> Float[Array, "B T D"]:
    normed = layers.rms_norm(x, layer["ffw_norm"], eps=config.norm_eps)
    return x + layers.feed_forward(normed, layer)
