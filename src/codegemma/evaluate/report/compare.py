# SPDX-License-Identifier: Apache-2.0
"""Two runs of one task, problem by problem: does one do better, or does nothing show that it does?

Only problems that both runs answered count, and how many those are is said. Where items are not
independent of each other, their clusters come from the benchmark's data; without it nothing is
compared, since items taken for independent would show differences that are not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from codegemma.evaluate.report.runs import Run, TaskRun
from codegemma.evaluate.statistics import Comparison, adjust, compare

NOT_SHOWN = "no difference shown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One task of two runs.

    Args:
        task: The task.
        metric: The metric compared.
        first: Label of the run that the other is compared with.
        second: Label of the other.
        comparison: None where they cannot be compared.
        adjusted_p: The p among those of all pairs of the report, by Holm's method.
        remark: Why there is no comparison, or what a reader of it must know.
    """

    task: str
    metric: str
    first: str
    second: str
    comparison: Comparison | None = None
    adjusted_p: float | None = None
    remark: str = ""

    @property
    def verdict(self) -> str:
        """What may be said of the two."""
        if self.comparison is None:
            return "not compared"
        if not self.comparison.is_shown:
            return NOT_SHOWN
        return f"{self.second if self.comparison.difference > 0 else self.first} is higher"


def compare_runs(runs: Sequence[Run]) -> list[Pair]:
    """Compare every further run with the first, task by task.

    Raises:
        CodegemmaError: A file of samples or scores is damaged.
    """
    pairs = [
        _pair(name, runs[0], other)
        for other in runs[1:]
        for name in runs[0].tasks
        if name in other.tasks
    ]
    compared = [pair for pair in pairs if pair.comparison is not None]
    p_values = adjust([pair.comparison.p_value for pair in compared if pair.comparison])
    adjusted = dict(zip(map(id, compared), p_values, strict=True))
    return [replace(pair, adjusted_p=adjusted.get(id(pair))) for pair in pairs]


def _pair(name: str, run: Run, other: Run) -> Pair:
    first, second = run.tasks[name], other.tasks[name]
    metric = first.headline
    pair = Pair(task=name, metric=metric, first=run.label, second=other.label)
    if not metric or metric not in second.metrics:
        return replace(pair, remark="one of them has no scores")
    if first.variant(metric) != second.variant(metric):
        return replace(pair, remark="they are scored in different ways")
    if first.data != second.data:
        return replace(pair, remark="they read different data")
    problems, reason = first.problems
    if not problems:
        return replace(pair, remark=f"which items belong together is not known: {reason}")
    means, others = first.problem_means(metric), second.problem_means(metric)
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
    return any(hashes[0][name] != hashes[1][name] for name in shared)
