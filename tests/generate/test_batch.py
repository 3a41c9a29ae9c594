# SPDX-License-Identifier: Apache-2.0
import threading
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from codegemma.completion import CompleterInfo, Completion, Prompt, Sampling
from codegemma.generate import programs
from codegemma.generate.batch import Batch
from codegemma.generate.engine import Engine
from codegemma.generate.prefix_cache import PrefixCache
from codegemma.generate.rows import Request
from codegemma.generate.speculation import Drafter
from codegemma.kernels import native
from codegemma.model.params import init_params
from codegemma.text.budget import fit_prompt


def make_batch(engine, *, max_rows=8, kept=None):
    return Batch(
        engine._weights,
        engine.tokenizer,
        max_rows=lambda _: max_rows,
        ranks=lambda: engine._byte_ranks,
        kept=kept,
    )


def finish(batch, found=None):
    """Step until nothing is left; give the completions by request and sample."""
    found = {} if found is None else found
    while not batch.is_idle:
        for piece in batch.step():
            if piece.completion:
                found[piece.request, piece.sample] = piece.completion
    return found


def test_prompts_of_one_batch_may_have_unlike_limits_and_stops(engine):
    tokens = engine._request(Prompt(prefix="x", suffix="\n"), Sampling()).tokens
    free = Request(tokens=tokens, max_tokens=8, stop_ids=frozenset())

    def run(first, second):
        batch = make_batch(engine)
        for request in (first, second, *[free] * 6):
            batch.add(request, sampling=Sampling(temperature=1.0), seed=5)
        return finish(batch)

    whole = run(free, free)[0, 0].tokens
    stop = frozenset({whole[5]})
    ends = run(replace(free, max_tokens=3), replace(free, stop_ids=stop))
    assert ends[0, 0].tokens == whole[:3]
    assert ends[0, 0].finish_reason == "length"
    assert ends[1, 0].tokens == whole[: whole.index(whole[5]) + 1]
    assert ends[1, 0].finish_reason == "stop"
    assert ends[7, 0].tokens == whole


@pytest.fixture(params=["native", "none"])
def wide(request, config, tokenizer, monkeypatch):
    """An engine with heads that the kernels take, and one that does without them."""
    if request.param == "none":
        monkeypatch.setenv("CODEGEMMA_KERNEL", "none")
    elif native.choose_path() is None:
        pytest.skip("no native kernels: apt-get install g++ cmake, then make setup")
    # Programs are kept by their configuration, so the two have none in common.
    config = replace(config, name=f"tiny-{request.param}", head_dim=32)
    info = CompleterInfo(name=config.name, context_length=256, mode="psm")
    params = init_params(config, key=jax.random.key(1))
    return Engine(params, config=config, tokenizer=tokenizer, info=info)


@pytest.mark.parametrize("num_samples", [1, 2])
def test_a_row_ends_at_its_last_slot_whatever_the_others_draw(wide, num_samples):
    """A prompt that fills the context but for 7 tokens, beside one that asks for 40."""
    full = Request(tokens=[2, *range(300, 548)], max_tokens=7, stop_ids=frozenset())
    free = Request(tokens=[2, 300, 301], max_tokens=40, stop_ids=frozenset())
    sampling = Sampling(n=num_samples, temperature=1.0)

    def run(*requests):
        batch = make_batch(wide)
        for request in requests:
            batch.add(request, sampling=sampling, seed=5)
        return [one.tokens for _, one in sorted(finish(batch).items())]

    assert full.num_slots == 256
    found = run(full, free)
    assert [len(tokens) for tokens in found] == [7] * num_samples + [40] * num_samples
    assert found == [*run(full), *run(free)]


def test_guesses_end_at_the_last_slot(wide, monkeypatch):
    monkeypatch.setattr(Drafter, "_find", lambda self, text, num_wanted: [300] * num_wanted)
    full = Request(tokens=[2, *range(300, 548)], max_tokens=7, stop_ids=frozenset())
    found = []
    for drafter in (None, Drafter(full.tokens)):
        batch = make_batch(wide)
        batch.add(full, sampling=Sampling(), seed=0, drafter=drafter)
        found += [one.tokens for one in finish(batch).values()]
    assert drafter.num_passes
    assert found[0] == found[1]


