# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.completion import Sampling
from codegemma.generate.sampling import (
    Allowed,
    controls_of,
    draw,
    draw_uniforms,
    filter_probabilities,
    likeliest,
    restrict,
    token_logprobs,
)

# Logits of the probabilities 0.4, 0.3, 0.2, 0.1, out of order.
LOGITS = np.log(np.array([[0.1, 0.4, 0.2, 0.3]], np.float32))
filtered = jax.jit(filter_probabilities)
drawn = jax.jit(draw)


def kept(**settings):
    sampling = Sampling(temperature=settings.pop("temperature", 1.0), **settings)
    row = filtered(jnp.asarray(LOGITS), controls_of([sampling]))[0]
    return np.round(np.asarray(row, np.float64), 4).tolist()


def test_without_settings_every_token_keeps_its_probability():
    assert kept() == [0.1, 0.4, 0.2, 0.3]


def test_temperature_divides_the_logits():
    # Squares of 1, 4, 2, 3 are 1, 16, 4, 9: their sum is 30.
    assert kept(temperature=0.5) == [0.0333, 0.5333, 0.1333, 0.3]


@pytest.mark.parametrize(
    ("top_k", "expected"),
    [
        (1, [0.0, 0.4, 0.0, 0.0]),
        (2, [0.0, 0.4, 0.0, 0.3]),
        (4, [0.1, 0.4, 0.2, 0.3]),
        (9, [0.1, 0.4, 0.2, 0.3]),
    ],
)
def test_top_k_keeps_the_k_most_likely(top_k, expected):
    assert kept(top_k=top_k) == expected


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (0.01, [0.0, 0.4, 0.0, 0.0]),
        (0.39, [0.0, 0.4, 0.0, 0.0]),
        (0.41, [0.0, 0.4, 0.0, 0.3]),
        (0.71, [0.0, 0.4, 0.2, 0.3]),
        (1.0, [0.1, 0.4, 0.2, 0.3]),
    ],
)
def test_top_p_keeps_the_smallest_set_with_that_mass(top_p, expected):
    assert kept(top_p=top_p) == expected


@pytest.mark.parametrize(
    ("min_p", "expected"),
    [
        (0.0, [0.1, 0.4, 0.2, 0.3]),
        (0.3, [0.0, 0.4, 0.2, 0.3]),
        (0.6, [0.0, 0.4, 0.0, 0.3]),
        (1.0, [0.0, 0.4, 0.0, 0.0]),
    ],
)
def test_min_p_drops_what_is_small_beside_the_best(min_p, expected):
    assert kept(min_p=min_p) == expected


def test_top_p_counts_the_mass_that_top_k_left():
    # Of 0.4 and 0.3, the first alone is 0.571 of the mass left: below 0.58, above 0.56.
    assert kept(top_k=2, top_p=0.58) == [0.0, 0.4, 0.0, 0.3]
    assert kept(top_k=2, top_p=0.56) == [0.0, 0.4, 0.0, 0.0]


def test_tokens_that_tie_with_the_last_kept_stay():
    logits = jnp.log(jnp.asarray([[0.4, 0.25, 0.25, 0.1]]))
    row = filtered(logits, controls_of([Sampling(temperature=1.0, top_k=2)]))[0]
    assert np.round(np.asarray(row, np.float64), 4).tolist() == [0.4, 0.25, 0.25, 0.0]


