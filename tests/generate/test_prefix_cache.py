# SPDX-License-Identifier: Apache-2.0
import threading
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegemma.completion import Prompt, Sampling
from codegemma.generate.prefix_cache import MIN_SHARED, Owner, PrefixCache
from codegemma.model.cache import KVCache

ROW_BYTES = 2 * 2 * 64 * 4
ME, OTHER = Owner("mine", "a.py"), Owner("mine", "b.py")


def row(value):
    """A cache of one row in which every key is `value`."""
    k = jnp.full((2, 1, 1, 64, 1), value, jnp.float32)
    return KVCache(k, -k, jnp.asarray([40], jnp.int32))


def ids(*parts):
    """Ids from (first, count) parts."""
    return [first + i for first, count in parts for i in range(count)]


@pytest.fixture
def kept():
    return PrefixCache(max_bytes=3 * ROW_BYTES)


def test_the_longest_common_beginning_is_taken_and_cut_by_its_length_alone(kept):
    cache = row(7.0)
    kept.put(ids((100, 40)), cache, ME)
    kept.put(ids((100, 20), (500, 20)), row(8.0), OTHER)
    found = kept.take(ids((100, 30), (900, 5)), ME)
    assert (found.num_tokens, found.cache.length.tolist()) == (30, [30])
    assert found.cache.k is cache.k
    assert kept.num_entries == 1
    assert kept.take(ids((100, 30)), ME).num_tokens == 20  # what is left is the other's


def test_the_last_token_of_a_prompt_is_always_read(kept):
    kept.put(ids((100, 40)), row(7.0), ME)
    assert kept.take(ids((100, 40)), ME).num_tokens == 39


def test_what_another_session_shares_is_copied_and_stays(kept):
    cache = row(7.0)
    kept.put(ids((100, 20), (500, 20)), cache, OTHER)
    found = kept.take(ids((100, 20), (700, 20)), ME)
    assert found.num_tokens == 20
    assert found.cache.k is not cache.k
    np.testing.assert_array_equal(found.cache.k, cache.k)
    assert kept.take(ids((100, 20), (500, 20)), OTHER).num_tokens == 39


def test_without_sessions_half_in_common_is_the_same_text(kept):
    nobody = Owner("mine")
    kept.put(ids((100, 20), (500, 20)), row(7.0), nobody)
    kept.take(ids((100, 19), (900, 9)), nobody)
    assert kept.num_entries == 1
    kept.take(ids((100, 20), (900, 9)), nobody)
    assert kept.num_entries == 0


def test_namespaces_never_share(kept):
    kept.put(ids((100, 40)), row(7.0), ME)
    for owner in (Owner("yours", "a.py"), Owner(None, "a.py"), Owner()):
        assert kept.take(ids((100, 40)), owner) is None
    assert kept.take(ids((100, 40)), ME) is not None


def test_few_tokens_in_common_are_read_anew(kept):
    kept.put(ids((100, MIN_SHARED - 1)), row(7.0), ME)
    assert kept.num_entries == 0
    kept.put(ids((100, 40)), row(7.0), ME)
    assert kept.take(ids((100, MIN_SHARED - 1), (900, 9)), ME) is None
    assert kept.take(ids((100, MIN_SHARED), (900, 9)), ME) is not None


def test_the_least_recently_used_row_is_dropped_first(kept):
    for number in range(3):
        kept.put(ids((100 * number, 64)), row(0.0), Owner("mine", str(number)))
    kept.take(ids((0, 64)), ME)  # a copy: row 0 was used last
    kept.put(ids((900, 64)), row(0.0), ME)
    assert (kept.num_entries, kept.size_bytes) == (3, 3 * ROW_BYTES)
    assert kept.take(ids((100, 64)), ME) is None
    assert kept.take(ids((0, 64)), ME) is not None


def test_rows_lose_their_empty_slots_before_one_is_dropped(kept):
    """Of 64 slots 40 are filled: four rows, three of them cut, fit where three were whole."""
    caches = [row(float(number)) for number in range(5)]
    for number, cache in enumerate(caches[:4]):
        kept.put(ids((100 * number, 40)), cache, Owner("mine", str(number)))
    assert (kept.num_entries, kept.size_bytes) == (4, ROW_BYTES + 3 * 40 * 16)
    found = kept.take(ids((300, 40)), Owner("mine", "3"))
    assert found.cache.k is caches[3].k  # the last used are whole
    kept.put(ids((300, 40)), found.cache, Owner("mine", "3"))
    found = kept.take(ids((0, 35), (900, 9)), Owner("mine", "0"))
    assert (found.num_tokens, found.cache.length.tolist()) == (35, [35])
    assert found.cache.k.shape == caches[0].k.shape
    np.testing.assert_array_equal(found.cache.v[..., :35, :], caches[0].v[..., :35, :])
    kept.put(ids((0, 35)), found.cache, Owner("mine", "0"))
    kept.put(ids((400, 40)), caches[4], Owner("mine", "4"))
    assert kept.num_entries == 4
    assert kept.size_bytes == (35 + 3 * 40) * 16  # all are cut; the fifth had one dropped
    assert kept.take(ids((100, 40)), ME) is None


