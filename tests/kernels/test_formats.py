# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegemma.errors import ConfigError
from codegemma.kernels import formats

FORMATS = pytest.mark.parametrize("name", ["int8", "int4"])


def test_sixteen_outputs_take_four_inputs_side_by_side():
    matrix = np.zeros((32, 64), np.float32)
    matrix[18, 37] = 127  # output 2 of block 1; input 1 of quad 1 of group 1
    q, scale = formats.quantise(matrix, weights="int8")
    assert (q.shape, q.dtype, scale.shape, scale.dtype) == ((2, 2, 512), np.int8, (2, 2, 16), "f2")
    assert np.argwhere(q).tolist() == [[1, 1, 64 * 1 + 4 * 2 + 1]]
    assert np.argwhere(scale).tolist() == [[1, 1, 2]]
    assert q.max() == 127
    assert scale.max() == 1


def test_an_int4_byte_holds_a_value_and_that_of_four_quads_later():
    matrix = np.zeros((16, 32), np.float32)
    matrix[3, 6], matrix[3, 22] = 7, -8  # quads 1 and 5
    q, scale = formats.quantise(matrix, weights="int4")
    assert (q.shape, q.dtype, scale[0, 0, 3]) == ((1, 1, 256), np.uint8, 1)
    assert q[0, 0, 64 * 1 + 4 * 3 + 2] == (7 + 8) | (-8 + 8) << 4
    assert q[0, 0, 0] == 8 | 8 << 4


@FORMATS
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-4, 4))
def test_what_is_read_back_is_within_half_a_step(name, seed, exponent):
    rng = np.random.default_rng(seed)
    matrix = (rng.standard_normal((32, 96)) * 10.0**exponent).astype(np.float32)
    q, scale = formats.quantise(matrix, weights=name)
    again = formats.dequantise(q, scale)
    largest = np.abs(matrix.reshape(32, 3, 32)).max(axis=2).repeat(32, axis=1)
    # Half a step, and for int4 a whole one where a value lies beyond 7; float16 scales below
    # 6e-5 are coarser.
    step = largest / (127 if name == "int8" else 7)
    bound = step * (0.51 if name == "int8" else 1.01) + 127 * 3e-8
    assert (np.abs(again - matrix) <= bound).all()
    assert q.min() >= (-127 if name == "int8" else 0)


def test_values_that_the_formats_hold_come_back_as_they_were():
    rng = np.random.default_rng(0)
    whole = rng.integers(-7, 8, (16, 64)).astype(np.float32)
    whole[:, ::32] = -8
    for name, scale in (("int8", 0.25), ("int4", 0.5)):
        matrix = whole * np.float32(scale)
        matrix[:, 1::32] = 127 * scale if name == "int8" else 0
        assert (formats.dequantise(*formats.quantise(matrix, weights=name)) == matrix).all()


@FORMATS
def test_zeros_stay_zeros(name):
    q, scale = formats.quantise(np.zeros((16, 32), np.float32), weights=name)
    assert not formats.dequantise(q, scale).any()


def test_a_matrix_of_broken_groups_is_refused():
    with pytest.raises(ConfigError, match="inputs in multiples of 32, not 24"):
        formats.quantise(np.zeros((32, 24), np.float32), weights="int8")


@FORMATS
def test_the_last_block_of_outputs_is_filled_up_with_zeros(name):
    matrix = np.random.default_rng(0).standard_normal((24, 64)).astype(np.float32)
    whole = np.concatenate([matrix, np.zeros((8, 64), np.float32)])
    for found, expected in zip(
        formats.quantise(matrix, weights=name), formats.quantise(whole, weights=name), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@FORMATS
@given(seed=st.integers(0, 2**32 - 1), outputs=st.integers(1, 40), groups=st.integers(1, 3))
def test_what_is_packed_is_unpacked_as_it_was(name, seed, outputs, groups):
    rng = np.random.default_rng(seed)
    low, high = (-127, 128) if name == "int8" else (-8, 8)
    values = rng.integers(low, high, (outputs, groups, 32)).astype(np.int8)
    scale = rng.standard_normal((outputs, groups)).astype(np.float16)
    again, scale_again = formats.unpack(*formats.pack(values, scale, weights=name))
    assert (again[:outputs] == values).all()
    assert (scale_again[:outputs] == scale).all()
    assert len(again) == -(-outputs // 16) * 16


def test_sizes_are_those_of_llama_cpp():
    assert formats.num_quantised_bytes(64, weights="int8") == 2 * 34
    assert formats.num_quantised_bytes(64, weights="int4") == 2 * 18


def test_a_channel_has_one_scale_an_output():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((16, 64)).astype(np.float32)
    matrix[3] = 0
    q, scale = formats.to_channels(*formats.quantise(matrix, weights="int8"))
    assert (q.shape, q.dtype, scale.shape) == ((64, 16), np.int8, (16,))
    steps = np.abs(matrix).max(axis=1) / 127
    assert (np.abs((q * scale).T - matrix) <= 1.02 * steps[:, None]).all()


def test_rows_are_regrouped_to_whole_blocks_of_outputs():
    rows = np.arange(50 * 4096).reshape(50, 4096)
    parts = [
        block.copy() for block in formats.whole_blocks([rows[:5], rows[5:6], rows[6:45], rows[45:]])
    ]
    assert [len(part) for part in parts] == [32, 18]  # 2 ** 17 values
    assert (np.concatenate(parts) == rows).all()
