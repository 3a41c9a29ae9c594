# SPDX-License-Identifier: Apache-2.0
"""A real server on loopback with a scripted completer behind it."""

import importlib.util
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn

from codegemma.serve.app import create_app


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


class Live(NamedTuple):
    """A running server: a client for it, its port and its application."""

    http: httpx.Client
    port: int
    app: Any

    def raw(self, request: str) -> bytes:
        """Send bytes as they are and read until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request.replace("\n", "\r\n").encode())
            pieces: list[bytes] = []
            # A server that refuses what it has not read resets the connection after its answer.
            with suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    pieces.append(piece)
            return b"".join(pieces)


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    return _load("fakes")


@pytest.fixture(scope="session")
def http() -> ModuleType:
    """The server that answers what it is told to: `ScriptedServer`, `Reply`, `pieces`."""
    return _load("scripted_server")


@pytest.fixture(scope="session")
def serving() -> Callable[..., Any]:
    """A context manager that serves a completer, or a function that makes one."""

    @contextmanager
    def serve(completer: Any, *, wait: bool = True, **options: Any) -> Iterator[Live]:
        load = completer if callable(completer) else lambda: completer
        app = create_app(load, **options)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            config = uvicorn.Config(app, http="h11", log_level="critical", lifespan="on")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
                    while wait and http.get("/health").status_code != 200:
                        time.sleep(0.005)
                    yield Live(http, port, app)
            finally:
                server.should_exit = True
                thread.join(20)

    return serve


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from codegemma.text.tokenizer import Tokenizer

    return Tokenizer.from_folder(Path(__file__).parents[1] / "golden" / "tokenizer")


@pytest.fixture
def scripted(fakes: ModuleType) -> Any:
    return fakes.ScriptedCompleter("return 42\n")


@pytest.fixture
def live(serving: Callable[..., Any], scripted: Any) -> Iterator[Live]:
    with serving(scripted) as server:
        yield server