def sorted_reference(logits, *, temperature, top_k, top_p, min_p):
    """The textbook form: sort, then cut; float64."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    order = np.argsort(-weights)
    keep = np.zeros(len(weights), bool)
    mass = weights[order[:top_k]].sum()
    total = 0.0
    for token in order[:top_k]:
        if total >= top_p * mass or weights[token] < min_p * weights.max():
            break
        keep[token] = True
        total += weights[token]
    return np.where(keep, weights, 0.0)


@pytest.mark.parametrize("seed", range(6))
def test_filters_agree_with_a_sorted_reference_on_a_large_vocabulary(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, 5000).astype(np.float32)
    settings = {
        "temperature": float(rng.uniform(0.3, 2)),
        "top_k": int(rng.integers(1, 400)),
        "top_p": float(rng.uniform(0.3, 0.99)),
        "min_p": float(rng.uniform(0, 0.05)),
    }
    ours = filtered(jnp.asarray(logits)[None], controls_of([Sampling(**settings)]))
    np.testing.assert_allclose(
        np.asarray(ours[0]), sorted_reference(logits, **settings), rtol=1e-4, atol=1e-9
    )


def test_a_draw_is_the_inverse_of_the_running_sum():
    weights = jnp.asarray([[0.0, 0.2, 0.0, 0.3, 0.5, 0.0]])
    uniforms = jnp.asarray([[0.0, 0.19, 0.21, 0.49, 0.51, 0.99999994]])
    assert drawn(weights, uniforms).tolist() == [[1, 1, 3, 3, 4, 4]]


def test_a_draw_needs_no_normalised_weights():
    weights = jnp.asarray([[2.0, 0.0, 6.0], [6.0, 2.0, 0.0]])
    assert drawn(weights, jnp.asarray([[0.24, 0.26], [0.74, 0.76]])).tolist() == [[0, 2], [0, 1]]


def test_draws_over_a_large_vocabulary_follow_their_probabilities():
    vocab_size, num_draws = 3000, 20000
    rng = np.random.default_rng(0)
    weights = rng.exponential(1, vocab_size).astype(np.float32)
    weights[rng.random(vocab_size) < 0.5] = 0
    weights[-200:] = 0
    uniforms = draw_uniforms(7, index=0, count=num_draws)
    tokens = np.asarray(drawn(jnp.asarray(weights)[None], jnp.asarray(uniforms)[None])[0])
    assert weights[tokens].min() > 0
    # Chi-square over 50 groups of tokens, 49 degrees of freedom: 99.9 % lie below 85.4.
    groups = np.arange(vocab_size) * 50 // vocab_size
    expected = np.bincount(groups, weights, minlength=50) / weights.sum() * num_draws
    seen = np.bincount(groups[tokens], minlength=50)
    likely = expected > 0
    assert ((seen - expected)[likely] ** 2 / expected[likely]).sum() < 85.4
    # The inverse method itself, in float64, differs only where a border falls between two floats.
    borders = np.cumsum(weights.astype(np.float64)) / weights.sum(dtype=np.float64)
    exact = np.searchsorted(borders, uniforms.astype(np.float64), side="right")
    assert (exact != tokens).mean() < 0.002


def test_uniforms_depend_on_seed_and_sample_only():
    expected = np.array([0.4732, 0.5118, 0.7552], np.float32)
    np.testing.assert_allclose(draw_uniforms(1, index=0, count=3), expected, atol=1e-4)
    assert (draw_uniforms(1, index=0, count=3) == draw_uniforms(1, index=0, count=9)[:3]).all()
    assert (draw_uniforms(1, index=1, count=3) != draw_uniforms(1, index=0, count=3)).all()
    assert (draw_uniforms(-1, index=0, count=3) == draw_uniforms(2**64 - 1, index=0, count=3)).all()


def test_logprobs_are_the_models_own():
    logprobs, normaliser = token_logprobs(
        jnp.log(jnp.asarray([[2.0, 2.0], [1.0, 3.0]])), jnp.asarray([[0], [1]])
    )
    np.testing.assert_allclose(logprobs, [[np.log(0.5)], [np.log(0.75)]], rtol=1e-6)
    np.testing.assert_allclose(normaliser, [[np.log(4)], [np.log(4)]], rtol=1e-6)


def test_only_what_is_allowed_is_drawn_and_free_rows_draw_anything():
    logits = jnp.asarray([[5.0, 4.0, 3.0, 2.0, 1.0]] * 3)
    rank = np.array([-1, 2, 0, 1, 3], np.int32)
    allowed = Allowed(
        jnp.asarray(rank),
        low=jnp.asarray([-1, 0, 4]),
        high=jnp.asarray([0, 2, 4]),
        shorter=jnp.asarray([[5, 5], [5, 5], [4, 5]]),
    )
    found = np.asarray(restrict(logits, allowed))
    assert (found > -1e29).tolist() == [
        [True] * 5,
        [False, False, True, True, False],
        [False, False, False, False, True],
    ]
    np.testing.assert_array_equal(restrict(logits, allowed, is_on=False), logits)
    np.testing.assert_array_equal(found[1, 2:4], [3.0, 2.0])


def test_greedy_rows_beside_others_draw_the_likeliest_token():
    logits = jnp.asarray(np.repeat(LOGITS, 3, axis=0))
    controls = controls_of([Sampling(), Sampling(temperature=2.0, min_p=0.1), None])
    assert (
        drawn(filtered(logits, controls), jnp.zeros((3, 1)))[:, 0] == jnp.array([1, 0, 1])
    ).all()
    assert controls_of([Sampling(), None]) is None


@pytest.mark.parametrize("vocab_size", [1, 511, 512, 1300])
def test_the_likeliest_token_is_the_first_of_the_largest(vocab_size):
    rng = np.random.default_rng(vocab_size)
    logits = rng.integers(-3, 3, (50, vocab_size)).astype(np.float32)  # full of ties
    logits[-1] = -np.inf
    logits[-2, -1] = 9.0
    found = jax.jit(likeliest)(logits)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, logits.argmax(axis=-1))
