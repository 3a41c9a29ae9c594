# SPDX-License-Identifier: Apache-2.0
"""Measure decoding and reading prompts with quantised weights, beside llama.cpp on the same bits.

Both run in processes of their own and take turns sample by sample; before and after each sample the
read bandwidth of plain memory is probed, and rows say what share of it decoding takes. Others say
how long products with the weights of the layers, of the head, attention over the cache and the rest
take, by jax's profiler. llama.cpp is driven through its library by the bindings of
llama-cpp-python's source package, unpacked; the library is built by hand, once for each instruction
set. Words in a library's name tune it: `repacked` lets it reorder its weights, `unmapped` read them
into memory, `flash` and `unflash` settle its attention, `ubatch128` and the like its batches,
`single` reads a context token by token, `1thread` its threads. Prompts are random ids; what a model
says of them is of no interest. A machine that others use too gives ratios at best: the load average
stands in each row's note.

OpenVINO GenAI refuses GGUF files of this architecture; it runs what optimum-intel exports from the
float checkpoint (optimum-cli export openvino -m 2b --task text-generation-with-past --weight-format
int4 --group-size 32 --sym --ratio 1.0 2b-openvino), in an interpreter that has them.

Example:
    python benchmarks/random_checkpoint.py codegemma-2b /tmp/2b
    codegemma convert /tmp/2b /tmp/2b-int8 --quantize int8
    codegemma convert /tmp/2b /tmp/2b-int8.gguf --to gguf --quantize int8
    python benchmarks/bench_engine.py /tmp/2b-int8 --paths amx avx2 --gguf /tmp/2b-int8.gguf \
        --bindings /tmp/llama_cpp_python-0.3.36/llama_cpp \
        --library native=/tmp/llama/native/bin "repacked ubatch256 native=/tmp/llama/native/bin"
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from results import Row, cpu_name, write_rows

_STEPS = 12
_PROBE_BYTES, _NUM_PROBES = 1 << 29, 5


class Ours:
    """The programs of generation on a checkpoint, with a cache filled as far as asked."""

    def __init__(self, folder: str, *, num_rows: int = 1) -> None:
        import jax

        from codegemma.generate import programs
        from codegemma.generate.load import load_engine
        from codegemma.kernels import native

        self._jax, self._programs = jax, programs
        self._weights = load_engine(folder)._weights
        self._shared_words = {
            "config": self._weights.config,
            "dtype": self._weights.dtype,
            "controls": None,
            "num_top": None,
        }
        self._num_rows = num_rows
        self.path = native.choose_path()

    def decode(self, length: int) -> float:
        """Seconds a token, after `length` tokens; of rows that decode together each has one."""
        seconds = self._run(self._programs.decode, self._decode_words(length))
        return seconds / _STEPS / self._num_rows

    def prefill(self, length: int) -> float:
        """Seconds to read `length` tokens, in pieces of up to 256, and draw one."""
        cache, total = self._cache(0, room=length), 0.0
        size = min(length, 256)
        for start in range(0, length, size):
            settings = {
                "num_tokens": np.array([size], np.int32),
                "is_end": np.bool_(start + size >= length),
                "uniforms": np.zeros((1, 1), np.float32),
            }
            tokens = np.random.default_rng(start).integers(200, 4000, (1, size)).astype(np.int32)
            total += self._run(
                self._programs.prefill, {"tokens": tokens, "cache": cache} | settings
            )
            cache = self._last
        return total

    def breakdown(self, length: int) -> dict[str, float]:
        """Milliseconds a token, after `length` tokens: layers, head, attention and the rest."""
        from codegemma.kernels import native

        self.decode(length)  # compiled, and not measured
        with tempfile.TemporaryDirectory() as folder:
            with self._jax.profiler.trace(folder):
                whole = 1000 * self.decode(length)
            (file,) = Path(folder).rglob("*.xplane.pb")
            planes = self._jax.profiler.ProfileData.from_file(str(file)).planes
        calls: dict[str, list[float]] = {}
        for event in (event for plane in planes for line in plane.lines for event in line.events):
            if event.name.startswith("ffi_call"):  # as XLA names the kernels' calls
                calls.setdefault(event.name, []).append(event.duration_ns / 1e6 / _STEPS)
        words = self._shared_words | self._decode_words(length)
        code = self._programs.decode.lower(self._weights.params, **words).compile().as_text()
        attends = set(re.findall(rf'(ffi_call[\w.]*) = .*target="{native.ATTEND}"', code))
        spent = {"layers": 0.0, "head": 0.0, "attention": 0.0}
        for name, times in calls.items():
            part = "head" if len(times) == _STEPS else "layers"
            spent["attention" if name in attends else part] += sum(times) / self._num_rows
        return spent | {"rest": whole - sum(spent.values())}

    def _cache(self, length: int, *, room: int, rows: int = 1) -> Any:
        from codegemma.generate.weights import empty_cache

        cache = empty_cache(self._weights, num_rows=rows, num_tokens=max(length + room, 1))
        cache = cache._replace(length=self._jax.device_put(np.full(rows, length, np.int32)))
        # An array that came from numpy is copied by the program it is given to, one of jax is not.
        return self._jax.block_until_ready(self._jax.tree.map(self._jax.numpy.copy, cache))

    def _decode_words(self, length: int) -> dict[str, Any]:
        num_rows = self._num_rows
        return {
            "token": np.full(num_rows, 5, np.int32),
            "cache": self._cache(length, room=64, rows=num_rows),
            "num_steps": np.full(num_rows, _STEPS, np.int32),
            "stop_ids": np.full((num_rows, 8), -1, np.int32),
            "uniforms": np.zeros((num_rows, 64), np.float32),
        }

    def _run(self, program: Any, words: dict[str, Any]) -> float:
        start = time.perf_counter()
        drawn, self._last = program(self._weights.params, **words, **self._shared_words)
        np.asarray(drawn.tokens)
        return time.perf_counter() - start


class LlamaCpp:
    """llama.cpp's library on a GGUF file; a context is read once and trimmed back after use."""

    def __init__(
        self, file: str, *, context: int, bindings: str, threads: int, tuning: list[str]
    ) -> None:
        package = types.ModuleType("llama_cpp")
        package.__path__ = [bindings]
        sys.modules["llama_cpp"] = package
        import llama_cpp.llama_cpp as library

        self._lib, self.path = library, None
        library.llama_backend_init()
        model_settings = library.llama_model_default_params()
        model_settings.use_extra_bufts = "repacked" in tuning
        model_settings.use_mmap = "unmapped" not in tuning
        model = library.llama_model_load_from_file(file.encode(), model_settings)
        settings = library.llama_context_default_params()
        sizes = [int(word.removeprefix("ubatch")) for word in tuning if word.startswith("ubatch")]
        settings.n_ctx, settings.n_batch, settings.n_ubatch = context, 4096, (sizes or [512])[0]
        threads = 1 if "1thread" in tuning else threads
        settings.n_threads = settings.n_threads_batch = threads
        attention = {"unflash": 0, "flash": 1}  # of enum llama_flash_attn_type; -1 lets it choose
        settings.flash_attn_type = next((attention[w] for w in tuning if w in attention), -1)
        self._llama = library.llama_init_from_model(model, settings)
        self._memory = library.llama_get_memory(self._llama)
        self._held, self._is_single = 0, "single" in tuning

    def decode(self, length: int) -> float:
        """Seconds a token, after `length` tokens."""
        self._fill(length)
        start = time.perf_counter()
        for _ in range(_STEPS):
            self._read(1)
            logits = self._lib.llama_get_logits_ith(self._llama, -1)
            np.ctypeslib.as_array(logits, (256_000,)).argmax()
        return (time.perf_counter() - start) / _STEPS

    def prefill(self, length: int) -> float:
        """Seconds to read `length` tokens and give what follows."""
        assert not self._is_single, "this worker reads no prompts"
        self._fill(0)
        start = time.perf_counter()
        self._read(length)
        self._lib.llama_get_logits_ith(self._llama, -1)
        return time.perf_counter() - start

    def _fill(self, length: int) -> None:
        if self._held > length:
            self._lib.llama_memory_seq_rm(self._memory, 0, length, -1)
            self._held = length
        while self._held < length:
            self._read(1 if self._is_single else min(length - self._held, 512))

    def _read(self, count: int) -> None:
        ids = np.random.default_rng(count).integers(200, 4000, count).astype(np.int32)
        pointer = (self._lib.llama_token * count)(*ids.tolist())
        status = self._lib.llama_decode(self._llama, self._lib.llama_batch_get_one(pointer, count))
        assert status == 0, status
        self._lib.llama_synchronize(self._llama)
        self._held += count


