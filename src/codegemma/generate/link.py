# SPDX-License-Identifier: Apache-2.0
"""HTTP to one completion server: JSON and event streams, tries again where that may help.

Knows status codes, lost connections and time limits, and says in one line what went wrong; what
is in the JSON is `answers.py`'s affair. Requests run on an event loop in a thread of their own,
since only there can one that waits for the server be ended at once.
"""

import asyncio
import json
import re
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import httpx2

from codegemma.errors import ContextLengthError, RemoteError

MAX_CONCURRENT: Final = 32
"""Requests that are under way at one time."""

DELAYS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""What is waited before each further try; a server that says how long is believed up to a limit."""

CONNECT_TIMEOUT_S: Final = 10.0
SILENCE_TIMEOUT_S: Final = 300.0
"""How long a server may send nothing: a long prompt in a queue takes its time."""

TOKEN_VARIABLE: Final = "CODEGEMMA_REMOTE_TOKEN"
"""Environment variable with the token that servers are shown."""

_MAX_RETRY_AFTER_S: Final = 60.0
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_BUSY: Final = (408, 425, 429, 500, 502, 503, 504)
_TOO_LONG: Final = re.compile(r"context[ _-]?(length|size|window)|maximum model length", re.I)
_Result = TypeVar("_Result")


class TransientError(RemoteError):
    """A failure that another try may mend.

    Args:
        message: What went wrong.
        retry_after_s: How long the server wants to be left alone, 0 if it does not say.
        is_unreachable: Whether there was no connection at all.
    """

    def __init__(
        self, message: str, *, retry_after_s: float = 0.0, is_unreachable: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_unreachable = is_unreachable


class Link:
    """A server's address, and how it is asked. Thread-safe; close it, or leave that to the exit.

    Args:
        url: Root of the protocol, such as "http://127.0.0.1:8000/v1".
        token: Shown to the server if given.
        max_concurrent: Requests under way at one time.
        delays_s: Waits before each further try.
        silence_timeout_s: How long the server may send nothing.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        max_concurrent: int = MAX_CONCURRENT,
        delays_s: tuple[float, ...] = DELAYS_S,
        silence_timeout_s: float = SILENCE_TIMEOUT_S,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._delays_s = delays_s
        self._silence_timeout_s = silence_timeout_s
        is_here = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx2.Timeout(silence_timeout_s, connect=CONNECT_TIMEOUT_S, pool=None),
            limits=httpx2.Limits(max_connections=max_concurrent),
            trust_env=not is_here,  # a proxy does not lead to this machine
        )
        self._slots = asyncio.Semaphore(max_concurrent)
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name=self.url, daemon=True)
        thread.start()
        self._finalizer = weakref.finalize(self, _shut, self._loop, self._client, thread)

    def submit(self, work: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        """Start work on the link's loop; cancelling the future closes its connection."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do work on the link's loop and wait for it; an interrupt ends it."""
        future = self.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """End what is under way, the connections and the thread."""
        self._finalizer()

    async def retry(
        self,
        attempt: Callable[[], Awaitable[_Result]],
        *,
        may_retry: Callable[[TransientError], bool] = lambda _: True,
    ) -> _Result:
        """Try until it works, the failure is none that time mends, or patience ends.

        Raises:
            RemoteError: The last try's failure.
        """
        for delay_s in self._delays_s:
            try:
                return await attempt()
            except TransientError as error:
                if not may_retry(error):
                    raise
                await asyncio.sleep(max(delay_s, error.retry_after_s))
        return await attempt()

    async def get(self, path: str) -> Any:
        """Ask for the JSON at a path below the link's URL, or at a whole URL.

        Raises:
            RemoteError: The server cannot be reached or refuses, or what it sends is no JSON.
        """
        return await self._one("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON and give what comes back.

        Raises:
            RemoteError: The server cannot be reached or refuses, or what it sends is no JSON.
            ContextLengthError: It says that the prompt is too long.
        """
        return await self._one("POST", path, body)

    def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """Send JSON and yield the answer's events, or the whole answer of a server without them.

        To be closed (`contextlib.aclosing`), which ends the request.

        Raises:
            RemoteError: The server cannot be reached or refuses, or what it sends is no JSON.
            ContextLengthError: It says that the prompt is too long.
        """
        return self._ask("POST", path, body)

    async def _one(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        async with aclosing(self._ask(method, path, body)) as values:
            async for value in values:
                return value
        raise RemoteError(f"{self.url} answered {path} with nothing")

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AsyncGenerator[Any]:
        url = path if "://" in path else self.url + path
        try:
            async with (
                self._slots,
                self._client.stream(method, url, json=body) as response,
            ):
                if response.status_code != 200:
                    raise self._refusal(response, await _read(response))
                if "event-stream" in response.headers.get("content-type", ""):
                    async with aclosing(_events(response)) as events:
                        async for data in events:
                            yield self._parse(data, path)
                else:
                    yield self._parse(await _read(response), path)
        except httpx2.TimeoutException as error:
            if isinstance(error, httpx2.ConnectTimeout):
                raise TransientError(
                    f"cannot reach {self.url}: no answer", is_unreachable=True
                ) from error
            raise RemoteError(
                f"{self.url} sent nothing for {self._silence_timeout_s:g} s: request given up"
            ) from error
        except httpx2.ConnectError as error:
            raise TransientError(
                f"cannot reach {self.url}: {_words(error)}; is the server running?",
                is_unreachable=True,
            ) from error
        except httpx2.TransportError as error:
            raise TransientError(f"{self.url} broke the connection: {_words(error)}") from error
        except httpx2.HTTPError as error:
            raise RemoteError(f"{self.url} cannot be read: {_words(error)}") from error

    def _parse(self, data: bytes, path: str) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            shown = _line(data.decode("utf-8", errors="replace"), most=60)
            raise RemoteError(
                f"{self.url} answered {path} with something that is no JSON, {shown!r}: it is no "
                "OpenAI-compatible server, or not at this address"
            ) from None

    def _refusal(self, response: httpx2.Response, body: bytes) -> Exception:
        """Say what a status other than 200 means."""
        status, said = response.status_code, _message(body)
        words = f"{self.url} answered {response.request.url.path} with {status}"
        words += f": {said}" if said else ""
        if status in (401, 403):
            how = "another token" if self._token else "a token"
            return RemoteError(f"{words}; it asks for {how}: set {TOKEN_VARIABLE}")
        if status in _BUSY:
            return TransientError(words, retry_after_s=_retry_after(response))
        if 400 <= status < 500 and _TOO_LONG.search(said):
            return ContextLengthError(words)
        if status == 404 or 300 <= status < 400:
            return RemoteError(f"{words}; check the address, with its /v1, and the model's name")
        return RemoteError(words)


def _shut(
    loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient, thread: threading.Thread
) -> None:
    async def end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.aclose()
        loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if threading.current_thread() is not thread:  # else the last user was a request itself
        thread.join(10)
        loop.close()


async def _read(response: httpx2.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        _check_size(len(data), response)
    return bytes(data)


async def _events(response: httpx2.Response) -> AsyncGenerator[bytes]:
    """Yield the data of server-sent events up to the mark that ends them, comments passed over."""
    rest, num_bytes = b"", 0
    async for chunk in response.aiter_bytes():
        num_bytes += len(chunk)
        _check_size(num_bytes, response)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, data = line.strip().partition(b":")
            if name != b"data":
                continue
            if data.strip() == b"[DONE]":
                return
            yield data


def _check_size(num_bytes: int, response: httpx2.Response) -> None:
    if num_bytes > _MAX_ANSWER_BYTES:
        raise RemoteError(
            f"{response.request.url} answers with more than {_MAX_ANSWER_BYTES // 2**20} MiB; "
            "the request is given up"
        )


def _retry_after(response: httpx2.Response) -> float:
    try:
        return min(_MAX_RETRY_AFTER_S, max(0.0, float(response.headers.get("retry-after", "0"))))
    except ValueError:
        return 0.0


def _message(body: bytes) -> str:
    """Give what a server says of a failure, in whichever of the usual shapes."""
    text = body.decode("utf-8", errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _line(text, most=120)
    while isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        named = (fields.get(name) for name in ("error", "message", "detail"))
        value = next((inner for inner in named if inner), "")
    return _line(str(value), most=300)


def _words(error: Exception) -> str:
    return _line(str(error) or type(error).__name__, most=120)


def _line(text: str, *, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
