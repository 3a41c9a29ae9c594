# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.kernels.formats import quantise, to_channels
from codegemma.kernels.weights import ChannelWeight
from codegemma.model import layers

FLOATS = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


@FLOATS
def test_project_contracts_the_last_axes_with_the_first(dtype):
    x = jnp.array([[[[1, 2], [3, 4]]]], dtype)  # B T N H = 1 1 2 2
    weight = jnp.array([[[1, 0], [2, 0]], [[5, 0], [25, 1]]], dtype)  # N H D = 2 2 2
    assert layers.project(x, weight, num_dims=2).tolist() == [[[1 + 4 + 15 + 100, 4]]]


@FLOATS
def test_project_keeps_further_axes_of_the_weight(dtype):
    weight = jnp.arange(12, dtype=dtype).reshape(2, 2, 3)  # D N H
    out = layers.project(jnp.array([[[1, 1]]], dtype), weight)
    assert out.tolist() == [[[[6, 8, 10], [12, 14, 16]]]]
    assert out.dtype == dtype


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_bfloat16_product_sums_in_float32(rows):
    # In bfloat16 a sum of ones stops at 256, as 257 is not representable.
    out = layers.project(jnp.ones((rows, 300), jnp.bfloat16), jnp.ones((300, 1), jnp.bfloat16))
    assert out.astype(jnp.float32).tolist() == [[300]] * rows


def test_a_float32_weight_gets_a_float32_gradient_from_bfloat16_activations():
    x = jnp.ones((257, 1), jnp.bfloat16)
    weight = jnp.full((1, 2), 3.0, jnp.float32)
    out, pull = jax.vjp(layers.project, x, weight)
    grad_x, grad_weight = pull(jnp.ones_like(out))
    assert grad_weight.dtype == jnp.float32
    assert grad_weight.tolist() == [[257, 257]]  # rounded to bfloat16 it would be 256
    assert grad_x.dtype == jnp.bfloat16
    assert np.unique(grad_x.astype(jnp.float32)).tolist() == [6]


def test_the_gradient_of_project_equals_that_of_einsum():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 5)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(4, 5, 6)), jnp.float32)
    grads = [
        jax.grad(lambda x, weight, f=f: jnp.sum(jnp.sin(f(x, weight))), argnums=(0, 1))(x, weight)
        for f in (
            lambda x, weight: layers.project(x, weight, num_dims=2),
            lambda x, weight: jnp.einsum("BTNH,NHD->BTD", x, weight),
        )
    ]
    for found, expected in zip(*grads, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "dtype", "scale"),
    [
        (2048, jnp.bfloat16, 45.25),  # sqrt is 45.2548
        (3072, jnp.bfloat16, 55.5),  # sqrt is 55.4256
        (64, jnp.float32, 8.0),
    ],
)
def test_embed_scales_by_the_root_of_the_width_rounded_to_the_dtype(width, dtype, scale):
    table = jnp.stack([jnp.zeros(width), jnp.ones(width)])
    rows = layers.embed(table, jnp.array([[1, 0]]), dtype=dtype)
    assert rows.dtype == dtype
    assert np.unique(rows[0, 0].astype(jnp.float32)).tolist() == [scale]
    assert not rows[0, 1].any()


@pytest.mark.parametrize("rows", [1, 2])
@FLOATS
def test_unembed_multiplies_with_the_unscaled_table_in_float32(dtype, rows):
    table = jnp.array([[1, 0], [0, 1], [1, 1]], dtype)
    logits = layers.unembed(table, jnp.array([[256, 1]] * rows, dtype))
    assert logits.dtype == jnp.float32
    assert logits.tolist() == [[256, 1, 257]] * rows  # 257 is not a bfloat16 number


def test_rms_norm_multiplies_by_one_plus_the_scale():
    # Mean square of (3, 4) is 12.5, its root 3.5355.
    out = layers.rms_norm(jnp.array([[[3.0, 4.0]]]), jnp.array([0.0, 1.0]), eps=1e-6)
    np.testing.assert_allclose(out, [[[0.848528, 2 * 1.131371]]], rtol=1e-6)


