# SPDX-License-Identifier: Apache-2.0
"""What it costs to run the programs of the Python benchmarks in the sandbox.

First an empty program, one after the other, from request to verdict; its peer is the way of
openai/human-eval, a process and a manager for every program, in the same run. Then the reference
solutions of HumanEval, MBPP and all infilling sets, each run as if no two were equal, which
`codegemma evaluate` spares itself. Other work on the machine goes into the figures.

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
    load = Path("/proc/loadavg").read_text().split()[0]
    with Sandbox(num_workers=os.cpu_count() or 1) as sandbox:
        rows = [
            _empty(sandbox, arguments.repeats, load),
            *_solutions(sandbox, arguments.every, load),
        ]
    print(write_rows("scoring", rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:40} {row.value:8.2f} {row.unit}, n {row.n}, peer {row.peer_value}")


def _empty(sandbox: Sandbox, repeats: int, load: str) -> Row:
    sandbox.run(_EMPTY)  # the self-test and the box's start are not counted
    ours, theirs = [
        sorted(_milliseconds(run) for _ in range(repeats))
        for run in (lambda: sandbox.run(_EMPTY), _run_like_human_eval)
    ]
    median, peer = statistics.median(ours), statistics.median(theirs)
    return Row(
        name="empty program",
        value=median,
        unit="ms",
        n=repeats,
        low=ours[repeats // 10],
        high=ours[-1 - repeats // 10],
        peer="openai/human-eval's method",
        peer_value=peer,
        ratio=peer / median,
        note=f"low and high are the tenths; load {load} at the start",
    )


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
