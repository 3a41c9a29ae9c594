# SPDX-License-Identifier: Apache-2.0
import logging

from codegemma.errors import ConfigError, ContextLengthError, InputError, RemoteError
from codegemma.serve.errors import ApiError, as_api_error


def test_an_error_has_the_shape_openai_clients_read():
    error = ApiError(400, "invalid_value", "n must be a whole number in [1, 8], not 9", param="n")
    assert error.body() == {
        "error": {
            "message": "n must be a whole number in [1, 8], not 9",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_value",
        }
    }


def test_errors_worth_another_try_say_when():
    assert ApiError(429, "overloaded", "busy").headers() == {"Retry-After": "1"}
    assert ApiError(503, "model_loading", "soon").headers() == {"Retry-After": "1"}
    assert ApiError(400, "invalid_value", "no").headers() == {}


def test_a_missing_token_names_the_scheme():
    assert ApiError(401, "invalid_token", "no").headers() == {"WWW-Authenticate": "Bearer"}


def test_the_callers_mistakes_keep_their_message_and_get_a_stable_code():
    pairs = [
        (ContextLengthError("9000 tokens, 8192 fit"), (400, "context_length_exceeded")),
        (InputError("half a surrogate pair"), (400, "invalid_prompt")),
        (ConfigError("top_p must be in (0, 1]"), (400, "invalid_value")),
        (RemoteError("no answer"), (503, "model_unavailable")),
    ]
    for error, expected in pairs:
        found = as_api_error(error)
        assert (found.status, found.code) == expected
        assert found.message == str(error)


def test_a_fault_of_ours_is_logged_and_told_without_its_insides(caplog):
    with caplog.at_level(logging.ERROR):
        found = as_api_error(ZeroDivisionError("secret path /home/user"))
    assert (found.status, found.code) == (500, "internal_error")
    assert "secret" not in found.message
    assert "ZeroDivisionError" in caplog.text
