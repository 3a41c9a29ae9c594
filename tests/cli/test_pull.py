# SPDX-License-Identifier: Apache-2.0
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import constants

from codegemma.cli import pull as pull_module
from codegemma.model.config import tiny
from codegemma.model.export import write_checkpoint
from codegemma.model.metadata import Metadata

TESTS = Path(__file__).parents[1]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on the loopback with a gated codegemma-2b, at the size of a test."""
    folder = tmp_path / "source"
    dtype = np.dtype(ml_dtypes.bfloat16)
    write_checkpoint(
        folder,
        config=tiny(vocab_size=1024),
        metadata=Metadata(name="codegemma-2b"),
        blocks=lambda tensor: [np.ones(tensor.shape, dtype)],
        dtype=dtype,
        tokenizer_file=TESTS / "golden" / "tokenizer" / "tokenizer.model",
        layout="hf",
    )
    spec = importlib.util.spec_from_file_location("fake_hub", TESTS / "fake_hub.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hub = module.FakeHub({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    hub.token = "hf_secret"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / "cache"))
    yield hub
    hub.close()


@pytest.fixture
def folder(tmp_path):
    """Where a pull puts the model."""
    commit = "c0ffee" + "0" * 34
    return tmp_path / "hub" / "models--google--codegemma-2b" / "snapshots" / commit


def test_a_pull_shows_the_terms_and_prints_the_folder(run, hub, folder):
    ran = run("pull", "codegemma-2b", "--yes")
    assert ran.status == 0, ran.err
    assert ran.out == f"{folder}\n"
    assert (folder / "model.safetensors").is_file()
    assert "codegemma-2b comes under the Gemma Terms of Use: https://ai.google.dev/gemma" in ran.err
    assert "To fetch: 0.00 GB of 0.00 GB, from google/codegemma-2b" in ran.err


def test_nothing_is_fetched_without_consent(run, hub, folder):
    ran = run("pull", "codegemma-2b")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.endswith(
        "codegemma: the terms of codegemma-2b ask for your consent; read them, then run again "
        "with --yes\n"
    )
    assert hub.fetched() == set()
    assert not folder.exists()


@pytest.mark.parametrize(("answer", "status"), [(True, 0), (False, 130)])
def test_at_a_terminal_the_user_is_asked(run, hub, folder, monkeypatch, answer, status):
    questions = []

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    def confirm(text: str, *, err: bool) -> bool:
        questions.append((text, err))
        return answer

    monkeypatch.setattr(pull_module.typer, "confirm", confirm)
    monkeypatch.setattr(pull_module.sys, "stdin", Terminal)
    monkeypatch.setattr("io.TextIOWrapper", lambda *_, **__: Terminal)
    assert run("pull", "codegemma-2b").status == status
    assert questions == [("Do you accept these terms?", True)]
    assert folder.exists() is answer


def test_a_model_that_is_here_is_not_asked_about_again(run, hub, folder):
    run("pull", "codegemma-2b", "--yes")
    hub.requests.clear()
    ran = run("pull", "codegemma-2b")
    assert ran == (0, f"{folder}\n", "codegemma-2b is on this machine already\n")
    assert hub.fetched() == set()


def test_a_model_that_is_here_needs_no_hub(run, hub, folder, monkeypatch):
    run("pull", "codegemma-2b", "--yes")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    ran = run("pull", "codegemma-2b")
    assert (ran.status, ran.out) == (0, f"{folder}\n")
    assert "whether it is the newest is unknown: cannot fetch google/codegemma-2b" in ran.err


def test_a_gated_model_says_how_to_get_in(run, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    ran = run("pull", "codegemma-2b", "--yes")
    assert (ran.status, ran.out) == (2, "")
    assert f"google/codegemma-2b is gated: accept the terms at {hub.url}/google/code" in ran.err


def test_a_misspelt_name_gets_a_suggestion(run):
    ran = run("pull", "codegemma2b")
    assert ran.status == 2
    assert ran.err == ("codegemma: no model is called 'codegemma2b'; did you mean codegemma-2b?\n")


def test_a_whole_process_pulls_with_the_hubs_own_environment(hub, folder, tmp_path):
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-m", "codegemma", "pull", "codegemma-2b", "--yes"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{folder}\n"
