# SPDX-License-Identifier: Apache-2.0
"""`codegemma serve`: completions over HTTP, and a page to try them."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from codegemma.cli import options
from codegemma.completion import Prompt, Sampling
from codegemma.errors import ConfigError
from codegemma.text.tokens import BOS_ID, FIM_MIDDLE_ID, FIM_PREFIX_ID, FIM_SUFFIX_ID

if TYPE_CHECKING:
    from codegemma.completion import Completer
    from codegemma.context.beside import FilesBeside

DEFAULT_PORT = 8012
STOP_TIMEOUT_S = 10
WARM_TOKENS = 300
"""A prompt of this length is read in one piece of each length that `generate/batch.py` knows."""


def serve(
    model: options.Model = "nano",
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine it needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)
    ] = DEFAULT_PORT,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token clients must show; else CODEGEMMA_TOKEN."),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(help="Folder whose files are shown beside an infill that names its path."),
    ] = None,
) -> None:
    """Serve a model: OpenAI's completions protocol under /v1, a page to try it at /.

    Without a token only this machine is answered. Ctrl-C stops.
    """
    from codegemma.serve.security import check_bind, read_token

    token = read_token(os.environ, token_file)
    check_bind(host, token)
    if repository is not None and not repository.is_dir():
        raise ConfigError(f"--repository takes a folder, and {repository} is none")
    with listen(host, port) as listener:
        _run(listener, model=model, host=host, token=token, repository=repository)


def listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Raises:
        ConfigError: The address is not this machine's, or the port is taken or reserved.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error.strerror or error}") from None
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}; "
            "choose another with --port, with make by make run ARGS='--port 8013'"
        ) from None
    return listener


def _run(
    listener: socket.socket, *, model: str, host: str, token: str | None, repository: Path | None
) -> None:
    import uvicorn

    from codegemma.serve.app import create_app
    from codegemma.serve.worker import MAX_DRAWN

    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    failures: list[BaseException] = []
    beside: "FilesBeside | None" = None
    if repository is not None:
        from codegemma.context.beside import FilesBeside

        root = repository.resolve()
        beside = FilesBeside(root, cache=options.context_cache(root))

    def load() -> "Completer":
        from codegemma.generate.named import is_remote, open_named

        if beside is not None:
            beside.refresh()
        completer = open_named(model)
        if not is_remote(model):  # a server has its own warmth, and its own vocabulary
            warm(completer)
        return completer

    def on_ready(completer: "Completer") -> None:
        note = "a token is needed" if token else "this machine only"
        print(f"{completer.info.name} is served on http://{shown}:{port} ({note}; Ctrl-C stops)")
        sys.stdout.flush()

    def on_failure(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(
        load,
        host=host,
        token=token,
        max_drawn=MAX_DRAWN,
        beside=beside,
        prepare=prepare,
        on_ready=on_ready,
        on_failure=on_failure,
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
    )
    # uvicorn finishes its requests on a signal and then raises it once more.
    signal.signal(signal.SIGTERM, _end)
    print(f"Loading {model} for http://{shown}:{port} ...", file=sys.stderr)
    try:
        server.run(sockets=[listener])
    except (SystemExit, KeyboardInterrupt) as error:
        if not app.state.worker.is_alive:
            raise
        # Python cannot end a thread that is inside the compiler: it would abort the process.
        sys.stdout.flush()
        os._exit(130 if isinstance(error, KeyboardInterrupt) else 0)
    if failures:
        raise failures[0]


def warm(completer: "Completer") -> None:
    """Draw a little, so that the programs most requests need are compiled before the first one.

    Twice, since a model's first prompt is read in pieces of one length (see `Engine`).
    """
    length = min(WARM_TOKENS, completer.info.context_length // 2)
    text = completer.tokenizer.encode("value = 1\n" * length)[: length - 4]
    tokens = (BOS_ID, FIM_PREFIX_ID, *text, FIM_SUFFIX_ID, FIM_MIDDLE_ID)
    for _ in range(2):
        completer.complete([Prompt(tokens=tokens)], Sampling(max_tokens=8, heal=True))


def prepare(completer: "Completer") -> Iterator[object]:
    """Compile what requests of kinds not met yet will need; nothing for a model elsewhere."""
    from codegemma.generate.trimmed import Trimmed

    engine = completer.completer if isinstance(completer, Trimmed) else completer
    compile_ahead: Callable[[], Iterator[object]] | None = getattr(engine, "compile_ahead", None)
    return iter(()) if compile_ahead is None else compile_ahead()


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(0)
