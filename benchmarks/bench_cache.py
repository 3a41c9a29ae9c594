# SPDX-License-Identifier: Apache-2.0
"""What the dtype of the kept keys and values costs a bfloat16 model on a CPU, a token drawn.

A model of the 2B's width with few layers and a small vocabulary, random weights: bfloat16 keys and
values, which XLA converts whole at every layer, against the same numbers as bits. The two take
turns; times are this process's processor time, which neighbours disturb less than the clock.
The same for the log probabilities that are computed only where someone asks.

Example:
    python benchmarks/bench_cache.py --layers 3 --context 500 2000
"""

import argparse
import dataclasses
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codegemma.generate import programs
from codegemma.model import config as configs
from codegemma.model.cache import BFLOAT16_BITS, KVCache
from codegemma.model.params import init_params, unstack_layers
from results import Row, cpu_name, write_rows

_STEPS = 8
_SAMPLES = 5


class Model:
    """Random weights, and the time that drawing with them takes."""

    def __init__(self, *, num_layers: int, vocab_size: int, num_slots: int) -> None:
        self.config = dataclasses.replace(
            configs.codegemma_2b(), num_layers=num_layers, vocab_size=vocab_size
        )
        params = init_params(self.config, key=jax.random.key(0))
        params = jax.tree.map(lambda leaf: np.asarray(leaf.astype(jnp.bfloat16)), params)
        self._params = jax.tree.map(jax.device_put, unstack_layers(params))
        self._num_slots = num_slots

    def draw(self, length: int, *, cache_dtype: Any, num_top: int | None) -> float:
        """Processor milliseconds a token, after `length` tokens."""
        config = self.config
        shape = (config.num_layers, 1, config.num_kv_heads, self._num_slots, config.head_dim)
        zeros = np.zeros(shape, cache_dtype)
        cache = KVCache(
            jax.device_put(zeros),
            jax.device_put(zeros),
            jax.device_put(np.array([length], np.int32)),
        )
        start = time.process_time()
        drawn, _ = programs.decode(
            self._params,
            np.array([5], np.int32),
            cache,
            stop_ids=np.full((1, 8), -1, np.int32),
            controls=None,
            uniforms=np.zeros((1, 64), np.float32),
            num_steps=np.full(1, _STEPS, np.int32),
            config=config,
            dtype=np.dtype(jnp.bfloat16),
            num_top=num_top,
        )
        np.asarray(drawn.tokens)
        return (time.process_time() - start) / _STEPS * 1e3


def compare(
    model: Model, name: str, length: int, ours: dict[str, Any], peer: dict[str, Any], *, words: str
) -> Row:
    """Let two settings take turns, and give the row of the first beside the second."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for sample in range(_SAMPLES + 1):
        for which, settings in enumerate((ours, peer)):
            spent = model.draw(length, **settings)
            if sample:  # the first one compiles
                times[which].append(spent)
    value, peer_value = statistics.median(times[0]), statistics.median(times[1])
    return Row(
        name=name,
        value=value,
        unit="ms of processor time a token",
        n=_SAMPLES,
        low=min(times[0]),
        high=max(times[0]),
        peer=words,
        peer_value=peer_value,
        ratio=peer_value / value,
        note=f"2B width, {model.config.num_layers} layers, vocabulary {model.config.vocab_size}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--context", type=int, nargs="+", default=[500, 2000])
    options = parser.parse_args()
    model = Model(num_layers=options.layers, vocab_size=8192, num_slots=4096)
    bits, floats = np.dtype(BFLOAT16_BITS), np.dtype(jnp.bfloat16)
    rows = [
        compare(
            model,
            f"decode, bfloat16 weights, {length} tokens before, cache of bits",
            length,
            {"cache_dtype": bits, "num_top": None},
            {"cache_dtype": floats, "num_top": None},
            words="cache of bfloat16",
        )
        for length in options.context
    ]
    wide = Model(num_layers=1, vocab_size=256_000, num_slots=1024)
    rows.append(
        compare(
            wide,
            "decode, vocabulary of 256,000, no log probabilities",
            0,
            {"cache_dtype": bits, "num_top": None},
            {"cache_dtype": bits, "num_top": 0},
            words="log probabilities of the drawn tokens",
        )
    )
    print(write_rows("cache", rows, device=cpu_name()).read_text())


if __name__ == "__main__":
    main()
