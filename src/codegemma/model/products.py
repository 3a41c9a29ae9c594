# SPDX-License-Identifier: Apache-2.0
"""Products of two matrices with sums in float32, in the forms that XLA runs fast on a CPU.

Everything that multiplies matrices in training goes through `sum_products`; which form is taken
changes no result beyond the order of sums.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_FLOAT32 = jnp.float32


def sum_products(
    left: Float[Array, "..."], right: Float[Array, "..."], *, axes: tuple[int, int]
) -> Float[Array, "rows columns"]:
    """Multiply two matrices over one axis of each; sums and result are float32.

    Args:
        left: First factor, 2-D.
        right: Second factor, 2-D, of the same dtype.
        axes: The axis of each that is summed over.

    Returns:
        The kept axis of `left` by the kept axis of `right`.

    Example: `axes=(1, 0)` is `left @ right`, `axes=(0, 0)` is `left.T @ right`.
    """
    if axes == (0, 0) and left.dtype == jnp.bfloat16:
        return jax.lax.platform_dependent(left, right, cpu=_transposed_first, default=_over_rows)
    is_lone_row = left.shape[1 - axes[0]] == 1 and left.dtype != _FLOAT32
    if is_lone_row:
        # XLA multiplies a lone bfloat16 row on a CPU 2.4 times slower than two of them.
        left = jnp.concatenate([left, left], axis=1 - axes[0])
    sums = _dot(left, right, axes)
    return sums[:1] if is_lone_row else sums


def _transposed_first(left: Array, right: Array) -> Array:
    """Form `left.T @ right` by way of the transpose of the narrower factor.

    XLA multiplies bfloat16 over the first axes of both four times slower than rows by columns
    (4,096 x 256 by 4,096 x 768, two cores with AMX: 8 ms and 2 ms), and folds a plain transpose
    back into that form, or into one that it does not have. A product with the identity is a
    transpose too, exact, and stays one; so does a transpose of three axes.
    """
    num_left, num_right = left.shape[1], right.shape[1]
    if num_left <= num_right:
        return _dot(_turn(left), right, (1, 0))
    if num_left % 2:
        return _over_rows(left, right)
    turned = _dot(_turn(right), left, (1, 0)).reshape(num_right, 2, num_left // 2)
    return turned.transpose(1, 2, 0).reshape(num_left, num_right)


def _turn(matrix: Array) -> Array:
    identity = jnp.eye(matrix.shape[1], dtype=matrix.dtype)
    return _dot(identity, matrix, (1, 1)).astype(matrix.dtype)


def _over_rows(left: Array, right: Array) -> Array:
    return _dot(left, right, (0, 0))


def _dot(left: Array, right: Array, axes: tuple[int, int]) -> Array:
    dims = (((axes[0],), (axes[1],)), ((), ()))
    return jax.lax.dot_general(left, right, dims, preferred_element_type=_FLOAT32)
