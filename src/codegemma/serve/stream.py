# SPDX-License-Identifier: Apache-2.0
"""Answers that end when the client does: a job is cancelled as soon as its client is gone.

A client that hangs up shows only in `receive`, so one task reads that while another works. This
holds for answers in one piece too, and while a prompt is still being read by the model.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from codegemma.serve.errors import ApiError, as_api_error

logger = logging.getLogger(__name__)

STOPPING = ApiError(503, "shutting_down", "the server is stopping")


@asynccontextmanager
async def cancel_on_disconnect(
    receive: Receive, cancel: Callable[[], None]
) -> AsyncGenerator[None]:
    """Call `cancel` when the client hangs up, or when the work inside ends by an error."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except BaseException:
        cancel()
        raise
    finally:
        watcher.cancel()


class EventStream(Response):
    """A stream of server-sent events.

    Args:
        events: The JSON objects to send, one event each; an error in it becomes the last event.
        cancel: Called when the client hangs up.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[dict[str, object]], *, cancel: Callable[[], None]
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._cancel = cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end, the client hangs up, or the server stops."""
        del scope
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            async with cancel_on_disconnect(receive, self._cancel):
                async for event in self._events:
                    await _send_event(send, json.dumps(event, separators=(",", ":")))
                await _send_event(send, "[DONE]")
        except asyncio.CancelledError:
            # Only a server that stops cancels a request; the client is told, then it ends here.
            await _send_error(send, STOPPING)
        except Exception as error:
            await _send_error(send, as_api_error(error))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _send_event(send: Send, data: str) -> Awaitable[None]:
    body = f"data: {data}\n\n".encode()
    return send({"type": "http.response.body", "body": body, "more_body": True})


async def _send_error(send: Send, error: ApiError) -> None:
    try:
        await _send_event(send, json.dumps(error.body(), separators=(",", ":")))
    except OSError:
        logger.debug("the client was gone before it could be told of an error")
