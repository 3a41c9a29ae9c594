# SPDX-License-Identifier: Apache-2.0
"""How long a completion took, by part of a task and model: kind of snippet, with and without files.

Seconds are of the wall clock, each sample's share of those of its batch, on whatever machine drew
it; two runs are set against each other sample by sample, as ratios, which a few slow ones do not
decide.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from codegemma.evaluate.report.compare import NOT_SHOWN
from codegemma.evaluate.report.document import Block, Paragraph, Section, Table
from codegemma.evaluate.report.runs import Run, TaskRun
from codegemma.evaluate.report.text import p_value
from codegemma.evaluate.statistics import CONFIDENCE, Ratio, adjust, compare_ratios

TASKS: Final = "repo:"
_NOTE: Final = (
    "Wall-clock seconds, the machines not necessarily alone. A ratio above 1 means that the second "
    "run is slower; it counts as shown where its interval leaves 1 out and the test, which flips "
    "the signs of whole functions, is below 0.05 among all ratios of the table by Holm's method."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The seconds of one part of a task in two runs, and the ratio of the second's to the first's.

    Args:
        task: The task.
        part: Its part.
        first: Label of the first run.
        second: Label of the other.
        ratio: Paired by sample; None where no sample is in both.
    """

    task: str
    part: str
    first: str
    second: str
    ratio: Ratio | None


def latency(runs: Sequence[Run]) -> Section | None:
    """Give the section on latency, None where no run is of a repository."""
    rows = [
        _row(run, task, part, list(seconds.values()))
        for run in runs
        for name, task in run.tasks.items()
        if name.startswith(TASKS)
        for part, seconds in _by_part(task).items()
    ]
    if not rows:
        return None
    head = ("run", "median", "8 of 10 within", "n", "under")
    blocks: list[Block] = [Table(caption="Seconds a completion", head=head, rows=rows)]
    paces = compare_paces(runs)
    if paces:
        head = ("task", "ratio of the seconds", "95 %", "p", "p among all", "verdict", "n")
        adjusted = adjust([1.0 if pace.ratio is None else pace.ratio.p_value for pace in paces])
        lines = list(map(_pair, paces, adjusted))
        blocks.append(Table(caption="Paired, sample by sample", head=head, rows=lines))
    return Section(title="Latency", blocks=[*blocks, Paragraph(text=_NOTE)])


def compare_paces(runs: Sequence[Run]) -> list[Pace]:
    """Compare every further run's seconds with the first's, by part of each repository."""
    found: list[Pace] = []
    for other in runs[1:]:
        for name, task in runs[0].tasks.items():
            if not name.startswith(TASKS) or name not in other.tasks:
                continue
            ours, theirs = _by_part(task), _by_part(other.tasks[name])
            problems, _ = task.problems
            for part in [part for part in ours if part in theirs]:
                both = [key for key in ours[part] if key in theirs[part]]
                ratio = None
                if both:
                    ratio = compare_ratios(
                        [ours[part][key] for key in both],
                        [theirs[part][key] for key in both],
                        [problems[task_id].cluster or task_id for task_id, _ in both],
                    )
                labels = {"first": runs[0].label, "second": other.label}
                found.append(Pace(task=name, part=part, ratio=ratio, **labels))
    return found


def _by_part(task: TaskRun) -> dict[str, dict[tuple[str, int], float]]:
    """Give the seconds of each sample that was drawn, by part; none where parts are not known."""
    problems, _ = task.problems
    kept = task.kept_ids()
    found: dict[str, dict[tuple[str, int], float]] = {}
    for sample in task.samples:
        problem = problems.get(sample.task_id)
        is_kept = kept is None or sample.task_id in kept
        if problem is not None and is_kept and sample.wall_s > 0 and not sample.refusal:
            part = found.setdefault(problem.group or "all", {})
            part[sample.task_id, sample.index] = sample.wall_s
    return {part: found[part] for part in _ordered(found, task)}


def _ordered(found: dict[str, dict[tuple[str, int], float]], task: TaskRun) -> list[str]:
    return sorted(
        found, key=lambda part: list(task.parts).index(part) if part in task.parts else -1
    )


def _row(run: Run, task: TaskRun, part: str, seconds: Sequence[float]) -> list[str]:
    spread = "-"
    if len(seconds) > 1:
        tenths = statistics.quantiles(seconds, n=10, method="inclusive")
        spread = f"{tenths[0]:.3f} to {tenths[-1]:.3f} s"
    devices = ", ".join(sorted({str(each.get("device")) for each in task.sessions}))
    return [
        f"{run.label}, {task.name}, {part}",
        f"{statistics.median(seconds):.3f} s",
        spread,
        f"{len(seconds):,}",
        f"batch {task.batch}, {run.model_settings.get('dtype')}, {devices}",
    ]


def _pair(pace: Pace, adjusted: float) -> list[str]:
    label = f"{pace.task}, {pace.part}: {pace.second} over {pace.first}"
    found = pace.ratio
    if found is None:
        return [label, *["-"] * 4, "no sample is in both", "0"]
    return [
        label,
        f"{found.ratio:.2f}",
        f"{found.low:.2f} to {found.high:.2f}",
        p_value(found.p_value),
        p_value(adjusted),
        _verdict(pace, found, adjusted),
        f"{found.n:,}, worth {found.n_eff:,.0f}",
    ]


def _verdict(pace: Pace, found: Ratio, adjusted: float) -> str:
    if not found.is_shown or adjusted >= 1 - CONFIDENCE:
        return NOT_SHOWN
    return f"{pace.second if found.ratio > 1 else pace.first} is slower"
