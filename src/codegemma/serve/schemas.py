# SPDX-License-Identifier: Apache-2.0
"""Reading a request's JSON: bytes to an object, and its fields one by one, each within bounds.

Every fault is an `ApiError` 400 that names the field. A field that is missing or null takes its
default; a field nobody asks for is ignored, since clients of other servers send many.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from codegemma.serve.errors import ApiError


def parse_json(body: bytes) -> Mapping[str, Any]:
    """Read a request body as one JSON object.

    Raises:
        ApiError: The body is not UTF-8, not JSON, nested too deeply, holds NaN or Infinity, or is
            no object.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise ApiError(400, "invalid_json", "the body must be UTF-8") from None
    except RecursionError:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        message = f"the body must be JSON: {error.msg} at character {error.pos}"
        raise ApiError(400, "invalid_json", message) from None
    except ValueError as error:
        raise ApiError(400, "invalid_json", f"the body must be JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "the body must be a JSON object, such as {}")
    return cast("Mapping[str, Any]", value)


class Fields:
    """The fields of one JSON object, read with a type and bounds."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def get(self, name: str) -> Any:
        """Return the raw value, None when missing."""
        return self._body.get(name)

    def integer(self, name: str, default: int | None, *, low: int, high: int) -> int | None:
        """Read a whole number in [low, high]; 3.0 counts as 3."""
        value = self._body.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(name, f"a whole number in [{low}, {high}]")
        return value

    def number(self, name: str, default: float | None, *, low: float, high: float) -> float | None:
        """Read a number in [low, high]; the bounds are finite."""
        value = self._body.get(name)
        if value is None:
            return default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            self.refuse(name, f"a number in [{low:g}, {high:g}]")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Read true or false."""
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def string(self, name: str, default: str | None = None) -> str | None:
        """Read a string that is valid Unicode."""
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.refuse(name, "a string")
        return self._checked(name, value)

    def strings(self, name: str, *, most: int) -> tuple[str, ...]:
        """Read a string or a list of at most `most` non-empty strings."""
        value = self._body.get(name)
        if value is None or value == "":
            return ()
        items = cast("list[Any]", value if isinstance(value, list) else [value])
        if len(items) > most or not all(isinstance(item, str) and item for item in items):
            self.refuse(name, f"a string or a list of at most {most} non-empty strings")
        return tuple(self._checked(name, item) for item in items)

    def record(self, name: str) -> "Fields":
        """Read a nested object; a missing one is empty."""
        value = self._body.get(name)
        if value is None:
            return Fields({})
        if not isinstance(value, dict):
            self.refuse(name, "an object")
        return Fields(cast("Mapping[str, Any]", value))

    def unsupported(self, name: str, *, neutral: tuple[object, ...]) -> None:
        """Refuse a field we do not offer unless its value changes nothing."""
        value = self._body.get(name)
        if value is not None and value not in neutral:
            message = f"{name} is not offered by this server; leave it out"
            raise ApiError(400, "unsupported_parameter", message, param=name)

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Raise the error for a field with a wrong value."""
        shown = json.dumps(self._body.get(name))
        shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
        message = f"{name} must be {expected}, not {shown}"
        raise ApiError(400, "invalid_value", message, param=name)

    def _checked(self, name: str, text: str) -> str:
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                message = f"{name} holds half a surrogate pair at character {error.start}"
                raise ApiError(400, "invalid_value", message, param=name) from None
        return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
