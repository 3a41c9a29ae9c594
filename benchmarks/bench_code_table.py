# SPDX-License-Identifier: Apache-2.0
"""The card's table of coding results for one model: every code task, every way of scoring.

Draws and scores as `codegemma evaluate` does, greedily, one sample a problem, in a run folder that
is gone on with after a stop; then writes every metric with its interval, n and effective n. MBPP is
measured with three shots and with none, since three do not fit a short context, where a prompt that
is too long counts as failed.

Example:
    CODEGEMMA_BENCHMARKS=... python benchmarks/bench_code_table.py --model nano --out runs/nano
"""

import argparse
import functools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from codegemma.cli.results import sandbox
from codegemma.evaluate.drawing import DrawSettings
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.runner import RunSettings, run_task
from codegemma.generate.named import open_raw
from results import Row, cpu_name, write_rows

TASKS: Final = (
    "humaneval",
    "mbpp",
    "mbpp:0-shot",
    "humaneval-infilling-single",
    "humaneval-infilling-multi",
    "humaneval-infilling-random",
    "humaneval-infilling-random-light",
    "bc-humaneval",
    "bc-mbpp",
)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano", help="a name, a folder, or remote:URL")
    parser.add_argument("--out", type=Path, required=True, help="run folder; run again to resume")
    parser.add_argument("--tasks", nargs="+", default=TASKS, help="some of them")
    parser.add_argument("--limit", type=int, help="the first so many problems of each task")
    parser.add_argument("--batch", type=int, default=16, help="prompts drawn together")
    parser.add_argument("--name", default="code-table", help="first word of the file's name")
    arguments = parser.parse_args(words)
    settings = RunSettings(draw=DrawSettings(batch=arguments.batch), limit=arguments.limit)
    open_completer = functools.cache(lambda: open_raw(arguments.model))
    rows: list[Row] = []
    with sandbox("bubblewrap", is_wanted=True) as box:
        for task in [task for name in arguments.tasks for task in find_tasks(name)]:
            began = time.monotonic()
            result = run_task(
                task,
                out=arguments.out,
                model=arguments.model,
                open_completer=open_completer,
                sandbox=box,
                settings=settings,
            )
            found = rows_of(result)
            rows += found
            took = time.monotonic() - began
            print(
                f"{task.name}: {found[0].value:.4f}, n {found[0].n}, {took:.0f} s", file=sys.stderr
            )
    print(write_rows(arguments.name, rows, device=cpu_name()))
    for row in rows:
        low, high = (f"{100 * (end or 0):.1f}" for end in (row.low, row.high))
        print(f"{row.name:66} {100 * row.value:5.1f} % ({low} to {high}) n {row.n}")


def rows_of(result: Mapping[str, Any]) -> list[Row]:
    """Turn one task's result into rows, a metric each."""
    model, data = result["settings"]["model"], result["settings"]["data"]
    which = (model.get("fingerprint") or "")[:12] or model.get("name", "")
    common = [
        f"model {result['model']} {which}".strip(),
        f"{model['dtype']}, mode {model['mode']}, greedy",
        f"at most {result['settings']['sampling']['max_tokens']} tokens",
        *(f"{Path(name).name} {digest[:12]}" for name, digest in data.items()),
    ]
    counted = {
        "prompts longer than the context": result["num_refused"],
        "prompts cut to the context": result["num_prompts_cut"],
        "problems without a sample": result["num_missing"],
    }
    common += [f"{count} {words}" for words, count in counted.items() if count]
    common += ["the first problems alone"] if result["limit"] else []
    common.append(
        f"{result['seconds_drawing']:.0f} s drawing, {result['seconds_running']:.0f} s of programs "
        f"on {os.cpu_count()} processors"
    )
    return [
        Row(
            name=f"{result['task']} {name}",
            value=found["value"],
            unit="fraction",
            n=found["n"],
            low=found["low"],
            high=found["high"],
            note="; ".join([f"effective n {found['n_eff']:.0f}", *common]),
        )
        for name, found in result["metric"].items()
    ]


if __name__ == "__main__":
    main()
