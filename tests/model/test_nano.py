# SPDX-License-Identifier: Apache-2.0
"""The folder that ships as `nano`, whichever weights lie in it: whole, licensed, not too large."""

import json

import pytest

from codegemma.model import config as configs
from codegemma.model.checkpoint import load_checkpoint
from codegemma.model.hub import NANO_FOLDER, TERMS, known_model, resolve
from codegemma.model.manifest import read_manifest, verify_manifest
from codegemma.model.stored import open_checkpoint

ROOT = NANO_FOLDER.parents[2]
MAX_BYTES = 32_000_000
MAX_FILE_BYTES = 15_000_000


@pytest.fixture(scope="module")
def sizes():
    """Bytes of every file by name."""
    return {path.name: path.stat().st_size for path in NANO_FOLDER.iterdir()}


def test_nano_loads_by_name_in_the_shape_of_its_configuration():
    checkpoint = load_checkpoint(resolve("nano"))
    assert checkpoint.config == configs.nano()
    assert checkpoint.tokenizer.vocab_size == checkpoint.config.vocab_size
    assert checkpoint.metadata.name == "nano"
    assert checkpoint.metadata.mode in ("psm", "spm", "spm2")


def test_every_file_of_nano_is_in_its_manifest_and_holds_to_it(sizes):
    manifest = read_manifest(NANO_FOLDER)
    assert manifest is not None
    assert {*manifest.files, "manifest.json"} == set(sizes)
    assert {"README.md", "LICENSE", "NOTICE", "codegemma.json", "tokenizer.model"} <= set(sizes)
    verify_manifest(NANO_FOLDER, manifest)


def test_nano_takes_at_most_32_mb_and_no_file_of_it_more_than_15(sizes):
    assert sum(sizes.values()) <= MAX_BYTES
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES} == {}


def test_nano_says_under_which_licence_it_is_given():
    licence = known_model("nano").licence
    assert licence == open_checkpoint(NANO_FOLDER).metadata.licence == "Apache-2.0"
    assert TERMS[licence].title == "Apache License 2.0"
    for name in ("LICENSE", "NOTICE"):
        assert (NANO_FOLDER / name).read_text() == (ROOT / name).read_text()
    assert "src/codegemma/nano/README.md" in (ROOT / "NOTICE").read_text()
    card = (NANO_FOLDER / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")


def test_the_card_says_what_nano_is_and_what_it_is_not():
    card = (NANO_FOLDER / "README.md").read_text()
    millions = known_model("nano").num_params / 1e6
    assert f"{millions:.1f} million parameters" in " ".join(card.split())
    assert "## Limits\n" in card
    training = json.loads((NANO_FOLDER / "codegemma.json").read_text())["training"]
    assert {"recipe", "inputs", "step", "trained_tokens", "versions"} <= set(training)
    assert set(training["middle_nll"]) == {"psm", "spm", "spm2"}


def test_the_card_the_record_and_the_dated_result_tell_the_same_figures():
    newest = max((ROOT / "benchmarks" / "results").glob("nano-*.json"))
    rows = {row["name"]: row for row in json.loads(newest.read_text(encoding="utf-8"))}
    heldout = open_checkpoint(NANO_FOLDER).metadata.training["heldout"]
    assert {name: round(row["value"], 6) for name, row in rows.items()} == heldout
    card = (NANO_FOLDER / "README.md").read_text(encoding="utf-8")
    for name, row in rows.items():
        scale, form = (100, ".1f") if row["unit"] == "fraction" else (1, ".3f")
        assert f"{row['value'] * scale:{form}}" in card, name
    for name in ("exact-match", "ends-by-itself", "middle-nll-psm", "middle-nll-spm"):
        assert rows[name]["n"] == 1000


def test_nano_knows_more_of_held_out_code_than_an_n_gram_model_and_chance():
    newest = max((ROOT / "benchmarks" / "results").glob("nano-*.json"))
    rows = {row["name"]: row for row in json.loads(newest.read_text(encoding="utf-8"))}
    for baseline in ("6-gram-middle-nll", "untrained-middle-nll"):
        for order in ("psm", "spm"):
            assert rows[f"middle-nll-{order}"]["high"] < rows[baseline]["low"]
    assert rows["exact-match"]["low"] > rows["untrained-exact-match"]["value"]
