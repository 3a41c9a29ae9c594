# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
import types

import pytest

from codegemma.errors import ConfigError
from codegemma.generate.named import is_remote, open_named, open_raw
from codegemma.generate.remote import Remote
from codegemma.generate.trimmed import Trimmed


def test_a_local_model_is_loaded_by_its_name(fakes, monkeypatch):
    loader = types.ModuleType("codegemma.generate.load")
    loader.load_completer = lambda name, *, dtype, progress: fakes.ScriptedCompleter(
        name=f"{name} {dtype}"
    )
    loader.load_engine = lambda name, *, dtype, progress: fakes.ScriptedCompleter(
        name=f"raw {name} {dtype}"
    )
    monkeypatch.setitem(sys.modules, "codegemma.generate.load", loader)

    assert open_named("nano", dtype="float32").info.name == "nano float32"
    assert open_raw("nano").info.name == "raw nano None"


def test_a_remote_model_is_asked_and_its_infills_are_trimmed(server):
    trimmed, raw = (each(f"remote:{server.url}") for each in (open_named, open_raw))

    assert isinstance(trimmed, Trimmed)
    assert isinstance(trimmed.completer, Remote)
    assert isinstance(raw, Remote)
    trimmed.completer.close()
    raw.close()


def test_what_a_name_means_shows_in_its_head(tmp_path):
    assert is_remote("remote:x")
    assert not is_remote("nano")
    assert not is_remote(tmp_path / "remote:x")


def test_the_numbers_of_a_remote_model_are_its_servers_affair():
    with pytest.raises(ConfigError, match="the dtype of remote:x is its server's affair"):
        open_named("remote:x", dtype="float32")


def test_a_remote_model_needs_no_jax(server):
    code = (
        "import codegemma, sys\n"
        f"model = codegemma.load('remote:{server.url}')\n"
        "print(model.complete('a = ', '').text, 'jax' in sys.modules)\n"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (run.stdout, run.stderr) == ("42 False\n", "")