POOL = ["x = ", "def f(x):\n" * 8, "import os", "# a" * 30, "return self."]
"""Two of them are longer than one piece."""


@pytest.fixture(scope="module")
def alone(engine):
    """What each prompt of the pool gives by itself."""
    return [engine.complete([Prompt(prefix=p)], Sampling(max_tokens=10))[0][0] for p in POOL]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, len(POOL) - 1)),
            st.tuples(st.just("step"), st.integers(1, 4)),
            st.tuples(st.just("cancel"), st.integers(0, 7)),
            st.tuples(st.just("drop"), st.integers(0, 7)),
        ),
        min_size=4,
        max_size=14,
    ),
    is_kept=st.booleans(),
)
def test_rows_that_come_and_go_draw_what_they_draw_alone(engine, alone, actions, is_kept):
    batch = make_batch(engine, max_rows=3, kept=PrefixCache(max_bytes=1 << 22) if is_kept else None)
    asked: dict[int, int] = {}
    cancels: dict[int, threading.Event] = {}
    texts: dict[int, str] = {}
    found: dict[int, Completion] = {}
    dropped: set[int] = set()

    def step():
        for piece in batch.step():
            texts[piece.request] = texts.get(piece.request, "") + piece.text
            if piece.completion:
                found[piece.request] = piece.completion

    for name, value in actions:
        if name == "add":
            request = engine._request(Prompt(prefix=POOL[value]), Sampling(max_tokens=10))
            cancel = threading.Event()
            number = batch.add(request, sampling=Sampling(max_tokens=10), seed=0, cancel=cancel)
            asked[number], cancels[number] = value, cancel
        elif name == "step":
            for _ in range(value):
                step()
        elif value in asked:
            cancels[value].set() if name == "cancel" else batch.drop(value)
            dropped |= {value} if name == "drop" else set()
    while not batch.is_idle:
        step()
    assert set(asked) - dropped <= set(found)
    for number, completion in found.items():
        expected = alone[asked[number]]
        assert texts[number] == completion.text
        if completion.finish_reason == "cancelled":
            assert cancels[number].is_set()
            assert completion.tokens == expected.tokens[: len(completion.tokens)]
        else:
            assert (completion.tokens, completion.text) == (expected.tokens, expected.text)
    assert batch.num_rows == 0


def test_a_request_that_comes_late_is_read_while_others_are_drawn(engine):
    """In turn with their steps, so that it waits for none of them and holds none up."""
    batch = make_batch(engine)
    sampling = Sampling(max_tokens=150)
    request = engine._request(Prompt(prefix="x = "), sampling)
    first = batch.add(request, sampling=sampling, seed=0, is_watched=True)
    while not batch.num_rows:
        batch.step()
    long = engine._request(Prompt(prefix="# a" * 80), sampling)
    late = batch.add(long, sampling=sampling, seed=0, is_watched=True)
    order: list[int] = []
    while late not in order:
        order += [piece.request for piece in batch.step()]
    assert first in order
    assert batch.num_rows == 2


def test_requests_asked_for_differently_share_a_batch(engine):
    """Greedy and drawn, one and several samples, with log probabilities and without."""
    sets = [
        Sampling(max_tokens=8),
        Sampling(max_tokens=6, temperature=0.8, n=2),
        Sampling(max_tokens=8, logprobs=2),
        Sampling(max_tokens=5, temperature=1.2, top_k=5, heal=True),
    ]
    prompts = [Prompt(prefix=prefix) for prefix in POOL[:4]]
    batch = make_batch(engine)
    for prompt, sampling in zip(prompts, sets, strict=True):
        batch.add(engine._request(prompt, sampling), sampling=sampling, seed=9)
    found = finish(batch)
    for number, (prompt, sampling) in enumerate(zip(prompts, sets, strict=True)):
        expected = engine.complete([prompt], replace(sampling, seed=9))[0]
        for sample, one in enumerate(expected):
            assert found[number, sample].tokens == one.tokens
            assert (found[number, sample].logprobs is None) == (sampling.logprobs is None)


