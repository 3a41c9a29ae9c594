# SPDX-License-Identifier: Apache-2.0
from itertools import cycle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegemma.completion import Prompt, Sampling
from codegemma.generate import programs
from codegemma.generate.sampling import controls_of, draw_uniforms
from codegemma.generate.speculation import (
    PLACES,
    Credit,
    Drafter,
    Recent,
    places_for,
    places_of,
    prefix_tokens,
)
from codegemma.generate.weights import empty_cache
from codegemma.kernels import native
from codegemma.model import config as configs

PRE, MID, SUF, SEP = 67, 68, 69, 70


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([2, 300, 301], [2, 300, 301]),
        ([2, 500, SEP, PRE, 300, 301, SUF, 400, MID], [300, 301]),
        ([2, 500, SEP, SUF, 400, PRE, 300, 301, MID], [300, 301]),
        ([2, 500, SEP, PRE, SUF, 400, MID, 300, 301], [300, 301]),
        ([2, PRE, SUF, MID], []),
    ],
    ids=["left to right", "psm", "spm", "spm2", "empty"],
)
def test_the_text_in_front_of_the_cursor_is_found_in_every_order(prompt, expected):
    assert list(prefix_tokens(prompt)) == expected


def test_what_followed_the_last_tokens_before_is_guessed():
    #                       the suffix has 300 301 too, with what follows
    prompt = [2, PRE, 200, 300, 301, SUF, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, MID]
    drafter = Drafter(prompt)
    assert drafter.propose([302], max_tokens=99) == [303, 304, 305, 306, 307, 308, 309]
    assert drafter.propose([302], max_tokens=3) == [303, 304, 305]
    assert drafter.propose([302], max_tokens=0) == []


def test_the_longest_match_counts_and_of_equals_the_last():
    prompt = [2, 1000, 300, 301, 400, 900, 300, 301, 500, 300, 301, 600, 1000]
    assert Drafter(prompt).propose([300, 301], max_tokens=2) == [400, 900]
    assert Drafter(prompt[:-1]).propose([300, 301], max_tokens=1) == [600]


def test_a_guess_ends_before_a_control_token():
    prompt = [2, PRE, 300, SUF, 300, 301, 302, MID]
    assert Drafter(prompt).propose([301], max_tokens=9) == [302]


def test_the_completion_before_goes_on_after_a_key_that_differs():
    recent = Recent(credit=Credit())
    recent.put([200, 300, 301, 302, 303, 304], namespace=None)
    recent.put([7, 7], namespace=None)
    prompt = [2, PRE, 200, 999, SUF, MID]  # 999 where 300 was shown
    drafter = Drafter(prompt, recent.of(None))
    assert drafter.propose([500], max_tokens=9) == []
    assert drafter.propose([500, 301, 302], max_tokens=9) == [303, 304]
    assert recent.of("another") == []


def test_a_guess_that_fails_is_put_off_and_one_that_holds_makes_the_next_longer():
    prompt = [2, *range(300, 350)]
    drafter = Drafter(prompt)
    assert len(drafter.propose([310, 311], max_tokens=99)) == PLACES[0] - 1
    drafter.record(7, 7)
    assert len(drafter.propose([310, 311], max_tokens=99)) == PLACES[1] - 1
    drafter.record(15, 3)
    assert len(drafter.propose([310, 311], max_tokens=99)) == PLACES[0] - 1
    drafter.record(7, 0)
    assert drafter.patience == 4
    assert drafter.propose([310, 311], max_tokens=99) == []
    assert len(drafter.propose([310, 311], max_tokens=99)) == 7
    assert (drafter.num_passes, drafter.num_drafted, drafter.num_accepted) == (3, 29, 10)


