# SPDX-License-Identifier: Apache-2.0
"""Measure attention over a cache, and writing into it: the native kernels beside XLA.

All layers of a shape in a loop, as decoding runs them, without the products with weights. Both ways
take turns in one process. A row is named by shape, new tokens at a time and tokens held before;
its value is milliseconds for all layers, processor time stands in the note.

Example:
    python benchmarks/bench_attention.py 2b:1:0,500,2000,8000 2b:8:2000 7b:1:2000 nano:1:900
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codegemma.generate.lengths import cache_length
from codegemma.kernels import native
from codegemma.model import cached_attention
from codegemma.model.cache import BFLOAT16_BITS, KVCache
from codegemma.model.config import ModelConfig, by_name
from results import Row, cpu_name, write_rows

# The cache of quantised weights is bfloat16; nano's weights and cache are float32.
_SHAPES = {"2b": "codegemma-2b", "7b": "codegemma-7b", "nano": "nano"}
_OPTIONS = {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"}
_CACHE_SEED_LOW, _CACHE_SEED_HIGH = 0x3C00, 0x3F00  # bits of numbers between 0.008 and 0.5


def make_loop(config: ModelConfig, *, by_kernels: bool) -> Callable[..., Any]:
    """Give a program that attends `num_steps` times through all layers, at the same length."""

    def attend(q: Any, cache: KVCache, layer: Any) -> Any:
        new = q[:, :, : config.num_kv_heads]
        counts = jnp.full(q.shape[0], q.shape[1])
        if by_kernels:
            return cached_attention.extend_cache(
                q, (new, new), cache, layer=layer, num_tokens=counts
            )
        return cached_attention.extend_by_xla(q, (new, new), cache, layer=layer, num_tokens=counts)

    @partial(jax.jit, donate_argnums=1, compiler_options=_OPTIONS)
    def loop(q: Any, cache: KVCache, num_steps: Any) -> Any:
        def one_layer(carry: Any, layer: Any) -> Any:
            q, k, v = carry
            return tuple(attend(q, KVCache(k, v, cache.length), layer)), None

        def step(state: Any) -> Any:
            count, q, k, v = state
            (q, k, v), _ = jax.lax.scan(one_layer, (q, k, v), jnp.arange(config.num_layers))
            return count + 1, q, k, v

        start = (jnp.zeros((), jnp.int32), q, cache.k, cache.v)
        _, q, k, v = jax.lax.while_loop(lambda state: state[0] < num_steps, step, start)
        return q, KVCache(k, v, cache.length)

    return loop


def measure(name: str, num_new: int, lengths: list[int], *, repeats: int, note: str) -> list[Row]:
    """Give a row for every length."""
    config = by_name(_SHAPES[name])
    ways = {kind: make_loop(config, by_kernels=kind == "kernels") for kind in ("kernels", "xla")}
    rng = np.random.default_rng(0)
    shape = (1, num_new, config.num_heads, config.head_dim)
    q = jnp.asarray(rng.standard_normal(shape, np.float32))
    rows: list[Row] = []
    for length in lengths:
        num_slots = cache_length(length + num_new, context_length=max(8192, length + num_new))
        shape = (config.num_layers, 1, config.num_kv_heads, num_slots, config.head_dim)
        bits = rng.integers(_CACHE_SEED_LOW, _CACHE_SEED_HIGH, shape, BFLOAT16_BITS)
        stored = bits if name != "nano" else (bits.astype(np.uint32) << 16).view(np.float32)
        steps = max(1, min(8, 16_000 // max(1, length * num_new)))
        caches = {
            kind: KVCache(jnp.array(stored), jnp.array(stored), jnp.array([length], jnp.int32))
            for kind in ways
        }
        wall: dict[str, list[float]] = {kind: [] for kind in ways}
        spent: dict[str, list[float]] = {kind: [] for kind in ways}
        for repeat in range(repeats + 1):
            for kind, loop in ways.items():
                start, before = time.perf_counter(), time.process_time()
                out, caches[kind] = loop(q, caches[kind], np.int32(steps))
                jax.block_until_ready(out)
                if repeat:  # the first one compiles
                    wall[kind].append(1000 * (time.perf_counter() - start) / steps)
                    spent[kind].append(1000 * (time.process_time() - before) / steps)
        ours, theirs = (statistics.median(wall[kind]) for kind in ways)
        cpu = [statistics.median(spent[kind]) for kind in ways]
        size = 2 * stored.nbytes / num_slots * (length + num_new)
        rows.append(
            Row(
                name=f"attention-{name}-{num_new}new-ctx{length}",
                value=ours,
                unit="ms",
                n=repeats,
                low=min(wall["kernels"]),
                high=max(wall["kernels"]),
                peer="XLA",
                peer_value=theirs,
                ratio=theirs / ours,
                note=f"{note}; {size / 1e6:.1f} MB of keys and values; processor ms {cpu[0]:.2f}, "
                f"XLA {cpu[1]:.2f}; load average {os.getloadavg()[0]:.1f}",
            )
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="+", help="SHAPE:NEW:LENGTH,LENGTH...")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--note", default="", help="how it was run")
    arguments = parser.parse_args()
    note = f"kernels {native.choose_path()}" + (f", {arguments.note}" if arguments.note else "")
    rows: list[Row] = []
    for work in arguments.work:
        name, num_new, lengths = work.split(":")
        rows += measure(
            name,
            int(num_new),
            [int(length) for length in lengths.split(",")],
            repeats=arguments.repeats,
            note=note,
        )
    for row in rows:
        print(f"{row.name:28} {row.value:8.2f} ms, ratio {row.ratio:.2f}; {row.note}")
    print(write_rows("attention", rows, device=cpu_name()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
