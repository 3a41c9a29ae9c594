# SPDX-License-Identifier: Apache-2.0
"""Runs an evaluation as a process of its own, to be killed by a test.

python stopped_run.py draw OUT        one sample every 50 ms, without a sandbox
python stopped_run.py run OUT         the same, each scored before the next is drawn
python stopped_run.py score FILE      one score at a time
"""

import importlib.util
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from codegemma.evaluate import scoring
from codegemma.evaluate.drawing import DrawSettings
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.runner import RunSettings, run_task
from codegemma.sandbox.run import Sandbox


def run() -> None:
    spec = importlib.util.spec_from_file_location("fakes", Path(__file__).parents[1] / "fakes.py")
    assert spec is not None
    assert spec.loader is not None
    fakes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fakes)
    (task,) = find_tasks("humaneval")
    kind, path = sys.argv[1], Path(sys.argv[2])
    if kind in ("draw", "run"):
        scoring.GROUP = 1

        def answer(prompt: object, index: int) -> str:
            time.sleep(0.05)
            return f"    return {index}\n"

        with ExitStack() as stack:
            run_task(
                task,
                out=path,
                model="scripted",
                open_completer=lambda: fakes.ScriptedCompleter(answer),
                sandbox=stack.enter_context(Sandbox()) if kind == "run" else None,
                settings=RunSettings(draw=DrawSettings(batch=1)),
            )
    else:
        scoring.GROUP = 1
        with Sandbox() as sandbox:
            scores = path.with_suffix(".scores.jsonl")
            scoring.score_samples(task, path, sandbox=sandbox, scores_file=scores)


if __name__ == "__main__":
    run()
