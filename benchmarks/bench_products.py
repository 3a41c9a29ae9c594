# SPDX-License-Identifier: Apache-2.0
"""Measure one product with quantised weights by every path of the kernels, beside XLA without them.

The matrix is that of the 2B's feed-forward layer, 2048 to 16384; each way runs in a process of its
own, and a row's value is milliseconds, the least of its repeats. XLA multiplies int8 by channels
with the best instructions of this processor whatever path it stands beside, so a path that wins
here wins by more on a processor that has no better one; one that loses may not lose there.

Example:
    python benchmarks/bench_products.py
"""

import argparse
import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from codegemma.kernels import native
from codegemma.kernels.formats import quantise, to_channels
from codegemma.kernels.product import multiply
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight
from results import Row, cpu_name, write_rows

_SHAPE = 2048, 16384
_ROWS = 1, 8, 16, 64, 256
_REPEATS = 7
_NONE = "none"


def measure() -> dict[str, list[float]]:
    """Milliseconds by format and number of rows, with the path that the environment names."""
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    for name in ("int8", "int4"):
        q, scale = quantise(rng.standard_normal(_SHAPE[::-1]).astype(np.float32), weights=name)
        kind = QuantisedWeight
        if native.choose_path() is None:
            q, scale = to_channels(q, scale)
            kind = ChannelWeight
        weight = kind(q=jnp.asarray(q), scale=jnp.asarray(scale), shape=_SHAPE)
        product = jax.jit(lambda x, weight: multiply(x, [weight])[0])
        for num_rows in _ROWS:
            x = jnp.asarray(rng.standard_normal((num_rows, _SHAPE[0])).astype(np.float32))
            times: list[float] = []
            for _ in range(_REPEATS + 1):  # the first one compiles
                start = time.perf_counter()
                product(x, weight).block_until_ready()
                times.append(1e3 * (time.perf_counter() - start))
            found[f"{name}-{num_rows}"] = times[1:]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().measure:
        print(json.dumps(measure()))
        return
    found: dict[str, dict[str, list[float]]] = {}
    for path in (*native.paths(), _NONE):
        done = subprocess.run(
            [sys.executable, __file__, "--measure"],
            env=os.environ | {native.SETTING: path},
            stdout=subprocess.PIPE,
            check=True,
        )
        found[path] = json.loads(done.stdout)
    rows = [
        Row(
            name=f"product-{work}-{path}",
            value=min(times),
            unit="ms",
            n=len(times),
            low=min(times),
            high=max(times),
            peer="XLA",
            peer_value=min(found[_NONE][work]),
            ratio=min(found[_NONE][work]) / min(times),
            note=f"load average {os.getloadavg()[0]:.1f}",
        )
        for path in native.paths()
        for work, times in found[path].items()
    ]
    for row in rows:
        print(f"{row.name:28} {row.value:8.2f} ms, XLA {row.peer_value:.2f}, ratio {row.ratio:.2f}")
    print(write_rows("products", rows, device=cpu_name()))


if __name__ == "__main__":
    main()
