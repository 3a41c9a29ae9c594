# SPDX-License-Identifier: Apache-2.0
"""The command line in this process, with a scripted completer behind it."""

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from codegemma.cli import options
from codegemma.cli.main import main


class Ran(NamedTuple):
    """What a command did: its exit status and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fakes", Path(__file__).parents[1] / "fakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from codegemma.text.tokenizer import Tokenizer

    return Tokenizer.from_folder(Path(__file__).parents[1] / "golden" / "tokenizer")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> Callable[..., Ran]:
    """Run `codegemma WORDS...` with a completer as every model, and bytes as standard input."""

    def run_command(*words: str, completer: Any = None, stdin: bytes = b"") -> Ran:
        if completer is not None:
            monkeypatch.setattr(options, "open_completer", lambda _: completer)
            monkeypatch.setattr(options, "open_raw_completer", lambda _: completer)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        status = main(list(words))
        written = capfdbinary.readouterr()
        return Ran(status, written.out.decode("utf-8"), written.err.decode("utf-8"))

    return run_command


@pytest.fixture(scope="session")
def http() -> ModuleType:
    """The server that answers what it is told to: `ScriptedServer`, `Reply`, `pieces`."""
    path = Path(__file__).parents[1] / "scripted_server.py"
    spec = importlib.util.spec_from_file_location("scripted_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module
