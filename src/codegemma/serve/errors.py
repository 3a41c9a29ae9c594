# SPDX-License-Identifier: Apache-2.0
"""Errors a client sees: one shape, one status, one stable code each, and nothing of our insides.

The shape is OpenAI's, `{"error": {"message", "type", "param", "code"}}`: most clients of every
protocol know it. A message never repeats the text of a prompt.
"""

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from codegemma.errors import CodegemmaError, ConfigError, ContextLengthError, InputError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 1
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "unavailable_error",
}
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """An answer other than success.

    Args:
        status: HTTP status.
        code: Stable name of the fault, part of the interface.
        message: What was expected, what came, how to mend it.
        param: The request's field at fault, if one is.
    """

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param

    def body(self) -> dict[str, dict[str, str | None]]:
        """Render the error as the JSON object a client reads."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        }

    def headers(self) -> dict[str, str]:
        """Headers that go with the status: one worth another try says when."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {"Retry-After": str(RETRY_AFTER_S)} if self.status in (429, 503) else {}

    def response(self) -> JSONResponse:
        """Render the error as an HTTP response."""
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers())


INTERNAL = ApiError(500, "internal_error", "the server failed on this request; its log has more")


def as_api_error(error: BaseException) -> ApiError:
    """Say to a client what went wrong; our own faults are logged and told without their insides."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextLengthError):
        return ApiError(400, "context_length_exceeded", str(error), param="prompt")
    if isinstance(error, InputError):
        return ApiError(400, "invalid_prompt", str(error), param="prompt")
    if isinstance(error, ConfigError):
        return ApiError(400, "invalid_value", str(error))
    if isinstance(error, CodegemmaError):
        return ApiError(503, "model_unavailable", str(error))
    logger.error("a request failed", exc_info=error)
    return INTERNAL


async def on_api_error(_: Request, error: Exception) -> JSONResponse:
    """Answer for an error the caller can mend."""
    return as_api_error(error).response()


async def on_internal_error(_: Request, error: Exception) -> JSONResponse:
    """Answer for a fault of ours, which the server logs on its way up."""
    del error
    return INTERNAL.response()


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer for an unknown path or method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = _HTTP_CODES.get(status, "http_error")
    message = f"{request.method} {request.url.path}: {code.replace('_', ' ')}"
    answer = ApiError(status, code, message).response()
    answer.headers.update(error.headers or {} if isinstance(error, HTTPException) else {})
    return answer
