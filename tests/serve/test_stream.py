# SPDX-License-Identifier: Apache-2.0
import asyncio

from codegemma.errors import InputError
from codegemma.serve.stream import EventStream, cancel_on_disconnect


class Client:
    """Records what is sent; hangs up when told."""

    def __init__(self):
        self.sent = []
        self.gone = asyncio.Event()

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    @property
    def text(self):
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def _events(items):
    for item in items:
        if isinstance(item, BaseException):
            raise item
        yield item


def run_stream(items, during=None):
    async def run():
        client, calls = Client(), []
        stream = EventStream(_events(items), cancel=lambda: calls.append("cancelled"))
        await stream({"type": "http"}, client.receive, client.send)
        return client, calls

    return asyncio.run(run())


def test_events_are_one_compact_line_each_and_end_with_done():
    client, calls = run_stream([{"a": 1}, {"b": "x\ny"}])
    assert client.text == 'data: {"a":1}\n\ndata: {"b":"x\\ny"}\n\ndata: [DONE]\n\n'
    headers = dict(client.sent[0]["headers"])
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert b"content-length" not in headers
    assert client.sent[-1]["more_body"] is False
    assert calls == []


def test_an_error_becomes_the_last_event():
    client, calls = run_stream([{"a": 1}, InputError("no such token")])
    assert client.text.endswith(
        'data: {"error":{"message":"no such token","type":"invalid_request_error",'
        '"param":"prompt","code":"invalid_prompt"}}\n\n'
    )
    assert client.sent[-1]["more_body"] is False
    assert calls == ["cancelled"]


def test_a_server_that_stops_says_so_in_the_stream():
    async def run():
        client, calls = Client(), []

        async def endless():
            yield {"a": 1}
            await asyncio.sleep(60)

        stream = EventStream(endless(), cancel=lambda: calls.append("cancelled"))
        task = asyncio.create_task(stream({"type": "http"}, client.receive, client.send))
        while not client.text:
            await asyncio.sleep(0)
        task.cancel()
        await task
        return client, calls

    client, calls = asyncio.run(run())
    assert '"code":"shutting_down"' in client.text
    assert client.sent[-1]["more_body"] is False
    assert calls == ["cancelled"]


def test_work_is_cancelled_when_the_client_hangs_up():
    async def run():
        client, cancelled = Client(), asyncio.Event()
        async with cancel_on_disconnect(client.receive, cancelled.set):
            client.gone.set()
            async with asyncio.timeout(5):
                await cancelled.wait()
        return cancelled.is_set()

    assert asyncio.run(run())


def test_work_that_ends_by_itself_is_not_cancelled():
    async def run():
        client, calls = Client(), []
        async with cancel_on_disconnect(client.receive, lambda: calls.append(1)):
            await asyncio.sleep(0)
        return calls

    assert asyncio.run(run()) == []
