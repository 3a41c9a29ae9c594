# SPDX-License-Identifier: Apache-2.0
"""What a training run is: one named function per recipe, and typed changes to a field of one."""

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from codegemma.data import recipes as data_recipes
from codegemma.data.recipes import DataRecipe
from codegemma.errors import ConfigError
from codegemma.model import config as models
from codegemma.model.config import ModelConfig
from codegemma.train.input import InputConfig
from codegemma.train.optimizer import OptimizerConfig, ScheduleConfig
from codegemma.train.step import ComputeConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """When a run looks at itself. All in steps.

    Args:
        seed: Of the initial weights.
        log_every: Between lines of the log.
        heldout_every: Between readings of the held-out loss.
        heldout_rows: Rows of each held-out set.
        checkpoint_every: Between checkpoints.
        keep_every: Steps whose checkpoints are never removed; 0 for none.
    """

    seed: int = 0
    log_every: int = 10
    heldout_every: int = 200
    heldout_rows: int = 32
    checkpoint_every: int = 100
    keep_every: int = 0

    def __post_init__(self) -> None:
        names = ("log_every", "heldout_every", "heldout_rows", "checkpoint_every")
        faults = [
            f"{name} must be at least 1, not {getattr(self, name)}"
            for name in names
            if getattr(self, name) < 1
        ]
        if self.keep_every < 0:
            faults.append(f"keep_every must be at least 0, not {self.keep_every}")
        if faults:
            raise ConfigError("run: " + "; ".join(faults))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRecipe:
    """All settings of a run.

    Args:
        name: Name on the command line.
        model: Sizes; the vocabulary's is taken from the tokenizer of the data.
        data: How records are cut into prefix, middle and suffix.
        input: Shape of a batch.
        optimizer: Of the update.
        schedule: Of the learning rate.
        compute: How a step is computed.
        run: When to log, measure and save.
    """

    name: str
    model: ModelConfig
    data: DataRecipe
    input: InputConfig = field(default_factory=InputConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.input.row_tokens > self.model.context_length:
            raise ConfigError(
                f"input.row_tokens {self.input.row_tokens} exceeds the model's context of "
                f"{self.model.context_length}"
            )


def nano() -> TrainRecipe:
    """The embedded model, for two CPU cores: a stable phase of any length, the decay run apart.

    Unstated: CodeGemma trains no model of this size; `docs/decisions/0004-nano-settings.md` says
    which of the settings were measured and which were not.
    """
    return TrainRecipe(
        name="nano",
        model=models.nano(),
        data=data_recipes.nano(),
        input=InputConfig(row_tokens=1024, rows=4, middle_weight=6.0),
        schedule=ScheduleConfig(peak=2e-3, warmup_steps=50, num_steps=100_000),
        run=RunConfig(heldout_every=200, checkpoint_every=100),
    )


def nano_gpu() -> TrainRecipe:
    """The embedded model for a GPU, 27 million parameters; runs with a decay of a fifth.

    Unstated: as for `nano`. Not yet trained: the rate and the length are starting points.
    """
    model = dataclasses.replace(
        models.nano(), name="nano-gpu", width=512, ffw_dim=1664, num_layers=8, num_heads=8
    )
    return dataclasses.replace(
        nano(),
        name="nano-gpu",
        model=model,
        data=data_recipes.nano_gpu(),
        input=InputConfig(row_tokens=1024, rows=128),
        schedule=ScheduleConfig(peak=3e-3, warmup_steps=200, num_steps=5000, decay_steps=1000),
        compute=ComputeConfig(dtype="bfloat16", unroll=False, loss_chunk=16_384),
        run=RunConfig(heldout_every=500, checkpoint_every=500),
    )


def tiny() -> TrainRecipe:
    """A model for tests: seconds on a CPU, learns nothing worth having."""
    return TrainRecipe(
        name="tiny",
        model=dataclasses.replace(models.tiny(), context_length=1024),
        data=data_recipes.tiny(),
        input=InputConfig(row_tokens=1024, rows=2),
        optimizer=OptimizerConfig(kind="adamw"),
        schedule=ScheduleConfig(peak=1e-2, warmup_steps=2, num_steps=20, decay_steps=5),
        compute=ComputeConfig(unroll=False, loss_chunk=256),
        run=RunConfig(log_every=5, heldout_every=20, heldout_rows=4, checkpoint_every=10),
    )


_RECIPES = {"nano": nano, "nano-gpu": nano_gpu, "tiny": tiny}

PLANNED: Final = ("codegemma-2b", "codegemma-2b-ast", "codegemma-1.1-2b", "codegemma-7b")
"""Recipes that data can be prepared for, and that this version does not train."""


def by_name(name: str) -> TrainRecipe:
    """Return the recipe called `name`.

    Raises:
        ConfigError: No recipe has this name, or it is one of `PLANNED`; the message lists those
            that exist.
    """
    if name in PLANNED:
        raise ConfigError(
            f"{name} cannot be trained yet: weights of its size need training over several "
            f"devices, which this version does not have; known: {', '.join(_RECIPES)}"
        )
    if name not in _RECIPES:
        raise ConfigError(f"no training recipe {name!r}; known: {', '.join(_RECIPES)}")
    return _RECIPES[name]()


def override(recipe: TrainRecipe, assignments: Sequence[str]) -> TrainRecipe:
    """Change fields given as `path.to.field=value`, each value read as its field's type.

    Example: `override(nano(), ["schedule.peak=0.002", "input.rows=16"])`.

    Raises:
        ConfigError: An assignment has no "=", names no field, or has a value of another type.
    """
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign:
            raise ConfigError(f"expected path.to.field=value, not {assignment!r}")
        recipe = _replace(recipe, path.strip().split("."), text.strip(), assignment)
    return recipe


def _replace(node: Any, path: Sequence[str], text: str, assignment: str) -> Any:
    fields = typing.get_type_hints(type(node))
    name, rest = path[0], path[1:]
    if name not in fields:
        raise ConfigError(f"{assignment!r}: no field {name!r}; there are {', '.join(fields)}")
    if rest and not dataclasses.is_dataclass(getattr(node, name)):
        raise ConfigError(f"{assignment!r}: {name} has no fields")
    if rest:
        return dataclasses.replace(
            node, **{name: _replace(getattr(node, name), rest, text, assignment)}
        )
    return dataclasses.replace(node, **{name: _parse(fields[name], text, assignment)})


def _parse(kind: Any, text: str, assignment: str) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        if text in typing.get_args(kind):
            return text
        choices = ", ".join(typing.get_args(kind))
        raise ConfigError(f"{assignment!r}: expected one of {choices}")
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind in (int, float, str):
        try:
            return kind(text)
        except ValueError:
            pass
    raise ConfigError(f"{assignment!r}: expected a value of type {getattr(kind, '__name__', kind)}")
