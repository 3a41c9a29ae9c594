# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.model.products import sum_products

FLOATS = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
LEFT = np.array([[1, 2, 3], [4, 5, 6]])
RIGHT = np.array([[1, 0], [2, 1]])


@FLOATS
@pytest.mark.parametrize(
    ("left", "right", "axes", "expected"),
    [
        (LEFT.T, RIGHT, (1, 0), [[9, 4], [12, 5], [15, 6]]),
        (LEFT.T, RIGHT, (1, 1), [[1, 6], [2, 9], [3, 12]]),
        (LEFT, RIGHT, (0, 0), [[9, 4], [12, 5], [15, 6]]),
        (RIGHT, LEFT, (0, 0), [[9, 12, 15], [4, 5, 6]]),
        (LEFT, LEFT.T, (0, 1), [[17, 22, 27], [22, 29, 36], [27, 36, 45]]),
    ],
)
def test_the_named_axes_are_summed_over(left, right, axes, expected, dtype):
    out = jax.jit(sum_products, static_argnames="axes")(
        jnp.asarray(left, dtype), jnp.asarray(right, dtype), axes=axes
    )
    assert out.tolist() == expected
    assert out.dtype == jnp.float32


@pytest.mark.parametrize("shape", [(64, 6), (6, 64), (65, 6), (7, 5), (1, 6), (6, 1), (6, 6)])
def test_transposed_bfloat16_products_are_exact_in_any_shape(shape):
    rng = np.random.default_rng(0)  # whole numbers below 16: products and their sums are exact
    left, right = (rng.integers(-15, 16, (128, columns)) for columns in shape)
    out = jax.jit(lambda a, b: sum_products(a, b, axes=(0, 0)))(
        jnp.asarray(left, jnp.bfloat16), jnp.asarray(right, jnp.bfloat16)
    )
    np.testing.assert_array_equal(np.asarray(out), left.T @ right)


@pytest.mark.parametrize("axes", [(1, 0), (0, 0)])
def test_sums_are_float32(axes):
    # In bfloat16 a sum of ones stops at 256, as 257 is not representable.
    shapes = [(2, 300), (300, 2)] if axes == (1, 0) else [(300, 2), (300, 2)]
    left, right = (jnp.ones(shape, jnp.bfloat16) for shape in shapes)
    assert sum_products(left, right, axes=axes).tolist() == [[300, 300], [300, 300]]
