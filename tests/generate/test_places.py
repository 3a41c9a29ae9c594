# SPDX-License-Identifier: Apache-2.0
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.completion import Sampling
from codegemma.generate.places import Parked, Places
from codegemma.generate.rows import Request, Row
from codegemma.model.cache import KVCache


def cache_of(*values, num_slots=4):
    """A cache whose row i holds `values[i]` everywhere, as many tokens."""
    k = np.zeros((1, len(values), 1, num_slots, 1), np.float32)
    k += np.array(values, np.float32)[None, :, None, None, None]
    return KVCache(jnp.asarray(k), jnp.asarray(-k), jnp.asarray(values, jnp.int32))


@pytest.fixture
def make_row(tokenizer):
    def make():
        request = Request(tokens=[2, 3], max_tokens=2, stop_ids=frozenset())
        return Row(request, request=0, sample=0, sampling=Sampling(), seed=0, tokenizer=tokenizer)

    return make


@pytest.fixture
def kept():
    return []


@pytest.fixture
def places(engine, kept):
    return Places(engine._weights, keep=lambda *what: kept.append(what))


def held(places):
    """What the row in each place holds, by its keys."""
    assert (places.cache.v == -places.cache.k).all()
    return [
        None if row is None else (int(places.cache.k[0, at, 0, 0, 0]), int(places.cache.length[at]))
        for at, row in enumerate(places.rows)
    ]


def test_a_lone_row_is_drawn_on_in_its_own_cache(places, kept, make_row):
    cache, row = cache_of(7), make_row()
    places.add([Parked(row, cache, 0)], still_parked=[])
    assert places.cache is cache
    assert kept == []
    row.text.end("cancelled")
    places.make_room(may_shrink=True)
    assert (places.rows, places.cache) == ([], None)
    assert kept == [(row, cache, 0)]


def test_a_row_that_joins_is_copied_and_its_cache_is_kept(places, kept, make_row):
    first, second = make_row(), make_row()
    one, other = cache_of(7), cache_of(8, num_slots=8)
    places.add([Parked(first, one, 0)], still_parked=[])
    places.add([Parked(second, other, 0)], still_parked=[])
    assert places.rows == [first, second]
    assert held(places) == [(7, 7), (8, 8)]
    assert places.cache.num_slots == 8
    assert kept == [(first, one, 0), (second, other, 0)]


def test_what_others_wait_in_is_neither_used_up_nor_kept(places, kept, make_row):
    cache, rows = cache_of(7), [make_row(), make_row()]
    places.add([Parked(rows[0], cache, 0)], still_parked=[Parked(rows[1], cache, 0)])
    assert places.cache is not cache
    assert held(places) == [(7, 7)]
    assert kept == []


def test_samples_of_one_prompt_start_from_copies_of_its_row(places, make_row):
    cache = cache_of(3)
    places.add([Parked(make_row(), cache, 0) for _ in range(3)], still_parked=[])
    assert held(places) == [(3, 3)] * 3 + [None]


def test_a_row_that_ends_beside_others_is_told_with_its_place(places, kept, make_row):
    rows, cache = [make_row(), make_row()], cache_of(7, 8)
    places.add([Parked(row, cache, at) for at, row in enumerate(rows)], still_parked=[])
    rows[1].text.end("cancelled")
    places.make_room(may_shrink=True)
    assert kept == [(rows[1], cache, 1)]
    assert held(places) == [(7, 7)]


def test_free_places_are_given_away_and_few_rows_move_up(places, make_row):
    rows = [make_row() for _ in range(4)]
    cache = cache_of(1, 2, 3, 4)
    places.add([Parked(row, cache, at) for at, row in enumerate(rows)], still_parked=[])
    for at in (0, 2):
        rows[at].text.end("cancelled")
    places.make_room(may_shrink=True)
    assert held(places) == [None, (2, 2), None, (4, 4)]
    late = make_row()
    places.add([Parked(late, cache_of(9), 0)], still_parked=[])
    assert held(places) == [(9, 9), (2, 2), None, (4, 4)]
    for row in (rows[1], rows[3]):
        row.text.end("cancelled")
    places.make_room(may_shrink=False)
    assert held(places) == [(9, 9), None, None, None]
    rows[0] = late
    late.text.end("cancelled")
    places.add([Parked(make_row(), cache_of(5), 0)], still_parked=[])
    places.make_room(may_shrink=True)
    assert held(places) == [(5, 5)]
    np.testing.assert_array_equal(places.cache.length, [5])


def test_the_longest_row_is_known(places, make_row):
    assert places.num_slots == 0
    places.add([Parked(make_row(), cache_of(1), 0)], still_parked=[])
    assert places.num_slots == 4
