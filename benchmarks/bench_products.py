# SPDX-License-Identifier: Apache-2.0
"""Measure one product with quantised weights by every path of the kernels, beside XLA without them.

The matrix is that of the 2B's feed-forward layer, 2048 to 16384; each way runs in a process of its
own, and a row's value is milliseconds, the least of its repeats. XLA multiplies int8 by channels,
as it does where there are no kernels, and is held to the instruction set of the path it stands
beside (`hold_isa.c`): what a path is chosen for is a processor that has no more than that.

Example:
    python benchmarks/bench_products.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from codegemma.kernels import native
from codegemma.kernels.formats import quantise, to_channels
from codegemma.kernels.product import multiply
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight
from results import Row, cpu_name, write_rows

_SHAPE = 2048, 16384
_ROWS = 1, 2, 4, 8, 16, 64, 256
_REPEATS = 7
_NONE = "none"
# What XLA may use beside a path; jaxlib does not start without AVX, so portable C++ has an edge.
_HELD = {"avx512": "avx512", "avxvnni": "avxvnni", "avx2": "avx2", "portable": "avx"}


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


def hold(folder: Path) -> Path:
    """Build the library that holds a process to an instruction set."""
    library = folder / "hold_isa.so"
    source = Path(__file__).with_name("hold_isa.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", source, "-o", library], check=True)
    return library


def run(path: str, *, held: str | None, library: Path) -> dict[str, list[float]]:
    """Measure in a process of its own, which is held to an instruction set or not."""
    environment = os.environ | {native.SETTING: path}
    if held is not None:
        environment |= {"LD_PRELOAD": str(library), "CODEGEMMA_HELD": held}
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--paths", default=",".join(native.paths()), help="which, with commas")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure()))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        library = hold(Path(folder))
        for path in arguments.paths.split(","):
            held = _HELD.get(path)
            ours = run(path, held=None, library=library)
            theirs = run(_NONE, held=held, library=library)
            rows += [
                Row(
                    name=f"product-{work}-{path}",
                    value=min(times),
                    unit="ms",
                    n=len(times),
                    low=min(times),
                    high=max(times),
                    peer=f"XLA held to {held}" if held else "XLA",
                    peer_value=min(theirs[work]),
                    ratio=min(theirs[work]) / min(times),
                    note=f"load average {os.getloadavg()[0]:.1f}",
                )
                for work, times in ours.items()
            ]
    for row in rows:
        print(
            f"{row.name:28} {row.value:8.2f} ms, {row.peer} {row.peer_value:.2f}, {row.ratio:.2f}"
        )
    print(write_rows("products", rows, device=cpu_name()))


if __name__ == "__main__":
    main()