SHORT = Request(tokens=[2, *range(300, 310)], max_tokens=100, stop_ids=frozenset())
LONG = Request(tokens=[2, *range(300, 480)], max_tokens=20, stop_ids=frozenset())
"""Read in one piece, and in three."""


def num_drawn(batch, number):
    return len(batch._entries[number].rows[0].text.tokens)


def test_a_short_prompt_waits_for_one_piece_of_a_long_one_that_came_before_it(engine):
    batch = make_batch(engine)
    for request in (LONG, SHORT):
        batch.add(request, sampling=Sampling(), seed=0, is_watched=True)
    long, short = (0, 1)
    batch.step()
    batch.step()
    assert (num_drawn(batch, long), num_drawn(batch, short)) == (0, 1)
    while not num_drawn(batch, long):
        batch.step()
    assert num_drawn(batch, short) >= 3  # two more pieces were read, and tokens drawn before each


@pytest.fixture
def pieces(monkeypatch):
    """What is read from now on: of each piece its shape and the tokens in each of its rows."""
    found = []
    prefill = programs.prefill

    def noted(params, tokens, *words, **named):
        found.append((tokens.shape, named["num_tokens"].tolist()))
        return prefill(params, tokens, *words, **named)

    monkeypatch.setattr(programs, "prefill", noted)
    return found


def test_prompts_that_are_read_in_the_same_pieces_are_read_together(engine, pieces):
    batch = make_batch(engine)
    for request in (SHORT, LONG, replace(SHORT, tokens=[2, 3], max_tokens=1)):
        batch.add(request, sampling=Sampling(), seed=0)
    assert len(finish(batch)) == 3
    assert pieces[:2] == [((2, 64), [11, 2]), ((1, 64), [64])]
    assert len(pieces) == 4


def test_long_prompts_that_are_read_together_are_read_in_short_steps(engine, pieces):
    """Of one prompt a step is 256 tokens; of eight it would be 2,048, and nobody drew meanwhile."""
    batch = make_batch(engine)
    for tokens in (range(2, 202), range(3, 200)):
        request = replace(SHORT, tokens=list(tokens), max_tokens=1)
        batch.add(request, sampling=Sampling(), seed=0, piece_lengths=(256, 64))
    finish(batch)
    assert pieces == [((2, 64), [64, 64])] * 3 + [((2, 64), [8, 5])]


def test_the_few_new_tokens_of_a_key_are_read_in_a_short_piece(make_engine, pieces):
    engine = make_engine(is_for_one=False, prefix_cache_bytes=1 << 22)
    plain = make_engine(is_for_one=False)
    tokens, sampling = tuple(LONG.tokens), Sampling(max_tokens=8)
    engine.complete([Prompt(tokens=tokens[:150])], sampling)
    pieces.clear()
    found = [engine.complete([Prompt(tokens=tokens[:end])], sampling)[0][0] for end in (166, 181)]
    assert pieces == [((1, 16), [16]), ((1, 16), [15])]
    expected = [plain.complete([Prompt(tokens=tokens[:end])], sampling)[0][0] for end in (166, 181)]
    assert [one.tokens for one in found] == [one.tokens for one in expected]


def test_nothing_is_read_for_requests_that_have_ended(engine, pieces):
    batch = make_batch(engine)
    batch.add(SHORT, sampling=Sampling(), seed=0)
    gone = batch.add(LONG, sampling=Sampling(), seed=0)
    while sum(sum(counts) for _, counts in pieces) < 11 + 64:
        batch.step()
    batch.drop(gone)
    finish(batch)
    read = [sum(counts) for _, counts in pieces]
    assert 0 not in read
    assert sum(read) == 11 + 64


def test_few_tokens_are_drawn_between_two_pieces_of_a_prompt(engine, monkeypatch):
    """Also for requests that the host need not look at, which else draw 64 at a time."""
    drawn = []
    decode = programs.decode

    def noted(*words, **named):
        drawn.append(int(named["num_steps"].max()))
        return decode(*words, **named)

    monkeypatch.setattr(programs, "decode", noted)
    batch = make_batch(engine)
    batch.add(SHORT, sampling=Sampling(), seed=0)
    batch.step()
    batch.step()
    batch.add(LONG, sampling=Sampling(), seed=0)
    finish(batch)
    assert drawn[0] == 64
    assert drawn[1:3] == [16, 16]


