# SPDX-License-Identifier: Apache-2.0
"""Quantised weights as a model holds them: in groups for the kernels, in channels for XLA.

Both are trees to jax, and stand in a tree of parameters where an array would. What their values
mean is `formats.py`'s affair.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class QuantisedWeight:
    """A weight in groups, or the same weight of every layer.

    Args:
        q: Values, [..., blocks, groups, bytes]: of each block of 16 outputs and group 512 int8,
            or 256 uint8 of two int4 each.
        scale: Scales, float16 [..., blocks, groups, 16].
        layer: Which of the stacked layers is meant; None where nothing is stacked.
        shape: Sizes of the axes of the weight it stands for, its layers left out.
    """

    q: Any
    scale: Any
    layer: Any = None
    shape: tuple[int, ...] = field(metadata={"static": True})

    @property
    def bits(self) -> int:
        """Bits of a value."""
        return 8 if self.q.dtype == np.int8 else 4

    def of_layer(self, layer: Int[Array, ""]) -> "QuantisedWeight":
        """Mean one of the stacked layers; nothing is copied."""
        return replace(self, layer=layer)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class ChannelWeight:
    """A weight with one scale an output, for XLA; unstacked, or with its layers in front.

    Args:
        q: Values, int8 [..., inputs, outputs].
        scale: Scales, float32 [..., outputs].
        shape: As of `QuantisedWeight`.
    """

    q: Any
    scale: Any
    shape: tuple[int, ...] = field(metadata={"static": True})
