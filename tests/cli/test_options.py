# SPDX-License-Identifier: Apache-2.0
import sys
import types

import pytest

from codegemma.cli.options import loading, open_completer, open_raw_completer, parse_mode, waiting
from codegemma.errors import ConfigError


def test_a_model_is_loaded_by_the_name_given(fakes, monkeypatch):
    loader = types.ModuleType("codegemma.generate.load")
    loader.load_completer = lambda name, *, dtype, progress: fakes.ScriptedCompleter(
        name=f"trimmed {name}"
    )
    monkeypatch.setitem(sys.modules, "codegemma.generate.load", loader)
    assert open_completer("nano").info.name == "trimmed nano"


def test_a_model_to_be_measured_is_loaded_without_what_trims_its_text(fakes, monkeypatch):
    loader = types.ModuleType("codegemma.generate.load")
    loader.load_engine = lambda name, *, dtype, progress: fakes.ScriptedCompleter(
        name=f"raw {name}"
    )
    monkeypatch.setitem(sys.modules, "codegemma.generate.load", loader)
    assert open_raw_completer("nano").info.name == "raw nano"


def test_an_order_is_known_by_its_name():
    assert parse_mode("spm2") == "spm2"
    with pytest.raises(ConfigError, match="--mode must be one of auto, psm, spm, spm2, not 'ps'"):
        parse_mode("ps")


def test_nothing_is_shown_where_nobody_watches(capfd):
    with waiting("Loading"):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_terminal_sees_what_goes_on(capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with waiting("Loading nano"):
        pass
    captured = capfd.readouterr()
    assert "Loading nano" in captured.err
    assert captured.out == ""


def test_a_terminal_sees_how_far_the_weights_are(capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with loading("codegemma-2b") as progress:
        progress(2_500_000_000, 5_000_000_000)
    captured = capfd.readouterr()
    assert "Loading codegemma-2b" in captured.err
    assert "2.5/5.0 GB" in captured.err
    assert captured.out == ""


def test_loading_is_told_to_nobody_where_nobody_watches(capfd):
    with loading("nano") as progress:
        assert progress is None
    assert capfd.readouterr() == ("", "")
