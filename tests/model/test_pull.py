# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from codegemma.errors import CheckpointError, ConfigError, RemoteError
from codegemma.model import pull as pulls
from codegemma.model.hub import known_model, locate
from codegemma.model.pull import plan_pull, run_pull

MODEL = known_model("codegemma-2b")
WANTED = {"README.md", "config.json", "model.safetensors", "tokenizer.model"}

PULLER = """
import sys
from codegemma.model.hub import known_model
from codegemma.model.pull import plan_pull, run_pull
run_pull(plan_pull(known_model("codegemma-2b")))
"""


def pull(**kwargs):
    return run_pull(plan_pull(MODEL), **kwargs)


def test_a_plan_lists_what_is_wanted_and_fetches_nothing(hub):
    plan = plan_pull(MODEL)
    assert {file.name for file in plan.files} == WANTED
    assert plan.size_bytes == sum(len(hub.files[name]) for name in WANTED)
    assert plan.kept_bytes == 0
    assert hub.fetched() == set()


def test_a_pulled_model_lies_in_the_hubs_cache_and_is_whole(hub):
    seen = []
    folder = pull(progress=lambda done, total: seen.append((done, total)))
    assert locate(MODEL) == ("ready", folder)
    for name in WANTED:
        assert (folder / name).read_bytes() == hub.files[name]
    total = sum(len(hub.files[name]) for name in WANTED)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def test_no_pickle_and_no_program_is_fetched(hub):
    folder = pull()
    assert hub.fetched() == WANTED
    assert {path.name for path in folder.iterdir()} == WANTED


def test_the_hub_package_finds_what_was_pulled(hub):
    from huggingface_hub import snapshot_download

    folder = pull()
    found = snapshot_download(
        "google/codegemma-2b", local_files_only=True, allow_patterns=["*.json"]
    )
    assert found == str(folder)


def test_a_second_pull_fetches_nothing(hub):
    pull()
    hub.requests.clear()
    plan = plan_pull(MODEL)
    assert plan.kept_bytes == plan.size_bytes
    run_pull(plan)
    assert hub.fetched() == set()


def test_a_revision_may_be_asked_for(hub):
    folder = run_pull(plan_pull(MODEL, revision="v2"))
    assert locate(MODEL, revision="v2") == ("ready", folder)
    assert locate(MODEL) == ("absent", None)
    with pytest.raises(
        RemoteError, match=r"google/codegemma-2b has no revision 'nowhere'; see http"
    ):
        plan_pull(MODEL, revision="nowhere")


def test_a_token_is_sent_to_the_hub_and_to_nobody_else(hub, monkeypatch):
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull()
    for seen in hub.requests:
        assert seen.authorization == ("" if "/cdn/" in seen.path else "Bearer hf_secret"), seen


def test_a_gated_model_without_a_token_says_how_to_get_in(hub):
    hub.token = "hf_secret"
    with pytest.raises(
        RemoteError,
        match=r"codegemma-2b is gated: accept the terms at .*/google/codegemma-2b, make a token at "
        r".*/settings/tokens, and pass it in HF_TOKEN",
    ):
        pull()
    assert hub.fetched() == {"model.safetensors"}
    assert locate(MODEL) == ("absent", None)


@pytest.mark.parametrize("token", ["hf_secret", "hf_wrong"])
def test_a_token_the_hub_refuses_says_to_accept_the_terms(hub, monkeypatch, token):
    hub.token, hub.has_accepted = "hf_secret", False
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(
        RemoteError, match=r"refuses your token for google/codegemma-2b: accept the terms"
    ) as caught:
        pull()
    assert token not in str(caught.value)


def test_an_unknown_repository_is_named(hub):
    with pytest.raises(
        RemoteError, match=r"127\.0\.0\.1:\d+ has no repository google/codegemma-7b"
    ):
        plan_pull(known_model("codegemma-7b"))


@pytest.mark.parametrize("status", [500, 418])
def test_a_hub_that_fails_is_one_clear_message(hub, status):
    hub.status = status
    with pytest.raises(RemoteError, match=f"the hub answered {status} for google/codegemma-2b"):
        plan_pull(MODEL)


def test_a_hub_that_is_not_there_is_one_clear_message(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RemoteError, match=r"cannot reach http://127\.0\.0\.1:9 for google/"):
        plan_pull(MODEL)


def test_offline_mode_is_respected(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RemoteError, match="HF_HUB_OFFLINE is set; unset it and pull again"):
        plan_pull(MODEL)
    assert hub.requests == []


def test_the_embedded_model_is_not_pulled():
    with pytest.raises(ConfigError, match="nano is part of the package"):
        plan_pull(known_model("nano"))


def test_a_repository_of_pickles_alone_is_refused(hub):
    del hub.files["model.safetensors"]
    with pytest.raises(RemoteError, match="holds no safetensors; other weights are not fetched"):
        plan_pull(MODEL)


def test_a_disk_too_small_is_refused_before_anything_is_fetched(hub, monkeypatch):
    plan = plan_pull(MODEL)
    monkeypatch.setattr(pulls.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(
        CheckpointError, match=r"codegemma-2b needs 0\.00 GB more in .*hub, 0\.00 GB"
    ):
        run_pull(plan)
    assert hub.fetched() == set()


def test_a_model_that_is_not_sound_is_refused_after_its_pull(hub):
    hub.files["config.json"] = hub.files["config.json"].replace(b'"gemma"', b'"llama"')
    with pytest.raises(CheckpointError, match=r"expected the model_type 'gemma' .*found 'llama'"):
        pull()


def test_an_interrupted_pull_goes_on_where_it_stopped(hub):
    stop_at = 30_000

    def interrupt(done: int, total: int) -> None:
        if done >= stop_at:
            raise KeyboardInterrupt

    hub.cut_after = [stop_at]
    with pytest.raises(KeyboardInterrupt):
        pull(progress=interrupt)
    assert locate(MODEL) == ("absent", None)
    plan = plan_pull(MODEL)
    assert plan.kept_bytes == stop_at
    hub.requests.clear()
    folder = run_pull(plan)
    asked = [seen.range for seen in hub.requests if seen.path.startswith("/cdn/")]
    assert "bytes=30000-" in asked
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert not list(folder.parents[1].glob("blobs/*incomplete"))


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_pull_leaves_no_model_and_goes_on_where_it_stopped(hub, tmp_path, number):
    hub.hold_after = 30_000
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub")}
    puller = subprocess.Popen(
        [sys.executable, "-c", PULLER], env=os.environ | environment, stderr=subprocess.DEVNULL
    )
    assert hub.is_held.wait(60)
    partial = tmp_path / "hub" / "models--google--codegemma-2b" / "blobs"
    while not any(path.stat().st_size == 30_000 for path in partial.glob("*")):
        assert puller.poll() is None
    puller.send_signal(number)
    assert puller.wait(timeout=20) != 0
    assert locate(MODEL) == ("absent", None)
    hub.hold_after = None
    hub.release.set()
    hub.requests.clear()
    folder = pull()
    assert locate(MODEL) == ("ready", folder)
    assert "bytes=30000-" in [seen.range for seen in hub.requests]
