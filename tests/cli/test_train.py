# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codegemma.errors import TrainingError
from codegemma.train import loop
from codegemma.train.recipes import TrainRecipe, tiny

LINES = (
    {"kind": "start", "step": 0, "parameters": 5, "num_steps": 20},
    {"kind": "step", "step": 10, "loss": 2.5, "tokens_per_s": 1234.5, "seconds_left": 3725.0},
    {"kind": "heldout", "step": 10, "nll_per_byte": 0.75, "middle_spm_nll_per_byte": 0.5},
)


class Trainer:
    """Stands where `loop.train` does; tells the lines of a log and ends."""

    def __init__(self) -> None:
        self.recipe: TrainRecipe | None = None
        self.settings: dict[str, Any] = {}
        self.error: BaseException | None = None

    def __call__(self, recipe: TrainRecipe, *, listener: Any, **settings: Any) -> loop.Outcome:
        self.recipe, self.settings = recipe, settings
        for line in LINES:
            listener(line)
        if self.error is not None:
            raise self.error
        return loop.Outcome(step=10, is_finished=True, model=settings["out"] / "model")


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    found = Trainer()
    monkeypatch.setattr(loop, "train", found)
    monkeypatch.setattr("codegemma.train.memory.keep_freed_memory", lambda: False)
    return found


Run = Callable[..., Any]
TINY = ("train", "--recipe", "tiny", "--data", "d", "--out", "o")


def test_a_run_ends_with_the_model_s_folder(run: Run, trainer: Trainer) -> None:
    ran = run(*TINY)

    assert ran.status == 0
    assert ran.out == f"finished at step 10\n{Path('o') / 'model'}\n"
    assert trainer.recipe == tiny()
    assert trainer.settings == {
        "data": Path("d"),
        "out": Path("o"),
        "start": None,
        "model": None,
        "decay_steps": None,
        "max_minutes": None,
    }


def test_held_out_results_stand_above_the_bar(run: Run, trainer: Trainer) -> None:
    ran = run(*TINY)

    assert "step 10  held out: nll_per_byte 0.75  middle_spm_nll_per_byte 0.5" in ran.err
    assert "10/20 loss 2.500  1234 tok/s  1:02:05 left" in ran.err


def test_where_there_is_no_terminal_every_logged_step_is_a_line(run: Run, trainer: Trainer) -> None:
    assert run(*TINY).err.splitlines()[:2] == [
        "step 0/20 compiling",
        "step 10/20 loss 2.500  1234 tok/s  1:02:05 left",
    ]


def test_options_change_the_recipe_and_reach_the_loop(run: Run, trainer: Trainer) -> None:
    options = ["--set", "schedule.peak=0.5", "--set", "run.seed=7", "--steps", "33"]
    options += ["--decay-steps", "5", "--minutes", "1.5", "--start", "s"]

    assert run(*TINY, *options).status == 0
    assert trainer.recipe is not None
    assert trainer.recipe.schedule.peak == 0.5
    assert trainer.recipe.schedule.num_steps == 33
    assert trainer.recipe.run.seed == 7
    assert trainer.settings["start"] == Path("s")
    assert (trainer.settings["decay_steps"], trainer.settings["max_minutes"]) == (5, 1.5)


def test_a_machine_reads_a_line_for_every_line_of_the_log(run: Run, trainer: Trainer) -> None:
    ran = run(*TINY, "--json")

    told = [json.loads(line) for line in ran.out.splitlines()]
    assert told[:3] == list(LINES)
    assert told[3] == {
        "kind": "end",
        "step": 10,
        "finished": True,
        "model": str(Path("o") / "model"),
    }
    assert ran.err == ""


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (TrainingError("loss nan of step 3 is not finite"), 2, "loss nan of step 3 is not finite"),
    ],
)
def test_a_run_that_does_not_end_says_so(
    error: BaseException, status: int, message: str, run: Run, trainer: Trainer
) -> None:
    trainer.error = error

    ran = run(*TINY, "--json")

    assert ran.status == status
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_a_wrong_setting_is_one_line(run: Run, trainer: Trainer) -> None:
    ran = run(*TINY, "--set", "schedule.peek=1")

    assert ran.status == 2
    assert "no field 'peek'; there are kind, peak" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert trainer.recipe is None


def test_a_folder_without_data_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()

    ran = run("train", "--recipe", "tiny", "--data", str(tmp_path / "d"), "--out", str(tmp_path))

    assert ran.status == 2
    assert "prepare" in ran.err
    assert len(ran.err.splitlines()) == 1


WITHOUT_OPTAX = """
import sys
sys.modules["optax"] = None
from codegemma.cli import main
sys.exit(main.main())
"""


def test_a_missing_extra_is_named_with_its_install_line() -> None:
    # In a process of its own: modules imported anew would be others than those of other tests.
    command = [sys.executable, "-c", WITHOUT_OPTAX, *TINY]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)

    assert ran.returncode == 2
    assert ran.stderr == (
        "codegemma: training needs the package optax: pip install 'codegemma[train]'\n"
    )


def test_a_run_begins_with_a_model_by_name_or_with_a_step_not_both(
    run: Run, trainer: Trainer
) -> None:
    assert run(*TINY, "--model", "nano").status == 0
    assert (trainer.settings["model"] / "manifest.json").is_file()

    ran = run(*TINY, "--model", "nano", "--start", "s")
    assert ran.status == 2
    assert "--start and --model exclude each other" in ran.err
