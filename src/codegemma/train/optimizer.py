# SPDX-License-Identifier: Apache-2.0
"""What turns gradients into an update: clipping, Muon and AdamW by weight, and the learning rate.

Reads the parameter specs to know which weights are matrices and how their axes fold into rows and
columns. The transformation gives the direction of descent, weight decay included; `step.py`
multiplies it by the learning rate of the step.

Source: Muon, K. Jordan 2024; its scale that matches AdamW's, "Muon is Scalable for LLM Training",
arXiv 2502.16982, section 2.2; warmup-stable-decay, MiniCPM, arXiv 2404.06395, section 4.
Unstated: neither Gemma's paper nor CodeGemma's report gives an optimiser or its settings.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from codegemma.errors import ConfigError
from codegemma.model.params import Params, ParamSpec
from codegemma.model.products import sum_products

_INPUT_AXES = {"D": ("D",), "N": ("N", "H"), "F": ("F",)}
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_MATCHED_RMS = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """The learning rate as a function of the step.

    Args:
        kind: "wsd" warms up, stays, and goes linearly to the final fraction over the last
            `decay_steps`; "cosine" falls over everything after the warmup.
        peak: Highest learning rate.
        warmup_steps: Steps of linear warmup from 0.
        num_steps: Length of the run; the decay ends there.
        decay_steps: Length of the decay of "wsd"; 0 leaves it to a later run.
        final_fraction: Part of `peak` at the end of the decay.
    """

    kind: Literal["wsd", "cosine"] = "wsd"
    peak: float = 1e-3
    warmup_steps: int = 100
    num_steps: int = 1000
    decay_steps: int = 0
    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        faults = []
        if not 0 < self.peak < math.inf:
            faults.append(f"peak must be a number above 0, not {self.peak}")
        if self.num_steps < 1:
            faults.append(f"num_steps must be at least 1, not {self.num_steps}")
        if self.warmup_steps < 0 or self.decay_steps < 0:
            faults.append("warmup_steps and decay_steps must be at least 0")
        if self.decay_steps > self.num_steps:
            faults.append(f"decay_steps {self.decay_steps} exceed num_steps {self.num_steps}")
        if not 0 <= self.final_fraction <= 1:
            faults.append(f"final_fraction must be in [0, 1], not {self.final_fraction}")
        if faults:
            raise ConfigError("schedule: " + "; ".join(faults))


def learning_rate(step: int, config: ScheduleConfig) -> float:
    """Learning rate of update number `step`, the first being 0."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    final, falling = config.final_fraction, 1.0
    if config.kind == "cosine":
        span = max(1, config.num_steps - config.warmup_steps)
        part = min(1.0, max(0.0, (step - config.warmup_steps) / span))
        falling = 0.5 * (1 + math.cos(math.pi * part))
    elif config.decay_steps:
        falling = min(1.0, max(0.0, (config.num_steps - step) / config.decay_steps))
    return config.peak * warmup * (final + (1 - final) * falling)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """How each kind of weight is updated.

    Args:
        kind: "muon" orthogonalises the updates of the matrices inside the layers and leaves the
            embedding and the norms to AdamW; "adamw" takes AdamW for all.
        clip_norm: Largest global gradient norm.
        weight_decay: Decoupled decay of the matrices inside the layers; nothing else decays.
        momentum: Of Muon, Nesterov's.
        beta1: First moment of AdamW.
        beta2: Second moment of AdamW.
        eps: Added to AdamW's denominator.
        embedding_factor: Learning rate of the embedding over that of the matrices.
    """

    kind: Literal["muon", "adamw"] = "muon"
    clip_norm: float = 1.0
    weight_decay: float = 0.1
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    embedding_factor: float = 1.0

    def __post_init__(self) -> None:
        faults = []
        if self.clip_norm <= 0 or self.eps <= 0 or self.embedding_factor <= 0:
            faults.append("clip_norm, eps and embedding_factor must be above 0")
        if self.weight_decay < 0:
            faults.append(f"weight_decay must be at least 0, not {self.weight_decay}")
        if not all(0 <= beta < 1 for beta in (self.momentum, self.beta1, self.beta2)):
            faults.append("momentum, beta1 and beta2 must be in [0, 1)")
        if faults:
            raise ConfigError("optimizer: " + "; ".join(faults))


