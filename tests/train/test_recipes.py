# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from codegemma.errors import ConfigError
from codegemma.model.params import num_params
from codegemma.train.recipes import RunConfig, by_name, nano, override, tiny


def test_nano_trains_a_model_of_its_name_on_rows_of_its_context() -> None:
    recipe = by_name("nano")

    assert recipe.model.name == recipe.data.name == recipe.name == "nano"
    assert 3_000_000 <= num_params(recipe.model) <= 5_000_000
    assert recipe.input.row_tokens == recipe.model.context_length == recipe.data.context_tokens
    assert recipe.schedule.kind == "wsd"
    assert recipe.schedule.decay_steps == 0


def test_the_gpu_recipe_stays_below_28_million_parameters() -> None:
    recipe = by_name("nano-gpu")

    assert recipe.model.name == recipe.name
    assert 25_000_000 < num_params(recipe.model) <= 28_000_000
    assert recipe.schedule.decay_steps == recipe.schedule.num_steps / 5


def test_tiny_ends_with_a_decay() -> None:
    recipe = by_name("tiny")

    assert (recipe.schedule.num_steps, recipe.schedule.decay_steps) == (20, 5)
    assert num_params(recipe.model) < 50_000


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no training recipe 'nona'; known: nano"):
        by_name("nona")


@pytest.mark.parametrize("name", ["codegemma-2b", "codegemma-1.1-2b", "codegemma-7b"])
def test_released_sizes_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot be trained yet: .*known: nano, "):
        by_name(name)


def test_values_take_the_type_of_their_field() -> None:
    changed = override(
        nano(),
        ["schedule.peak=0.002", "input.rows = 16", "optimizer.kind=adamw", "compute.unroll=false"],
    )

    assert changed.schedule.peak == 0.002
    assert changed.input.rows == 16
    assert changed.optimizer.kind == "adamw"
    assert changed.compute.unroll is False
    assert (
        dataclasses.replace(
            changed,
            schedule=nano().schedule,
            input=nano().input,
            optimizer=nano().optimizer,
            compute=nano().compute,
        )
        == nano()
    )


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("input.rows", "expected path.to.field=value, not 'input.rows'"),
        ("input.row=3", "no field 'row'; there are seed, row_tokens, rows"),
        ("inputs.rows=3", "no field 'inputs'; there are name, model"),
        ("name.x=3", "name has no fields"),
        ("input.rows=three", "expected a value of type int"),
        ("input.rows=1.5", "expected a value of type int"),
        ("optimizer.kind=sgd", "expected one of muon, adamw"),
        ("compute.unroll=1", "expected a value of type bool"),
        ("input=3", "expected a value of type InputConfig"),
        ("input.rows=0", "rows must be at least 1, not 0"),
        ("input.row_tokens=2000", "input.row_tokens 2000 exceeds the model's context of 1024"),
    ],
)
def test_a_wrong_assignment_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(tiny(), [assignment])

    assert message in str(caught.value)


def test_faults_of_the_cadence_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"log_every must be.*keep_every must be"):
        RunConfig(log_every=0, keep_every=-1)
