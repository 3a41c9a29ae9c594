# SPDX-License-Identifier: Apache-2.0
import threading

import jax
import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.generate.ahead import Kind, likely_kinds

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compiled():
    """The programs that were compiled, one entry each."""
    found = []

    def note(event, duration, **_):
        if event == COMPILED:
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)


def test_kinds_are_few_and_the_likeliest_come_first():
    found = likely_kinds(8192, max_rows=lambda length: 8192 // length)
    assert found[:3] == [Kind(1, 1024, False), Kind(1, 1024, True), Kind(1, 2048, False)]
    assert {(kind.num_rows, kind.num_slots) for kind in found} == {
        *((1, length) for length in (1024, 2048, 4096, 8192)),
        *((rows, 1024) for rows in (2, 4, 8)),
        *((rows, 2048) for rows in (2, 4)),
    }
    assert len(found) == len(set(found)) == 18
    assert {kind.num_slots for kind in likely_kinds(512, max_rows=lambda _: 16)} == {512}


@pytest.fixture(scope="module")
def prepared(make_engine):
    """An engine that has compiled ahead, and the names of what it compiled."""
    engine = make_engine(is_for_one=False, is_speculative=True, prefix_cache_bytes=1 << 22)
    return engine, list(engine.compile_ahead())


CODE = "value = 1\n" * 43  # read in pieces of both lengths, and guessed


@pytest.mark.slow
def test_a_program_is_compiled_at_each_step(prepared):
    _, names = prepared
    assert names[:6] == [
        "prefill of 1 x 256",
        "prefill of 1 x 256",
        "prefill of 1 x 256",
        "decode of 1 x 256",
        "verify of 1 x 256",
        "verify of 1 x 256",
    ]
    assert names.count("decode of 8 x 256") == 2


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("suffix", [None, "urn x\n"])
def test_what_was_compiled_ahead_is_not_compiled_for_a_request(
    prepared, compiled, temperature, suffix
):
    engine, _ = prepared
    sampling = Sampling(max_tokens=24, heal=True, temperature=temperature, seed=1)
    for end in ("ret", "value", "\n"):
        engine.complete([Prompt(prefix=CODE + end, suffix=suffix)], sampling)
    assert compiled == []


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_requests_beside_each_other_compile_nothing_either(prepared, compiled, temperature):
    engine, _ = prepared
    lengths = (40, 30, 20, 12, 6)
    starts = [threading.Event() for _ in lengths]

    def ask(number):
        sampling = Sampling(
            max_tokens=lengths[number], heal=True, temperature=temperature, seed=number
        )
        for _ in engine.stream(Prompt(prefix=f"# {number}\nx = "), sampling):
            starts[number].set()  # the next one comes while this one is drawn

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(lengths))]
    for thread, start in zip(threads, starts, strict=True):
        thread.start()
        assert start.wait(60)
    for thread in threads:
        thread.join()
    assert compiled == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 8])
def test_prompts_that_are_read_together_compile_nothing_either(prepared, compiled, count):
    engine, _ = prepared
    prompts = [Prompt(prefix=CODE + f"x{number} = ") for number in range(count)]
    engine.complete(prompts, Sampling(max_tokens=8, heal=True))
    assert compiled == []


@pytest.mark.slow
def test_what_is_not_compiled_ahead_is_compiled_when_it_is_met(prepared, compiled):
    """So that the tests above would see a program that is compiled."""
    engine, _ = prepared
    engine.complete([Prompt(prefix="x = ")], Sampling(max_tokens=2, heal=True, logprobs=1))
    assert compiled
