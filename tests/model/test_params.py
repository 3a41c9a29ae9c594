# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.dims import LETTERS
from codegemma.model import config as configs
from codegemma.model.params import ParamSpec, init_params, num_params, param_specs


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (configs.codegemma_2b(), 2_506_172_416),
        (configs.codegemma_1_1_2b(), 2_506_172_416),
        (configs.gemma_2b(), 2_506_172_416),
        (configs.codegemma_7b(), 8_537_680_896),
        (configs.codegemma_7b_it(), 8_537_680_896),
        (configs.codegemma_1_1_7b_it(), 8_537_680_896),
        (configs.gemma_7b(), 8_537_680_896),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_released_model_has_the_published_number_of_parameters(config, count):
    assert num_params(config) == count


def test_nano_has_three_to_five_million_parameters():
    assert 3_000_000 <= num_params(configs.nano()) <= 5_000_000


def test_every_axis_has_a_letter_of_the_legend():
    for spec in jax.tree.leaves(param_specs(configs.codegemma_7b())):
        letters = spec.axes.split()
        assert len(letters) == len(spec.shape)
        assert set(letters) <= set(LETTERS)


def test_the_7b_specs_show_heads_wider_than_the_model():
    specs = param_specs(configs.codegemma_7b())
    assert specs["layers"]["o"].shape == (28, 16, 256, 3072)
    assert specs["layers"]["o"].axes == "L N H D"
    assert specs["embedding"].shape == (256_000, 3072)
    assert specs["final_norm"] == ParamSpec(shape=(3072,), axes="D", init="zeros")


def test_initial_weights_follow_their_specs():
    config = configs.tiny()
    params = init_params(config, key=jax.random.key(0), dtype=jnp.bfloat16)
    jax.tree.map(
        lambda spec, weight: (
            np.testing.assert_equal(weight.shape, spec.shape),
            np.testing.assert_equal(weight.dtype, jnp.bfloat16),
        ),
        param_specs(config),
        params,
    )
    assert not params["layers"]["attn_norm"].any()
    # 512 * 32 draws: the deviation of their deviation is below 1 %.
    assert np.std(np.asarray(params["embedding"], np.float32)) == pytest.approx(0.02, rel=0.03)
    assert np.std(np.asarray(params["layers"]["down"], np.float32)) == pytest.approx(
        (64 * 4) ** -0.5, rel=0.05
    )


def test_weights_of_different_places_and_keys_differ():
    config = configs.tiny()
    params = init_params(config, key=jax.random.key(0))
    other = init_params(config, key=jax.random.key(1))
    assert (params["layers"]["gate"] != params["layers"]["up"]).any()
    assert (params["layers"]["q"][0] != params["layers"]["q"][1]).any()
    assert (params["embedding"] != other["embedding"]).any()
