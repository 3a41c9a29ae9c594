# SPDX-License-Identifier: Apache-2.0
import jax.numpy as jnp
import numpy as np

from codegemma.model import config as configs
from codegemma.model.cache import BFLOAT16_BITS, free_slots, init_cache, to_floats, write


def test_an_empty_cache_has_room_for_each_row_and_layer():
    cache = init_cache(configs.tiny(num_kv_heads=2), batch=3, length=50, dtype=jnp.bfloat16)
    assert cache.k.shape == cache.v.shape == (2, 3, 2, 50, 16)  # L B K S H
    assert cache.k.dtype == cache.v.dtype == jnp.bfloat16
    assert cache.length.tolist() == [0, 0, 0]


def test_new_tokens_follow_those_each_row_holds():
    cache = init_cache(configs.tiny(), batch=2, length=10)._replace(length=jnp.array([4, 0]))
    slots, is_token = free_slots(cache, num_new=3, num_tokens=jnp.array([2, 3]))
    assert slots.tolist() == [[4, 5, 6], [0, 1, 2]]
    assert is_token.tolist() == [[True, True, False], [True, True, True]]


def test_a_write_touches_its_slots_of_its_layer_alone():
    stored = jnp.zeros((2, 2, 1, 4, 1))
    new = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    after = write(stored, new, layer=1, slots=jnp.array([[2, 3], [0, 1]]))
    assert after[0].any() == jnp.array(False)
    assert after[1, :, 0, :, 0].tolist() == [[0, 0, 1, 2], [3, 4, 0, 0]]


def test_a_write_beyond_the_last_slot_is_left_out():
    stored = jnp.zeros((1, 1, 1, 4, 1))
    new = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    after = write(stored, new, layer=0, slots=jnp.array([[3, 4, 5]]))
    assert after[0, 0, 0, :, 0].tolist() == [0, 0, 0, 1]


def test_bfloat16_is_kept_as_its_bits():
    stored = jnp.zeros((1, 1, 1, 4, 2), BFLOAT16_BITS)
    new = jnp.array([[[[1.5, -2.0]]]])
    written = write(stored, new, layer=0, slots=jnp.array([[2]]))
    assert written.dtype == np.uint16
    assert written[0, 0, 0].tolist() == [[0, 0], [0, 0], [0x3FC0, 0xC000], [0, 0]]
    assert to_floats(written[0, 0, :, 2]).tolist() == [[1.5, -2.0]]