def test_sessions_behind_the_same_files_hold_them_once_where_room_is_short():
    """A block is 128 tokens: of 140 that four rows have in common, 128 are there once."""
    kept = PrefixCache(max_bytes=(128 + 4 * 60) * 16)
    for number in range(4):
        tokens = ids((100, 140), (1000 * (1 + number), 48))
        kept.put(tokens, wide_row(tokens), Owner("mine", str(number)))
    assert kept.num_entries == 4
    assert kept.size_bytes == (128 + 4 * 60) * 16
    assert kept.num_shared(ids((100, 140), (3000, 60)), ME) == 188


def test_a_row_put_together_has_the_room_that_is_asked_for(kept):
    tokens = ids((100, 90))
    kept.put(tokens, wide_row(tokens), ME)  # 256 slots: more than all room, but 90 are filled
    assert kept.size_bytes == 90 * 16
    found = kept.take(ids((100, 90)), OTHER, num_slots=128)
    assert found.cache.num_slots == 128
    assert kept.take(ids((100, 90)), OTHER).cache.num_slots == 256


def wide_row(tokens, namespace="mine"):
    """A cache whose keys tell their namespace and all tokens up to their own."""
    told = np.zeros((2, 1, 1, 256, 1), np.float32)
    known = zlib.crc32(repr(namespace).encode())
    for slot, token in enumerate(tokens):
        known = (31 * known + token) % 2**20  # whole numbers that a float32 holds
        told[:, :, :, slot] = known
    told[1] += 1
    length = np.full(1, len(tokens), np.int32)
    return KVCache(*map(jax.device_put, (told, -told, length)))


rows = st.tuples(
    st.sampled_from(["mine", "yours", None]),
    st.integers(0, 3),  # session
    st.integers(0, 2),  # which files stand in front
    st.sampled_from([20, 128, 150, 200]),  # tokens of them
    st.integers(1, 50),  # tokens of its own
)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["put", "take"]), rows), min_size=4, max_size=14),
    max_slots=st.sampled_from([140, 300, 600]),
)
def test_whatever_is_put_and_taken_a_row_holds_its_own_tokens(steps, max_slots):
    kept = PrefixCache(max_bytes=max_slots * 16)
    for verb, (namespace, session, files, num_common, num_own) in steps:
        tokens = ids((1000 * files, num_common), (5000 + 100 * session, num_own))
        owner = Owner(namespace, str(session))
        if verb == "put":
            kept.put(tokens, wide_row(tokens, namespace), owner)
            is_kept = MIN_SHARED <= len(tokens) <= max_slots
            assert (kept.num_shared([*tokens, 1], owner) == len(tokens)) == is_kept
        else:
            num_shared = kept.num_shared(tokens, owner)
            found = kept.take(tokens, owner, num_slots=256)
            assert (0 if found is None else found.num_tokens) == num_shared
            if found is not None:
                expected = wide_row(tokens, namespace)
                for part, known in zip(found.cache[:2], expected[:2], strict=True):
                    same = np.asarray(part)[..., :num_shared, :]
                    np.testing.assert_array_equal(same, known[..., :num_shared, :])
        assert kept.size_bytes <= kept.max_bytes


def test_a_row_that_goes_on_replaces_its_beginning_of_the_same_owner(kept):
    kept.put(ids((100, 20)), row(0.0), ME)
    kept.put(ids((100, 20)), row(0.0), OTHER)
    kept.put(ids((100, 30)), row(0.0), ME)
    assert kept.num_entries == 2


def test_a_row_larger_than_all_room_is_not_kept():
    kept = PrefixCache(max_bytes=40 * 16 - 1)
    kept.put(ids((100, 40)), row(0.0), ME)
    assert kept.num_entries == 0


def test_one_row_of_several_is_copied_and_has_no_more_slots_than_it_needs(kept):
    k = jnp.arange(4, dtype=jnp.float32)[None, :, None, None, None] * jnp.ones((2, 4, 1, 64, 1))
    cache = KVCache(k, -k, jnp.asarray([40] * 4, jnp.int32))
    kept.put(ids((100, 30)), cache, ME, row=2, num_slots=32)
    kept.put(ids((200, 30)), cache, OTHER, row=3, num_slots=128)
    assert kept.size_bytes == ROW_BYTES // 2 + ROW_BYTES
    found = kept.take(ids((100, 30)), ME).cache
    assert (found.k.shape, found.length.tolist()) == ((2, 1, 1, 32, 1), [29])
    assert (found.k == 2).all()
    assert (kept.take(ids((200, 30)), OTHER).cache.v == -3).all()


