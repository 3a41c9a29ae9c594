# SPDX-License-Identifier: Apache-2.0
"""The HTTP application: routes, the worker behind them, and the page in front.

`create_app` takes a function that makes a completer; the worker's thread calls it when the server
starts, so that the server answers (503) from the first moment. Every protocol is a translation in
`protocols/`; what happens to prompts in between is `worker.py`. Binding and signals are the
command's affair (`cli/serve.py`). Prompts and completions are never logged.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from codegemma.completion import Completer, Completion, Prompt
from codegemma.errors import CodegemmaError
from codegemma.serve.errors import ApiError, on_api_error, on_http_error, on_internal_error
from codegemma.serve.page import page_files
from codegemma.serve.protocols import openai
from codegemma.serve.protocols.openai_answer import Answer, model_body, models_body
from codegemma.serve.schemas import Fields, parse_json
from codegemma.serve.security import MAX_BODY_BYTES, Guard, client_of
from codegemma.serve.stream import STOPPING, EventStream, cancel_on_disconnect
from codegemma.serve.worker import MAX_WAITING, Piece, Worker
from codegemma.text.budget import fit_prompt

if TYPE_CHECKING:
    from codegemma.context.beside import FilesBeside  # brings parsers, which few servers need

BODY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0


def create_app(
    load: Callable[[], Completer],
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    max_waiting: int = MAX_WAITING,
    max_drawn: int = 1,
    max_body_bytes: int = MAX_BODY_BYTES,
    body_timeout_s: float = BODY_TIMEOUT_S,
    beside: "FilesBeside | None" = None,
    prepare: Callable[[Completer], Iterator[object]] | None = None,
    on_ready: Callable[[Completer], None] = lambda _: None,
    on_failure: Callable[[BaseException], None] = lambda _: None,
) -> Starlette:
    """Make the application.

    Args:
        load: Makes the completer; called once, in a thread, when the server starts.
        host: Address the server listens on; a loopback one makes the Host header checked.
        token: What clients must show, None for none.
        max_waiting: Most requests that wait behind those being drawn.
        max_drawn: Most requests that are drawn at one time.
        max_body_bytes: Largest accepted body.
        body_timeout_s: Longest time a client may take to send its body.
        beside: Files to put before infill prompts that name their path; None puts none.
        prepare: Gives the steps of what is done while there are no requests.
        on_ready: Called in that thread with the completer.
        on_failure: Called in that thread with the error that ended loading.
    """
    worker = Worker(
        load,
        max_waiting=max_waiting,
        max_drawn=max_drawn,
        prepare=prepare,
        on_ready=on_ready,
        on_failure=on_failure,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        worker.start()
        yield
        await run_in_threadpool(worker.stop, timeout_s=STOP_TIMEOUT_S)

    app = Starlette(
        routes=[
            Mount(
                "/v1",
                routes=[
                    Route("/completions", completions, methods=["POST"]),
                    Route("/models", models, methods=["GET"]),
                    Route("/models/{name:path}", model, methods=["GET"]),
                ],
            ),
            Route("/health", health, methods=["GET"]),
            Mount("/", app=page_files()),
        ],
        middleware=[Middleware(Guard, token=token, host=host, max_body_bytes=max_body_bytes)],
        exception_handlers={
            ApiError: on_api_error,
            CodegemmaError: on_api_error,
            HTTPException: on_http_error,
            Exception: on_internal_error,
        },
        lifespan=lifespan,
    )
    app.state.worker = worker
    app.state.body_timeout_s = body_timeout_s
    app.state.beside = beside
    app.state.created = int(time.time())
    return app


async def health(request: Request) -> Response:
    """Say whether completions can be had: 200, or 503 while the model loads."""
    worker: Worker = request.app.state.worker
    if worker.state == "ready":
        name = openai.model_ids(worker.completer.info)[0]
        return JSONResponse({"status": "ok", "model": name, "waiting": worker.num_waiting})
    error = worker.unavailable()
    body = {"status": worker.state, **error.body()}
    return JSONResponse(body, status_code=error.status, headers=error.headers())


async def models(request: Request) -> Response:
    """List the names the served model answers to."""
    worker: Worker = request.app.state.worker
    return JSONResponse(models_body(worker.completer.info, created=request.app.state.created))


async def model(request: Request) -> Response:
    """Describe the served model by one of the names it answers to."""
    worker: Worker = request.app.state.worker
    name = request.path_params["name"]
    found = model_body(worker.completer.info, name, created=request.app.state.created)
    if found is None:
        served = openai.model_ids(worker.completer.info)[0]
        raise ApiError(404, "model_not_found", f"this server has {served}, not {name}")
    return JSONResponse(found)


async def completions(request: Request) -> Response:
    """Complete prompts, in one piece or as a stream."""
    worker: Worker = request.app.state.worker
    body = await _read_body(request)
    completer = worker.completer
    # Parsing and tokenizing megabytes takes long enough to hold up other requests.
    wanted, prompts = await run_in_threadpool(
        _read,
        body,
        completer,
        beside=request.app.state.beside,
        namespace=client_of(request.headers),
    )
    answer = Answer(wanted, completer, prompts=prompts)
    job = worker.submit(prompts, wanted.sampling, is_watched=wanted.is_stream, is_raw=wanted.is_raw)
    pieces = job.pieces()

    def cancel() -> None:
        worker.cancel(job)

    async with cancel_on_disconnect(request.receive, cancel):
        if not wanted.is_stream:
            return JSONResponse(answer.whole(await _collect(pieces, wanted)))
        # A prompt that is refused is answered with a status, so the stream starts after that.
        first = await anext(pieces, None)
    return EventStream(_events(first, pieces, wanted, answer), cancel=cancel)


def _read(
    body: bytes, completer: Completer, *, beside: "FilesBeside | None", namespace: str | None
) -> tuple[openai.CompletionRequest, list[Prompt]]:
    """Check and translate a request, show its files, and fit its prompts into the context."""
    wanted = openai.parse_completion(Fields(parse_json(body)))
    openai.check_model(wanted, completer.info)
    tokenizer, info, sampling = completer.tokenizer, completer.info, wanted.sampling
    prompts = [
        replace(prompt, namespace=namespace) for prompt in openai.to_prompts(wanted, tokenizer)
    ]
    if beside is not None and wanted.has_context:
        prompts = [
            beside.show(prompt, sampling, tokenizer=tokenizer, info=info) for prompt in prompts
        ]
    return wanted, [
        fit_prompt(prompt, sampling, tokenizer=tokenizer, info=info) for prompt in prompts
    ]


async def _read_body(request: Request) -> bytes:
    timeout_s: float = request.app.state.body_timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            return await request.body()
    except TimeoutError:
        message = f"the body did not arrive within {timeout_s:g} s"
        raise ApiError(408, "request_timeout", message) from None
    except ClientDisconnect:
        # Nobody is there to read this; without it the log would show a fault of ours.
        raise ApiError(408, "request_timeout", "the client hung up within its request") from None


async def _collect(
    pieces: AsyncIterator[Piece], wanted: openai.CompletionRequest
) -> list[Completion]:
    found: dict[int, Completion] = {}
    async for piece in pieces:
        if piece.delta.completion is not None:
            found[wanted.choice(piece.prompt, piece.delta.index)] = _checked(piece.delta.completion)
    if len(found) < wanted.num_choices:
        raise STOPPING
    return [found[index] for index in sorted(found)]


async def _events(
    first: Piece | None,
    rest: AsyncIterator[Piece],
    wanted: openai.CompletionRequest,
    answer: Answer,
) -> AsyncIterator[dict[str, object]]:
    found: dict[int, Completion] = {}
    async for piece in _chain(first, rest):
        index = wanted.choice(piece.prompt, piece.delta.index)
        if piece.delta.completion is not None:
            found[index] = _checked(piece.delta.completion)
        yield answer.piece(index, piece.delta.text, piece.delta.completion)
    if len(found) < wanted.num_choices:
        raise STOPPING
    if wanted.has_usage:
        yield answer.usage([found[index] for index in sorted(found)])


async def _chain(first: Piece | None, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    if first is not None:
        yield first
        async for piece in rest:
            yield piece


def _checked(completion: Completion) -> Completion:
    """Refuse to show as an answer what was cut short because the server stops."""
    if completion.finish_reason == "cancelled":
        raise STOPPING
    return completion