def test_a_pass_reads_no_more_tokens_than_the_kernels_attend_for(monkeypatch):
    """Of the 2B 8 query heads share a key head, of the 7B none; 64 queries are taken at once."""
    monkeypatch.setattr(native, "choose_path", lambda: "avx512")
    monkeypatch.setattr(native, "can_attend", lambda: True)
    assert places_for(configs.codegemma_2b()) == (8,)
    assert places_for(configs.codegemma_7b()) == (8, 16)
    drafter = Drafter([2, *range(300, 350)], places=(8,))
    for _ in range(3):
        assert len(drafter.propose([310, 311], max_tokens=99)) == 7
        drafter.record(7, 7)
    monkeypatch.setattr(native, "choose_path", lambda: None)
    assert places_for(configs.codegemma_2b()) == (8, 16)


def draw_with(drafter, num_tokens, hold):
    """Draw as `batch.py` does, of a text in which guesses hold or not.

    Give how many tokens were drawn one by one, and how many each pass read.
    """
    drawn, passes, num_steps = [300], [], 1
    while len(drawn) < num_tokens:
        guess = drafter.propose(drawn, max_tokens=num_tokens - len(drawn) - 1)
        if guess:
            num_right = min(hold(), len(guess))
            drafter.record(len(guess), num_right)
            drawn += [300] * (num_right + 1)
            passes.append(places_of(len(guess)))
        else:
            count = min(drafter.patience, num_tokens - len(drawn))
            drawn += [300] * count
            num_steps += count
    return num_steps, passes


PROMPT = [2, *[300] * 40]


def repeating(credit):
    """A drafter that always finds as many tokens as it may guess."""
    drafter = Drafter(PROMPT, credit=credit)
    drafter._find = lambda text, num_wanted: [300] * num_wanted
    return drafter


def test_guesses_that_all_fail_are_given_up_and_tried_now_and_then():
    credit = Credit()
    counts = []
    for _ in range(10):  # requests of 128 tokens
        drafter = repeating(credit)
        num_steps, passes = draw_with(drafter, 128, lambda: 0)
        assert num_steps + len(passes) == 128
        counts.append(len(passes))
    assert counts[0] <= 4 + 3
    assert sum(counts) <= 4 + 0.03 * 1280
    assert all(counts[-5:])


def test_one_request_whose_guesses_fail_waits_twice_as_long_each_time():
    drafter = Drafter(PROMPT)
    waits = []
    for _ in range(3):
        assert drafter.propose([300], max_tokens=99)
        drafter.record(7, 0)
        assert drafter.propose([300], max_tokens=99) == []
        waits.append(drafter.patience)
    assert waits == [4, 8, 16]
    assert drafter.propose([300], max_tokens=99)
    drafter.record(7, 1)
    assert drafter.patience == 2


COSTS = {None: {8: 1, 16: 1}, "avx512": {8: 1, 16: 3}, "avx2": {8: 3.8, 16: 8.6}}
"""Steps that passes take more than drawing one token, by the kernels that multiply."""


@settings(deadline=None)
@given(
    path=st.sampled_from(list(COSTS)),
    held=st.lists(st.integers(0, 15), min_size=1, max_size=60),
    lengths=st.lists(st.integers(2, 200), min_size=1, max_size=12),
)
def test_whatever_holds_guessing_never_costs_three_steps_in_a_hundred_and_four(path, held, lengths):
    credit = Credit(path)
    outcomes = cycle(held)
    cost = 0
    for length in lengths:
        drafter = repeating(credit)
        num_steps, passes = draw_with(drafter, length, lambda: next(outcomes))
        cost += num_steps + sum(1 + COSTS[path][num_places] for num_places in passes)
    assert cost <= 1.03 * sum(lengths) + 4 + 1e-6


def test_guesses_that_held_long_ago_pay_for_few_that_fail():
    credit = Credit()
    draw_with(repeating(credit), 10_000, lambda: 15)
    _, passes = draw_with(repeating(credit), 2_000, lambda: 0)
    assert len(passes) <= 16 + 0.03 * 2_000


