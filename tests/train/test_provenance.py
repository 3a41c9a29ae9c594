# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path

import pytest

from codegemma.errors import ConfigError, DataError
from codegemma.text.tokenizer import Tokenizer
from codegemma.train.optimizer import ScheduleConfig
from codegemma.train.provenance import (
    as_prepared,
    continue_config,
    hash_inputs,
    read_commit,
    with_decay,
    write_config,
)
from codegemma.train.recipes import TrainRecipe, override, tiny

INPUTS = {"data": "d" * 64, "tokenizer": "t" * 64}


def stable() -> TrainRecipe:
    return dataclasses.replace(tiny(), schedule=ScheduleConfig(num_steps=1000))


def test_the_configuration_holds_the_recipe_versions_and_inputs(tmp_path: Path) -> None:
    write_config(tiny(), out=tmp_path, inputs=INPUTS, origin=None)

    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["recipe"]["schedule"]["peak"] == 0.01
    assert config["inputs"] == INPUTS
    assert {"jax", "optax", "codegemma"} <= config["versions"].keys()
    assert config["commit"] == read_commit()


def test_the_same_recipe_goes_on(tmp_path: Path) -> None:
    write_config(stable(), out=tmp_path, inputs=INPUTS, origin=None)

    assert continue_config(stable(), out=tmp_path, inputs=INPUTS) == stable()


def test_cadence_and_length_may_change(tmp_path: Path) -> None:
    write_config(stable(), out=tmp_path, inputs=INPUTS, origin=None)
    changed = override(stable(), ["run.log_every=7", "schedule.num_steps=2000"])

    assert continue_config(changed, out=tmp_path, inputs=INPUTS) == changed


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("schedule.peak=0.5", "schedule.peak: 0.001 there, 0.5 now"),
        ("input.rows=4", "input.rows: 2 there, 4 now"),
        ("model.width=64", "model.width: 32 there, 64 now"),
        ("run.seed=1", "run.seed: 0 there, 1 now"),
        ("data.fim_fraction=0.5", "data.fim_fraction: 0.9 there, 0.5 now"),
    ],
)
def test_what_decides_the_result_may_not_change(
    assignment: str, message: str, tmp_path: Path
) -> None:
    write_config(stable(), out=tmp_path, inputs=INPUTS, origin=None)

    with pytest.raises(ConfigError) as caught:
        continue_config(override(stable(), [assignment]), out=tmp_path, inputs=INPUTS)

    assert message in str(caught.value)


def test_a_run_says_how_its_data_were_prepared_and_how_it_cuts_them() -> None:
    data = dataclasses.replace(tiny().data, permissive_only=False, fim_fraction=0.1)
    recipe = override(tiny(), ["data.fim_fraction=0.5"])

    found = as_prepared(recipe, data=data).data

    assert (found.permissive_only, found.fim_fraction) == (False, 0.5)


def test_how_records_were_chosen_is_the_datas_affair(tmp_path: Path) -> None:
    write_config(stable(), out=tmp_path, inputs=INPUTS, origin=None)
    changed = override(stable(), ["data.max_file_bytes=5"])

    assert continue_config(changed, out=tmp_path, inputs=INPUTS) == changed


def test_other_data_are_refused(tmp_path: Path) -> None:
    write_config(stable(), out=tmp_path, inputs=INPUTS, origin=None)

    with pytest.raises(ConfigError, match=r"inputs.data: 'dd.*now$"):
        continue_config(stable(), out=tmp_path, inputs=INPUTS | {"data": "e" * 64})


def test_a_setting_that_did_not_exist_is_taken_at_its_default(tmp_path: Path) -> None:
    write_config(stable(), out=tmp_path, inputs=INPUTS, origin=None)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["recipe"]["compute"]["z_loss"]
    path.write_text(json.dumps(config), encoding="utf-8")

    assert continue_config(stable(), out=tmp_path, inputs=INPUTS) == stable()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"recipe": 3, "inputs": {}}',
        '{"recipe": {"schedule": {"moon": 1}}, "inputs": {}}',
    ],
)
def test_a_configuration_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=r"config\.json is no run's of this version"):
        continue_config(stable(), out=tmp_path, inputs=INPUTS)


def test_data_without_a_manifest_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(Path(__file__).parents[1] / "golden" / "tokenizer")

    with pytest.raises(DataError, match=r"cannot read .*manifest\.json: No such file"):
        hash_inputs(tmp_path, tokenizer=tokenizer)


def test_a_decay_starts_at_the_step_and_is_kept(tmp_path: Path) -> None:
    decaying = with_decay(stable(), decay_steps=30, step=120)
    write_config(decaying, out=tmp_path, inputs=INPUTS, origin=None)
    resumed = continue_config(stable(), out=tmp_path, inputs=INPUTS)

    assert (decaying.schedule.num_steps, decaying.schedule.decay_steps) == (150, 30)
    assert resumed == decaying
    assert with_decay(resumed, decay_steps=30, step=135) == decaying
    assert with_decay(resumed, decay_steps=None, step=135) == decaying


def test_a_second_decay_of_another_length_is_refused() -> None:
    decaying = with_decay(stable(), decay_steps=30, step=120)

    with pytest.raises(ConfigError, match=r"ends this run at step 150; .* steps/120"):
        with_decay(decaying, decay_steps=40, step=135)


def test_only_wsd_takes_a_decay() -> None:
    cosine = override(stable(), ["schedule.kind=cosine"])

    with pytest.raises(ConfigError, match="only the schedule wsd takes a decay, not cosine"):
        with_decay(cosine, decay_steps=5, step=1)