def make_optimizer(
    config: OptimizerConfig, *, specs: Params, dtype: DTypeLike = jnp.float32
) -> optax.GradientTransformation:
    """Build the transformation of gradients into the direction that is subtracted.

    Args:
        config: Settings.
        specs: `param_specs` of the model; its axes say which weights are stacks of matrices.
        dtype: Of the factors of Muon's products.
    """
    adam = optax.scale_by_adam(config.beta1, config.beta2, config.eps)
    matrix = (
        scale_by_muon(specs, momentum=config.momentum, dtype=dtype)
        if config.kind == "muon"
        else adam
    )
    groups: dict[Hashable, optax.GradientTransformation] = {
        "matrix": optax.chain(matrix, optax.add_decayed_weights(config.weight_decay)),
        "embedding": optax.chain(adam, optax.scale(config.embedding_factor)),
        "norm": adam,
    }
    chain = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.partition(groups, jax.tree.map(_group, specs)),
    )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to an int32 count
            return chain.update(updates, state, params)

    return optax.GradientTransformation(chain.init, update)


class MuonState(NamedTuple):
    """Momentum of every matrix, in the dtype of the weights."""

    momentum: Params


def scale_by_muon(
    specs: Params, *, momentum: float, num_iterations: int = 5, dtype: DTypeLike = jnp.float32
) -> optax.GradientTransformation:
    """Replace each update by the nearest half-orthogonal matrix, at the size of AdamW's updates.

    Every layer of a stack is a matrix of its own: [L N H D] is L matrices of N * H rows. The
    layers are handled one after the other as 2-D products, which on a CPU is several times faster
    than one batched product.
    """

    def init(params: Any) -> MuonState:
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, MuonState]:
        del params
        new = jax.tree.map(lambda m, g: momentum * m + g, state.momentum, updates)
        ahead = jax.tree.map(lambda m, g: momentum * m + g, new, updates)

        def direction(spec: ParamSpec, update: Any) -> Any:
            if isinstance(update, optax.MaskedNode):
                return update
            matrices = update.reshape(spec.shape[0], num_rows(spec), -1)
            out = [
                orthogonalise(matrix, num_iterations=num_iterations, dtype=dtype)
                for matrix in matrices
            ]
            return jnp.stack(out).reshape(update.shape)

        return jax.tree.map(direction, specs, ahead, is_leaf=_is_spec), MuonState(new)

    return optax.GradientTransformation(init, update)


def num_rows(spec: ParamSpec) -> int:
    """Rows of each matrix of a stack: the axes that a product with it sums over.

    Example: axes "L D N H" give D, "L N H D" give N * H.
    """
    axes = spec.axes.split()
    inputs = _INPUT_AXES[axes[1]]
    return math.prod(spec.shape[axes.index(axis)] for axis in inputs)


def orthogonalise(
    matrix: Float[Array, "rows columns"], *, num_iterations: int = 5, dtype: DTypeLike = jnp.float32
) -> Float[Array, "rows columns"]:
    """Bring all singular values near 1 by a quintic iteration, then to AdamW's size.

    The result's root mean square is about 0.2, whatever the shape. Sums are float32; factors in
    bfloat16, as in Muon's own implementation, move the singular values less than the iteration
    leaves them apart.
    """
    rows, columns = matrix.shape
    a, b, c = _NEWTON_SCHULZ
    x = matrix.T if rows > columns else matrix
    x = (x / (jnp.linalg.norm(x) + 1e-7)).astype(jnp.float32)
    for _ in range(num_iterations):
        gram = _product(x, x, dtype, axes=(1, 1))
        x = a * x + _product(b * gram + c * _product(gram, gram, dtype), x, dtype)
    x = x.T if rows > columns else x
    return x.astype(matrix.dtype) * (_MATCHED_RMS * max(rows, columns) ** 0.5)


def _product(
    left: Array, right: Array, dtype: DTypeLike, *, axes: tuple[int, int] = (1, 0)
) -> Array:
    return sum_products(left.astype(dtype), right.astype(dtype), axes=axes)


def _group(spec: ParamSpec) -> str:
    if spec.axes == "V D":
        return "embedding"
    return "norm" if len(spec.shape) <= 2 else "matrix"


def _is_spec(value: object) -> bool:
    return isinstance(value, ParamSpec)
