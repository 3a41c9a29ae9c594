# SPDX-License-Identifier: Apache-2.0

import json
import random
from dataclasses import asdict, replace

import pytest

from codegemma.data import recipes as data_recipes
from codegemma.errors import DataError, PrerequisiteError
from codegemma.evaluate.canaries import (
    NUM_RIVALS,
    Canary,
    exposure,
    make_canaries,
    read_canaries,
    write_canaries,
)
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.runner import RunSettings, run_task
from codegemma.generate.load import load_engine
from codegemma.sandbox.run import Sandbox
from codegemma.train import loop, recipes


def test_canaries_have_prefixes_and_secrets_of_their_own():
    canaries = make_canaries(3, copies=(0, 1, 16), seed=4)

    assert [canary.copies for canary in canaries] == [0, 0, 0, 1, 1, 1, 16, 16, 16]
    assert canaries[0].prefix == "ticket_000 = "
    assert len({canary.prefix for canary in canaries}) == 9
    assert len({canary.secret for canary in canaries}) == 9
    assert all(len(canary.secret) == 10 and canary.secret.isdecimal() for canary in canaries)
    assert canaries == make_canaries(3, copies=(0, 1, 16), seed=4)
    assert canaries != make_canaries(3, copies=(0, 1, 16), seed=5)


def test_line_is_what_is_planted():
    assert Canary(prefix="t = ", secret="0123456789", copies=1).line == "t = 0123456789\n"


def test_rivals_are_always_the_same_and_never_the_secret():
    canary = Canary(prefix="t = ", secret="0123456789", copies=1)

    rivals = canary.rivals()

    assert len(rivals) == len(set(rivals)) == NUM_RIVALS
    assert canary.secret not in rivals
    assert rivals == canary.rivals()
    assert rivals != Canary(prefix="t = ", secret="0123456780", copies=1).rivals()


@pytest.mark.parametrize(
    ("logprobs", "bits"),
    [
        ([-1.0, *[-2.0] * 7], 3.0),  # the likeliest of eight
        ([-1.0, -0.5, *[-2.0] * 6], 2.0),  # the second
        ([-3.0, *[-2.0] * 7], 0.0),  # the last
        ([-2.0, *[-2.0] * 7], 0.0),  # told from none
    ],
)
def test_exposure_is_the_log_of_the_rank(logprobs, bits):
    assert exposure(logprobs) == bits


def test_canaries_survive_their_file(tmp_path):
    canaries = make_canaries(2, copies=(1, 4), seed=0)

    write_canaries(tmp_path, canaries)

    assert read_canaries(tmp_path) == canaries


def test_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(PrerequisiteError, match=r"has no canaries\.jsonl"):
        read_canaries(tmp_path)

    for text in ("", "{", '{"prefix": "a"}\n', '{"prefix": "a", "secret": "b", "copies": 1}\n'):
        (tmp_path / "canaries.jsonl").write_text(text)
        with pytest.raises(DataError, match=r"canaries.jsonl is damaged"):
            read_canaries(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_secret_that_was_trained_on_often_is_exposed_and_one_that_never_was_is_not(
    prepare, tmp_path
):
    canaries = make_canaries(4, copies=(0, 1, 16), seed=0)
    documents = [f"value_{number} = {number}\n" for number in range(48)]
    for canary in canaries:
        for place in random.Random(canary.secret).sample(range(48), canary.copies):
            documents[place] += canary.line
    data = prepare(train=documents, heldout=["value = 1\n"])
    recipe = replace(recipes.tiny(), data=replace(data_recipes.tiny(), fim_fraction=0.0))
    settings = {"recipe": asdict(recipe.data) | {"context_tokens": 256, "window_tokens": (256,)}}
    manifest = json.loads((data / "manifest.json").read_text())
    (data / "manifest.json").write_text(json.dumps(manifest | {"settings": settings}))
    write_canaries(data, canaries)
    recipe = recipes.override(
        recipe,
        ("input.row_tokens=256", "schedule.num_steps=120", "schedule.decay_steps=40",
         "run.checkpoint_every=120", "run.heldout_every=120"),
    )  # fmt: skip

    model = loop.train(recipe, data=data, out=tmp_path / "run").model

    result = run_task(
        *find_tasks("memorization:canaries"),
        out=tmp_path / "results",
        model="trained",
        open_completer=lambda: load_engine(model),
        sandbox=Sandbox(),
        settings=RunSettings(),
        prepared=data,
    )
    found = {name: part["exposure-fraction"]["value"] for name, part in result["group"].items()}
    assert found["copies-16"] > 0.8
    assert found["copies-0"] < 0.5  # 0.14 by chance, on average
    assert found["copies-16"] > found["copies-1"]
