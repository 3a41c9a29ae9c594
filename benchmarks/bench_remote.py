# SPDX-License-Identifier: Apache-2.0
"""What a remote completer adds to a server's own time, beside the official openai package.

A server in a process of its own streams a canned answer of 32 pieces at once, so that all time is
the client's and the loopback's. First streams one after the other, then many completions side by
side, 32 at one time. The peer is the `openai` package, plain and asynchronous, in the same run.

Example:
    python benchmarks/bench_remote.py
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import openai

from codegemma.completion import Prompt, Sampling
from codegemma.generate.remote import Remote
from results import Row, cpu_name, write_rows

NUM_PIECES = 32
CONCURRENT = 32
_SERVER = """
import json, socket, sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

async def models(request):
    return JSONResponse({"data": [{"id": "starcoder2", "owned_by": "bench", "object": "model"}]})

event = {"id": "a", "object": "text_completion", "created": 1, "model": "starcoder2"}
pieces = [{"index": 0, "text": "word ", "logprobs": None, "finish_reason": None}] * NUM_PIECES
pieces = [*pieces[1:], {**pieces[0], "finish_reason": "stop"}]
body = "".join(f"data: {json.dumps({**event, 'choices': [piece]})}\\n\\n" for piece in pieces)

async def completions(request):
    await request.body()
    return Response(body + "data: [DONE]\\n\\n", media_type="text/event-stream")

routes = [Route("/v1/models", models), Route("/v1/completions", completions, methods=["POST"])]
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical")
    uvicorn.Server(config).run(sockets=[listener])
"""
_PROMPT = Prompt(prefix="def f(a, b):\n    return ", suffix="\n\nprint(f(1, 2))\n")
_TEXT = "word " * NUM_PIECES


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=201, help="streams of each client")
    parser.add_argument("--prompts", type=int, default=512, help="completions side by side")
    arguments = parser.parse_args()
    code = _SERVER.replace("NUM_PIECES", str(NUM_PIECES))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        try:
            rows = [_one_by_one(url, arguments.repeats), _side_by_side(url, arguments.prompts)]
        finally:
            server.terminate()
    print(write_rows("remote", rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:24} {row.value:8.2f} {row.unit}, peer {row.peer_value}, {row.ratio}")


def _one_by_one(url: str, repeats: int) -> Row:
    remote, client = Remote(f"remote:{url}"), openai.OpenAI(base_url=url, api_key="none")
    settings = {"model": "starcoder2", "prompt": _PROMPT.prefix, "max_tokens": 128}

    def ours() -> None:
        text = "".join(delta.text for delta in remote.stream(_PROMPT, Sampling()))
        assert text == _TEXT

    def theirs() -> None:
        pieces = client.completions.create(**settings, temperature=0, stream=True)
        assert "".join(piece.choices[0].text for piece in pieces) == _TEXT

    both = [(_milliseconds(ours), _milliseconds(theirs)) for _ in range(repeats)]
    mine, peer = (sorted(times) for times in zip(*both, strict=True))
    remote.close()
    median, other = statistics.median(mine), statistics.median(peer)
    return Row(
        name="one stream",
        value=median,
        unit="ms",
        n=repeats,
        low=mine[repeats // 10],
        high=mine[-1 - repeats // 10],
        peer=f"openai {openai.__version__}",
        peer_value=other,
        ratio=other / median,
        note=f"{NUM_PIECES} pieces; low and high are the tenths; {_load()}",
    )


def _side_by_side(url: str, num_prompts: int) -> Row:
    remote = Remote(f"remote:{url}")

    def ours() -> None:
        found = remote.complete([_PROMPT] * num_prompts, Sampling())
        assert all(completion.text == _TEXT for (completion,) in found)

    def theirs() -> None:
        asyncio.run(_openai_side_by_side(url, num_prompts))

    both = [(_milliseconds(ours), _milliseconds(theirs)) for _ in range(5)]
    mine, peer = (
        sorted(1000 * num_prompts / taken for taken in times) for times in zip(*both, strict=True)
    )
    remote.close()
    median, other = statistics.median(mine), statistics.median(peer)
    return Row(
        name="completions side by side",
        value=median,
        unit="1/s",
        n=5,
        low=mine[0],
        high=mine[-1],
        peer=f"openai {openai.__version__}, asynchronous",
        peer_value=other,
        ratio=median / other,
        note=f"{num_prompts} of {NUM_PIECES} streamed pieces, {CONCURRENT} at one time; {_load()}",
    )


async def _openai_side_by_side(url: str, num_prompts: int) -> None:
    slots = asyncio.Semaphore(CONCURRENT)
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

        async def one() -> str:
            async with slots:
                pieces = await client.completions.create(
                    model="starcoder2",
                    prompt=_PROMPT.prefix,
                    max_tokens=128,
                    temperature=0,
                    stream=True,
                )
                return "".join([piece.choices[0].text async for piece in pieces])

        assert set(await asyncio.gather(*(one() for _ in range(num_prompts)))) == {_TEXT}


def _milliseconds(run: Callable[[], object]) -> float:
    began = time.monotonic()
    run()
    return 1000 * (time.monotonic() - began)


def _load() -> str:
    return f"load {Path('/proc/loadavg').read_text().split()[0]}"


if __name__ == "__main__":
    main()
