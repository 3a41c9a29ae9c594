# SPDX-License-Identifier: Apache-2.0
"""From scores to a result: every metric with its interval, and what the numbers rest on.

A result is plain JSON: `{"task", "n", "metric": {name: {"value", "low", "high", "n", "n_eff",
...}}, ...}`, fractions in [0, 1]. The headline variant's passes are `pass@1`, another's
`pass@1:VARIANT`; values that are no passes go by their variant's name. `"group"` has the same by
the parts of a task that are counted by themselves too, such as subjects.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from codegemma.evaluate.judge import variants_of
from codegemma.evaluate.statistics import estimate, pass_at_k
from codegemma.evaluate.task import Problem, Sample, Score, Task

KS: Final = (1, 10, 100)
"""pass@k is given for these k as far as every problem has as many samples."""


def problem_values(
    samples: Sequence[Sample], scores: Mapping[tuple[str, int, str], Score], *, variant: str
) -> dict[str, list[float]]:
    """Give the values of a variant by problem, for those with scores."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        score = scores.get((sample.task_id, sample.index, variant))
        if score is not None:
            values.setdefault(sample.task_id, []).append(score.value)
    return values


def summarize(
    task: Task,
    problems: Sequence[Problem],
    samples: Sequence[Sample],
    scores: Mapping[tuple[str, int, str], Score],
) -> dict[str, Any]:
    """Count the scores of a task.

    Args:
        task: The task.
        problems: Those that were to be answered.
        samples: Their samples.
        scores: By task id, index and variant; samples without a score are left out.

    Returns:
        The result; without scores it has no metrics.
    """
    names = _variant_names(task, samples)
    metric = _metrics(problems, names, samples, scores)
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.group:
            groups.setdefault(problem.group, []).append(problem)
    answered = {sample.task_id for sample in samples}
    headline = next(iter(names), "")
    main = [score for (_, _, variant), score in scores.items() if variant == headline]
    outcomes = Counter(str(score.outcome or "not run") for score in main)
    return {
        "task": task.name,
        "n": metric["pass@1"]["n"] if "pass@1" in metric else len(answered),
        "metric": metric,
        "group": {
            name: found
            for name, members in groups.items()
            if (found := _metrics(members, names, samples, scores))
        },
        "num_samples": len(samples),
        "num_problems": len(problems),
        "num_missing": len(problems) - len(answered),
        "num_refused": sum(bool(sample.refusal) for sample in samples),
        "num_prompts_cut": sum(sample.is_prompt_cut for sample in samples),
        "outcomes": dict(sorted(outcomes.items())),
        "finish_reasons": _counts(samples),
        "seconds_drawing": round(sum(sample.wall_s for sample in samples), 3),
        "seconds_running": round(sum(score.wall_s for score in main), 3),
        "backends": sorted({score.backend for score in scores.values() if score.backend}),
    }


def _metrics(
    problems: Sequence[Problem],
    names: Mapping[str, bool],
    samples: Sequence[Sample],
    scores: Mapping[tuple[str, int, str], Score],
) -> dict[str, Any]:
    """Estimate every variant's metrics over problems."""
    clusters = {problem.task_id: problem.cluster or problem.task_id for problem in problems}
    metric: dict[str, Any] = {}
    for name, is_pass_rate in names.items():
        values = problem_values(samples, scores, variant=name)
        ids = [task_id for task_id in clusters if task_id in values]
        if not ids:
            continue
        groups = [clusters[task_id] for task_id in ids]
        if not is_pass_rate:
            means = [sum(values[task_id]) / len(values[task_id]) for task_id in ids]
            metric[name] = {**asdict(estimate(means, groups)), "variant": name}
            continue
        fewest = min(len(values[task_id]) for task_id in ids)
        for k in KS:
            if k <= fewest:
                rates = [
                    pass_at_k(len(values[i]), sum(value == 1.0 for value in values[i]), k=k)
                    for i in ids
                ]
                label = f"pass@{k}" if name == next(iter(names)) else f"pass@{k}:{name}"
                metric[label] = {**asdict(estimate(rates, groups)), "variant": name}
    return metric


def _variant_names(task: Task, samples: Sequence[Sample]) -> dict[str, bool]:
    """Name the variants of the samples, the headline first, and whether they count passes."""
    names: dict[str, bool] = {}
    for sample in samples:
        for name, variant in variants_of(task, sample):
            names.setdefault(name, variant.is_pass_rate)
    return names


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    reasons = Counter(sample.finish_reason for sample in samples if sample.finish_reason)
    return dict(sorted(reasons.items()))
