# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from codegemma.errors import ConfigError
from codegemma.model.checkpoint import load_checkpoint, save_checkpoint
from codegemma.text.tokenizer import Tokenizer
from codegemma.train import loop
from codegemma.train.initial import load_initial
from codegemma.train.metrics import best_order, read_metrics
from codegemma.train.recipes import TrainRecipe, override


@pytest.fixture(scope="module")
def parent(
    data: Path, recipe: TrainRecipe, tmp_path_factory: pytest.TempPathFactory
) -> loop.Outcome:
    return loop.train(recipe, data=data, out=tmp_path_factory.mktemp("parent"))


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_a_model_and_says_whose(
    parent: loop.Outcome, data: Path, recipe: TrainRecipe, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    still = override(recipe, ["schedule.num_steps=2", "schedule.peak=1e-12"])
    outcome = loop.train(still, data=data, out=out, model=parent.model)

    before, after = load_checkpoint(parent.model), load_checkpoint(outcome.model)
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-9)
    assert after.metadata.training["origin"] == {
        "name": "test",
        "fingerprint": before.fingerprint,
        "mode": before.metadata.mode,
        "licence": None,
        "step": 16,
        "trained_tokens": before.metadata.training["trained_tokens"],
    }
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl") if "loss" in line]
    assert losses[0] < 6.5  # fresh weights: log(1024) = 6.9


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_origin_and_its_own_weights(
    parent: loop.Outcome, data: Path, recipe: TrainRecipe, tmp_path: Path
) -> None:
    first = override(recipe, ["schedule.num_steps=2"])
    loop.train(first, data=data, out=tmp_path, model=parent.model)
    outcome = loop.train(override(recipe, ["schedule.num_steps=4"]), data=data, out=tmp_path)

    assert outcome.step == 4
    origin = load_checkpoint(outcome.model).metadata.training["origin"]
    assert origin["fingerprint"] == load_checkpoint(parent.model).fingerprint


@pytest.mark.slow
def test_a_run_from_a_step_of_another_keeps_that_ones_origin_and_licences(
    parent: loop.Outcome, data: Path, recipe: TrainRecipe, tmp_path: Path
) -> None:
    (parent.model / "NOTICE").write_text("of the weights", encoding="utf-8")
    first = override(recipe, ["schedule.num_steps=2"])
    loop.train(first, data=data, out=tmp_path / "first", model=parent.model)
    step = tmp_path / "first" / "steps" / "2"
    recipe = override(recipe, ["schedule.num_steps=4", "input.middle_weight=2"])
    outcome = loop.train(recipe, data=data, out=tmp_path / "second", start=step)

    assert outcome.step == 4
    origin = load_checkpoint(outcome.model).metadata.training["origin"]
    assert origin["fingerprint"] == load_checkpoint(parent.model).fingerprint
    assert (outcome.model / "NOTICE").read_text(encoding="utf-8") == "of the weights"


def test_another_shape_or_vocabulary_is_refused_by_name(
    parent: loop.Outcome, data: Path, recipe: TrainRecipe
) -> None:
    tokenizer = Tokenizer.from_file(data / "tokenizer.model")
    config = load_checkpoint(parent.model).config
    wider = dataclasses.replace(config, ffw_dim=96, num_layers=3)
    with pytest.raises(
        ConfigError, match="ffw_dim is 64 there, 96 in the recipe; num_layers is 2 there, 3"
    ):
        load_initial(parent.model, config=wider, tokenizer=tokenizer)
    other = Tokenizer.from_file(Path(loop.__file__).parents[1] / "nano" / "tokenizer.model")
    with pytest.raises(ConfigError, match="another vocabulary than the data; prepare the data"):
        load_initial(parent.model, config=config, tokenizer=other)


def test_licence_and_order_of_the_weights_reach_the_model_that_is_made(
    data: Path, recipe: TrainRecipe, parent: loop.Outcome, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    found = load_checkpoint(parent.model)
    metadata = dataclasses.replace(found.metadata, licence="MIT", mode="psm")
    for name in ("LICENSE", "NOTICE"):
        (tmp_path / name).write_text(f"{name} of the weights", encoding="utf-8")
    save_checkpoint(
        source,
        config=found.config,
        params=jax.tree.map(np.asarray, found.params),
        tokenizer_file=data / "tokenizer.model",
        metadata=metadata,
        licence_files=[tmp_path / "LICENSE", tmp_path / "NOTICE"],
    )
    settings = ["schedule.num_steps=1", "run.heldout_every=1"]
    outcome = loop.train(override(recipe, settings), data=data, out=tmp_path / "out", model=source)

    made = load_checkpoint(outcome.model).metadata
    assert made.licence == "MIT"
    assert made.mode == best_order(read_metrics(tmp_path / "out" / "metrics.jsonl"))
    assert made.mode is not None
    for name in ("LICENSE", "NOTICE"):
        text = (outcome.model / name).read_text(encoding="utf-8")
        assert text == f"{name} of the weights"
