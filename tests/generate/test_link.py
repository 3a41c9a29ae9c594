# SPDX-License-Identifier: Apache-2.0
import asyncio
import socket
import time
from contextlib import aclosing

import pytest

from codegemma.errors import ContextLengthError, RemoteError
from codegemma.generate.link import Link, TransientError


@pytest.fixture
def link(server):
    link = Link(f"{server.url}/v1", delays_s=(0.0, 0.0))
    yield link
    link.close()


def _events(link, path="/completions"):
    async def collect():
        async with aclosing(link.events(path, {"a": 1})) as events:
            return [event async for event in events]

    return link.run(collect())


def test_json_goes_both_ways(link, server, http):
    server.answer = lambda asked: http.Reply(body={"got": asked.body, "path": asked.path})

    assert link.run(link.post("/completions", {"a": "\u2028"})) == {
        "got": {"a": "\u2028"},
        "path": "/v1/completions",
    }
    assert link.run(link.get("/models")) == http.MODELS
    assert link.run(link.get(f"{server.url}/props"))["path"] == "/props"


def test_events_are_the_data_lines_up_to_the_mark(link, server, http):
    events = ({"a": 1}, b": a comment", b"event: x\ndata:  [2]\r", b'data: "\xe2\x80\xa8 \xc2\x85"')
    server.answer = lambda asked: http.Reply(events=(*events, b"data: [DONE]", {"late": 1}))

    assert _events(link) == [{"a": 1}, [2], "\u2028 \x85"]


def test_an_answer_in_one_piece_is_one_event(link, server, http):
    server.answer = lambda asked: http.Reply(body={"choices": []})

    assert _events(link) == [{"choices": []}]


def test_a_token_is_shown_and_none_where_there_is_none(server, http):
    for token, shown in (("secret", "Bearer secret"), (None, None)):
        link = Link(f"{server.url}/v1", token=token)
        link.run(link.get("/models"))
        link.close()
        assert server.asked[-1].headers.get("Authorization") == shown


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (
            401,
            {"error": {"message": "who?"}},
            RemoteError,
            r"401: who\?; it asks for a token: set",
        ),
        (403, b"no", RemoteError, "403: no; it asks for a token: set CODEGEMMA_REMOTE_TOKEN"),
        (404, {"detail": "Not Found"}, RemoteError, "404: Not Found; check the address, with its"),
        (302, b"", RemoteError, "302; check the address, with its /v1, and the model's name"),
        (400, {"error": "no such\nfield"}, RemoteError, "400: no such field"),
        (
            400,
            {"message": "This model's maximum context length is 8 tokens."},
            ContextLengthError,
            "maximum context length is 8 tokens",
        ),
        (
            400,
            {"error": {"type": "exceed_context_size_error", "message": "the context size (8)"}},
            ContextLengthError,
            r"the context size \(8\)",
        ),
        (501, b"<html>", RemoteError, "501: <html>"),
        (429, {"error": {"message": "busy"}}, TransientError, "429: busy"),
        (503, b"", TransientError, "answered /v1/x with 503"),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(link, server, http, status, body, kind, words):
    server.answer = lambda asked: http.Reply(status=status, body=body)

    with pytest.raises(kind, match=words) as refusal:
        link.run(link.post("/x", {}))

    assert type(refusal.value) is kind
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(server.url)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", b"[" * 100_000])
def test_what_is_no_json_is_no_server_of_this_kind(link, server, http, body):
    server.answer = lambda asked: http.Reply(body=body)

    with pytest.raises(RemoteError, match=r"something that is no JSON, .*: it is no OpenAI"):
        link.run(link.get("/x"))


def test_a_server_that_is_not_there_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        link = Link(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with pytest.raises(TransientError, match=r"cannot reach http://127.*is the server runn"):
            link.run(link.get("/models"))
        link.close()


def test_a_broken_connection_may_be_tried_again(link, server, http):
    server.answer = lambda asked: http.Reply(body={"a": 1}, is_cut=True)
    with pytest.raises(TransientError, match="broke the connection"):
        link.run(link.get("/x"))

    server.answer = lambda asked: http.Reply(events=({"a": 1},), is_cut=True)
    with pytest.raises(TransientError, match="broke the connection"):
        _events(link)


def test_a_silent_server_is_given_up(server, http):
    server.answer = lambda asked: http.Reply(events=({"a": 1}, 1.0, {"b": 1}))
    link = Link(server.url, silence_timeout_s=0.1)

    with pytest.raises(RemoteError, match=r"sent nothing for 0.1 s: request given up"):
        _events(link)
    link.close()


def test_an_answer_without_end_is_given_up(link, server, http, monkeypatch):
    monkeypatch.setattr("codegemma.generate.link._MAX_ANSWER_BYTES", 1 << 20)
    server.answer = lambda asked: http.Reply(events=(b"x" * (1 << 16),) * 20)

    with pytest.raises(RemoteError, match="answers with more than 1 MiB"):
        _events(link)


def test_a_busy_server_is_asked_again_until_patience_ends(link, server, http):
    replies = [http.Reply(status=503), http.Reply(status=429), http.Reply(body=[1])]
    server.answer = lambda asked: replies.pop(0)
    assert link.run(link.retry(lambda: link.get("/x"))) == [1]

    server.answer = lambda asked: http.Reply(status=500, body=b"oh")
    with pytest.raises(TransientError, match="500: oh"):
        link.run(link.retry(lambda: link.get("/x")))
    assert len(server.asked) == 3 + 3


def test_what_time_does_not_mend_is_asked_once(link, server, http):
    server.answer = lambda asked: http.Reply(status=400, body=b"wrong")
    with pytest.raises(RemoteError, match="wrong"):
        link.run(link.retry(lambda: link.get("/x")))
    server.answer = lambda asked: http.Reply(status=503)
    with pytest.raises(TransientError):
        link.run(link.retry(lambda: link.get("/x"), may_retry=lambda error: False))

    assert len(server.asked) == 2


def test_a_server_says_when_to_come_again(link, server, http):
    replies = [http.Reply(status=429, headers={"Retry-After": "0.2"}), http.Reply(body=[1])]
    server.answer = lambda asked: replies.pop(0)
    began = time.monotonic()

    assert link.run(link.retry(lambda: link.get("/x"))) == [1]

    assert time.monotonic() - began >= 0.2


def test_no_more_requests_than_allowed_run_at_one_time(server, http):
    server.answer = lambda asked: http.Reply(events=(0.02, {"a": 1}))
    link = Link(server.url, max_concurrent=3)

    async def ask():
        async with aclosing(link.events("/x", {})) as events:
            return [event async for event in events]

    futures = [link.submit(ask()) for _ in range(12)]

    assert [future.result() for future in futures] == [[{"a": 1}]] * 12
    assert server.most_running == 3
    link.close()


def test_closing_ends_what_is_under_way(server, http):
    server.answer = lambda asked: http.Reply(events=(*[{"a": 1}, 0.02] * 2000,))
    link = Link(server.url)
    future = link.submit(_endless(link))
    while not server.asked:
        time.sleep(0.005)

    link.close()
    link.close()

    with pytest.raises(BaseException):  # noqa: B017, PT011  # concurrent or asyncio's own
        future.result(30)
    deadline = time.monotonic() + 30
    while not server.num_hung_up and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.num_hung_up == 1


async def _endless(link):
    async with aclosing(link.events("/x", {})) as events:
        async for _ in events:
            await asyncio.sleep(0)
