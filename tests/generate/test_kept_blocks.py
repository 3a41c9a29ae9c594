# SPDX-License-Identifier: Apache-2.0
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.generate.kept_blocks import Blocks, join
from codegemma.model.cache import KVCache

TOKEN_BYTES = 2 * 2 * 3 * 4 * 2  # keys and values, 2 layers, 3 heads, a width of 4, bfloat16


def row(seed):
    """A cache of one row with room for 512 tokens."""
    rng = np.random.default_rng(seed)
    k, v = (rng.integers(0, 2**16, (2, 1, 3, 512, 4), dtype=np.uint16) for _ in range(2))
    return KVCache(jnp.asarray(k), jnp.asarray(v), jnp.asarray([512], jnp.int32))


@pytest.fixture
def blocks():
    return Blocks()


def test_a_row_is_put_together_as_it_was_cut(blocks):
    cache = row(0)
    chain = blocks.cut(np.arange(300, dtype=np.int32), cache, namespace=None)
    assert [block.k.shape for block in chain] == [(2, 3, n, 4) for n in (128, 128, 44)]
    assert blocks.size_bytes == 300 * TOKEN_BYTES
    for num_tokens, num_slots in ((300, 512), (200, 256), (128, 128)):
        found = join(chain, num_tokens=num_tokens, num_slots=num_slots)
        assert found.k.shape == (2, 1, 3, num_slots, 4)
        assert found.length.tolist() == [num_tokens]
        for part, known in zip(found[:2], cache[:2], strict=True):
            assert part.dtype == jnp.uint16
            np.testing.assert_array_equal(part[..., :num_tokens, :], known[..., :num_tokens, :])
            assert not part[..., num_tokens:, :].any()


def test_rows_share_the_blocks_of_a_common_beginning_until_the_last_goes(blocks):
    """300 tokens in common are two whole blocks; a third holds the own tokens, too."""
    one = np.arange(400, dtype=np.int32)
    other = np.concatenate([one[:300], 1000 + one[:50]])
    first = blocks.cut(one, row(0), namespace=None)
    second = blocks.cut(other, row(1), namespace=None)
    assert [block.num_rows for block in second] == [2, 2, 1]
    assert second[:2] == first[:2]
    assert blocks.size_bytes == (400 + 350 - 256) * TOKEN_BYTES
    blocks.drop(first)
    assert blocks.size_bytes == 350 * TOKEN_BYTES
    blocks.drop(second)
    assert blocks.size_bytes == 0


def test_equal_tokens_behind_other_ones_or_of_another_namespace_are_not_shared(blocks):
    tokens = np.arange(256, dtype=np.int32)
    moved = np.concatenate([tokens[128:], tokens[128:]])
    rows = [(tokens, None), (moved, None), (tokens, "mine")]
    cut = [blocks.cut(ids, row(0), namespace=namespace) for ids, namespace in rows]
    assert blocks.size_bytes == 3 * 256 * TOKEN_BYTES
    assert {block.num_rows for chain in cut for block in chain} == {1}
