# SPDX-License-Identifier: Apache-2.0
"""The weights of a model that a new run begins with, and what is kept of where they come from."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from codegemma.errors import ConfigError
from codegemma.model.checkpoint import load_checkpoint
from codegemma.model.config import ModelConfig
from codegemma.model.export import find_licences
from codegemma.model.params import Params
from codegemma.text.tokenizer import Tokenizer


class Initial(NamedTuple):
    """Weights to begin with.

    Args:
        params: The weights, float32.
        origin: Their model's name, fingerprint, order, licence, and how long it was trained, as
            JSON.
    """

    params: Params
    origin: dict[str, Any]


def load_initial(folder: Path, *, config: ModelConfig, tokenizer: Tokenizer) -> Initial:
    """Load the weights of a model for a run of this shape and vocabulary.

    Raises:
        CheckpointError: The folder is refused.
        ConfigError: Its sizes or its vocabulary are not those of the run; each is named.
    """
    found = load_checkpoint(folder, dtype="float32")
    if found.tokenizer.fingerprint != tokenizer.fingerprint:
        raise ConfigError(
            f"{folder} has another vocabulary than the data; prepare the data with --model {folder}"
        )
    wanted, sizes = dataclasses.asdict(config), dataclasses.asdict(found.config)
    other = [
        f"{name} is {sizes[name]} there, {wanted[name]} in the recipe"
        for name in wanted
        if name != "name" and sizes[name] != wanted[name]
    ]
    if other:
        raise ConfigError(f"{folder} has another shape than the recipe: " + "; ".join(other))
    training = found.metadata.training or {}
    origin = {
        "name": found.metadata.name,
        "fingerprint": found.fingerprint,
        "mode": found.metadata.mode,
        "licence": found.metadata.licence,
        "step": training.get("step"),
        "trained_tokens": training.get("trained_tokens"),
    }
    # A copy, since a step uses its arguments up.
    return Initial(_copy(found.params), origin)


def keep_licences(folder: Path, out: Path) -> None:
    """Copy a model's licences and notices into the folder of a run that begins with its weights."""
    for path in find_licences(folder):
        shutil.copyfile(path, out / path.name)


def _copy(params: Params) -> Params:
    return {
        name: _copy(value) if isinstance(value, dict) else jnp.array(value, jnp.float32)
        for name, value in params.items()
    }
