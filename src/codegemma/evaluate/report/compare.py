# SPDX-License-Identifier: Apache-2.0
"""Two runs of one task, problem by problem: does one do better, or does nothing show that it does?

The headline of a task is compared, and apart from it every other metric that both runs have, and
the parts of the task; what is scored alike in both is compared, whatever it is called in either.

Only problems that both runs answered count, and how many those are is said. Where items are not
independent of each other, their clusters come from the benchmark's data, or from the run's folder;
without either nothing is compared, since items taken for independent would show differences that
are not there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from codegemma.evaluate.report.runs import Run, TaskRun
from codegemma.evaluate.statistics import CONFIDENCE, Comparison, adjust, compare

NOT_SHOWN: Final = "no difference shown"
_MAX_PARTS: Final = 12
"""Parts of a task with more than these, such as subjects, are compared by the headline alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One task of two runs.

    Args:
        task: The task.
        metric: The metric compared.
        first: Label of the run that the other is compared with.
        second: Label of the other.
        comparison: None where they cannot be compared.
        adjusted_p: The p among those of all headlines of the report, or all else, by Holm's method.
        remark: Why there is no comparison, or what a reader of it must know.
        part: The part of the task that is compared; "" for all of it.
        is_headline: Whether the metric stands for the task.
    """

    task: str
    metric: str
    first: str
    second: str
    comparison: Comparison | None = None
    adjusted_p: float | None = None
    remark: str = ""
    part: str = ""
    is_headline: bool = True

    @property
    def verdict(self) -> str:
        """What may be said of the two."""
        if self.comparison is None:
            return "not compared"
        if not self.comparison.is_shown or (self.adjusted_p or 0.0) >= 1 - CONFIDENCE:
            return NOT_SHOWN
        return f"{self.second if self.comparison.difference > 0 else self.first} is higher"


def compare_runs(runs: Sequence[Run]) -> list[Pair]:
    """Compare every further run with the first, task by task.

    Raises:
        CodegemmaError: A file of samples or scores is damaged.
    """
    pairs = [
        pair
        for other in runs[1:]
        for name in runs[0].tasks
        if name in other.tasks
        for pair in _pairs(name, runs[0], other)
    ]
    adjusted: dict[int, float] = {}
    for is_headline in (True, False):
        found = {
            index: pair.comparison.p_value
            for index, pair in enumerate(pairs)
            if pair.comparison is not None and pair.is_headline == is_headline
        }
        adjusted |= dict(zip(found, adjust(list(found.values())), strict=True))
    return [replace(pair, adjusted_p=adjusted.get(index)) for index, pair in enumerate(pairs)]


def _pairs(name: str, run: Run, other: Run) -> Iterator[Pair]:
    """Compare the headline, and if that can be done, all else that both runs have."""
    first, second = run.tasks[name], other.tasks[name]
    pair = Pair(task=name, metric=first.headline, first=run.label, second=other.label)
    twins = {metric: twin for metric in first.metrics if (twin := _twin(first, second, metric))}
    remark = _obstacle(first, second, twins)
    if remark:
        yield replace(pair, remark=remark)
        return
    metrics = [metric for metric in first.metrics if metric in twins]
    shared_parts = [part for part in first.parts if part in second.parts]
    in_parts = metrics if len(shared_parts) <= _MAX_PARTS else metrics[:1]
    for part in ("", *shared_parts):
        for metric in in_parts if part else metrics:
            is_headline = not part and metric == first.headline
            chosen = replace(pair, metric=metric, part=part, is_headline=is_headline)
            yield _compare(chosen, first, second, second_metric=twins[metric])


def _twin(first: TaskRun, second: TaskRun, metric: str) -> str | None:
    """Name the metric of the second run that is scored as one of the first is."""

    def scored(task: TaskRun, name: str) -> tuple[str, str]:
        return task.variant(name), name.split(":")[0] if name.startswith("pass@") else ""

    wanted = scored(first, metric)
    return next((name for name in second.metrics if scored(second, name) == wanted), None)


def _obstacle(first: TaskRun, second: TaskRun, twins: dict[str, str]) -> str:
    """Say why two runs of a task cannot be compared; "" if they can."""
    if not first.metrics or not second.metrics:
        return "one of them has no scores"
    if not twins:
        return "they are scored in different ways"
    if first.data != second.data:
        return "they read different data"
    problems, reason = first.problems
    return "" if problems else f"which items belong together is not known: {reason}"


def _compare(pair: Pair, first: TaskRun, second: TaskRun, *, second_metric: str) -> Pair:
    problems = {
        name: problem
        for name, problem in first.problems[0].items()
        if not pair.part or problem.group == pair.part
    }
    means = {n: v for n, v in first.problem_means(pair.metric).items() if n in problems}
    others = {n: v for n, v in second.problem_means(second_metric).items() if n in problems}
    shared = [name for name in problems if name in means and name in others]
    if not shared:
        return replace(pair, remark="no problem was answered by both")
    clusters = [problems[name].cluster or name for name in shared]
    comparison = compare(
        [means[name] for name in shared], [others[name] for name in shared], clusters
    )
    remarks = [
        f"{len(means.keys() ^ others.keys()):,} problems were answered by one alone"
        if means.keys() != others.keys()
        else "",
        "they were asked with different prompts" if _prompts_differ(first, second, shared) else "",
    ]
    return replace(pair, comparison=comparison, remark="; ".join(filter(None, remarks)))


def _prompts_differ(first: TaskRun, second: TaskRun, shared: Sequence[str]) -> bool:
    hashes = [
        {sample.task_id: sample.prompt_sha256 for sample in run.samples} for run in (first, second)
    ]
    pairs = [(hashes[0][name], hashes[1][name]) for name in shared]
    return any(one and other and one != other for one, other in pairs)  # "": made elsewhere