def test_a_longer_pass_is_made_only_if_its_cost_is_in_hand():
    credit = Credit("avx512")
    credit.settle(16, 0)
    assert [credit.is_enough(places) for places in PLACES] == [True, False]
    drafter = repeating(credit)
    drafter.record(7, 7)  # the next would be longer, and can be paid for
    assert len(drafter.propose([300], max_tokens=99)) == 15
    drafter.record(15, 0)
    for _ in range(3):
        credit.settle(8, 0)
    assert [credit.is_enough(places) for places in PLACES] == [True, False]
    again = repeating(credit)
    again._places = PLACES[-1]
    assert len(again.propose([300], max_tokens=99)) == 7


def test_a_pass_costs_what_the_kernels_that_make_it_take():
    found = {path: [Credit(path).cost(places) for places in PLACES] for path in COSTS}
    assert found == {path: pytest.approx(list(costs.values())) for path, costs in COSTS.items()}
    assert not Credit("portable").is_enough(PLACES[0])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_pass_draws_what_single_steps_draw(engine, temperature):
    """Guesses wrong and right: every place up to the first wrong one is as drawn one by one."""
    weights = engine._weights
    sampling = Sampling(temperature=temperature)
    controls = controls_of([sampling])
    uniforms = draw_uniforms(3, index=0, count=64)
    common = {"config": weights.config, "dtype": weights.dtype, "num_top": 2}
    prompt = np.zeros((1, 64), np.int32)
    prompt[0, :5] = [2, 300, 400, 500, 600]

    def read():
        drawn, cache = programs.prefill(
            weights.params,
            prompt,
            empty_cache(weights, num_rows=1, num_tokens=100),
            num_tokens=np.array([5], np.int32),
            is_end=np.bool_(True),
            controls=controls,
            uniforms=uniforms[None, :1],
            **common,
        )
        return np.asarray(drawn.tokens)[:, 0], cache

    token, cache = read()
    single, _ = programs.decode(
        weights.params,
        token,
        cache,
        stop_ids=np.full((1, 8), programs.NO_TOKEN, np.int32),
        controls=controls,
        uniforms=np.pad(uniforms[None, 1:], ((0, 0), (0, 1))),
        num_steps=np.full(1, 8, np.int32),
        **common,
    )
    expected = np.asarray(single.tokens)[0, :8]
    assert len(set(expected.tolist())) > 3
    for num_right in (0, 3, 7):
        token, cache = read()
        guess = expected[:7].copy()
        guess[num_right:] = 999
        found, cache = programs.verify(
            weights.params,
            np.concatenate([token, guess])[None],
            cache,
            num_tokens=np.array([8], np.int32),
            controls=controls,
            uniforms=uniforms[None, 1:9],
            **common,
        )
        assert np.asarray(found.tokens)[0, : num_right + 1].tolist() == (
            expected[: num_right + 1].tolist()
        )
        np.testing.assert_allclose(
            np.asarray(found.logprobs)[0, : num_right + 1],
            np.asarray(single.logprobs)[0, : num_right + 1],
            atol=1e-5,
        )
        assert cache.length.tolist() == [13]


@pytest.mark.slow
def test_the_distribution_of_a_drawn_token_does_not_depend_on_the_guess(engine):
    """2,000 draws of the token after a guess, against the model's own probabilities."""
    weights = engine._weights
    common = {"config": weights.config, "dtype": weights.dtype, "num_top": 0}
    context = [2, 300, 400, 500]
    logits = engine.logits(context)[-1].astype(np.float64)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits))
    best = int(probabilities.argmax())
    rows = 8
    counts = np.zeros(len(probabilities))
    rng = np.random.default_rng(0)
    tokens = np.tile(np.array([2, 300, 400, 500, best, 0, 0, 0], np.int32), (rows, 1))
    controls = controls_of([Sampling(temperature=1.0)] * rows)
    for _ in range(250):
        drawn, _ = programs.verify(
            weights.params,
            tokens,
            empty_cache(weights, num_rows=rows, num_tokens=20),
            num_tokens=np.full(rows, 5, np.int32),
            controls=controls,
            uniforms=rng.random((rows, 8), dtype=np.float32),
            **common,
        )
        np.add.at(counts, np.asarray(drawn.tokens)[:, 3], 1)
    likely = probabilities > 0.005
    expected = 2000 * np.append(probabilities[likely], probabilities[~likely].sum())
    found = np.append(counts[likely], counts[~likely].sum())
    chi_square = float(((found - expected) ** 2 / expected).sum())
    assert chi_square < len(expected) + 4 * np.sqrt(2 * len(expected))


