# SPDX-License-Identifier: Apache-2.0
"""The small pieces of a Gemma block: weight products, norm, rotary positions, feed-forward.

Every product with a weight goes through `project_each`, `embed` or `unembed`, so that another form
of weight (quantised, or with an adapter beside it) has three places to be known in, and no more.

Source: gemma_pytorch's reference implementation; where its order of rounding matters it is kept.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from codegemma.kernels.product import AnyQuantised, multiply, take_rows
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight
from codegemma.model.products import sum_products

DType = jnp.dtype | type
_FLOAT32 = jnp.float32


def project(
    x: Float[Array, "..."], weight: Float[Array, "..."] | AnyQuantised, *, num_dims: int = 1
) -> Array:
    """Multiply the last `num_dims` axes of `x` with the first axes of `weight`.

    The work is one 2-D product: batch and time are one axis to it, which a CPU runs faster than
    the batched form. Factors have the dtype of `x`, sums are float32, the result has the dtype of
    `x`. The gradient of `weight` is summed in float32 and rounded to its own dtype only.

    Example: `[B T N H] x [N H D] -> [B T D]` with `num_dims=2`.
    """
    return project_each(x, [weight], num_dims=num_dims)[0]


def project_each(
    x: Float[Array, "..."],
    weights: Sequence[Float[Array, "..."] | AnyQuantised],
    *,
    num_dims: int = 1,
) -> list[Array]:
    """Multiply with several weights of the same inputs, as `project` does with one.

    Quantised ones share the rounding of `x` and one call of the kernel; they have no gradient.
    """
    quantised = [w for w in weights if isinstance(w, QuantisedWeight | ChannelWeight)]
    if not quantised:
        return [_project(x, weight, num_dims=num_dims) for weight in weights]
    rows = x.reshape(-1, math.prod(quantised[0].shape[:num_dims]))
    batch_shape = x.shape[: x.ndim - num_dims]
    return [
        product.astype(x.dtype).reshape(*batch_shape, *weight.shape[num_dims:])
        for product, weight in zip(
            multiply(rows, quantised, num_dims=num_dims), quantised, strict=True
        )
    ]


def _project(x: Array, weight: Any, *, num_dims: int) -> Array:
    batch_shape, out_shape = x.shape[: x.ndim - num_dims], weight.shape[num_dims:]
    inputs = math.prod(weight.shape[:num_dims])
    product = _product(x.reshape(-1, inputs), weight.reshape(inputs, -1))
    return product.reshape(*batch_shape, *out_shape)


@jax.custom_vjp
def _product(x: Float[Array, "rows inputs"], weight: Float[Array, "inputs outputs"]) -> Array:
    return sum_products(x, weight.astype(x.dtype), axes=(1, 0)).astype(x.dtype)


def _product_forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(x, weight), (x, weight)


def _product_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    # By hand, because autodiff would multiply float32 with bfloat16, at the speed of float32.
    x, weight = saved
    grad_x = sum_products(grad, weight.astype(grad.dtype), axes=(1, 1))
    grad_weight = sum_products(x, grad, axes=(0, 0))
    return grad_x.astype(x.dtype), grad_weight.astype(weight.dtype)


_product.defvjp(_product_forward, _product_backward)


def embed(
    table: Float[Array, "V D"] | AnyQuantised, tokens: Int[Array, "B T"], *, dtype: DType
) -> Float[Array, "B T D"]:
    """Look tokens up and multiply by the square root of the width.

    The factor is rounded to `dtype` first (45.25 for the 2B in bfloat16, not 45.2548), as in the
    released models' training.
    """
    if isinstance(table, QuantisedWeight | ChannelWeight):
        scale = jnp.asarray(math.sqrt(table.shape[0]), dtype)
        return take_rows(table, tokens).astype(dtype) * scale
    scale = jnp.asarray(math.sqrt(table.shape[1]), dtype)
    return table[tokens].astype(dtype) * scale


def unembed(
    table: Float[Array, "V D"] | AnyQuantised, hidden: Float[Array, "... D"]
) -> Float[Array, "... V"]:
    """Logits in float32: products with the rows of the unscaled embedding table."""
    if isinstance(table, QuantisedWeight | ChannelWeight):
        [logits] = multiply(hidden.reshape(-1, hidden.shape[-1]), [table])
        return logits.reshape(*hidden.shape[:-1], -1)
    rows = hidden.reshape(-1, table.shape[1])
    logits = sum_products(rows, table.astype(hidden.dtype), axes=(1, 1))
    return logits.reshape(*hidden.shape[:-1], table.shape[0])


def rms_norm(
    x: Float[Array, "B T D"], scale: Float[Array, " D"], *, eps: float
) -> Float[Array, "B T D"]:
    """Divide by the root mean square, multiply by `1 + scale`, in float32, then cast back."""
    wide = x.astype(_FLOAT32)
    normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return (normed * (1.0 + scale.astype(_FLOAT32)[None, None, :])).astype(x.dtype)


def rotary_angles(
    positions: Int[Array, "B T"], *, head_dim: int, theta: float
) -> tuple[Float[Array, "B T half"], Float[Array, "B T half"]]:
    """Cosine and sine of each position's angle at each of the `head_dim / 2` frequencies."""
    timescale = theta ** (np.arange(0, head_dim, 2) / head_dim)
    angles = positions[..., None].astype(_FLOAT32) / jnp.asarray(timescale, _FLOAT32)[None, None, :]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "B T heads H"],
    angles: tuple[Float[Array, "B T half"], Float[Array, "B T half"]],
) -> Float[Array, "B T heads H"]:
    """Rotate value i and value i + H/2 of every head by their position's angle, in float32."""
    cos, sin = (angle[:, :, None, :] for angle in angles)
    first, second = jnp.split(x.astype(_FLOAT32), 2, axis=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def feed_forward(x: Float[Array, "B T D"], layer: dict[str, Any]) -> Float[Array, "B T D"]:
    """GeGLU: `down(gelu(gate(x)) * up(x))`, GELU in its tanh form whatever a file may call it."""
    # In float32: a CPU would round to bfloat16 and back between all the steps of a GELU.
    products = project_each(x, [layer["gate"], layer["up"]])
    gate, up = (product.astype(_FLOAT32) for product in products)
    return project((jax.nn.gelu(gate, approximate=True) * up).astype(x.dtype), layer["down"])
