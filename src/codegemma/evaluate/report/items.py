# SPDX-License-Identifier: Apache-2.0
"""The items of runs, for looking through: prompt, completions, verdicts, error streams.

Texts are made visible here and packed; a page unpacks them and shows them as text, never as markup.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from codegemma.evaluate.report.measured import task_names
from codegemma.evaluate.report.runs import Run, TaskRun
from codegemma.evaluate.report.text import visible
from codegemma.evaluate.task import Problem, Sample, Score


def pack_items(runs: Sequence[Run]) -> str:
    """Give all items as base64 of gzip of JSON, the same bytes for the same runs.

    The JSON is `{"runs": [label], "tasks": [{"name", "note", "items": [{"id", "parts", "solution",
    "runs": [[sample] or null]}]}]}`; a sample is `{"text", "end", "verdict", "scores": [[variant,
    value, outcome, stderr]]}`, the headline variant first.

    Raises:
        CodegemmaError: A file of samples or scores is damaged.
    """
    value = {
        "runs": [visible(run.label) for run in runs],
        "tasks": [_task(name, runs) for name in task_names(runs)],
    }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")


def _task(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    tasks = [run.tasks.get(name) for run in runs]
    problems: Mapping[str, Problem] = {}
    note = ""
    for task in tasks:
        if task is not None and not problems:
            problems, note = task.problems
    kept = [task.kept_ids() if task else None for task in tasks]
    samples: list[dict[str, list[dict[str, Any]]]] = []
    for task, ids in zip(tasks, kept, strict=True):
        found: dict[str, list[dict[str, Any]]] = {}
        for sample in task.samples if task else ():
            if task is not None and (ids is None or sample.task_id in ids):
                found.setdefault(sample.task_id, []).append(_sample(task, sample))
        samples.append(found)
    names = dict.fromkeys(each for found in samples for each in found)
    ordered = [each for each in problems if each in names]
    ordered += [each for each in names if each not in problems]
    return {
        "name": visible(name),
        "note": visible(f"Prompts are not shown: {note}") if note else "",
        "items": [
            {
                "id": visible(each),
                "parts": _parts(problems.get(each)),
                "solution": _text(problems[each].solution) if each in problems else None,
                "runs": [found.get(each) for found in samples],
            }
            for each in ordered
        ],
    }


def _parts(problem: Problem | None) -> list[list[str]]:
    """Give the parts of a prompt with their names."""
    if problem is None:
        return []
    prompt = problem.prompt
    parts = [[f"file {file.path}", file.text] for file in prompt.context]
    parts += [[turn.role, turn.text] for turn in prompt.turns]
    if prompt.prefix:
        parts.append(["prefix", prompt.prefix])
    if prompt.suffix is not None:
        parts.append(["suffix", prompt.suffix])
    for number, (context, continuation) in enumerate(problem.pairs, start=1):
        parts.append([f"choice {number}", f"{context}{continuation}"])
    return [[visible(name), visible(text)] for name, text in parts]


def _sample(task: TaskRun, sample: Sample) -> dict[str, Any]:
    scores = list(task.sample_scores.get((sample.task_id, sample.index), ()))
    headline = task.variant(task.headline) if task.headline else ""
    scores.sort(key=lambda score: score.variant != headline)
    return {
        "text": visible(sample.text),
        "end": visible(sample.refusal or sample.finish_reason or ""),
        "verdict": _verdict(sample, scores),
        "scores": [
            [visible(each.variant), each.value, each.outcome or "", visible(each.stderr)]
            for each in scores
        ],
    }


def _verdict(sample: Sample, scores: Sequence[Score]) -> str:
    """Say in one word what became of a sample, by the headline variant."""
    if sample.refusal:
        return "refused"
    if not scores:
        return "not scored"
    if scores[0].outcome:
        return scores[0].outcome.replace("_", " ")
    if scores[0].value == 1.0:
        return "pass"
    return "fail" if scores[0].value == 0.0 else "partly"


def _text(text: str | None) -> str | None:
    return None if text is None else visible(text)
