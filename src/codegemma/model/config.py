# SPDX-License-Identifier: Apache-2.0
"""The shape of a model: one frozen configuration and the named ones this project knows.

All of them are the Gemma 1 architecture: only sizes differ. No arrays are made here, and importing
this module does not import jax.

Source: Gemma, arXiv 2403.08295, table 1; CodeGemma, arXiv 2406.11409 (the same shapes).
"""

import math
from dataclasses import dataclass
from typing import Final

from codegemma.errors import ConfigError

RELEASED_VOCAB_SIZE: Final = 256_000

MAX_CONTEXT_LENGTH: Final = 1 << 20
"""More than any model of this architecture was trained for, and as many as are planned for."""

_SIZES: Final = (
    "vocab_size",
    "width",
    "ffw_dim",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "context_length",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Sizes of a Gemma model.

    Args:
        name: Name of the configuration, such as "codegemma-2b".
        vocab_size: Rows of the embedding table, control tokens included.
        width: Width of the residual stream.
        ffw_dim: Width of each of the two feed-forward branches (half of what the report prints).
        num_layers: Transformer blocks.
        num_heads: Query heads.
        num_kv_heads: Key/value heads; divides `num_heads`.
        head_dim: Width of one head, even; `num_heads * head_dim` need not equal `width`.
        context_length: Most tokens in one sequence, at most `MAX_CONTEXT_LENGTH`.
        rope_theta: Base of the rotary position angles, above 0 and finite.
        norm_eps: Added to the mean square in every norm, above 0 and finite.

    Raises:
        ConfigError: A size is out of range; all faults are listed.
    """

    name: str
    vocab_size: int
    width: int
    ffw_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_length: int = 8192
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        faults = [
            f"{size} must be at least 1, not {getattr(self, size)}"
            for size in _SIZES
            if getattr(self, size) < 1
        ]
        if not faults and self.num_heads % self.num_kv_heads:
            faults.append(
                f"num_heads must be a multiple of num_kv_heads, not {self.num_heads} and "
                f"{self.num_kv_heads}"
            )
        if self.context_length > MAX_CONTEXT_LENGTH:
            faults.append(
                f"context_length must be at most {MAX_CONTEXT_LENGTH}, not {self.context_length}"
            )
        if self.head_dim % 2:
            faults.append(f"head_dim must be even, not {self.head_dim}")
        faults += [
            f"{key} must be above 0 and finite, not {value}"
            for key, value in (("rope_theta", self.rope_theta), ("norm_eps", self.norm_eps))
            if not 0 < value < math.inf  # NaN fails both comparisons
        ]
        if faults:
            raise ConfigError(f"model {self.name!r}: " + "; ".join(faults))


def _2b(name: str) -> ModelConfig:
    return ModelConfig(
        name=name,
        vocab_size=RELEASED_VOCAB_SIZE,
        width=2048,
        ffw_dim=16_384,
        num_layers=18,
        num_heads=8,
        num_kv_heads=1,
        head_dim=256,
    )


def _7b(name: str) -> ModelConfig:
    return ModelConfig(
        name=name,
        vocab_size=RELEASED_VOCAB_SIZE,
        width=3072,
        ffw_dim=24_576,
        num_layers=28,
        num_heads=16,
        num_kv_heads=16,
        head_dim=256,
    )


def gemma_2b() -> ModelConfig:
    """Gemma 2B, the base of the 2B models."""
    return _2b("gemma-2b")


def gemma_7b() -> ModelConfig:
    """Gemma 7B, the base of the 7B models."""
    return _7b("gemma-7b")


def codegemma_2b() -> ModelConfig:
    """CodeGemma 2B: code completion."""
    return _2b("codegemma-2b")


def codegemma_1_1_2b() -> ModelConfig:
    """CodeGemma 1.1 2B: code completion, trained on twice the tokens."""
    return _2b("codegemma-1.1-2b")


def codegemma_7b() -> ModelConfig:
    """CodeGemma 7B: code completion and generation."""
    return _7b("codegemma-7b")


def codegemma_7b_it() -> ModelConfig:
    """CodeGemma 7B IT: follows instructions."""
    return _7b("codegemma-7b-it")


def codegemma_1_1_7b_it() -> ModelConfig:
    """CodeGemma 1.1 7B IT: follows instructions."""
    return _7b("codegemma-1.1-7b-it")


def nano() -> ModelConfig:
    """The embedded model, about 4.8 million parameters: small enough to train on two cores."""
    return ModelConfig(
        name="nano",
        vocab_size=4096,
        width=256,
        ffw_dim=768,
        num_layers=5,
        num_heads=4,
        num_kv_heads=1,
        head_dim=64,
        context_length=1024,
    )


def tiny(*, vocab_size: int = 512, num_kv_heads: int = 1) -> ModelConfig:
    """A model for tests: compiles in a moment, learns nothing worth having."""
    return ModelConfig(
        name="tiny",
        vocab_size=vocab_size,
        width=32,
        ffw_dim=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=num_kv_heads,
        head_dim=16,
        context_length=256,
    )


_BY_NAME: Final = {
    "codegemma-2b": codegemma_2b,
    "codegemma-1.1-2b": codegemma_1_1_2b,
    "codegemma-7b": codegemma_7b,
    "codegemma-7b-it": codegemma_7b_it,
    "codegemma-1.1-7b-it": codegemma_1_1_7b_it,
    "gemma-2b": gemma_2b,
    "gemma-7b": gemma_7b,
    "nano": nano,
    "tiny": tiny,
}


def by_name(name: str) -> ModelConfig:
    """Return the configuration called `name`.

    Raises:
        ConfigError: No configuration has this name; the message lists those that exist.
    """
    if name not in _BY_NAME:
        raise ConfigError(f"no model configuration {name!r}; known: {', '.join(_BY_NAME)}")
    return _BY_NAME[name]()