def test_after_an_error_within_a_step_the_batch_is_empty_and_works(engine, monkeypatch):
    batch = make_batch(engine)
    request = engine._request(Prompt(prefix="x = "), Sampling(max_tokens=10))
    number = batch.add(request, sampling=Sampling(max_tokens=10), seed=0)
    with monkeypatch.context() as patch:
        patch.setattr("codegemma.generate.programs.decode", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finish(batch)
    assert batch.fail() == [number]
    assert batch.is_idle
    batch.add(request, sampling=Sampling(max_tokens=10), seed=0)
    assert [one.finish_reason for one in finish(batch).values()] == ["length"]


@pytest.fixture(scope="module")
def engines(make_engine):
    return (
        make_engine(is_for_one=False),
        make_engine(is_for_one=False, is_speculative=True, prefix_cache_bytes=1 << 22),
    )


def drawn_bytes(engine, completion):
    return b"".join(map(engine.tokenizer.token_bytes, completion.tokens))


@pytest.mark.slow
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
        text = data[len(request.typed) :].decode(errors="replace")
        assert one.text == text.removesuffix(request.seam)
        assert (one.typed, len(one.logprobs)) == (typed, len(one.tokens))
    beside = plain.complete([Prompt(prefix="# other"), prompt], sampling)[1][0]
    (guessed,) = guessing.complete([prompt], sampling)[0]
    streamed = "".join(delta.text for delta in guessing.stream(prompt, sampling))
    assert found[0].tokens == beside.tokens == guessed.tokens
    assert found[0].text == streamed


@pytest.mark.slow
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prefix=st.sampled_from(["x = ret", "def ", "import os\nimport o", ""]),
    mode=st.sampled_from(["psm", "spm", "spm2"]),
    temperature=st.sampled_from([0.0, 0.7]),
    seam_length=st.integers(1, 9),
)
def test_a_drawn_seam_is_left_out_in_whatever_way_a_text_is_drawn(
    engines, prefix, mode, temperature, seam_length
):
    plain, guessing = engines
    sampling = Sampling(max_tokens=12, temperature=temperature, seed=5, mode=mode, heal=True)
    prompt = Prompt(prefix=prefix, suffix="urn x\n")
    prompt = fit_prompt(prompt, sampling, tokenizer=plain.tokenizer, info=plain.info)
    assert prompt.seam == ("urn" if prefix else "")  # at the start of a line it stays
    whole = plain.complete([replace(prompt, seam="")], sampling)[0][0]
    seam = whole.text[-seam_length:]
    assume(seam)
    sewn = replace(prompt, seam=seam)
    alone = plain.complete([sewn], sampling)[0][0]
    beside = plain.complete([Prompt(prefix="# other"), sewn], sampling)[1][0]
    found = [alone, beside]
    found += [guessing.complete([sewn], sampling)[0][0] for _ in range(2)]
    for one in found:
        assert (one.text, one.tokens) == (whole.text.removesuffix(seam), whole.tokens)
    assert found[-1].cached_tokens or len(prompt.tokens) <= 16
    assert "".join(delta.text for delta in guessing.stream(sewn, sampling)) == alone.text


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
        assert (request.typed, request.seam, request.max_drawn) == (b"", "", 128)
    request = engine._request(Prompt(prefix="ret", suffix="urn x"), Sampling(heal=True))
    assert (request.typed != b"", request.seam) == (True, "urn")


def test_typed_text_is_bounded_by_the_context(make_engine):
    engine = make_engine(context_length=24)
    sampling = Sampling(max_tokens=12, heal=True)
    request = engine._request(Prompt(prefix="ret " * 40, suffix="x\n"), sampling)
    assert request.typed
    assert request.num_slots <= 24
    assert engine.complete([Prompt(prefix="ret " * 40, suffix="x\n")], sampling)[0][0].text