class OpenVino:
    """OpenVINO GenAI on a folder in its own format; a context is read anew each time."""

    def __init__(self, folder: str, *, threads: int) -> None:
        import openvino
        import openvino_genai

        self._tensor, self._genai, self.path = openvino.Tensor, openvino_genai, None
        self._rng = np.random.default_rng(0)
        settings = {"INFERENCE_NUM_THREADS": threads}
        self._pipeline = openvino_genai.LLMPipeline(folder, "CPU", **settings)

    def decode(self, length: int) -> float:
        """Seconds a token, after `length` tokens."""
        return self._generate(max(length, 1), _STEPS + 1).get_tpot().mean / 1000

    def prefill(self, length: int) -> float:
        """Seconds to read `length` tokens and give what follows."""
        return self._generate(length, 1).get_ttft().mean / 1000

    def _generate(self, length: int, count: int) -> Any:
        ids = self._rng.integers(200, 4000, (1, length))  # others each time: it keeps what it read
        inputs = self._genai.TokenizedInputs(self._tensor(ids), self._tensor(np.ones_like(ids)))
        settings = self._genai.GenerationConfig(max_new_tokens=count, ignore_eos=True)
        return self._pipeline.generate(inputs, settings).perf_metrics


def serve(arguments: argparse.Namespace) -> None:
    """Load, then answer lines `WHAT LENGTH` with seconds; decoding is warm when it is timed."""
    start = time.perf_counter()
    if arguments.worker == "ours":
        engine: Ours | LlamaCpp | OpenVino = Ours(arguments.folder, num_rows=arguments.rows)
    elif arguments.worker == "openvino":
        engine = OpenVino(arguments.openvino, threads=arguments.threads)
    else:
        engine = LlamaCpp(
            arguments.gguf,
            context=arguments.context,
            bindings=arguments.bindings,
            threads=arguments.threads,
            tuning=arguments.tuning,
        )
    print(json.dumps({"load_s": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        what, length = line.split()
        if what == "memory":
            status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            resident = next(line for line in status if line.startswith("VmRSS"))
            print(json.dumps({"found": int(resident.split()[1]) * 1024}), flush=True)
            continue
        if what == "decode":  # others had the processor: memory is slower to the first that comes
            engine.decode(int(length))
        print(json.dumps({"found": getattr(engine, what)(int(length))}), flush=True)


class Worker:
    """An engine in a process of its own."""

    def __init__(
        self, words: list[str], environment: dict[str, str], *, python: str = sys.executable
    ) -> None:
        self._process = subprocess.Popen(
            [python, __file__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | environment,
            text=True,
        )
        self.loaded = self._answer()

    def ask(self, what: str, length: int) -> Any:
        """What the engine found, seconds mostly; None when its process ended, now or before."""
        assert self._process.stdin is not None
        if self._process.poll() is not None:
            return None
        self._process.stdin.write(f"{what} {length}\n")
        self._process.stdin.flush()
        return self._answer().get("found")

    def close(self) -> None:
        """Let it end."""
        self._process.terminate()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        while line and not line.startswith("{"):  # a library's own words
            print(line, end="", file=sys.stderr)
            line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            print("a worker ended:", *self._process.args, file=sys.stderr)
            return {}
        return json.loads(line)


def probe_bandwidth(values: np.ndarray, *, threads: int) -> float:
    """Bytes a second that so many threads read together from memory, at best of some times.

    A vector loop written in C with fetching ahead reads no faster; the first time is the slowest.
    """
    parts = np.array_split(values, threads)
    times: list[float] = []
    for _ in range(_NUM_PROBES):
        workers = [threading.Thread(target=np.bitwise_or.reduce, args=(part,)) for part in parts]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        times.append(time.perf_counter() - start)
    return values.nbytes / min(times)


class Sample(NamedTuple):
    """One piece of work, and the read bandwidth of memory around it, bytes a second."""

    seconds: float
    bandwidth: float


Samples = dict[tuple[str, str, int], list[Sample]]
"""By worker, what it does, and at which length."""


def measure(
    workers: dict[str, Worker], work: list[tuple[str, int]], *, repeats: int, threads: int
) -> Samples:
    """Let every worker do every piece of work, in turn, and probe the bandwidth around each."""
    values = np.ones(_PROBE_BYTES // 8, np.uint64)
    found: Samples = {}
    for what, length in work:
        for worker in workers.values():
            worker.ask(what, length)  # compiles, or reads the context
        after = probe_bandwidth(values, threads=threads)
        for _ in range(repeats):
            for name, worker in workers.items():
                before, seconds = after, worker.ask(what, length)
                after = probe_bandwidth(values, threads=threads)
                if seconds is not None:
                    sample = Sample(seconds, (before + after) / 2)
                    found.setdefault((name, what, length), []).append(sample)
    return found


def make_rows(found: Samples, *, weights: str, paths: list[str], note: str) -> list[Row]:
    """Rates of all; of our paths beside the fastest peer, or beside the one named as the path."""
    rates = {
        key: sorted((1 if key[1] == "decode" else key[2]) / sample.seconds for sample in samples)
        for key, samples in found.items()
    }
    rows: list[Row] = []
    for (name, what, length), values in rates.items():
        peers = {
            other: statistics.median(values)
            for (other, *rest), values in rates.items()
            if rest == [what, length] and name in paths and other not in paths
        }
        same = {other: rate for other, rate in peers.items() if other.endswith(f" {name}")}
        wide = {other: rate for other, rate in peers.items() if not other.endswith(" avx2")}
        peer = max(chosen, key=chosen.__getitem__) if (chosen := same or wide) else None
        value = statistics.median(values)
        probed = sorted(sample.bandwidth / 1e9 for sample in found[name, what, length])
        rows.append(
            Row(
                name=f"{what}-{weights}-{'ctx' if what == 'decode' else ''}{length}-{name}",
                value=value,
                unit="tokens/s",
                n=len(values),
                low=values[0],
                high=values[-1],
                peer=peer,
                peer_value=peers[peer] if peer else None,
                ratio=value / peers[peer] if peer else None,
                note=f"{note}; probed {probed[0]:.1f} to {probed[-1]:.1f} GB/s",
            )
        )
    return rows


def bandwidth_rows(
    found: Samples, *, weights: str, paths: list[str], size: int, num_rows: int
) -> list[Row]:
    """What share of the read bandwidth around it decoding takes, of weights of `size` bytes.

    A sample has the seconds of one token of one of the rows, which read the weights together.
    """
    rows: list[Row] = []
    for (name, what, length), samples in found.items():
        if name in paths and what == "decode":
            shares = sorted(
                size / sample.seconds / num_rows / sample.bandwidth for sample in samples
            )
            rows.append(
                Row(
                    name=f"bandwidth-{weights}-ctx{length}-{name}",
                    value=statistics.median(shares),
                    unit="of what is probed",
                    n=len(shares),
                    low=shares[0],
                    high=shares[-1],
                    note="weights alone; keys and values are not counted",
                )
            )
    return rows


def breakdown_rows(
    workers: dict[str, Worker], *, contexts: list[int], weights: str, paths: list[str]
) -> list[Row]:
    """Where a token's time goes, in our paths."""
    return [
        Row(name=f"{part}-{weights}-ctx{length}-{path}", value=value, unit="ms a token", n=_STEPS)
        for path in paths
        for length in contexts
        for part, value in (workers[path].ask("breakdown", length) or {}).items()
    ]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="a quantised checkpoint")
    parser.add_argument("--paths", nargs="+", default=["avx512"], help="kernels to measure")
    parser.add_argument("--gguf", help="the same weights for llama.cpp")
    parser.add_argument("--bindings", help="the folder llama_cpp of llama-cpp-python's source")
    parser.add_argument("--library", nargs="*", default=[], help="NAME=FOLDER of built libraries")
    parser.add_argument("--openvino", help="the same weights in OpenVINO's format, with tokenizer")
    parser.add_argument("--openvino-python", help="the interpreter that has openvino_genai")
    parser.add_argument("--name", help="second word of the file's name; the format otherwise")
    parser.add_argument("--contexts", nargs="*", type=int, default=[0, 500, 2000])
    parser.add_argument("--prompts", nargs="*", type=int, default=[16, 128, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1, help="that decode together, ours alone")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worker", choices=["ours", "llama", "openvino"], help=argparse.SUPPRESS)
    parser.add_argument("--context", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--tuning", nargs="*", default=[], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    if arguments.worker:
        serve(arguments)
        return 0
    longest = max([*arguments.contexts, *arguments.prompts]) + 64
    shared = ["--context", str(longest), "--threads", str(arguments.threads)]
    workers: dict[str, Worker] = {}
    for path in arguments.paths:
        words = [arguments.folder, "--worker", "ours", "--rows", str(arguments.rows), *shared]
        workers[path] = Worker(words, {"CODEGEMMA_KERNEL": path})
    for library in arguments.library:
        name, _, folder = library.partition("=")
        words = [arguments.folder, "--worker", "llama", "--gguf", arguments.gguf, *shared]
        words += ["--bindings", arguments.bindings, "--tuning", *name.split()]
        workers[f"llama.cpp {name}"] = Worker(
            words, {"LLAMA_CPP_LIB_PATH": folder, "LD_LIBRARY_PATH": folder}
        )
    if arguments.openvino:
        words = [arguments.folder, "--worker", "openvino", "--openvino", arguments.openvino]
        workers["OpenVINO GenAI"] = Worker([*words, *shared], {}, python=arguments.openvino_python)
    work = [("decode", length) for length in arguments.contexts]
    work += [("prefill", length) for length in arguments.prompts]
    found = measure(workers, work, repeats=arguments.repeats, threads=arguments.threads)
    said = Path(arguments.folder) / "codegemma.json"
    made = json.loads(said.read_text()) if said.exists() else {}
    weights = made.get("weights", "float") + (
        f"-{arguments.rows}rows" if arguments.rows > 1 else ""
    )
    size = sum(file.stat().st_size for file in Path(arguments.folder).glob("*.safetensors"))
    note = f"{size / 1e9:.2f} GB of weights, {arguments.threads} threads, "
    note += f"load average {os.getloadavg()[0]:.1f}"
    if arguments.gguf:
        note += f"; llama.cpp's file has {Path(arguments.gguf).stat().st_size / 1e9:.2f} GB"
    shared_words = {"weights": weights, "paths": arguments.paths}
    rows = make_rows(found, **shared_words, note=note)
    rows += bandwidth_rows(found, **shared_words, size=size, num_rows=arguments.rows)
    rows += breakdown_rows(workers, contexts=arguments.contexts, **shared_words)
    for name, worker in workers.items():
        told = {"load": worker.loaded["load_s"], "memory": worker.ask("memory", 0)}
        rows += [
            Row(name=f"{what}-{weights}-{name}", value=value, unit=unit, n=1)
            for (what, value), unit in zip(told.items(), ("s", "bytes"), strict=True)
            if value is not None  # of a worker that ended nobody can tell
        ]
        worker.close()
    print(write_rows(f"engine-{arguments.name or weights}", rows, device=cpu_name()))
    for row in rows:
        peer = f"  {row.peer} {row.peer_value:.1f}, ratio {row.ratio:.2f}" if row.peer else ""
        print(f"{row.name:36} {row.value:14.2f} {row.unit}{peer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
