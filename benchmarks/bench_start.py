# SPDX-License-Identifier: Apache-2.0
"""How long a user waits for nano: whole processes from their start, and a warm server's answers.

The first completion ever starts from an empty CODEGEMMA_CACHE and compiles; later ones load what it
compiled. The place is one where nano draws dozens of tokens and ends by itself. Seconds are
wall-clock, medians with least and most; processor seconds stand in the note beside the goal, since
a busy machine adds to the first and not to the second. The server is asked over one connection, a
key further at each request, as an editor does.

Example:
    python benchmarks/bench_start.py
"""

import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from results import Row, cpu_name, write_rows

_ROOT = Path(__file__).parents[1]
_FILE = "src/codegemma/text/fim.py"
_PLACE = f"{_FILE}:167:9"
_LEAST_DRAWN = 24
_REPEATS = 5
_NUM_KEYS = 20
_TYPED = "blocks = [block for"
_CODEGEMMA = (sys.executable, "-m", "codegemma")


class Spent(NamedTuple):
    """What a process took, and what it wrote."""

    seconds: float
    processor_s: float
    output: str


def run(*words: str, cache: Path) -> Spent:
    """Run a process to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(
        words, cwd=_ROOT, env=_environment(cache), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return Spent(seconds, usage.ru_utime + usage.ru_stime, output)


def process_row(name: str, runs: Sequence[Spent], *, goal_s: float, what: str) -> Row:
    seconds = sorted(spent.seconds for spent in runs)
    processor_s = statistics.median(spent.processor_s for spent in runs)
    return Row(
        name=name,
        value=statistics.median(seconds),
        unit="s",
        n=len(runs),
        low=seconds[0],
        high=seconds[-1],
        note=f"goal {goal_s:g} s; {what}; {processor_s:.2f} processor-s; {_load()}",
    )


def measure_processes(cache: Path) -> Iterator[Row]:
    """Complete on the command line for the first time and later; ask for help; import."""
    complete = (*_CODEGEMMA, "complete", _PLACE, "--json")
    first = run(*complete, cache=cache)
    drawn = json.loads(first.output)["completions"][0]
    # A completion that ends at once would hide what drawing costs: then choose another place.
    assert len(drawn["tokens"]) >= _LEAST_DRAWN, f"{_PLACE}: {len(drawn['tokens'])} tokens drawn"
    what = f"{drawn['prompt_tokens']} tokens read, {len(drawn['tokens'])} drawn"
    yield process_row("complete-first-ever", [first], goal_s=8, what=what)
    later = [run(*complete, cache=cache) for _ in range(_REPEATS)]
    yield process_row("complete-later", later, goal_s=2.5, what=what)
    shown = [run(*_CODEGEMMA, "--help", cache=cache) for _ in range(_REPEATS)]
    yield process_row("help", shown, goal_s=0.3, what="the interpreter included")
    imports = (sys.executable, "-c", "import codegemma")
    imported = [run(*imports, cache=cache) for _ in range(_REPEATS)]
    yield process_row("import", imported, goal_s=0.15, what="the interpreter included")


@contextmanager
def serving(cache: Path) -> Iterator[str]:
    """Serve nano on a free port; give the address once it is ready."""
    words = (*_CODEGEMMA, "serve", "--port", "0")
    process = subprocess.Popen(
        words, cwd=_ROOT, env=_environment(cache), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://(\S+)", process.stdout.readline())
        assert found, "the server did not start"
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)


def measure_server(cache: Path) -> Row:
    """Ask a warm server for a completion after each key."""
    lines = (_ROOT / _FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    prefix, suffix = "".join(lines[:119]) + "    ", "".join(lines[119:])
    latencies: list[float] = []
    num_read: list[int] = []
    num_drawn: list[int] = []
    with serving(cache) as address:
        connection = http.client.HTTPConnection(address, timeout=60)
        for key in range(_NUM_KEYS):
            body = {"prompt": prefix + _TYPED[: key + 1], "suffix": suffix, "path": _FILE}
            start = time.perf_counter()
            connection.request(
                "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = json.loads(connection.getresponse().read())
            latencies.append(1e3 * (time.perf_counter() - start))
            num_read.append(answer["usage"]["prompt_tokens"])
            num_drawn.append(answer["usage"]["completion_tokens"])
        connection.close()
    ordered = sorted(latencies)
    return Row(
        name="warm-server-completion",
        value=statistics.median(ordered),
        unit="ms",
        n=len(ordered),
        low=ordered[0],
        high=ordered[-1],
        note=(
            f"goal 50 ms; key to response, p50; {statistics.mean(num_read):.0f} tokens read, "
            f"{statistics.mean(num_drawn):.1f} of at most 16 drawn; {_load()}"
        ),
    )


def _environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "CODEGEMMA_CACHE": str(cache)}


def _load() -> str:
    return f"load average {os.getloadavg()[0]:.1f}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        rows = [*measure_processes(cache), measure_server(cache)]
    path = write_rows("start", rows, device=cpu_name())
    for row in rows:
        print(f"{row.name}: {row.value:.3g} {row.unit} ({row.note})")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
