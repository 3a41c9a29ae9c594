# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.kernels.formats import dequantise, quantise, to_channels
from codegemma.kernels.product import multiply, take_rows
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight

PRODUCTS = Path(__file__).parents[1] / "golden" / "products.bin"
FORMATS = pytest.mark.parametrize("name", ["int8", "int4"])


def recorded():
    data = PRODUCTS.read_bytes()
    position = 4

    def read(dtype, *shape):
        nonlocal position
        count = int(np.prod(shape))
        values = np.frombuffer(data, dtype, count, position).reshape(shape)
        position += values.nbytes
        return values

    for _ in range(int(np.frombuffer(data, np.int32, 1)[0])):
        rows, inputs, outputs, bits = read(np.int32, 4).tolist()
        places = outputs // 16, inputs // 32
        q = read(np.int8 if bits == 8 else np.uint8, *places, 64 * bits)
        scale = read(np.float16, *places, 16)
        yield (
            QuantisedWeight(q=q, scale=scale, shape=(inputs, outputs)),
            read(np.float32, rows, inputs),
            read(np.float64, rows, outputs),
        )
    assert position == len(data)


def random_weight(rng, inputs, outputs, *, name, layers=1):
    parts = [
        quantise(rng.standard_normal((outputs, inputs)).astype(np.float32), weights=name)
        for _ in range(layers)
    ]
    weight = QuantisedWeight(
        q=jnp.asarray(np.stack([q for q, _ in parts])),
        scale=jnp.asarray(np.stack([scale for _, scale in parts])),
        shape=(inputs, outputs),
    )
    return weight, [dequantise(*part).T for part in parts]


def test_every_path_gives_the_recorded_products(path):
    cases = list(recorded())
    assert len(cases) == 6
    for weight, x, expected in cases:
        [found] = multiply(jnp.asarray(x), [weight])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@FORMATS
@pytest.mark.parametrize("rows", [1, 7, 8, 23, 24, 50])
def test_every_number_of_rows_is_within_the_rounding_of_activations(path, rows, name):
    rng = np.random.default_rng(rows)
    # More groups and blocks than AMX unpacks at a time, and no multiple of what it does.
    weight, [wide] = random_weight(rng, 33 * 32, 9 * 16, name=name)
    x = rng.standard_normal((rows, 33 * 32)).astype(np.float32)
    expected = x.astype(np.float64) @ wide
    [found] = multiply(jnp.asarray(x), [weight])
    # Activations rounded to int8 in groups move a product of Gaussian data by 0.5 % of its size,
    # bfloat16 by 0.3 %.
    error = np.abs(found - expected).max() / expected.std()
    assert error < 0.05
    assert np.sqrt(np.mean((found - expected) ** 2)) / expected.std() < 0.009


@FORMATS
def test_activations_next_to_nothing_give_next_to_nothing(path, name):
    weight, _ = random_weight(np.random.default_rng(0), 64, 32, name=name)
    x = np.zeros((1, 64), np.float32)
    x[0, 3], x[0, 40] = 1e-38, 1e-31  # 127 times the inverse of the first is infinite
    [found] = multiply(jnp.asarray(x), [weight])
    assert np.abs(found).max() < 1e-29


@FORMATS
def test_weights_of_one_input_are_multiplied_together_and_by_layer(path, name, refused):
    rng = np.random.default_rng(0)
    pairs = [random_weight(rng, 64, size, name=name, layers=3) for size in (16, 304, 48)]
    x = rng.standard_normal((2, 64)).astype(np.float32)

    @jax.jit
    def product(index):
        return multiply(jnp.asarray(x), [weight.of_layer(index) for weight, _ in pairs])

    for layer in range(3):
        for found, (_, wide) in zip(product(layer), pairs, strict=True):
            expected = x @ wide[layer]
            np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    with pytest.raises(refused, match="there is no layer 3"):
        jax.block_until_ready(product(3))


@FORMATS
def test_outputs_need_not_fill_the_last_block(path, name):
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((40, 64)).astype(np.float32)
    q, scale = quantise(matrix, weights=name)
    weight = QuantisedWeight(q=jnp.asarray(q), scale=jnp.asarray(scale), shape=(64, 40))
    x = rng.standard_normal((3, 64)).astype(np.float32)
    expected = x @ dequantise(q, scale)[:40].T
    for rows in (1, 3):
        [found] = multiply(jnp.asarray(x[:rows]), [weight])
        assert found.shape == (rows, 40)
        bound = 0.05 * np.abs(expected).max()
        np.testing.assert_allclose(found, expected[:rows], atol=bound)


def test_a_weight_that_does_not_fit_is_refused_and_not_read(path, refused):
    weight, _ = random_weight(np.random.default_rng(0), 64, 32, name="int8")
    cut = QuantisedWeight(q=weight.q[:, :1], scale=weight.scale, shape=weight.shape)
    with pytest.raises(refused, match="weight 0 does not fit"):
        jax.block_until_ready(multiply(jnp.ones((1, 64)), [cut]))


def test_threads_that_multiply_at_one_time_get_each_its_own_product(path):
    """Helpers that look out for more work are shared by all that multiply."""
    rng = np.random.default_rng(5)
    product = jax.jit(lambda x, weight: multiply(x, [weight])[0])
    weights = [random_weight(rng, 1024, 16 * 40, name="int8")[0] for _ in range(4)]
    x = jnp.asarray(rng.standard_normal((1, 1024)).astype(np.float32))
    expected = [np.asarray(product(x, weight)) for weight in weights]

    def repeat(index):
        found = (np.asarray(product(x, weights[index])) for _ in range(300))
        return all(np.array_equal(each, expected[index]) for each in found)

    with ThreadPoolExecutor(len(weights)) as threads:
        assert list(threads.map(repeat, range(len(weights)))) == [True] * len(weights)


@FORMATS
@pytest.mark.parametrize("rows", [1, 3])
def test_without_kernels_xla_multiplies_channels(rows, name):
    rng = np.random.default_rng(rows)
    matrix = rng.standard_normal((48, 64)).astype(np.float32)
    q, scale = to_channels(*quantise(matrix, weights=name))
    weight = ChannelWeight(q=jnp.asarray(q), scale=jnp.asarray(scale), shape=(64, 48))
    x = rng.standard_normal((rows, 64)).astype(np.float32)
    x[0, 5] = 100  # one large value leaves the others their digits
    [found] = multiply(jnp.asarray(x), [weight])
    expected = x.astype(np.float64) @ (q * scale).astype(np.float64)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@FORMATS
def test_rows_of_a_table_are_looked_up(name):
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((48, 96)).astype(np.float32)
    q, scale = quantise(matrix, weights=name)
    wide = dequantise(q, scale)
    tokens = jnp.asarray([[0, 47, 17], [15, 16, 31]])
    table = QuantisedWeight(q=jnp.asarray(q), scale=jnp.asarray(scale), shape=(96, 48))
    np.testing.assert_array_equal(take_rows(table, tokens), wide[np.asarray(tokens)])
    channel_q, channel_scale = to_channels(q, scale)
    channels = ChannelWeight(
        q=jnp.asarray(channel_q), scale=jnp.asarray(channel_scale), shape=(96, 48)
    )
    found = take_rows(channels, tokens)
    np.testing.assert_allclose(found, wide[np.asarray(tokens)], atol=np.abs(wide).max() / 250)
