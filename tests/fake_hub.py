# SPDX-License-Identifier: Apache-2.0
"""A model hub on this machine's loopback: one repository, as the hub's HTTP interface shows it.

Large files are sent from another host name, as the real hub sends them from its content network,
so that a token sent there by mistake is seen. Folders of tests load this file in their conftest.py.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

LARGE_BYTES = 10_000
COMMIT = "c0ffee" + "0" * 34


class Seen(NamedTuple):
    """A request: method, path, Range header and Authorization header ("" where absent)."""

    method: str
    path: str
    range: str
    authorization: str


class FakeHub:
    """Serves `files` of `repository`.

    Attributes:
        token: Token a request must carry; None lets everyone in.
        has_accepted: Whether that token's owner has accepted the terms.
        requests: What was asked.
        cut_after: Bytes after which the connection of a large file breaks, once for each entry.
        hold_after: Bytes after which a large file is sent no further until `release` is set.
        ignores_range: Whether a large file is always sent from its start.
        status: Status every request gets; 0 for a proper answer.
    """

    def __init__(self, files: dict[str, bytes], repository: str = "google/codegemma-2b") -> None:
        self.files = files
        self.repository = repository
        self.token: str | None = None
        self.has_accepted = True
        self.requests: list[Seen] = []
        self.cut_after: list[int] = []
        self.hold_after: int | None = None
        self.release = threading.Event()
        self.is_held = threading.Event()
        self.ignores_range = False
        self.status = 0
        self.digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop serving."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fetched(self) -> set[str]:
        """Names of the files whose bytes were asked for."""
        names = {digest: name for name, digest in self.digests.items()}
        found: set[str] = set()
        for seen in self.requests:
            if seen.method == "GET" and seen.path.startswith("/cdn/"):
                found.add(names[seen.path.removeprefix("/cdn/")])
            elif seen.method == "GET" and "/resolve/" in seen.path:
                found.add(seen.path.rpartition("/")[2])
        return found

    def is_large(self, name: str) -> bool:
        """Whether a file is stored by its sha256, apart from the repository."""
        return len(self.files[name]) > LARGE_BYTES

    def refusal(self, authorization: str) -> int:
        """Give the status with which a gated file is refused; 0 where it is not."""
        if self.token and authorization != f"Bearer {self.token}":
            return 401
        return 403 if self.token and not self.has_accepted else 0

    def describe(self, name: str, *, as_tree: bool) -> dict[str, Any]:
        """Describe a file as a listing of the repository does."""
        data = self.files[name]
        found: dict[str, Any] = {"size": len(data)}
        found |= {"type": "file", "path": name} if as_tree else {"rfilename": name}
        found["oid" if as_tree else "blobId"] = hashlib.sha1(data).hexdigest()
        if self.is_large(name):
            key = "oid" if as_tree else "sha256"
            found["lfs"] = {key: self.digests[name], "size": len(data), "pointerSize": 134}
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of these tests hang up in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        authorization = self.headers.get("Authorization", "")
        hub.requests.append(Seen(self.command, path, self.headers.get("Range", ""), authorization))
        listing, resolve = f"/api/models/{hub.repository}", f"/{hub.repository}/resolve/"
        if hub.status:
            self._send(hub.status, b"")
        elif path.startswith("/cdn/"):
            self._send_large(path.removeprefix("/cdn/"))
        elif not path.startswith((listing, resolve)):
            self._send(404, b"", **{"X-Error-Code": "RepoNotFound"})
        elif "nowhere" in path:
            self._send(404, b"", **{"X-Error-Code": "RevisionNotFound"})
        elif path.startswith(listing):
            self._send_listing(is_tree="/tree/" in path)
        elif status := hub.refusal(authorization):
            self._send(status, b"", **{"X-Error-Code": "GatedRepo"})
        else:
            self._send_file(path.removeprefix(resolve).partition("/")[2])

    def _send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_listing(self, *, is_tree: bool) -> None:
        hub = self.server.hub
        files: Any = [hub.describe(name, as_tree=is_tree) for name in hub.files]
        if not is_tree:
            files = {"id": hub.repository, "sha": COMMIT, "siblings": files}
        self._send(200, json.dumps(files).encode(), **{"Content-Type": "application/json"})

    def _send_file(self, name: str) -> None:
        hub = self.server.hub
        data = hub.files[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        if hub.is_large(name):
            place = f"http://localhost:{self.server.server_port}/cdn/"
            headers |= {
                "X-Linked-Etag": f'"{hub.digests[name]}"',
                "X-Linked-Size": str(len(data)),
                "Location": place + hub.digests[name],
            }
            self._send(302, b"", **headers)
        elif self.command == "HEAD":
            self._send(200, b"", **{**headers, "Content-Length": str(len(data))})
        else:
            self._send(200, data, **headers)

    def _send_large(self, digest: str) -> None:
        hub = self.server.hub
        data = next(hub.files[name] for name, known in hub.digests.items() if known == digest)
        wanted = "" if hub.ignores_range else self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        rest = data[start:]
        if hub.cut_after:
            self.wfile.write(rest[: hub.cut_after.pop(0)])
            self.close_connection = True
            return
        if hub.hold_after is not None:
            self.wfile.write(rest[: hub.hold_after])
            hub.is_held.set()
            hub.release.wait(30)
            rest = rest[hub.hold_after :]
        self.wfile.write(rest)
