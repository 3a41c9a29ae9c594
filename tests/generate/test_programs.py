# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.completion import Sampling
from codegemma.generate import programs
from codegemma.generate.sampling import controls_of
from codegemma.model.cache import KVCache, init_cache
from codegemma.model.params import unstack_layers

PROMPT = [2, 300, 400, 500, 600]


@pytest.fixture(scope="module")
def device_params(params):
    return jax.device_put(unstack_layers(params))


@pytest.fixture
def common(config):
    return {"config": config, "dtype": np.dtype(np.float32)}


def padded(rows, length):
    tokens = np.zeros((len(rows), length), np.int32)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    return jnp.asarray(tokens), jnp.asarray([len(row) for row in rows], jnp.int32)


@pytest.fixture(scope="module")
def drawn(device_params, config):
    """Twelve greedy tokens of two rows, the second of which is done from the start."""
    common = {"config": config, "dtype": np.dtype(np.float32), "num_top": 2}
    tokens, num_tokens = padded([PROMPT, PROMPT[:3]], 16)
    first, cache = programs.prefill(
        device_params,
        tokens,
        init_cache(config, batch=2, length=128),
        num_tokens=num_tokens,
        is_end=jnp.asarray(True),
        controls=None,
        uniforms=jnp.zeros((2, 1)),
        **common,
    )

    def decode(cache, *, stop_ids, num_steps):
        return programs.decode(
            device_params,
            first.tokens[:, 0],
            jax.tree.map(jnp.array, cache),
            stop_ids=jnp.full((2, 8), stop_ids, jnp.int32),
            controls=None,
            uniforms=jnp.zeros((2, programs.MAX_STEPS)),
            num_steps=jnp.asarray(num_steps, jnp.int32),
            **common,
        )

    return first, cache, decode


def test_a_piece_that_ends_no_prompt_is_read_and_draws_nothing(drawn, device_params, config):
    _, whole, _ = drawn
    tokens, num_tokens = padded([PROMPT, PROMPT[:3]], 16)
    found, cache = programs.prefill(
        device_params,
        tokens,
        init_cache(config, batch=2, length=128),
        num_tokens=num_tokens,
        is_end=jnp.asarray(False),
        controls=None,
        uniforms=jnp.zeros((2, 1)),
        config=config,
        dtype=np.dtype(np.float32),
        num_top=2,
    )
    assert found.tokens.tolist() == [[programs.NO_TOKEN]] * 2
    np.testing.assert_array_equal(cache.k, whole.k)


def test_greedy_steps_follow_a_full_forward_pass(drawn, full_logits):
    first, cache, decode = drawn
    rest, cache = decode(cache, stop_ids=programs.NO_TOKEN, num_steps=[12, 0])
    found = [int(first.tokens[0, 0]), *np.asarray(rest.tokens[0, :12]).tolist()]
    logprobs = np.asarray(jax.nn.log_softmax(full_logits([[*PROMPT, *found]])[0], axis=-1))
    places = np.arange(len(PROMPT), len(PROMPT) + 12)
    assert found[1:] == logprobs[places].argmax(-1).tolist()
    np.testing.assert_allclose(rest.logprobs[0, :12], logprobs[places].max(-1), atol=1e-4)
    best = np.sort(logprobs[places])[:, :-3:-1]
    np.testing.assert_allclose(rest.top_logprobs[0, :12], best, atol=1e-4)
    assert (rest.tokens[0, 12:] == programs.NO_TOKEN).all()
    assert cache.length.tolist() == [5 + 12, 3]


def test_a_done_row_draws_nothing_and_keeps_its_cache(drawn):
    _, cache, decode = drawn
    rest, after = decode(cache, stop_ids=programs.NO_TOKEN, num_steps=[4, 0])
    assert (rest.tokens[1] == programs.NO_TOKEN).all()
    np.testing.assert_array_equal(after.k[:, 1], cache.k[:, 1])


def test_the_loop_ends_when_every_row_has_drawn_a_stop_id(drawn):
    _, cache, decode = drawn
    free, _ = decode(cache, stop_ids=programs.NO_TOKEN, num_steps=[12, 0])
    stop = int(free.tokens[0, 4])
    end = free.tokens[0].tolist().index(stop) + 1
    stopped, after = decode(cache, stop_ids=stop, num_steps=[12, 0])
    assert stopped.tokens[0, :end].tolist() == free.tokens[0, :end].tolist()
    assert (stopped.tokens[0, end:] == programs.NO_TOKEN).all()
    assert after.length.tolist() == [5 + end, 3]


