# SPDX-License-Identifier: Apache-2.0
"""How long one BabelCode program takes in the sandbox, in each language, from request to verdict.

Five of the solutions that the tests write by hand, one after the other in one box: the median of
their wall-clock seconds, the fastest and the slowest beside it. For C++, Java and Kotlin the peer
is the same program with the tools as they are, run right after it. Other work on the machine goes
into the figures, so they are upper bounds unless it is idle.

Example:
    python benchmarks/bench_babelcode.py
"""

import argparse
import re
import statistics
import tempfile
import time
from pathlib import Path

from codegemma.errors import PrerequisiteError
from codegemma.evaluate.babelcode.languages import LANGUAGES
from codegemma.evaluate.benchmark import benchmark_folder
from codegemma.evaluate.tasks.babelcode import make
from codegemma.sandbox.program import Limits, Program
from codegemma.sandbox.run import Sandbox
from results import Row, cpu_name, write_rows

_SOLUTIONS = Path(__file__).parents[1] / "tests" / "evaluate" / "babelcode" / "solutions"
_NUM_PROGRAMS = 5
_PREPARED = ("cpp", "java", "kotlin")


def main() -> None:
    """Measure, write the rows and print them."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    load = Path("/proc/loadavg").read_text().split()[0]
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
        Sandbox(prepared=Path(folder)) as prepared,
        Sandbox() as plain,
    ):
        for language in LANGUAGES:
            try:
                rows.append(_measure(language, prepared, plain, note=f"load {load} at the start"))
            except PrerequisiteError as error:
                print(f"left out: {error}")
    print(write_rows("babelcode", rows, device=cpu_name()))
    for row in rows:
        peer = f"  {row.peer} {row.peer_value:.2f}, ratio {row.ratio:.2f}" if row.peer else ""
        print(f"{row.name:12} {row.value:6.2f} {row.unit} [{row.low:.2f}, {row.high:.2f}]{peer}")


def _measure(language: str, prepared: Sandbox, plain: Sandbox, *, note: str) -> Row:
    programs, limits = _programs(language)
    prepared.run(programs[0], limits)  # boxes start, and files are made, outside the count
    plain.run(programs[0], limits)
    seconds: list[float] = []
    others: list[float] = []
    for program in programs:
        seconds.append(_seconds(prepared, program, limits))
        if language in _PREPARED:
            others.append(_seconds(plain, program, limits))
    value = statistics.median(seconds)
    peer = statistics.median(others) if others else None
    return Row(
        name=language,
        value=value,
        unit="s a program",
        n=len(seconds),
        low=min(seconds),
        high=max(seconds),
        peer="tools as they are" if peer else None,
        peer_value=peer,
        ratio=peer / value if peer else None,
        note=note,
    )


def _seconds(sandbox: Sandbox, program: Program, limits: Limits) -> float:
    start = time.perf_counter()
    assert sandbox.run(program, limits).is_pass
    return time.perf_counter() - start


def _programs(language: str) -> tuple[list[Program], Limits]:
    """Build the programs of the first right solutions to problems of HumanEval."""
    (task,) = make("bc-humaneval", language)
    problems = {problem.task_id: problem for problem in task.problems(benchmark_folder())}
    text = (_SOLUTIONS / f"{language}.txt").read_text()
    sections = re.findall(
        r"^=== (HumanEval/\d+) right\n(.*?)(?=^===|\Z)", text, re.DOTALL | re.MULTILINE
    )
    programs = [
        task.variants[0].check(problems[name], task.variants[0].cut(problems[name], body))
        for name, body in sections[:_NUM_PROGRAMS]
    ]
    kept = [program for program in programs if isinstance(program, Program)]
    return kept, task.limits


if __name__ == "__main__":
    main()
