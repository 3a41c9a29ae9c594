# SPDX-License-Identifier: Apache-2.0
from codegemma.generate.weights import empty_cache


def test_an_empty_cache_holds_nothing(engine):
    cache = empty_cache(engine._weights, num_rows=2, num_tokens=10)
    assert cache.k.shape == (2, 2, 2, 256, 16)
    assert cache.length.tolist() == [0, 0]
