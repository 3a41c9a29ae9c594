# SPDX-License-Identifier: Apache-2.0
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from codegemma.errors import ConfigError
from codegemma.model import config as models
from codegemma.model.params import Params, init_params, param_specs
from codegemma.model.transformer import forward, unembed
from codegemma.train.input import Batch, InputConfig, pack_rows
from codegemma.train.optimizer import OptimizerConfig, make_optimizer
from codegemma.train.step import (
    ComputeConfig,
    Step,
    StepMetrics,
    TrainState,
    init_state,
    make_scorer,
    make_step,
)

MODEL = dataclasses.replace(models.tiny(vocab_size=20), num_layers=1)
OPTIMIZER = make_optimizer(OptimizerConfig(kind="adamw"), specs=param_specs(MODEL))
RATE = 1e-2
COMPUTE = ComputeConfig(unroll=False, loss_chunk=16)
INPUT = InputConfig(row_tokens=16, rows=1)


def batch() -> Batch:
    """Two rows: one of three segments, one of a single short one."""
    rng = np.random.default_rng(0)
    lengths = (6, 4, 6, 6)
    parts = [np.array([2, *rng.integers(4, 20, n - 1)], np.int32) for n in lengths]
    rows = [*pack_rows(parts[:3], config=INPUT), *pack_rows(parts[3:], config=INPUT)]
    return Batch(*(np.concatenate(arrays) for arrays in zip(*rows, strict=True)))


@jax.jit
def state() -> TrainState:
    params = init_params(MODEL, key=jax.random.key(0))
    return init_state(params, optimizer=OPTIMIZER)


@functools.cache
def compiled(*, micro_batches: int = 1) -> Step:
    return make_step(model=MODEL, optimizer=OPTIMIZER, compute=COMPUTE, micro_batches=micro_batches)


def run(given: TrainState, batch: Batch, **settings: int) -> tuple[TrainState, StepMetrics]:
    return compiled(**settings)(given, batch, RATE)


@jax.jit
def log_probabilities(params: Params, tokens: Array) -> Array:
    return jax.nn.log_softmax(unembed(params, forward(params, tokens, config=MODEL)))


def test_the_loss_is_the_mean_over_tokens_that_are_predicted_within_their_segment() -> None:
    params, given = state().params, batch()
    wanted: list[float] = []
    for row, ids in zip(given.tokens, given.segment_ids, strict=True):
        for number in range(1, ids.max() + 1):
            tokens = jnp.asarray(row[ids == number])[None]
            log_p = log_probabilities(params, tokens)
            wanted += [-float(log_p[0, t, tokens[0, t + 1]]) for t in range(tokens.shape[1] - 1)]

    _, metrics = run(state(), given)

    assert len(wanted) == 18
    assert float(metrics.weight) == 18
    assert float(metrics.loss) == pytest.approx(np.mean(wanted), rel=1e-5)
    assert bool(metrics.is_finite)


def test_micro_batches_of_unlike_size_give_what_one_batch_gives() -> None:
    whole, whole_metrics = run(state(), batch())
    split, split_metrics = run(state(), batch(), micro_batches=2)

    assert float(split_metrics.loss) == pytest.approx(float(whole_metrics.loss), rel=1e-6)
    assert float(split_metrics.grad_norm) == pytest.approx(float(whole_metrics.grad_norm), rel=1e-5)
    for one, other in zip(jax.tree.leaves(split), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_repeating_a_batch_is_learned() -> None:
    now, losses = state(), []
    for _ in range(10):
        now, metrics = run(now, batch())
        losses.append(float(metrics.loss))

    assert losses[-1] < losses[0] - 0.5
    assert int(now.step) == 10


def test_a_weight_counts_its_token_so_many_times() -> None:
    given = batch()
    weights = given.loss_weights.copy()
    weights[0] *= 2
    _, plain = run(state(), given)
    _, doubled = run(state(), given._replace(loss_weights=weights))
    _, first = run(state(), given._replace(loss_weights=weights * np.array([[1], [0]], np.float32)))

    assert (float(plain.weight), float(doubled.weight), float(first.weight)) == (18, 31, 26)
    total = float(plain.loss) * 18 + float(first.loss) * 13
    assert float(doubled.loss) == pytest.approx(total / 31, rel=1e-5)


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    given = batch()
    weights = given.loss_weights.copy()
    weights[0, 3] = np.inf
    before = jax.tree.map(np.asarray, state())

    after, metrics = run(state(), given._replace(loss_weights=weights))

    assert not bool(metrics.is_finite)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, after), before)


def test_scores_are_the_log_probability_of_each_token_given_those_before_it() -> None:
    params = state().params
    tokens = np.array([[2, 5, 9, 4, 17, 1]], np.int32)
    places = np.arange(6, dtype=np.int32)[None]
    given = Batch(tokens, np.ones_like(tokens), places, np.ones((1, 6), np.float32))

    scores = np.asarray(make_scorer(model=MODEL, compute=COMPUTE)(params, given))

    log_p = log_probabilities(params, jnp.asarray(tokens))
    want = [0.0] + [float(log_p[0, t, tokens[0, t + 1]]) for t in range(5)]
    np.testing.assert_allclose(scores[0], want, rtol=1e-5)


def test_faults_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"loss_chunk must be.*z_loss must be"):
        ComputeConfig(loss_chunk=0, z_loss=-1.0)