def test_rms_norm_rounds_only_its_result():
    # (1, 2) / sqrt(2.5) * 1.63671875 = (1.0352, 2.0703). With the normed value or 1 + scale rounded
    # to bfloat16 on the way the result would be (1.0390625, 2.078125).
    x = jnp.array([[[1, 2]]], jnp.bfloat16)
    out = layers.rms_norm(x, jnp.full(2, 0.63671875, jnp.bfloat16), eps=1e-6)
    assert out.dtype == jnp.bfloat16
    assert out[0, 0].astype(jnp.float32).tolist() == [1.03125, 2.0625]


def test_rotate_turns_value_i_with_value_i_plus_half():
    # Frequencies 1 and 1 / 10 at base 100 and head width 4; position 2.
    angles = layers.rotary_angles(jnp.array([[0, 2]]), head_dim=4, theta=100.0)
    x = jnp.array([[[[1.0, 0, 0, 0]], [[1, 0, 0, 0]]], [[[0, 1, 0, 0]], [[0, 1, 0, 0]]]])
    still, turned = (layers.rotate(x[i : i + 1], angles) for i in (0, 1))
    np.testing.assert_allclose(still[0, 0, 0], [1, 0, 0, 0])
    np.testing.assert_allclose(still[0, 1, 0], [np.cos(2), 0, np.sin(2), 0], rtol=1e-6)
    np.testing.assert_allclose(turned[0, 1, 0], [0, np.cos(0.2), 0, np.sin(0.2)], rtol=1e-6)


def test_far_positions_keep_exact_angles_whatever_the_activation_dtype():
    angles = layers.rotary_angles(jnp.array([[8191]]), head_dim=2, theta=10_000.0)
    assert angles[0].dtype == jnp.float32
    x = jnp.array([[[[1.0, 0.0]]]], jnp.bfloat16)
    # cos(8191) and sin(8191); with bfloat16 angles the position itself would have become 8192.
    np.testing.assert_allclose(
        layers.rotate(x, angles)[0, 0, 0].astype(jnp.float32),
        [-0.64639, -0.76301],
        atol=0.003,
    )


def test_quantised_weights_are_multiplied_looked_up_and_unembedded():
    # Whole numbers up to 127 of the largest are held exactly; so is x, whose largest is 127, too.
    table = np.zeros((16, 32), np.float32)
    table[3, :4] = [127, -5, 0, 2]
    table[5, :2] = [1, 127]
    q, scale = to_channels(*quantise(table, weights="int8"))
    weight = ChannelWeight(q=jnp.asarray(q), scale=jnp.asarray(scale), shape=(32, 16))
    x = jnp.zeros((1, 2, 32)).at[0, 1, :4].set(jnp.array([127.0, 1, 7, -2]))
    product = layers.project(x, weight)
    assert product.shape == (1, 2, 16)
    assert product[0, 1, 3:6].tolist() == [16120, 0, 254]
    assert layers.unembed(weight, x)[0, 1, 3].item() == 16120
    rows = layers.embed(weight, jnp.array([[5, 3]]), dtype=jnp.float32)
    np.testing.assert_allclose(rows[0, 1, :4], np.array([127, -5, 0, 2]) * 32**0.5, rtol=1e-6)


def test_quantised_weights_of_one_input_share_a_call():
    weight = ChannelWeight(
        q=jnp.ones((32, 16), jnp.int8), scale=jnp.ones(16, jnp.float32), shape=(4, 8, 2, 8)
    )
    x = jnp.ones((1, 3, 4, 8), jnp.bfloat16)
    first, second = layers.project_each(x, [weight, weight], num_dims=2)
    assert (first.shape, first.dtype, second.shape) == ((1, 3, 2, 8), jnp.bfloat16, (1, 3, 2, 8))
    assert set(first.reshape(-1).tolist()) == {32}


def test_feed_forward_gates_with_the_tanh_form_of_gelu():
    eye = jnp.eye(1)
    layer = {"gate": eye, "up": 1000 * eye, "down": eye}
    out = layers.feed_forward(jnp.array([[[1.0]]]), layer)
    assert out.item() == pytest.approx(841.192, abs=0.001)  # the erf form gives 841.345
