# SPDX-License-Identifier: Apache-2.0
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from codegemma.data import pipeline, synthesize
from codegemma.data.loader import Encoded, ShardReader
from codegemma.data.shards import Record
from codegemma.errors import ConfigError, TrainingError
from codegemma.model.checkpoint import load_checkpoint
from codegemma.text.tokenizer import Tokenizer
from codegemma.train import loop
from codegemma.train.metrics import read_metrics
from codegemma.train.recipes import TrainRecipe, override
from codegemma.train.state import list_steps

Train = Callable[..., loop.Outcome]
TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model"


@pytest.fixture
def train(data: Path, recipe: TrainRecipe) -> Train:
    def run(out: Path, *assignments: str, **settings: Any) -> loop.Outcome:
        changed = override(recipe, assignments)
        return loop.train(changed, data=settings.pop("data", data), out=out, **settings)

    return run


def weights_hash(model: Path) -> str:
    params = load_checkpoint(model).params
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def interrupt_at(step: int, number: int = signal.SIGTERM) -> Callable[[Mapping[str, Any]], None]:
    def listen(line: Mapping[str, Any]) -> None:
        if line["kind"] == "step" and line["step"] == step:
            os.kill(os.getpid(), number)

    return listen


@pytest.fixture(scope="module")
def straight(
    data: Path, recipe: TrainRecipe, tmp_path_factory: pytest.TempPathFactory
) -> loop.Outcome:
    """All 16 steps in one go."""
    return loop.train(recipe, data=data, out=tmp_path_factory.mktemp("straight"))


def test_a_run_leaves_a_model_its_log_and_its_last_two_steps(straight: loop.Outcome) -> None:
    out = straight.model.parent
    lines = read_metrics(out / "metrics.jsonl")
    steps = [line for line in lines if line["kind"] == "step"]

    assert (straight.step, straight.is_finished) == (16, True)
    assert lines[0] == {"kind": "start", "step": 0, "parameters": 55456, "num_steps": 16}
    assert [line["step"] for line in steps] == list(range(1, 17))
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.5
    assert steps[-1]["tokens"] == 256
    assert lines[-1]["kind"] == "heldout"
    assert 0 < lines[-1]["middle_spm_nll_per_byte"] < lines[-1]["middle_spm_nll_per_token"]
    assert list_steps(out / "steps") == [12, 16]
    checkpoint = load_checkpoint(straight.model)
    assert checkpoint.config.vocab_size == 1024
    assert checkpoint.metadata.training["step"] == 16
    assert checkpoint.metadata.training["trained_tokens"] == steps[-1]["trained_tokens"]


def test_an_interrupted_run_ends_with_the_weights_of_a_straight_one(
    train: Train, tmp_path: Path, straight: loop.Outcome
) -> None:
    for step, number in ((6, signal.SIGTERM), (11, signal.SIGINT)):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, listener=interrupt_at(step, number))
        assert list_steps(tmp_path / "steps")[-1] == step
        assert load_checkpoint(tmp_path / "model").metadata.training["step"] == step

    outcome = train(tmp_path)

    assert outcome.step == 16
    assert weights_hash(outcome.model) == weights_hash(straight.model)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    want = read_metrics(straight.model.parent / "metrics.jsonl")
    for name in ("loss", "trained_tokens", "uncut_fallbacks"):
        got = [line[name] for line in lines if line["kind"] == "step"]
        assert got == [line[name] for line in want if line["kind"] == "step"]


