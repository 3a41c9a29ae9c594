# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that answers what it is told to, for tests of what asks one.

Folders of tests load this file in their conftest.py. It keeps every request it got, and notes when
a client hung up on it.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODELS = {"data": [{"id": "Qwen/Qwen2.5-Coder-1.5B", "owned_by": "vllm", "max_model_len": 2048}]}


@dataclass(frozen=True)
class Reply:
    """One answer.

    Args:
        status: HTTP status.
        body: JSON, or bytes as they are.
        events: Events of a stream instead; each JSON, or bytes as they are. A number waits, a
            function is called.
        headers: More headers.
        is_cut: Whether the connection breaks within the body, or before a stream's mark.
    """

    status: int = 200
    body: Any = None
    events: tuple[Any, ...] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False


@dataclass
class Asked:
    """One request as it came."""

    path: str
    body: Any
    headers: dict[str, str]


class ScriptedServer:
    """Answers with `answer(request)`; `/v1/models` with `models` unless that is taken out."""

    def __init__(self, answer: Callable[[Asked], Reply] | None = None) -> None:
        self.models: Any = MODELS
        self.answer = answer or (lambda asked: Reply(events=pieces("42")))
        self.asked: list[Asked] = []
        self.num_hung_up = 0
        self.num_running = 0
        self.most_running = 0
        self.lock = threading.Lock()
        self.url = ""

    @property
    def drawn(self) -> list[Asked]:
        """The requests that asked for text."""
        return [asked for asked in self.asked if asked.path != "/v1/models"]

    def reply(self, asked: Asked) -> Reply:
        with self.lock:
            self.asked.append(asked)
        if asked.path == "/v1/models" and self.models is not None:
            return Reply(body=self.models)
        return self.answer(asked)


def pieces(text: str, *, size: int = 1, reason: str | None = "stop") -> tuple[Any, ...]:
    """The events of a completion, a few characters each, the reason in the last one."""
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    ends = [*(None for _ in parts[1:]), reason] if parts else [reason]
    return tuple(
        {"choices": [{"index": 0, "text": part, "finish_reason": end}]}
        for part, end in zip(parts or [""], ends, strict=True)
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Http"

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _serve(self, body: Any) -> None:
        script = self.server.script
        with script.lock:
            script.num_running += 1
            script.most_running = max(script.most_running, script.num_running)
        try:
            self._send(script.reply(Asked(self.path, body, dict(self.headers))))
        except (BrokenPipeError, ConnectionResetError):
            script.num_hung_up += 1
            self.close_connection = True
        finally:
            with script.lock:
                script.num_running -= 1

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.events is None:
            data = reply.body if isinstance(reply.body, bytes) else _json(reply.body)
            self.send_header("Content-Length", str(len(data) + 10 * reply.is_cut))
            self.end_headers()
            self.wfile.write(data)
        else:
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._stream(reply)
        self.close_connection = self.close_connection or reply.is_cut

    def _stream(self, reply: Reply) -> None:
        for event in reply.events or ():
            if isinstance(event, int | float):
                time.sleep(event)
            elif callable(event):
                event()
            else:
                shown = event if isinstance(event, bytes) else b"data: " + _json(event)
                self._chunk(shown + b"\n\n")
        if not reply.is_cut:
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    script: ScriptedServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is no news."""
        del request, client_address


@contextmanager
def serving(script: ScriptedServer) -> Iterator[ScriptedServer]:
    """Serve on a free port of this machine."""
    http = _Http(("127.0.0.1", 0), _Handler)
    http.script = script
    script.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        with suppress(OSError):
            http.shutdown()
            http.server_close()
        thread.join(10)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
