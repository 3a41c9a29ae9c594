# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from codegemma.errors import CheckpointError, ConfigError
from codegemma.model import hub as hubs
from codegemma.model.hub import MODELS, TERMS, find_model, known_model, locate, resolve


@pytest.fixture(autouse=True)
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def snapshot(hub_cache, hf_folder):
    """codegemma-2b in the hub's cache, as its main branch."""
    root = hub_cache / "models--google--codegemma-2b"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc123")
    shutil.copytree(hf_folder, root / "snapshots" / "abc123")
    return root / "snapshots" / "abc123"


def test_every_released_model_is_known_by_its_name_and_repository():
    repositories = {model.name: model.repository for model in MODELS}
    assert repositories == {
        "nano": None,
        "codegemma-2b": "google/codegemma-2b",
        "codegemma-1.1-2b": "google/codegemma-1.1-2b",
        "codegemma-7b": "google/codegemma-7b",
        "codegemma-7b-it": "google/codegemma-7b-it",
        "codegemma-1.1-7b-it": "google/codegemma-1.1-7b-it",
        "gemma-2b": "google/gemma-2b",
        "gemma-7b": "google/gemma-7b",
    }
    assert find_model("google/codegemma-7b-it") == known_model("codegemma-7b-it")
    assert {model.name for model in MODELS if model.is_instruction} == {
        "codegemma-7b-it",
        "codegemma-1.1-7b-it",
    }


def test_the_sizes_are_the_published_ones():
    assert known_model("codegemma-2b").num_params == 2_506_172_416
    assert known_model("codegemma-7b-it").num_params == 8_537_680_896


def test_every_model_has_its_terms():
    assert {model.licence for model in MODELS} == set(TERMS)
    assert TERMS["gemma"].url == "https://ai.google.dev/gemma/terms"


def test_a_name_leads_to_the_snapshot_of_the_main_branch(snapshot):
    assert resolve("codegemma-2b") == resolve("google/codegemma-2b") == snapshot


def test_a_commit_may_be_named(snapshot):
    model = known_model("codegemma-2b")
    assert locate(model, revision="abc123") == ("ready", snapshot)
    assert locate(model, revision="../../x") == ("absent", None)
    assert locate(model, revision="v1") == ("absent", None)


def test_a_model_not_on_this_machine_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError,
        match=r"codegemma-7b is not on this machine; .*codegemma pull codegemma-7b$",
    ):
        resolve("codegemma-7b")
    (tmp_path / "codegemma-7b").mkdir()
    with pytest.raises(CheckpointError, match=r"the folder here is \./codegemma-7b$"):
        resolve("codegemma-7b")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", "model.safetensors"])
def test_a_model_pulled_only_in_part_says_so(snapshot, name):
    (snapshot / name).unlink()
    with pytest.raises(
        CheckpointError,
        match=rf"only partly on this machine \({name} is missing\); .*codegemma pull",
    ):
        resolve("codegemma-2b")


def test_a_shard_that_is_not_there_counts_as_missing(snapshot):
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}'
    )
    (snapshot / "x.safetensors").write_text("")
    assert hubs.missing_files(snapshot) == ["y.safetensors"]


def test_a_folder_is_its_own_name(hf_folder):
    assert resolve(hf_folder) == resolve(str(hf_folder)) == hf_folder


def test_a_folder_with_the_name_of_a_model_is_told_apart(snapshot, hf_folder, monkeypatch):
    folder = hf_folder.rename(hf_folder.with_name("codegemma-2b"))
    monkeypatch.chdir(folder.parent)
    assert resolve("codegemma-2b") == snapshot
    assert resolve("./codegemma-2b").samefile(folder)
    assert resolve(Path("codegemma-2b")).samefile(folder)


def test_the_output_of_a_training_stands_for_its_model(tmp_path, hf_folder):
    (tmp_path / "out").mkdir()
    hf_folder.rename(tmp_path / "out" / "model")
    assert resolve(tmp_path / "out") == tmp_path / "out" / "model"


def test_a_training_without_a_model_yet_says_how_to_come_by_one(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match=r"training run without a model yet: .*--minutes"):
        resolve(tmp_path)


def test_the_embedded_model_lies_in_the_package(tmp_path, hf_folder, monkeypatch):
    monkeypatch.setattr(hubs, "NANO_FOLDER", hf_folder)
    assert resolve("nano") == hf_folder
    monkeypatch.setattr(hubs, "NANO_FOLDER", tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="embedded model nano is not in this installation"):
        resolve("nano")
    assert locate(known_model("nano")) == ("absent", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("codegemma-2", "did you mean codegemma-2b"),
        ("CodeGemma-7B-IT", "did you mean codegemma-7b-it"),
        ("google/codegema-1.1-2b", r"did you mean codegemma-1\.1-2b"),
        ("gpt", "known models: nano, codegemma-2b, .*gemma-7b$"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(name, message):
    with pytest.raises(ConfigError, match=f"{name!r} is neither a model nor a folder; {message}"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.gguf", r"'model\.gguf' is neither a model nor a folder"),
        ("remote:http://localhost:8000", "is a server, and the files of a model are needed here"),
        ("pytorch_model.bin", "pickles can run any code when read, and are refused"),
        ("model.ckpt", "pickles can run any code when read, and are refused"),
        ("model.pickle", "pickles can run any code when read, and are refused"),
    ],
)
def test_what_is_not_read_is_refused_by_its_kind(name, message):
    with pytest.raises(ConfigError, match=message):
        resolve(name)


def test_a_gguf_file_is_named_by_its_path(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert resolve(str(tmp_path / "a.gguf")) == tmp_path / "a.gguf"


def test_a_file_and_a_folder_without_a_model_are_refused(tmp_path, hf_folder):
    with pytest.raises(ConfigError, match="or a GGUF file, found another file; give its"):
        resolve(hf_folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"is no model folder: expected config\.json in it"):
        resolve(tmp_path)