RUN = """
import sys
from pathlib import Path
from codegemma.train import loop, recipes
sys.path.insert(0, sys.argv[3])
from conftest import make_recipe
show = lambda line: print(line["kind"], line["step"], flush=True)
loop.train(make_recipe(), data=Path(sys.argv[1]), out=Path(sys.argv[2]), listener=show)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_whole_step(
    train: Train, data: Path, tmp_path: Path, straight: loop.Outcome, compiled: Path
) -> None:
    command = [sys.executable, "-c", RUN, str(data), str(tmp_path), str(Path(__file__).parent)]
    quick = {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | quick
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "step 6\n":
                process.kill()
                break
        assert process.wait() == -signal.SIGKILL

    assert list_steps(tmp_path / "steps")[-1] >= 4
    assert weights_hash(train(tmp_path).model) == weights_hash(straight.model)


@pytest.mark.slow
def test_a_damaged_newest_step_is_trained_again(
    train: Train, tmp_path: Path, straight: loop.Outcome
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, listener=interrupt_at(10))
    (tmp_path / "steps" / "10" / "progress.json").write_text("{", encoding="utf-8")

    outcome = train(tmp_path)

    assert (tmp_path / "steps" / "10.damaged").is_dir()
    assert weights_hash(outcome.model) == weights_hash(straight.model)


def test_a_finished_run_is_left_as_it_is(train: Train, straight: loop.Outcome) -> None:
    out = straight.model.parent
    before = weights_hash(straight.model)
    lines = read_metrics(out / "metrics.jsonl")

    again = train(out)

    assert (again.step, again.is_finished) == (16, True)
    assert weights_hash(again.model) == before
    assert read_metrics(out / "metrics.jsonl") == lines


def test_the_first_and_the_last_step_of_a_process_are_logged(
    data: Path, recipe: TrainRecipe, tmp_path: Path
) -> None:
    rare = override(recipe, ["run.log_every=7", "schedule.num_steps=9"])

    loop.train(rare, data=data, out=tmp_path)

    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "step"] == [1, 7, 9]


def test_a_time_limit_saves_a_model_to_go_on_from(train: Train, tmp_path: Path) -> None:
    stopped = train(tmp_path, max_minutes=1e-9)

    assert (stopped.step, stopped.is_finished) == (0, False)
    assert list_steps(tmp_path / "steps") == [0]
    assert load_checkpoint(stopped.model).config.width == 32


@pytest.mark.slow
def test_a_decay_ends_the_stable_phase_and_keeps_the_step_it_left_from(
    train: Train, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, listener=interrupt_at(3))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, decay_steps=8, listener=interrupt_at(9))

    outcome = train(tmp_path, decay_steps=8)

    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["kind"] == "step"]
    assert (outcome.step, outcome.is_finished) == (11, True)
    assert [line["learning_rate"] for line in lines[3:]] == pytest.approx(
        [0.01, 0.00875, 0.0075, 0.00625, 0.005, 0.00375, 0.0025, 0.00125]
    )
    assert list_steps(tmp_path / "steps") == [3, 9, 11]


@pytest.mark.slow
def test_a_run_may_start_from_a_step_of_another(
    train: Train, tmp_path: Path, straight: loop.Outcome
) -> None:
    steps = straight.model.parent / "steps"

    outcome = train(tmp_path, start=steps / "12")

    assert outcome.step == 16
    assert weights_hash(outcome.model) == weights_hash(straight.model)


def test_other_settings_are_refused_in_the_same_folder(
    train: Train, straight: loop.Outcome
) -> None:
    before = sorted(path.name for path in straight.model.parent.iterdir())

    with pytest.raises(ConfigError, match=r"schedule.peak: 0.01 there, 0.02 now"):
        train(straight.model.parent, "schedule.peak=0.02")

    assert sorted(path.name for path in straight.model.parent.iterdir()) == before


def test_rows_too_short_for_the_data_are_refused(train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds examples of up to 128 tokens"):
        train(tmp_path, "input.row_tokens=64")


def test_a_loss_that_is_not_finite_stops_the_run_at_the_last_good_step(
    train: Train, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"of step 2 is not finite; step 1 is saved"):
        train(tmp_path, "schedule.peak=1e30", "schedule.warmup_steps=0")

    assert list_steps(tmp_path / "steps") == [1]


def test_encoding_changes_from_epoch_to_epoch(
    data: Path, recipe: TrainRecipe, tokenizer: Any
) -> None:
    record = ShardReader(data)[0]

    first, again, other = (
        loop.encode(tokenizer, recipe, record, epoch).tokens for epoch in (0, 0, 1)
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
def test_a_mixture_is_drawn_by_its_shares_of_tokens_and_each_genre_is_measured(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codegemma.data.texts.PART_DOCUMENTS", 10)
    package = tmp_path / "sources" / "json"
    shutil.copytree(Path(json.__file__).parent, package, ignore=shutil.ignore_patterns("__py*"))
    synthesize.write_algebra(tmp_path / "algebra.jsonl", count=100)
    mix = dataclasses.replace(
        recipe.data,
        mixture={"code": 0.7, "math": 0.3},
        heldout=(),
        holdout_fraction=0.2,
        permissive_only=False,
    )
    settings = pipeline.Settings(
        sources=(package,),
        texts=(("math", tmp_path / "algebra.jsonl"),),
        recipe=mix,
        tokenizer_file=TOKENIZER,
    )
    pipeline.prepare(settings, out=tmp_path / "data")
    drawn: Counter[str] = Counter()
    encode = loop.encode

    def count(tokenizer: Tokenizer, recipe: TrainRecipe, record: Record, epoch: int) -> Encoded:
        encoded = encode(tokenizer, recipe, record, epoch)
        drawn[record.genre] += len(encoded.tokens)
        return encoded

    monkeypatch.setattr(loop, "encode", count)
    outcome = loop.train(recipe, data=tmp_path / "data", out=tmp_path / "run")

    assert outcome.is_finished
    assert sum(drawn.values()) > 3000
    assert drawn["math"] / sum(drawn.values()) == pytest.approx(0.3, abs=0.02)
    line = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    assert line["kind"] == "heldout"
    assert 0 < line["math_nll_per_byte"] < line["math_nll_per_token"]
    assert "middle_psm_nll_per_byte" not in line  # no code is held out
