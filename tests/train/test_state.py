# SPDX-License-Identifier: Apache-2.0
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from codegemma.errors import CheckpointError
from codegemma.model.manifest import write_manifest
from codegemma.train.state import (
    Progress,
    list_steps,
    restore_newest,
    restore_step,
    save_step,
)
from codegemma.train.step import TrainState


def state(step: int) -> TrainState:
    """Weights that tell the step they are of, and moments of several container types."""
    params = {"embedding": jnp.full((50, 4), step / 8), "layers": {"q": jnp.arange(6.0) + step}}
    moments = (optax.EmptyState(), optax.ScaleByAdamState(jnp.int32(step), params, params))
    return TrainState(jnp.int32(step), params, moments)


def save(folder: Path, *steps: int, keep: tuple[int, ...] = ()) -> None:
    for step in steps:
        progress = Progress(step=step, input_state={"row": step * 2}, trained_tokens=9, seconds=1.5)
        save_step(folder, state(step), progress, keep=keep)


def data_file(step: Path) -> Path:
    """The largest file of a step's arrays, where the numbers are."""
    files = [path for path in (step / "arrays").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def flip_bit(step: Path) -> None:
    path = data_file(step)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(step: Path) -> None:
    os.truncate(data_file(step), 10)


def remove_a_file(step: Path) -> None:
    data_file(step).unlink()


def empty_it(step: Path) -> None:
    for path in sorted(step.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def change_progress(step: Path) -> None:
    path = step / "progress.json"
    path.write_text(path.read_text(encoding="utf-8").replace("9", "8"), encoding="utf-8")


def test_a_step_comes_back_bit_for_bit_with_its_place_in_the_data(tmp_path: Path) -> None:
    save(tmp_path, 4)

    restored = restore_newest(tmp_path, like=state(0))

    assert restored is not None
    got, progress = restored
    assert progress == Progress(step=4, input_state={"row": 8}, trained_tokens=9, seconds=1.5)
    assert jax.tree.structure(got) == jax.tree.structure(state(4))
    jax.tree.map(np.testing.assert_array_equal, got, state(4))


def test_an_empty_folder_has_nothing_to_restore(tmp_path: Path) -> None:
    assert restore_newest(tmp_path / "steps", like=state(0)) is None


@pytest.mark.parametrize("harm", [flip_bit, truncate, remove_a_file, empty_it, change_progress])
def test_a_damaged_step_is_set_aside_for_the_one_before(
    harm: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1, 2)
    harm(tmp_path / "2")

    with caplog.at_level(logging.WARNING):
        restored = restore_newest(tmp_path, like=state(0))

    assert restored is not None
    assert restored[1].step == 1
    jax.tree.map(np.testing.assert_array_equal, restored[0], state(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2.damaged"]
    assert "step 2 is damaged" in caplog.text


def test_a_whole_step_of_another_model_is_told_and_left_where_it_is(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    other = state(0)._replace(params={"embedding": np.zeros((7, 3), np.float32)})

    with pytest.raises(CheckpointError, match="2 does not fit this recipe"):
        restore_newest(tmp_path, like=other)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_second_damaged_step_of_a_number_has_a_name_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        save(tmp_path, 1, 2)
        flip_bit(tmp_path / "2")
        restore_newest(tmp_path, like=state(0))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2.damaged", "2.damaged-2"]


def test_no_good_step_left_is_an_error(tmp_path: Path) -> None:
    save(tmp_path, 1)
    flip_bit(tmp_path / "1")

    with pytest.raises(CheckpointError, match=r"none of the steps \[1\]"):
        restore_newest(tmp_path, like=state(0))


def test_a_half_written_step_is_not_a_step(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".2.partial" / "arrays").mkdir(parents=True)

    restored = restore_newest(tmp_path, like=state(0))

    assert restored is not None
    assert restored[1].step == 1


def test_the_two_newest_and_the_kept_steps_stay(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, 5, keep=(2,))

    assert list_steps(tmp_path) == [2, 4, 5]


def test_progress_of_another_version_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = tmp_path / "1" / "progress.json"
    path.write_text('{"step": 1, "input_state": {}, "moon": 3}', encoding="utf-8")
    write_manifest(tmp_path / "1")

    with pytest.raises(CheckpointError, match=r"progress.json is of another version: .*'moon'"):
        restore_step(tmp_path / "1", like=state(0))


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    other = state(0)._replace(params={"embedding": jnp.zeros((60, 4))})

    with pytest.raises(CheckpointError, match="does not fit this recipe"):
        restore_step(tmp_path / "1", like=other)


FILL_DISK = """
import resource, signal, sys
from pathlib import Path
import jax.numpy as jnp, numpy as np
from codegemma.errors import CheckpointError
from codegemma.train.state import Progress, list_steps, save_step
from codegemma.train.step import TrainState

folder = Path(sys.argv[1])
def save(step):
    noise = np.random.default_rng(step).normal(size=300_000).astype("f")
    state = TrainState(jnp.int32(step), {"embedding": jnp.asarray(noise)}, ())
    save_step(folder, state, Progress(step=step, input_state={}))
for step in (1, 2):
    save(step)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    save(3)
except CheckpointError as error:
    print(error)
print(list_steps(folder), sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_refuses_leaves_the_steps_there_were(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL_DISK, str(tmp_path / "steps")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)

    assert done.returncode == 0, done.stderr
    error, left = done.stdout.strip().splitlines()[-2:]
    assert error.startswith("cannot write")
    assert left == "[1, 2] ['1', '2']"