def test_a_row_of_several_that_is_too_large_is_not_copied(monkeypatch):
    monkeypatch.setattr("codegemma.generate.programs.take_row", lambda *_, **__: 1 / 0)
    kept = PrefixCache(max_bytes=30 * 16 - 1)
    k = jnp.zeros((2, 4, 1, 64, 1))
    kept.put(ids((100, 30)), KVCache(k, k, jnp.zeros(4, jnp.int32)), ME, row=2)
    assert kept.num_entries == 0


def test_how_many_tokens_would_be_taken_is_told_without_taking_them(kept):
    kept.put(ids((100, 40)), row(7.0), ME)
    assert kept.num_shared(ids((100, 30), (900, 5)), ME) == 30
    assert kept.num_shared(ids((100, MIN_SHARED - 1), (900, 5)), ME) == 0
    assert kept.num_shared(ids((100, 40)), Owner("yours")) == 0
    assert kept.take(ids((100, 40)), ME).num_tokens == 39


LINES = [
    "import os\n",
    "def f(x):\n    return x\n",
    "class A:\n",
    "    y = f(1)\n",
    "\n\n",
    "# note\n",
]


@pytest.fixture(scope="module")
def engines(make_engine):
    return make_engine(), make_engine(prefix_cache_bytes=1 << 22)


edits = st.lists(
    st.tuples(st.sampled_from(["type", "erase", "jump", "suffix", "file"]), st.integers(0, 5)),
    min_size=2,
    max_size=5,
)


@pytest.mark.slow
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=edits, mode=st.sampled_from(["psm", "spm"]), temperature=st.sampled_from([0.0, 1.0]))
def test_edits_draw_the_same_text_with_the_cache_and_without(engines, edits, mode, temperature):
    plain, cached = engines
    prefix, suffix, session = "x = 1\n" * 6, "print(x)\n", "a.py"
    sampling = Sampling(max_tokens=8, mode=mode, temperature=temperature, seed=5)
    for kind, number in edits:
        if kind == "type":
            prefix += LINES[number]
        elif kind == "erase":
            prefix = prefix[: -1 - number]
        elif kind == "jump":
            middle = len(prefix) * number // 6
            prefix, suffix = prefix[:middle], prefix[middle:] + suffix
        elif kind == "suffix":
            suffix = LINES[number] + suffix
        else:
            session = f"{number}.py"
        prompt = Prompt(prefix=prefix, suffix=suffix[:60], session=session)
        expected = plain.complete([prompt], sampling)[0][0]
        found = cached.complete([prompt], sampling)[0][0]
        assert (found.tokens, found.text) == (expected.tokens, expected.text)
        assert expected.cached_tokens == 0


def test_typing_in_spm_reads_the_new_tokens_alone(make_engine):
    engine = make_engine(prefix_cache_bytes=1 << 22)
    sampling = Sampling(max_tokens=4, mode="spm")
    prefix = "value = compute(first, second)\n" * 3
    before = engine.complete([Prompt(prefix=prefix, suffix="\nend\n")], sampling)[0][0]
    after = engine.complete([Prompt(prefix=prefix + "x", suffix="\nend\n")], sampling)[0][0]
    assert before.cached_tokens == 0
    assert after.prompt_tokens - after.cached_tokens <= 4
    assert engine.prefix_cache.num_entries == 1


def test_a_cancelled_prompt_leaves_what_was_read_and_several_samples_the_prompt(make_engine):
    engine = make_engine(prefix_cache_bytes=1 << 22)
    prompt = Prompt(tokens=(2, *range(300, 450)))
    cancel = threading.Event()
    stream = engine.stream(prompt, Sampling(max_tokens=50, temperature=1.0, seed=1), cancel)
    next(stream)
    stream.close()
    assert engine.prefix_cache.num_entries == 1
    drawn = engine.complete([prompt], Sampling(max_tokens=4, n=3, temperature=1.0, seed=1))[0]
    assert [one.cached_tokens for one in drawn] == [150] * 3
    assert engine.complete([prompt], Sampling(max_tokens=1))[0][0].cached_tokens == 150


def test_a_longer_prompt_grows_the_row(make_engine, params, config, tokenizer):
    import dataclasses

    from codegemma.generate.engine import Engine

    wide = dataclasses.replace(config, context_length=2048)
    info = dataclasses.replace(make_engine().info, context_length=2048)
    plain, cached = (
        Engine(params, config=wide, tokenizer=tokenizer, info=info, prefix_cache_bytes=size)
        for size in (0, 1 << 23)
    )
    short = Prompt(tokens=(2, *range(300, 500)))
    long = Prompt(tokens=(*short.tokens, *([301, 302] * 430)))
    cached.complete([short], Sampling(max_tokens=2))
    found = cached.complete([long], Sampling(max_tokens=2))[0][0]
    assert found.cached_tokens == 201
    assert found.tokens == plain.complete([long], Sampling(max_tokens=2))[0][0].tokens
