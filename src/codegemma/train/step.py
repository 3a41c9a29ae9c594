# SPDX-License-Identifier: Apache-2.0
"""One update of the weights, compiled once, and one reading of the loss without an update.

Reads a state and a batch; gives the next state and its metrics. The loss of a step is the sum over
all its micro-batches divided by the sum of their weights, so that splitting a batch changes nothing
but rounding. A step whose loss or gradient is not finite leaves weights and moments as they were.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from codegemma.errors import ConfigError
from codegemma.model.config import ModelConfig
from codegemma.model.params import Params
from codegemma.model.transformer import forward
from codegemma.train.input import Batch
from codegemma.train.loss import cross_entropy, token_logprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeConfig:
    """How a step is computed; none of it changes what is learned beyond rounding, but `z_loss`.

    Args:
        dtype: Of activations and products; weights and moments are float32.
        unroll: Lay the layers out one after the other: longer to compile, faster on a CPU.
        loss_chunk: Positions whose logits exist at once.
        z_loss: Factor of the squared log partition, 0 for none.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    unroll: bool = True
    loss_chunk: int = 2048
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        faults = []
        if self.loss_chunk < 1:
            faults.append(f"loss_chunk must be at least 1, not {self.loss_chunk}")
        if self.z_loss < 0:
            faults.append(f"z_loss must be at least 0, not {self.z_loss}")
        if faults:
            raise ConfigError("compute: " + "; ".join(faults))


class TrainState(NamedTuple):
    """Everything an update reads and writes.

    Args:
        step: Updates done.
        params: Weights, float32.
        moments: State of the optimiser.
    """

    step: Int[Array, ""]
    params: Params
    moments: Any


class StepMetrics(NamedTuple):
    """What one step reports.

    Args:
        loss: Mean weighted loss in nats a token, z-loss included.
        grad_norm: Global norm before clipping.
        weight: Sum of the loss weights.
        is_finite: Whether the update was made.
    """

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]
    weight: Float[Array, ""]
    is_finite: Bool[Array, ""]


Step = Callable[[TrainState, Batch, float], tuple[TrainState, StepMetrics]]
"""Makes one update with a learning rate; the state it is given is used up."""


def init_state(params: Params, *, optimizer: optax.GradientTransformation) -> TrainState:
    """Start at step 0 with these weights."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def make_step(
    *,
    model: ModelConfig,
    optimizer: optax.GradientTransformation,
    compute: ComputeConfig,
    micro_batches: int = 1,
) -> Step:
    """Compile the update. The learning rate is an argument of it: another schedule, same program.

    Args:
        model: Sizes.
        optimizer: Of `make_optimizer`.
        compute: How to compute.
        micro_batches: Equal parts of a batch that are computed one after the other.
    """

    def loss_sum(params: Params, batch: Batch) -> Array:
        hidden, targets, weights = _predict(params, batch, model=model, compute=compute)
        return cross_entropy(
            hidden,
            params["embedding"],
            targets=targets,
            weights=weights,
            chunk=compute.loss_chunk,
            z_loss=compute.z_loss,
        ).loss

    def accumulate(params: Params, batch: Batch) -> tuple[Array, Params]:
        if micro_batches == 1:
            return jax.value_and_grad(loss_sum)(params, batch)
        parts = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)

        def add(sums: tuple[Array, Params], part: Batch) -> tuple[tuple[Array, Params], None]:
            return jax.tree.map(jnp.add, sums, jax.value_and_grad(loss_sum)(params, part)), None

        zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        return jax.lax.scan(add, zeros, parts)[0]

    def step(state: TrainState, batch: Batch, rate: Array) -> tuple[TrainState, StepMetrics]:
        loss, grads = accumulate(state.params, batch)
        weight = jnp.sum(batch.loss_weights)
        scale = 1.0 / jnp.maximum(weight, 1e-9)
        loss, grads = loss * scale, jax.tree.map(lambda grad: grad * scale, grads)
        norm = optax.tree.norm(grads)
        is_finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, moments = optimizer.update(grads, state.moments, state.params)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
        new = TrainState(state.step + 1, params, moments)
        kept = jax.tree.map(lambda old, new: jnp.where(is_finite, new, old), state, new)
        return kept, StepMetrics(loss, norm, weight, is_finite)

    compiled = jax.jit(step, donate_argnums=0)
    return lambda state, batch, rate: compiled(state, batch, jnp.asarray(rate, jnp.float32))


def make_scorer(
    *, model: ModelConfig, compute: ComputeConfig
) -> Callable[[Params, Batch], Float[Array, "B T"]]:
    """Compile the log-probability of every token given those before it.

    The function gives [B T], 0 for the first token of a row; where a segment starts inside a row
    the value means nothing, and its loss weight is 0.
    """

    def score(params: Params, batch: Batch) -> Array:
        hidden, targets, _ = _predict(params, batch, model=model, compute=compute)
        logprobs = token_logprobs(
            hidden, params["embedding"], targets=targets, chunk=compute.loss_chunk
        )
        return jnp.pad(logprobs[:, :-1], ((0, 0), (1, 0)))

    return jax.jit(score)


def _predict(
    params: Params, batch: Batch, *, model: ModelConfig, compute: ComputeConfig
) -> tuple[Array, Array, Array]:
    """Hidden states, and the next token and its weight at every position."""
    hidden = forward(
        params,
        batch.tokens,
        config=model,
        positions=batch.positions,
        segment_ids=batch.segment_ids,
        dtype=jnp.dtype(compute.dtype),
        unroll=compute.unroll,
    )
    targets = jnp.roll(batch.tokens, -1, axis=1)
    weights = jnp.roll(batch.loss_weights, -1, axis=1).at[:, -1].set(0.0)
    return hidden, targets, weights
