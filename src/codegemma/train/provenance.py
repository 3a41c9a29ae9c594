# SPDX-License-Identifier: Apache-2.0
"""`OUT/config.json`: what a run was started with, and what a later run of it may change.

Reads and writes the resolved recipe, versions, commit and hashes of the inputs. A folder's runs all
share one recipe; only the cadence of `run` and the end of the schedule may differ. A setting that
did not exist when the folder was begun is taken at its default.
"""

import dataclasses
import hashlib
import json
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import jax

from codegemma.data.recipes import DataRecipe
from codegemma.errors import CheckpointError, ConfigError, DataError
from codegemma.model.folder import read_json_object
from codegemma.text.tokenizer import Tokenizer
from codegemma.train.optimizer import ScheduleConfig
from codegemma.train.recipes import TrainRecipe

CONFIG_NAME: Final = "config.json"
_PACKAGES: Final = ("codegemma", "jax", "jaxlib", "optax", "orbax-checkpoint", "grain", "numpy")
_FREE: Final = re.compile(r"run\.(?!seed)|schedule\.(num|decay)_steps")
_CUTS: Final = re.compile(
    r"data\.(fim|psm|no_path|empty_suffix)_fraction|data\.split_kinds|data\.max_middle_chars"
)


def hash_inputs(data: Path, *, tokenizer: Tokenizer) -> dict[str, str]:
    """Sha256 of the data's manifest and of its tokenizer.

    Raises:
        DataError: The manifest cannot be read.
    """
    path = data / "manifest.json"
    try:
        manifest = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; prepare again") from error
    return {"data": hashlib.sha256(manifest).hexdigest(), "tokenizer": tokenizer.fingerprint}


def as_prepared(recipe: TrainRecipe, *, data: DataRecipe) -> TrainRecipe:
    """Say of the data how they were prepared; how records are cut stays the run's own choice."""
    cuts = {
        field.name: getattr(recipe.data, field.name)
        for field in dataclasses.fields(recipe.data)
        if _CUTS.match(f"data.{field.name}")
    }
    return dataclasses.replace(recipe, data=dataclasses.replace(data, **cuts))


def continue_config(recipe: TrainRecipe, *, out: Path, inputs: dict[str, str]) -> TrainRecipe:
    """Take the end of the schedule from the folder's configuration, and refuse another run's.

    Raises:
        ConfigError: The folder was started with other settings or inputs, each named, or by
            another version.
    """
    if not (out / CONFIG_NAME).exists():
        return recipe
    stored = read_json_object(out, CONFIG_NAME)
    try:
        old = _flat(stored["recipe"] | {"inputs": stored["inputs"]})
        schedule = ScheduleConfig(**stored["recipe"]["schedule"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{out / CONFIG_NAME} is no run's of this version ({error}); take another folder"
        ) from error
    new = _flat(_as_json(recipe) | {"inputs": inputs})
    changed = [
        f"{name}: {old[name]!r} there, {new[name]!r} now"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name] and _matters(name)
    ]
    if changed:
        raise ConfigError(
            f"{out} was started with other settings; go on with those or take another folder: "
            + "; ".join(changed)
        )
    return dataclasses.replace(recipe, schedule=schedule) if schedule.decay_steps else recipe


def with_decay(recipe: TrainRecipe, *, decay_steps: int | None, step: int) -> TrainRecipe:
    """Let the decay begin at `step`, unless one of this length was begun already.

    Raises:
        ConfigError: The schedule has no stable phase, or a decay of another length was begun.
    """
    schedule = recipe.schedule
    if decay_steps is None or decay_steps == schedule.decay_steps:
        return recipe
    if schedule.kind != "wsd":
        raise ConfigError(f"only the schedule wsd takes a decay, not {schedule.kind}")
    if schedule.decay_steps:
        raise ConfigError(
            f"a decay of {schedule.decay_steps} steps ends this run at step {schedule.num_steps}; "
            f"for another one start a new folder from "
            f"steps/{schedule.num_steps - schedule.decay_steps}"
        )
    schedule = dataclasses.replace(schedule, num_steps=step + decay_steps, decay_steps=decay_steps)
    return dataclasses.replace(recipe, schedule=schedule)


def read_origin(out: Path) -> dict[str, Any] | None:
    """Read which model's weights the folder's run began with, None for fresh ones."""
    if not (out / CONFIG_NAME).exists():
        return None
    return read_json_object(out, CONFIG_NAME).get("origin")


def write_config(
    recipe: TrainRecipe, *, out: Path, inputs: dict[str, str], origin: dict[str, Any] | None
) -> None:
    """Write `config.json`, all or nothing."""
    values = {
        "format": 1,
        "recipe": _as_json(recipe),
        "inputs": inputs,
        "origin": origin,
        "versions": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "commit": read_commit(),
    }
    draft = out / (CONFIG_NAME + ".partial")
    try:
        draft.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        draft.replace(out / CONFIG_NAME)
    except OSError as error:
        raise CheckpointError(f"cannot write {out / CONFIG_NAME}: {error}") from error


def summary(
    recipe: TrainRecipe,
    *,
    inputs: dict[str, str],
    origin: dict[str, Any] | None,
    step: int,
    trained_tokens: int,
) -> dict[str, Any]:
    """What a model folder records of its training."""
    return {
        "recipe": _as_json(recipe),
        "inputs": inputs,
        "origin": origin,
        "step": step,
        "trained_tokens": trained_tokens,
        "versions": {name: version(name) for name in _PACKAGES},
        "commit": read_commit(),
    }


def read_commit() -> str | None:
    """Commit of the checkout this package runs from; None outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _matters(name: str) -> bool:
    """Whether a setting decides what is learned; of the data's, how records are cut does."""
    if name.startswith("data."):
        return _CUTS.match(name) is not None
    return _FREE.match(name) is None


def _as_json(recipe: TrainRecipe) -> dict[str, Any]:
    """Give the recipe as plain JSON values, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
