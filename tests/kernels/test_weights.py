# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp

from codegemma.kernels.weights import QuantisedWeight


def test_a_layer_is_meant_without_a_copy():
    weight = QuantisedWeight(
        q=jnp.zeros((2, 1, 1, 512), jnp.int8), scale=jnp.zeros((2, 1, 1, 16), "f2"), shape=(32, 16)
    )
    second = weight.of_layer(jnp.asarray(1))
    assert second.q is weight.q
    assert (second.bits, second.shape) == (8, (32, 16))
    assert len(jax.tree.leaves(second)) == 3