@pytest.fixture(scope="module")
def engines(make_engine):
    return (
        make_engine(is_for_one=False),
        make_engine(is_for_one=False, is_speculative=True),
        make_engine(is_for_one=False, is_speculative=True, prefix_cache_bytes=1 << 22),
    )


PARTS = st.sampled_from(["x = f(x)\n", "    return x\n", "def f(x):\n", "y", " ", "class A:\n"])


@pytest.mark.slow
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    parts=st.lists(PARTS, min_size=1, max_size=3),
    suffix=st.sampled_from([None, "", "x = f(x)\n"]),
    temperature=st.sampled_from([0.0, 0.7]),
)
def test_edits_draw_the_same_text_guessed_cached_streamed_and_in_a_batch(
    engines, parts, suffix, temperature
):
    plain, guessing, cached = engines
    sampling = Sampling(max_tokens=40, temperature=temperature, seed=7, logprobs=0)
    prefix = "x = f(x)\n" * 3
    for part in parts:
        prefix += part
        prompt = Prompt(prefix=prefix, suffix=suffix)
        expected = plain.complete([prompt], sampling)[0][0]
        for engine in (guessing, cached):
            found = engine.complete([prompt], sampling)[0][0]
            assert found.tokens == expected.tokens
            assert (found.text, found.finish_reason) == (expected.text, expected.finish_reason)
            np.testing.assert_allclose(
                [one.logprob for one in found.logprobs],
                [one.logprob for one in expected.logprobs],
                atol=1e-4,
            )
    # In chunks of 1, 2, 4 tokens and more, and beside another prompt.
    streamed = "".join(delta.text for delta in cached.stream(prompt, sampling))
    beside = plain.complete([Prompt(prefix="# other"), prompt], sampling)[1][0]
    assert (streamed, beside.text) == (expected.text, expected.text)
    assert beside.tokens == expected.tokens


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_engine_whose_guesses_fail_stops_making_them(make_engine, monkeypatch, temperature):
    engine = make_engine(is_for_one=False, is_speculative=True)
    counts = {"passes": 0, "saved": 0}
    record = Drafter.record

    def counted(self, num_drafted, num_accepted):
        counts["passes"] += 1
        counts["saved"] += num_accepted
        record(self, num_drafted, num_accepted)

    monkeypatch.setattr(Drafter, "record", counted)
    # Guesses of what does not come: every token is followed by one that never was drawn there.
    monkeypatch.setattr(
        Drafter, "_find", lambda self, text, num_wanted: [1000 + len(text) % 7] * num_wanted
    )
    num_tokens = 0
    for number in range(8):
        sampling = Sampling(max_tokens=100, temperature=temperature, seed=number)
        found = engine.complete([Prompt(prefix=f"x = {number}")], sampling)[0][0]
        num_tokens += len(found.tokens)
    assert num_tokens > 400
    assert 4 <= counts["passes"] <= counts["saved"] + 4 + 0.03 * num_tokens


def test_a_text_that_repeats_itself_is_drawn_in_fewer_passes(make_engine, monkeypatch):
    engine = make_engine(is_for_one=False, is_speculative=True)
    calls = []
    verify = programs.verify
    monkeypatch.setattr(
        programs, "verify", lambda *words, **named: calls.append(1) or verify(*words, **named)
    )
    prompt = Prompt(prefix="x = 1\n", suffix=None)
    first = engine.complete([prompt], Sampling(max_tokens=60))[0][0]
    calls.clear()
    again = engine.complete([prompt], Sampling(max_tokens=60))[0][0]
    assert again.tokens == first.tokens
    assert 1 <= len(calls) <= 60 / PLACES[0] + 4