def test_a_row_that_may_draw_fewer_tokens_stops_there(drawn):
    _, cache, decode = drawn
    free, _ = decode(cache, stop_ids=programs.NO_TOKEN, num_steps=[12, 12])
    rest, after = decode(cache, stop_ids=programs.NO_TOKEN, num_steps=[12, 3])
    assert rest.tokens[0].tolist() == free.tokens[0].tolist()
    assert rest.tokens[1, :3].tolist() == free.tokens[1, :3].tolist()
    assert (rest.tokens[1, 3:] == programs.NO_TOKEN).all()
    assert after.length.tolist() == [5 + 12, 3 + 3]


def test_settings_of_the_draw_are_each_rows_own(device_params, common, config):
    tokens, num_tokens = padded([PROMPT, PROMPT], 16)
    controls = controls_of([Sampling(temperature=1.0)] * 2)
    controls = controls._replace(top_k=jnp.asarray([1, 0], jnp.int32))
    uniforms = jnp.asarray([[0.1, 0.999], [0.1, 0.999]])
    found, _ = programs.prefill(
        device_params,
        tokens,
        init_cache(config, batch=2, length=128),
        num_tokens=num_tokens,
        is_end=jnp.asarray(True),
        controls=controls,
        uniforms=uniforms,
        num_top=1,
        **common,
    )
    best = int(found.top_tokens[0, 0, 0])
    assert found.tokens[0].tolist() == [best, best]
    assert found.tokens[1, 0] != found.tokens[1, 1]


def test_rows_are_gathered_in_any_order_and_number():
    k = jnp.arange(2 * 3 * 4, dtype=jnp.float32).reshape(2, 3, 1, 4, 1)
    cache = KVCache(k, -k, jnp.asarray([1, 2, 3], jnp.int32))
    found = programs.gather_rows(cache, np.asarray([2, 0, 0, 1], np.int32))
    assert found.length.tolist() == [3, 1, 1, 2]
    assert found.k[1, :, 0, 0, 0].tolist() == [20.0, 12.0, 12.0, 16.0]
    assert (found.v == -found.k).all()


def test_a_row_is_copied_with_no_more_slots_than_asked_for():
    k = jnp.arange(2 * 3 * 4, dtype=jnp.float32).reshape(2, 3, 1, 4, 1)
    cache = KVCache(k, -k, jnp.asarray([1, 2, 3], jnp.int32))
    found = programs.take_row(cache, 1, num_slots=2)
    assert found.length.tolist() == [2]
    assert found.k[:, 0, 0, :, 0].tolist() == [[4.0, 5.0], [16.0, 17.0]]
    assert (found.v == -found.k).all()


# Two lengths, since a program is traced once for each: the second is traced with small blocks.
@pytest.mark.parametrize(("scored_values", "length"), [(1 << 24, 16), (1 << 11, 32)])
def test_scores_are_those_of_a_full_forward_pass_in_one_block_or_several(
    device_params, full_logits, config, common, monkeypatch, scored_values, length
):
    monkeypatch.setattr(programs, "_SCORED_VALUES", scored_values)
    tokens, num_tokens = padded([[*PROMPT, 700], [2, 3, 4]], length)
    targets = jnp.stack([jnp.roll(tokens, -1, axis=1), tokens], axis=-1)
    logprobs, is_best, cache = programs.score(
        device_params,
        tokens,
        init_cache(config, batch=2, length=128),
        targets=targets,
        num_tokens=num_tokens,
        **common,
    )
    assert cache.length.tolist() == [6, 3]
    expected = np.asarray(jax.nn.log_softmax(full_logits(np.asarray(tokens))))
    for row, count in ((0, 5), (1, 2)):
        for place in range(count):
            scores = expected[row, place]
            best = int(scores.argmax())
            for which, target in enumerate(targets[row, place].tolist()):
                found = float(logprobs[row, place, which])
                assert found == pytest.approx(float(scores[target]), abs=1e-4)
                assert bool(is_best[row, place, which]) == (best == target)
