# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from codegemma.errors import ConfigError
from codegemma.model.config import ModelConfig
from codegemma.model.params import Params, ParamSpec, param_specs
from codegemma.train.optimizer import (
    OptimizerConfig,
    ScheduleConfig,
    learning_rate,
    make_optimizer,
    num_rows,
    orthogonalise,
    scale_by_muon,
)

MODEL = ModelConfig(
    name="odd",
    vocab_size=5,
    width=6,
    ffw_dim=10,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
)


def filled(value: float) -> Params:
    return jax.tree.map(lambda spec: jnp.full(spec.shape, value), param_specs(MODEL))


def drawn() -> Params:
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda spec: jnp.asarray(rng.normal(size=spec.shape), jnp.float32), param_specs(MODEL)
    )


def rates(config: ScheduleConfig, steps: list[int]) -> list[float]:
    return [round(learning_rate(step, config), 6) for step in steps]


def test_wsd_warms_up_stays_and_falls_to_0_in_a_line() -> None:
    config = ScheduleConfig(peak=1.0, warmup_steps=4, num_steps=100, decay_steps=20)

    assert rates(config, [0, 1, 3, 4, 50, 80]) == [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert rates(config, [85, 90, 99, 100, 101]) == [0.75, 0.5, 0.05, 0.0, 0.0]


def test_wsd_without_a_decay_stays() -> None:
    config = ScheduleConfig(peak=0.5, warmup_steps=0, num_steps=10)

    assert rates(config, [0, 9, 1000]) == [0.5, 0.5, 0.5]


def test_cosine_is_half_way_down_in_the_middle_and_ends_at_its_fraction() -> None:
    config = ScheduleConfig(
        kind="cosine", peak=1.0, warmup_steps=10, num_steps=110, final_fraction=0.2
    )

    assert rates(config, [9, 10, 60, 110]) == [1.0, 1.0, 0.6, 0.2]


def test_faults_of_a_schedule_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"peak must be a number above 0.*decay_steps 9 exceed"):
        ScheduleConfig(peak=0.0, num_steps=5, decay_steps=9)


def test_faults_of_an_optimizer_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"weight_decay must be.*beta2 must be in \[0, 1\)"):
        OptimizerConfig(weight_decay=-1.0, beta2=1.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_orthogonalised_matrices_have_singular_values_near_one_another(dtype: str) -> None:
    matrix = jnp.asarray(np.random.default_rng(1).normal(size=(6, 40)), jnp.float32)

    for shape in (matrix, matrix.T):
        values = np.linalg.svd(np.asarray(orthogonalise(shape, dtype=dtype)), compute_uv=False)
        size = 0.2 * 40**0.5
        assert values.min() > 0.65 * size
        assert values.max() < 1.25 * size


def test_an_orthogonalised_matrix_keeps_its_directions() -> None:
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(5, 8))
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    exact = left @ right * 0.2 * 8**0.5

    ours = np.asarray(orthogonalise(jnp.asarray(matrix, jnp.float32)))

    assert np.sum(ours * exact) / np.linalg.norm(ours) / np.linalg.norm(exact) > 0.95


@pytest.mark.parametrize(
    ("name", "rows"), [("q", 6), ("k", 6), ("v", 6), ("o", 8), ("gate", 6), ("up", 6), ("down", 10)]
)
def test_rows_are_the_axes_a_product_sums_over(name: str, rows: int) -> None:
    assert num_rows(param_specs(MODEL)["layers"][name]) == rows


def test_muon_takes_each_layer_as_a_matrix_of_its_own() -> None:
    specs = {"o": ParamSpec(shape=(2, 2, 4, 6), axes="L N H D", init="zeros")}
    grads = {"o": drawn()["layers"]["o"]}
    tx = scale_by_muon(specs, momentum=0.0)

    updates, _ = jax.jit(tx.update)(grads, tx.init(grads))

    for layer in range(2):
        alone = orthogonalise(grads["o"][layer].reshape(8, 6)).reshape(2, 4, 6)
        np.testing.assert_allclose(updates["o"][layer], alone, atol=1e-5)


def test_muons_momentum_looks_ahead() -> None:
    specs = {"gate": ParamSpec(shape=(1, 2, 3), axes="L D F", init="zeros")}
    first = {"gate": jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])}
    second = {"gate": jnp.array([[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])}
    tx = scale_by_muon(specs, momentum=0.5)

    _, state = jax.jit(tx.update)(first, tx.init(first))
    updates, state = jax.jit(tx.update)(second, state)

    np.testing.assert_allclose(
        state.momentum["gate"], [[[0.5, 0.0, 1.0], [0.0, 1.5, 0.0]]], rtol=1e-6
    )
    ahead = jnp.array([[0.25, 0.0, 1.5], [0.0, 1.75, 0.0]])
    np.testing.assert_allclose(updates["gate"][0], orthogonalise(ahead), rtol=1e-5, atol=1e-6)


def test_only_the_matrices_of_the_layers_decay() -> None:
    tx = make_optimizer(OptimizerConfig(kind="adamw", weight_decay=0.5), specs=param_specs(MODEL))
    params, zeros = filled(2.0), filled(0.0)

    updates, _ = jax.jit(tx.update)(zeros, tx.init(params), params)

    decay = jax.tree.map(lambda update: float(update.reshape(-1)[0]), updates)
    assert decay == {
        "embedding": 0.0,
        "layers": {
            "attn_norm": 0.0,
            "q": 1.0,
            "k": 1.0,
            "v": 1.0,
            "o": 1.0,
            "ffw_norm": 0.0,
            "gate": 1.0,
            "up": 1.0,
            "down": 1.0,
        },
        "final_norm": 0.0,
    }


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_embedding_and_norms_move_by_adam_whatever_the_matrices_do(kind: str) -> None:
    config = OptimizerConfig(kind=kind, embedding_factor=3.0)  # pyright: ignore[reportArgumentType]
    tx = make_optimizer(config, specs=param_specs(MODEL))
    params = filled(1.0)

    updates, _ = jax.jit(tx.update)(filled(0.001), tx.init(params), params)

    np.testing.assert_allclose(updates["embedding"], np.full((5, 6), 3.0), rtol=1e-3)
    np.testing.assert_allclose(updates["final_norm"], np.ones(6), rtol=1e-3)


def test_the_update_of_adamw_is_that_of_optax() -> None:
    config = OptimizerConfig(kind="adamw", clip_norm=1.0, weight_decay=0.0)
    ours = make_optimizer(config, specs=param_specs(MODEL))
    theirs = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(0.9, 0.95, 1e-8))
    params, grads = filled(1.0), drawn()

    got, _ = jax.jit(ours.update)(grads, ours.init(params), params)
    with jax.numpy_dtype_promotion("standard"):
        want, _ = jax.jit(theirs.update)(grads, theirs.init(params), params)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, want)


def test_muons_updates_are_of_the_size_of_adams() -> None:
    tx = make_optimizer(OptimizerConfig(weight_decay=0.0), specs=param_specs(MODEL))
    params = filled(0.0)

    updates, _ = jax.jit(tx.update)(drawn(), tx.init(params), params)

    for name in ("q", "o", "gate", "down"):
        rms = float(jnp.sqrt(jnp.mean(updates["layers"][name] ** 2)))
        assert 0.12 < rms < 0.25, name
