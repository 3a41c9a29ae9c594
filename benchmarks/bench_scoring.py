# SPDX-License-Identifier: Apache-2.0
"""What it costs to run the programs of the Python benchmarks in the sandbox.

First an empty program from request to verdict, in turns with its peer, the way of
openai/human-eval: a process and a manager for every program. Beside the time on the clock stands
the processor time of all processes, which other work on the machine does not add to. Then the
reference solutions of HumanEval, MBPP and all infilling sets, each run as if no two were equal,
which `codegemma evaluate` spares itself; other work on the machine goes into their time.

Example:
    CODEGEMMA_BENCHMARKS=... python benchmarks/bench_scoring.py
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from codegemma.evaluate.benchmark import benchmark_folder
from codegemma.evaluate.registry import find_tasks
from codegemma.sandbox.program import Program
from codegemma.sandbox.run import Sandbox
from results import Row, cpu_name, write_rows

_TASKS = (
    "humaneval",
    "mbpp",
    "humaneval-infilling-single",
    "humaneval-infilling-multi",
    "humaneval-infilling-random",
    "humaneval-infilling-random-light",
)
_EMPTY = Program(language="python", source="")


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=101, help="empty programs of each way")
    parser.add_argument("--every", type=int, default=1, help="run each so many-th solution alone")
    arguments = parser.parse_args()
    load = f"{Path('/proc/loadavg').read_text().split()[0]} and nice {os.nice(0)}"
    with Sandbox(num_workers=os.cpu_count() or 1) as sandbox:
        rows = [
            *_empty(sandbox, arguments.repeats, load),
            *_solutions(sandbox, arguments.every, load),
        ]
    print(write_rows("scoring", rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:40} {row.value:8.2f} {row.unit}, n {row.n}, peer {row.peer_value}")


def _empty(sandbox: Sandbox, repeats: int, load: str) -> list[Row]:
    ways = (lambda: sandbox.run(_EMPTY), _run_like_human_eval)
    for run in ways:
        run()  # the self-test and the box's start are not counted
    taken: tuple[list[float], list[float]] = ([], [])
    worked = [0.0, 0.0]
    for _ in range(repeats):
        for index, run in enumerate(ways):
            before = _processor_s(os.getpid())
            taken[index].append(_milliseconds(run))
            worked[index] += _processor_s(os.getpid()) - before
    ours, theirs = map(sorted, taken)
    median, peer = statistics.median(ours), statistics.median(theirs)
    shared = {"unit": "ms", "n": repeats, "peer": "openai/human-eval's method"}
    means = [1000 * total / repeats for total in worked]
    return [
        Row(
            name="empty program",
            value=median,
            low=ours[repeats // 10],
            high=ours[-1 - repeats // 10],
            peer_value=peer,
            ratio=peer / median,
            note=f"median; low and high are the tenths; in turns; load {load} at the start",
            **shared,
        ),
        Row(
            name="empty program, processor time",
            value=means[0],
            peer_value=means[1],
            ratio=means[1] / means[0],
            note="mean, of all processes together",
            **shared,
        ),
    ]


def _solutions(sandbox: Sandbox, every: int, load: str) -> list[Row]:
    rows: list[Row] = []
    for name in _TASKS:
        (task,) = find_tasks(name)
        variant, problems = task.variants[0], task.problems(benchmark_folder())[::every]
        began, num_passed = time.monotonic(), 0
        for limits in {problem.limits for problem in problems}:
            group = [problem for problem in problems if problem.limits == limits]
            programs = [variant.check(each, each.solution) for each in group]
            results = sandbox.map(programs, limits or task.limits)
            num_passed += sum(result.is_pass for result in results)
        seconds = time.monotonic() - began
        note = f"{num_passed} passed; {os.cpu_count()} workers; load {load} at the start"
        rows.append(Row(name=name, value=seconds, unit="s", n=len(problems), note=note))
    total = sum(row.value for row in rows)
    num_programs = sum(row.n for row in rows)
    note = f"every {every}; {os.cpu_count()} workers; load {load} at the start"
    return [*rows, Row(name="all solutions", value=total, unit="s", n=num_programs, note=note)]


def _milliseconds(run: Callable[[], object]) -> float:
    began = time.monotonic()
    run()
    return 1000 * (time.monotonic() - began)


def _processor_s(process: int) -> float:
    """Give the seconds that a process and all below it worked, those that ended included."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it ended just now
        return 0.0
    own = sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(_processor_s(int(child)) for child in children)


def _run_like_human_eval() -> None:
    """Start a manager and a process, let the process report through the manager, and join."""
    manager = multiprocessing.Manager()
    result = manager.list()
    process = multiprocessing.Process(target=_report, args=(result,))
    process.start()
    process.join(timeout=4)
    assert list(result) == ["passed"]


def _report(result: list[str]) -> None:
    names: dict[str, object] = {}
    exec("", names)
    result.append("passed")


if __name__ == "__main__":
    main()
