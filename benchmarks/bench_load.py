# SPDX-License-Identifier: Apache-2.0
"""What loading a model costs: seconds, processor seconds, and anonymous memory at its peak.

A random checkpoint of the shape asked for is written (2B: 5 GB), loaded in processes of their own,
and removed. Beside our loader: the obvious one (the safetensors package's `load_file`, stack,
transpose), and ours with the files mapped into memory instead of read. The last rows load what
commands and the server load and complete 16 tokens: the first time, nothing compiled before and
no file read, and later. Memory is RssAnon over what the process had
before, sampled every 10 ms, as a multiple of the weights kept; figures are medians with lowest and
highest, the page cache warm.

Example:
    python benchmarks/bench_load.py                  # 2B whole: 12 minutes of processor time, 9 GB
    python benchmarks/bench_load.py --num-layers 2   # its first two layers, what `make bench` runs
"""

import argparse
import dataclasses
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from codegemma.model import checkpoint as checkpoints
from codegemma.model.config import by_name
from codegemma.model.convert.hf import StoredTensor, stored_tensors
from codegemma.model.params import param_specs
from codegemma.model.stored import StoredCheckpoint, open_checkpoint
from codegemma.model.tensorfile import DTYPES, is_finite
from random_checkpoint import write_random_checkpoint
from results import Row, cpu_name, write_rows

_BLOCK_ROWS = 1024
_NUM_TOKENS = 16


def load_ours(folder: Path) -> Any:
    return checkpoints.load_checkpoint(folder).params


def load_obvious(folder: Path) -> Any:
    """Load all tensors, stack those of a layer, transpose them to our order."""
    stored = open_checkpoint(folder)
    tensors: dict[str, np.ndarray] = {}
    for file in dict.fromkeys(stored.weights.values()):
        tensors |= safetensors.numpy.load_file(file.path)
    parts: dict[tuple[str, ...], list[np.ndarray]] = {}
    for tensor in stored_tensors(stored.config):
        values = tensors.pop(tensor.name)
        parts.setdefault(tensor.leaf, []).append(values.T if tensor.is_product else values)
    specs = param_specs(stored.config)
    found = {"layers": {}}
    for path, values in parts.items():
        node, spec = (found["layers"], specs["layers"]) if len(path) > 1 else (found, specs)
        leaf = np.stack(values) if len(path) > 1 else values[0]
        node[path[-1]] = jax.numpy.asarray(leaf.reshape(spec[path[-1]].shape))
        values.clear()
    return found


def load_mapped(folder: Path) -> Any:
    """Load as ours does, from pages of the files instead of reads."""
    maps: dict[Path, np.ndarray] = {}

    def blocks(self: StoredCheckpoint, tensor: StoredTensor, *, dtype: np.dtype) -> Iterator[Any]:
        file = self.weights[tensor.name]
        entry = file.entries[tensor.name]
        pages = maps.setdefault(file.path, np.memmap(file.path, np.uint8, "r"))
        values = pages[entry.offset : entry.offset + entry.size_bytes].view(DTYPES[entry.dtype])
        values = values.reshape(entry.shape)
        for row in range(0, len(values), _BLOCK_ROWS):
            block = values[row : row + _BLOCK_ROWS]
            assert is_finite(block)
            yield block.astype(dtype, copy=False)

    StoredCheckpoint.blocks = blocks
    return checkpoints.load_checkpoint(folder).params


def complete(folder: Path) -> Any:
    """Load what commands load and complete 16 tokens; compiling counts."""
    from codegemma.completion import Prompt, Sampling
    from codegemma.generate.load import load_completer

    completer = load_completer(folder)
    # Left to right: untrained weights echo, and the last token of an infill prompt ends an infill.
    prompt = Prompt(prefix="def add(a, b):\n    return ")
    [(completion,)] = completer.complete([prompt], Sampling(max_tokens=_NUM_TOKENS))
    assert len(completion.tokens) == _NUM_TOKENS, completion
    return completer


WAYS: dict[str, Callable[[Path], Any]] = {
    "ours": load_ours,
    "obvious": load_obvious,
    "mapped": load_mapped,
    "complete": complete,
}
LOADERS = ("ours", "obvious", "mapped")


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(way: str, folder: Path) -> dict[str, float]:
    """Run one way in this process and say what it took."""
    jax.devices()
    start_bytes, peak, is_done = anonymous_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_done.wait(0.01):
            peak = max(peak, anonymous_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    start, start_cpu = time.perf_counter(), processor_s()
    held = WAYS[way](folder)
    seconds, cpu_seconds = time.perf_counter() - start, processor_s() - start_cpu
    is_done.set()
    thread.join()
    del held
    return {"s": seconds, "cpu_s": cpu_seconds, "peak_bytes": float(peak - start_bytes)}


def run_apart(way: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def make_rows(
    found: dict[str, list[dict[str, float]]], *, shape: str, weights_bytes: int
) -> list[Row]:
    rows: list[Row] = []
    load = os.getloadavg()[0]
    note = f"{shape}, {weights_bytes / 1e9:.2f} GB bfloat16, load average {load:.1f}"
    for key, unit in (("s", "s"), ("cpu_s", "s"), ("peak_bytes", "fraction of the weights")):
        scale = weights_bytes if key == "peak_bytes" else 1
        figures = {way: [run[key] / scale for run in runs] for way, runs in found.items()}
        ours = statistics.median(figures["ours"])
        for peer in ("obvious", "mapped"):
            value = statistics.median(figures[peer])
            rows.append(
                Row(
                    name=f"load {key}",
                    value=ours,
                    unit=unit,
                    n=len(figures["ours"]),
                    low=min(figures["ours"]),
                    high=max(figures["ours"]),
                    peer=peer,
                    peer_value=value,
                    ratio=value / ours,
                    note=note,
                )
            )
        first, *later = figures["complete"]
        for name, done in (("the first time", [first]), ("later", later)):
            rows.append(
                Row(
                    name=f"load and complete {_NUM_TOKENS} tokens, {name}, {key}",
                    value=statistics.median(done),
                    unit=unit,
                    n=len(done),
                    low=min(done),
                    high=max(done),
                    note=note,
                )
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="codegemma-2b", help="a model configuration")
    parser.add_argument("--num-layers", type=int, help="of that many layers only")
    parser.add_argument("--folder", type=Path, help="where to write it, for a while")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder)))
        return 0
    config, bench = by_name(arguments.name), "load"
    if arguments.num_layers:
        config = dataclasses.replace(config, num_layers=arguments.num_layers)
        bench = f"load-{arguments.num_layers}-layers"
    weights_bytes = 2 * sum(math.prod(tensor.shape) for tensor in stored_tensors(config))
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="bench-load-") as root:
        # A cache of its own: each run of the benchmark is a first start.
        os.environ["CODEGEMMA_CACHE"] = str(Path(root) / "cache")
        model = Path(root) / arguments.name
        write_random_checkpoint(model, config)
        # The first completion brings the files into the page cache, and programs into ours.
        for way in ("complete", *((*LOADERS, "complete") * arguments.repeats)):
            found[way].append(run_apart(way, model))
            print(way, found[way][-1], file=sys.stderr)
    shape = f"{config.name}, {config.num_layers} layers"
    rows = make_rows(found, shape=shape, weights_bytes=weights_bytes)
    print(write_rows(bench, rows, device=cpu_name()))
    for row in rows:
        peer = f"  {row.peer} {row.peer_value:.2f}, ratio {row.ratio:.2f}" if row.peer else ""
        print(f"{row.name:50} {row.value:8.2f} {row.unit}{peer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
