# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: `steps/N/`, written whole, verified before they are believed.

A step folder holds the arrays (orbax), the place in the data, and a manifest with the sha256 of
each file, since orbax restores flipped bits silently. A damaged step is set aside under another
name and the newest good one is used. The model folder users load is `model.checkpoint`'s.
"""

import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import orbax.checkpoint as ocp

from codegemma.errors import CheckpointError
from codegemma.model.folder import atomic_folder, read_json_object
from codegemma.model.manifest import read_manifest, verify_manifest, write_manifest
from codegemma.train.step import TrainState

_ARRAYS: Final = "arrays"
_PROGRESS: Final = "progress.json"
_NUM_KEPT: Final = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What a checkpoint holds beside the arrays.

    Args:
        step: Updates done.
        input_state: Place in the data, of `BatchIterator.state`.
        trained_tokens: Tokens with a loss weight so far.
        seconds: Time spent in training so far, over all runs.
        uncut_fallbacks: Segments so far that were left uncut because no draw kept to the budget.
    """

    step: int
    input_state: dict[str, Any]
    trained_tokens: int = 0
    seconds: float = 0.0
    uncut_fallbacks: int = 0


def save_step(
    folder: Path, state: TrainState, progress: Progress, *, keep: Iterable[int] = ()
) -> Path:
    """Write `folder/N` and remove the steps that are no longer needed.

    The two newest steps and those of `keep` stay. Nothing is removed before the new step stands.

    Args:
        folder: The `steps` folder of a run.
        state: Arrays to keep.
        progress: Its step names the folder.
        keep: Steps that are never removed.

    Raises:
        CheckpointError: The disk refuses; what was there before still is.
    """
    target = folder / str(progress.step)
    with atomic_folder(target, replace=True) as partial:
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(partial / _ARRAYS, _flatten(state))
        except (ValueError, RuntimeError) as error:
            raise CheckpointError(f"cannot write {target}: {error}") from error
        (partial / _PROGRESS).write_text(
            json.dumps(
                {
                    "step": progress.step,
                    "trained_tokens": progress.trained_tokens,
                    "seconds": round(progress.seconds, 3),
                    "uncut_fallbacks": progress.uncut_fallbacks,
                    "input_state": progress.input_state,
                },
                indent=1,
            ),
            encoding="utf-8",
        )
        write_manifest(partial)
    kept = {*sorted(list_steps(folder))[-_NUM_KEPT:], *keep}
    for step in list_steps(folder):
        if step not in kept:
            shutil.rmtree(folder / str(step), ignore_errors=True)
    return target


def list_steps(folder: Path) -> list[int]:
    """Steps that have a folder, good or not, in ascending order."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def restore_newest(folder: Path, *, like: TrainState) -> tuple[TrainState, Progress] | None:
    """Restore the newest step that is whole, and rename those that are not to `N.damaged`.

    Args:
        folder: The `steps` folder of a run.
        like: A state of the same shapes; only its shapes and types are read.

    Returns:
        None when the folder holds no steps at all.

    Raises:
        CheckpointError: There are steps, and none is whole, or the newest whole one cannot be
            read or is of another model; it is left as it is.
    """
    steps = list_steps(folder)
    for step in reversed(steps):
        path = folder / str(step)
        try:
            _check_whole(path)
        except CheckpointError as error:
            aside = _set_aside(path)
            _log.warning("step %d is damaged and now lies in %s: %s", step, aside, error)
            continue
        return _restore(path, like=like)
    if steps:
        raise CheckpointError(f"none of the steps {steps} in {folder} is whole; start a new run")
    return None


def restore_step(path: Path, *, like: TrainState) -> tuple[TrainState, Progress]:
    """Verify and restore one step folder.

    Raises:
        CheckpointError: A file is missing or changed, or the arrays are of another model.
    """
    _check_whole(path)
    return _restore(path, like=like)


def _check_whole(path: Path) -> None:
    manifest = read_manifest(path)
    if manifest is None or _PROGRESS not in manifest.files:
        raise CheckpointError(f"{path} has no manifest: it was not written to its end")
    verify_manifest(path, manifest)


def _restore(path: Path, *, like: TrainState) -> tuple[TrainState, Progress]:
    try:
        progress = Progress(**read_json_object(path, _PROGRESS))
    except TypeError as error:
        raise CheckpointError(f"{path / _PROGRESS} is of another version: {error}") from error
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), _flatten(like))
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore(path.absolute() / _ARRAYS, shapes)
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path} does not fit this recipe: {error}") from error
    leaves = [arrays[name] for name in _flatten(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), progress


def _flatten(state: TrainState) -> dict[str, Any]:
    """Name every array by its place, so that the stored form does not depend on container types."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def _set_aside(path: Path) -> Path:
    aside = path.with_name(path.name + ".damaged")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    path.rename(aside)
    return aside
