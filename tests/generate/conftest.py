# SPDX-License-Identifier: Apache-2.0
"""A random tiny model with the golden vocabulary, made once for all tests of generation."""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.completion import CompleterInfo
from codegemma.generate.engine import Engine
from codegemma.model import config as configs
from codegemma.model.config import ModelConfig
from codegemma.model.params import Params, init_params
from codegemma.model.transformer import forward, unembed
from codegemma.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="package", autouse=True)
def quick_compilation() -> Iterator[None]:
    """Half of these tests' time is XLA optimising programs that run for a millisecond."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fakes", GOLDEN.parent / "fakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(GOLDEN / "tokenizer")


@pytest.fixture(scope="session")
def config(tokenizer: Tokenizer) -> ModelConfig:
    return dataclasses.replace(configs.tiny(vocab_size=tokenizer.vocab_size), num_kv_heads=2)


@pytest.fixture(scope="session")
def params(config: ModelConfig) -> Params:
    """Weights large enough that the model does more than repeat its last token."""
    params = init_params(config, key=jax.random.key(1))
    return jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(2.5), params)


@pytest.fixture(scope="session")
def make_engine(params: Params, config: ModelConfig, tokenizer: Tokenizer) -> Callable[..., Engine]:
    def make(
        *,
        dtype: str = "float32",
        is_for_one: bool = True,
        is_speculative: bool = False,
        prefix_cache_bytes: int = 0,
        max_rows: int | None = None,
        cache_bytes: int | None = None,
        **info: object,
    ) -> Engine:
        fields = {"name": "tiny", "context_length": 256, "mode": "psm", "dtype": dtype, **info}
        return Engine(
            params,
            config=config,
            tokenizer=tokenizer,
            info=CompleterInfo(**fields),
            dtype=dtype,
            is_for_one=is_for_one,
            is_speculative=is_speculative,
            prefix_cache_bytes=prefix_cache_bytes,
            max_rows=max_rows,
            cache_bytes=cache_bytes,
        )

    return make


@pytest.fixture(scope="session")
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


@pytest.fixture(scope="session")
def full_logits(params: Params, config: ModelConfig) -> Callable[..., np.ndarray]:
    """Logits of whole sequences of up to 192 ids at once, without a cache: [rows, 192, V]."""
    run = jax.jit(lambda params, tokens: unembed(params, forward(params, tokens, config=config)))

    def logits(rows: Sequence[Sequence[int]]) -> np.ndarray:
        tokens = np.zeros((8, 192), np.int32)
        for index, row in enumerate(rows):
            tokens[index, : len(row)] = row
        return np.asarray(run(params, jnp.asarray(tokens)))[: len(rows)]

    return logits


@pytest.fixture(scope="session")
def http() -> ModuleType:
    """The server that answers what it is told to: `ScriptedServer`, `Reply`, `pieces`."""
    path = GOLDEN.parent / "scripted_server.py"
    spec = importlib.util.spec_from_file_location("scripted_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(http: ModuleType) -> Iterator[Any]:
    with http.serving(http.ScriptedServer()) as server:
        yield server
