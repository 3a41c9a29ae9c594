# SPDX-License-Identifier: Apache-2.0
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.generate import programs

PREFIXES = ["x = ", "import os", "return self.", "def f(x):\n" * 8]
SAMPLING = Sampling(max_tokens=12)


@pytest.fixture
def expected(engine):
    return [engine.complete([Prompt(prefix=prefix)], SAMPLING)[0][0].tokens for prefix in PREFIXES]


def test_threads_draw_together_what_each_draws_alone(engine, expected, monkeypatch):
    sizes = []
    decode = programs.decode
    monkeypatch.setattr(
        programs,
        "decode",
        lambda *words, **named: sizes.append(len(words[1])) or decode(*words, **named),
    )
    barrier = threading.Barrier(len(PREFIXES))

    def draw(prefix):
        barrier.wait()
        deltas = list(engine.stream(Prompt(prefix=prefix), SAMPLING))
        assert "".join(delta.text for delta in deltas) == deltas[-1].completion.text
        return deltas[-1].completion.tokens

    with ThreadPoolExecutor(len(PREFIXES)) as pool:
        assert list(pool.map(draw, PREFIXES)) == expected
    assert max(sizes) > 1
    assert engine._shared._batch.is_idle
    assert engine._shared._found == {}


def test_a_stream_that_is_left_makes_room(engine):
    stream = engine.stream(Prompt(prefix="x = "), Sampling(max_tokens=200))
    next(stream)
    stream.close()
    assert engine._shared._batch.is_idle
    assert engine._shared._batch.num_rows == 0


def test_an_error_reaches_every_thread_and_the_next_request_works(engine, expected, monkeypatch):
    barrier = threading.Barrier(2)

    def draw(prefix):
        barrier.wait()
        return engine.complete([Prompt(prefix=prefix)], SAMPLING)[0][0].tokens

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(programs, "decode", lambda *_, **__: 1 / 0)
        futures = [pool.submit(draw, prefix) for prefix in PREFIXES[:2]]
        for future in futures:
            with pytest.raises(ZeroDivisionError):
                future.result(60)
    assert engine.complete([Prompt(prefix=PREFIXES[0])], SAMPLING)[0][0].tokens == expected[0]
