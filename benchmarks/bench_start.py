# SPDX-License-Identifier: Apache-2.0
"""How long a user waits for nano: whole processes from their start, and a warm server's answers.

The first completion ever starts from an empty CODEGEMMA_CACHE and compiles; later ones load what it
compiled. The place is one where nano draws dozens of tokens and ends by itself. Seconds are
wall-clock, medians with least and most; processor seconds stand in the note beside the goal, since
a busy machine adds to the first and not to the second. The server is asked over one connection, a
key further at each request, as an editor does.

Then the first request of each kind that a server has not met: what its client waits longer than
those of the next ones, from an empty cache folder and from that of an earlier start; where the
server had the time to prepare for it, and, the peer, where it had none.

With --model instead: how long a checkpoint takes to its first token, files not in memory and
nothing compiled; then with the files in memory, from compiled programs that were kept, and without.

Example:
    python benchmarks/bench_start.py
    python benchmarks/bench_start.py --model 2b-int4 2b-bfloat16
"""

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from results import Row, cpu_name, write_rows

_ROOT = Path(__file__).parents[1]
_FILE = "src/codegemma/text/fim.py"
_PLACE = f"{_FILE}:167:9"
_LEAST_DRAWN = 24
_REPEATS = 5
_NUM_KEYS = 20
_TYPED = "blocks = [block for"
_CODEGEMMA = (sys.executable, "-m", "codegemma")
_UNPREPARED = (
    sys.executable,
    "-c",
    "import codegemma.serve.worker as worker; worker.QUIET_S = 1e6\n"
    "from codegemma.cli.main import main; main()",
)
_KINDS: Mapping[str, tuple[int, dict[str, object]]] = {
    "temperature 0.8": (1, {"temperature": 0.8, "seed": 1}),
    "8 requests at one time": (8, {}),
    "8 at one time, temperature 0.8": (8, {"temperature": 0.8, "seed": 1}),
    "2 samples": (1, {"temperature": 0.8, "seed": 1, "n": 2}),
    "log probabilities": (1, {"logprobs": 1}),
}
_QUIET_S = 3.0
_NUM_NEXT = 3


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


def process_row(name: str, runs: Sequence[Spent], *, what: str, goal_s: float | None = None) -> Row:
    goal = f"goal {goal_s:g} s; " if goal_s else ""
    seconds = sorted(spent.seconds for spent in runs)
    processor_s = statistics.median(spent.processor_s for spent in runs)
    return Row(
        name=name,
        value=statistics.median(seconds),
        unit="s",
        n=len(runs),
        low=seconds[0],
        high=seconds[-1],
        note=f"{goal}{what}; {processor_s:.2f} processor-s; {_load()}",
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


def measure_first_token(model: Path, root: Path) -> Iterator[Row]:
    """Start on a checkpoint and draw a token: the first time, later, and with nothing compiled."""
    complete = (
        *_CODEGEMMA,
        "complete",
        _PLACE,
        "--json",
        "--max-tokens",
        "1",
        "--model",
        str(model),
    )
    for file in model.glob("*.safetensors"):
        forget_pages(file)
    runs = {
        "first ever": [run(*complete, cache=root / "kept")],
        "later": [run(*complete, cache=root / "kept") for _ in range(_NUM_NEXT)],
        "later, nothing compiled kept": [
            run(*complete, cache=root / f"empty-{number}") for number in range(_NUM_NEXT)
        ],
    }
    drawn = json.loads(runs["later"][0].output)["completions"][0]
    assert len(drawn["tokens"]) == 1, drawn
    what = f"{drawn['prompt_tokens']} tokens read"
    for name, found in runs.items():
        yield process_row(f"first-token, {model.name}, {name}", found, what=what)


def forget_pages(file: Path) -> None:
    """Have the system drop what it keeps of a file in memory."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def serving(cache: Path, *, command: Sequence[str] = _CODEGEMMA) -> Iterator[tuple[str, int]]:
    """Serve nano on a free port; give the address and the process once it is ready."""
    words = (*command, "serve", "--port", "0")
    process = subprocess.Popen(
        words, cwd=_ROOT, env=_environment(cache), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://(\S+)", process.stdout.readline())
        assert found, "the server did not start"
        yield found[1], process.pid
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
    with serving(cache) as (address, _):
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


def measure_kinds(cache: Path, *, start: str) -> Iterator[Row]:
    """Ask for the first time for each kind of request, with and without preparation.

    Args:
        cache: What earlier starts left; it is left as it is.
        start: What to call it.
    """
    waits: dict[str, dict[str, np.ndarray]] = {}
    for command in (_UNPREPARED, _CODEGEMMA):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "cache"
            shutil.copytree(cache, copy)
            with serving(copy, command=command) as (address, pid):
                prepared_s = _wait_for_quiet(pid) if command is _CODEGEMMA else 0.0
                waits[command[-1]] = {
                    name: _first_beyond_next(address, pid, count, body)
                    for name, (count, body) in _KINDS.items()
                }
    for name in _KINDS:
        ours, theirs = waits[_CODEGEMMA[-1]][name], waits[_UNPREPARED[-1]][name]
        yield Row(
            name=f"first-request, {name}, {start}",
            value=float(ours[0]),
            unit="s",
            n=1,
            peer="unprepared",
            peer_value=float(theirs[0]),
            note=f"beyond what the next take; processor-s {ours[1]:.2f} and {theirs[1]:.2f}; "
            f"{prepared_s:.1f} processor-s to prepare; {_load()}",
        )


def _first_beyond_next(
    address: str, pid: int, count: int, settings: Mapping[str, object]
) -> np.ndarray:
    """Give wall-clock and processor seconds of first requests beyond the least of the next."""

    def spend() -> np.ndarray:
        begin = _processor_s(pid)
        seconds = _ask(address, count, settings)
        return np.array([seconds, _processor_s(pid) - begin])

    first = spend()
    return first - np.min([spend() for _ in range(_NUM_NEXT)], axis=0)


def _ask(address: str, count: int, settings: Mapping[str, object]) -> float:
    """Send requests at one time; give the seconds until the last of them is answered."""
    body = {
        "prompt": "def area(radius):\n    return ",
        "suffix": "\n",
        "max_tokens": 16,
        **settings,
    }

    statuses: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        connection.request(
            "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(count)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    assert statuses == [200] * count, statuses
    return seconds


def _wait_for_quiet(pid: int) -> float:
    """Wait until a process uses no more of the processor; give what it used meanwhile."""
    begin, last, since = _processor_s(pid), 0.0, time.monotonic()
    while time.monotonic() - since < _QUIET_S:
        time.sleep(0.1)
        if (now := _processor_s(pid)) > last + 0.02:
            last, since = now, time.monotonic()
    return _processor_s(pid) - begin


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "CODEGEMMA_CACHE": str(cache)}


def _load() -> str:
    return f"load average {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", type=Path, default=[], help="checkpoints")
    models = parser.parse_args().model
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, model in enumerate(models):
            rows += measure_first_token(model.resolve(), Path(folder) / str(number))
        if not models:
            empty, cache = Path(folder) / "empty", Path(folder) / "cache"
            empty.mkdir()
            rows += [*measure_processes(cache), measure_server(cache)]
            rows += measure_kinds(empty, start="first ever")
            rows += measure_kinds(cache, start="later")
    path = write_rows("start-checkpoints" if models else "start", rows, device=cpu_name())
    for row in rows:
        print(f"{row.name}: {row.value:.3g} {row.unit} ({row.note})")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
