# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from codegemma.completion import Prompt, Sampling
from codegemma.generate.batch import Batch
from codegemma.generate.rows import Request


def test_prompts_of_one_batch_may_have_unlike_limits_and_stops(engine):
    tokens = engine._request(Prompt(prefix="x", suffix="\n"), Sampling()).tokens
    free = Request(tokens=tokens, max_tokens=8, stop_ids=frozenset())

    def run(first, second):
        batch = Batch(
            engine._weights,
            engine.tokenizer,
            [first, second, *[free] * 6],
            sampling=Sampling(temperature=1.0),
            seed=5,
            max_rows=8,
        )
        return {piece.request: piece.completion for piece in batch.run() if piece.completion}

    whole = run(free, free)[0].tokens
    stop = frozenset({whole[5]})
    ends = run(replace(free, max_tokens=3), replace(free, stop_ids=stop))
    assert ends[0].tokens == whole[:3]
    assert ends[0].finish_reason == "length"
    assert ends[1].tokens == whole[: whole.index(whole[5]) + 1]
    assert ends[1].finish_reason == "stop"
    assert ends[7].tokens == whole


@pytest.fixture(scope="module")
def engines(make_engine):
    return (
        make_engine(is_for_one=False),
        make_engine(is_for_one=False, is_speculative=True, prefix_cache_bytes=1 << 22),
    )


def drawn_bytes(engine, completion):
    return b"".join(map(engine.tokenizer.token_bytes, completion.tokens))


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prefix=st.lists(
        st.sampled_from(["ret", "def ", "x", " = ", "\n", "    ", "\u00e9"]), max_size=4
    ),
    suffix=st.sampled_from([None, "", "urn x\n"]),
    mode=st.sampled_from(["psm", "spm", "spm2"]),
)
def test_a_healed_completion_goes_on_from_every_typed_byte(engines, prefix, suffix, mode):
    plain, guessing = engines
    prompt = Prompt(prefix="".join(prefix), suffix=suffix)
    sampling = Sampling(max_tokens=12, temperature=0.7, seed=5, mode=mode, heal=True, logprobs=0)
    request = plain._request(prompt, sampling)
    typed = request.typed.decode()
    assert prompt.prefix.endswith(typed)
    found = plain.complete([prompt], replace(sampling, n=2))[0]
    for one in found:
        data = drawn_bytes(plain, one)
        assert data.startswith(request.typed)
        assert one.text == data[len(request.typed) :].decode(errors="replace")
        assert (one.typed, len(one.logprobs)) == (typed, len(one.tokens))
    beside = plain.complete([Prompt(prefix="# other"), prompt], sampling)[1][0]
    (guessed,) = guessing.complete([prompt], sampling)[0]
    streamed = "".join(delta.text for delta in guessing.stream(prompt, sampling))
    assert found[0].tokens == beside.tokens == guessed.tokens
    assert found[0].text == streamed


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.sampled_from(["def f", "x = ", "import os", "class A", "#"]), count=st.integers(1, 9)
)
def test_on_a_border_that_greedy_drawing_chose_healing_changes_nothing(engines, start, count):
    """There the tokens left out are the likeliest ones, and the condition takes nothing away."""
    engine, _ = engines
    tokenizer = engine.tokenizer
    prompt = tokenizer.encode(start)
    drawn = engine.complete([Prompt(prefix=start)], Sampling(max_tokens=16))[0][0].tokens
    prefix = tokenizer.decode([*prompt, *drawn[:count]])
    assume(tokenizer.encode(prefix) == [*prompt, *drawn[:count]])
    found = [
        engine.complete([Prompt(prefix=prefix)], Sampling(max_tokens=7, heal=heal))[0][0]
        for heal in (True, False)
    ]
    assume(len(found[0].tokens) - len(found[1].tokens) <= count)  # else some were typed, not drawn
    assert found[0].text == found[1].text


def test_a_typed_text_of_many_tokens_is_drawn_token_by_token(engine, monkeypatch):
    """Where no token holds it all, each draw is bound by what the ones before it left."""
    monkeypatch.setattr("codegemma.text.healing.ByteTable.has_longer", lambda *_: True)
    prompt = Prompt(prefix="a" * 3 + "qzq", suffix="\n")
    sampling = Sampling(max_tokens=5, heal=True, temperature=1.0, seed=1)
    typed = engine._request(prompt, sampling).typed
    assert len(typed) >= 4
    found = engine.complete([prompt], sampling)[0][0]
    assert drawn_bytes(engine, found).startswith(typed)
    num_within = int(
        (
            np.cumsum([len(engine.tokenizer.token_bytes(t)) for t in found.tokens]) <= len(typed)
        ).sum()
    )
    assert len(found.tokens) <= 5 + num_within


def test_without_healing_or_as_ids_a_prompt_stays_as_it_is(engine):
    for prompt, heal in ((Prompt(prefix="ret"), False), (Prompt(tokens=(2, 300)), True)):
        request = engine._request(prompt, Sampling(heal=heal))
        assert (request.typed, request.max_drawn) == (b"", 128)
    assert engine._request(Prompt(prefix="ret"), Sampling(heal=True)).typed != b""


def test_typed_text_is_bounded_by_the_context(make_engine):
    engine = make_engine(context_length=24)
    sampling = Sampling(max_tokens=12, heal=True)
    request = engine._request(Prompt(prefix="ret " * 40, suffix="x\n"), sampling)
    assert request.typed
    assert request.num_slots <= 24
    assert engine.complete([Prompt(prefix="ret " * 40, suffix="x\n")], sampling)[0][0].text
