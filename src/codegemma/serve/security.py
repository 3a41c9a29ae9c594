# SPDX-License-Identifier: Apache-2.0
"""Who may ask, and how much: the checks every request passes before a route sees it.

Without a token the server answers this machine only, and only to programs that mean it: the Host
header must name this machine (else a web page could reach us by DNS rebinding), a browser's Origin
must be our own page, and a body must be declared as JSON (else a foreign page's form could post
one). With a token every path asks for it, except `/health` and the page's own files.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codegemma.errors import ConfigError, InputError
from codegemma.serve.errors import ApiError

MAX_BODY_BYTES = 4 * 1024 * 1024
_PUBLIC_PATHS = frozenset({"/", "/health", "/index.html", "/favicon.svg", "/theme.js"})
_PUBLIC_FOLDER = "/assets/"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def is_loopback(host: str) -> bool:
    """Say whether an address or host name reaches this machine only."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_bind(host: str, token: str | None) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises:
        ConfigError: The host is not a loopback address and there is no token.
    """
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"listening on {host} would answer anyone who can reach this machine: set a token "
            "(CODEGEMMA_TOKEN or --token-file), or use --host 127.0.0.1"
        )


def read_token(environment: Mapping[str, str], token_file: Path | None) -> str | None:
    """Return the token clients must show: the file's first, else CODEGEMMA_TOKEN's, else None.

    Raises:
        InputError: The file cannot be read or holds no token, or the token holds white space or
            characters that an HTTP header cannot carry.
    """
    if token_file is not None:
        try:
            token = token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the token file {token_file}: {error}") from None
        source = f"the token file {token_file}"
        if not token:
            raise InputError(f"{source} is empty")
    else:
        token = environment.get("CODEGEMMA_TOKEN", "").strip()
        source = "CODEGEMMA_TOKEN"
    if any(not "!" <= character <= "~" for character in token):
        raise InputError(f"{source} must be one word of visible ASCII characters")
    return token or None


def client_of(headers: Headers) -> str | None:
    """Name a client by the token it shows, None where it shows none; see `Prompt.namespace`."""
    shown = _shown_token(headers)
    return hashlib.sha256(shown).hexdigest() if shown else None


class Guard:
    """Middleware that refuses what must not reach a route, and counts the bytes that may.

    Args:
        app: The application behind it.
        token: What clients must show, None for loopback without one.
        host: The address the server listens on.
        max_body_bytes: Largest accepted body.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        host: str,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._app = app
        self._token = token.encode("ascii") if token else None
        self._is_local = is_loopback(host)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request and pass it on, its body counted and its answer given headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope["method"], scope["path"], Headers(scope=scope))
        except ApiError as error:
            response = error.response()
            response.headers["Connection"] = "close"
            await response(scope, receive, _with_headers(send))
            return
        await self._app(scope, self._counted(receive), _with_headers(send))

    def _check(self, method: str, path: str, headers: Headers) -> None:
        self._check_host(headers)
        self._check_origin(method, headers)
        self._check_token(path, headers)
        if method == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                message = "send the body as Content-Type: application/json"
                raise ApiError(415, "unsupported_media_type", message)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_body_bytes:
            raise self._too_large()

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            raise ApiError(400, "invalid_host", "a request must have one Host header")
        if self._is_local and not is_loopback(_host_name(hosts[0])):
            message = "this server answers to localhost only; the Host header names another machine"
            raise ApiError(403, "forbidden_host", message)

    def _check_origin(self, method: str, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or method in ("GET", "HEAD"):
            return
        if urlsplit(origin).netloc.lower() != headers["host"].lower():
            message = "a web page of another origin may not use this server"
            raise ApiError(403, "forbidden_origin", message)

    def _check_token(self, path: str, headers: Headers) -> None:
        if self._token is None or path in _PUBLIC_PATHS or path.startswith(_PUBLIC_FOLDER):
            return
        if not hmac.compare_digest(_shown_token(headers), self._token):
            message = "send the server's token as Authorization: Bearer TOKEN"
            raise ApiError(401, "invalid_token", message)

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise self._too_large()
            return message

        return receive_counted

    def _too_large(self) -> ApiError:
        message = f"the body is over the limit of {self._max_body_bytes} bytes"
        return ApiError(413, "body_too_large", message)


def _shown_token(headers: Headers) -> bytes:
    """Give the bearer token of a request; empty where there is none."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    return shown.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def _host_name(host: str) -> str:
    """Cut the port off a Host header: `[::1]:80` and `localhost:80` lose it."""
    if host.startswith("["):
        return host.partition("]")[0]
    return host.partition(":")[0]


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
