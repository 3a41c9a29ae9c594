# SPDX-License-Identifier: Apache-2.0
"""Whether a figure measured here and a published one are of the same thing, and then agree.

They are of the same thing only where model, revision, dtype and protocol are the same; each
difference is named. Everything else is "published, not run here".
"""

from collections.abc import Iterator
from dataclasses import dataclass

from codegemma.errors import CodegemmaError
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.report.published import MODELS, SOURCE_HASHES, Benchmark
from codegemma.evaluate.report.runs import Run, TaskRun

NOT_RUN = "published, not run here"
_DTYPE = "bfloat16"
_INFILLING = "humaneval-infilling-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """One figure of ours beside the published one of the same model.

    Args:
        model: The model.
        benchmark: The row.
        percent: The published figure, the more exact one where there are two.
        obstacles: In what the two are not of the same thing; empty where they are.
        is_within: Whether the published figure lies in our interval; None with obstacles.
    """

    model: str
    benchmark: Benchmark
    percent: float
    obstacles: tuple[str, ...]
    is_within: bool | None

    @property
    def verdict(self) -> str:
        """What may be said."""
        if self.is_within is None:
            return f"not comparable: {'; '.join(self.obstacles)}"
        if self.is_within:
            return "agrees: the published figure lies within the interval"
        return "differs: the published figure lies outside the interval"


def published_name(run: Run) -> str | None:
    """Name the published model that a run is of, None where it is of none."""
    repository = str(run.model_settings.get("revision") or "").partition("@")[0]
    name = (repository or run.model).removeprefix("google/")
    return name if name in MODELS else None


def agree(run: Run, task: TaskRun, benchmark: Benchmark) -> Agreement | None:
    """Hold a task of a run against the published row.

    Returns:
        None where nothing was published of the run's model, or nothing is scored.
    """
    model = published_name(run)
    if model is None or not task.headline:
        return None
    percents = benchmark.paper_percents or benchmark.percents
    card, percent = (each[MODELS.index(model)] for each in (benchmark.percents, percents))
    if card is None or percent is None:
        return None
    if abs(card - percent) > 0.06:  # not rounding: the two sources differ, and the card wins
        percent = card
    obstacles = tuple(_obstacles(run, task, benchmark, is_instruction=model.endswith("-it")))
    metric = task.metrics[task.headline]
    is_within = None if obstacles else metric["low"] <= percent / 100 <= metric["high"]
    return Agreement(
        model=model,
        benchmark=benchmark,
        percent=percent,
        obstacles=obstacles,
        is_within=is_within,
    )


def _obstacles(
    run: Run, task: TaskRun, benchmark: Benchmark, *, is_instruction: bool
) -> Iterator[str]:
    revision = run.model_settings.get("revision")
    if not revision:
        yield "the run records no revision of the released weights"
    dtype = run.model_settings.get("dtype")
    if dtype != _DTYPE:
        yield f"dtype {dtype}, not {_DTYPE}"
    if not benchmark.is_protocol_known:
        yield f"not stated by the sources: {benchmark.unstated}"
    elif is_instruction and not task.name.startswith(_INFILLING):
        yield "the sources do not state the instruction models' prompt"
    yield from _protocol_changes(task, benchmark)


def _protocol_changes(task: TaskRun, benchmark: Benchmark) -> Iterator[str]:
    result, n = task.result, int(task.metrics[task.headline]["n"])
    if n != benchmark.n:
        yield f"{n:,} problems, not {benchmark.n:,}"
    sampling = task.sampling
    if sampling.get("temperature") != 0 or result.get("num_samples") != n:
        yield "not one greedy sample a problem"
    for key, words in (
        ("num_missing", "problems without a sample"),
        ("num_refused", "prompts longer than the context"),
        ("num_prompts_cut", "prompts cut to the context"),
    ):
        if result.get(key):
            yield f"{result[key]} {words}"
    if task.name.startswith(_INFILLING) and task.batch != "1":
        yield f"batch {task.batch or 'unknown'}, not 1"
    for name, sha256 in task.data.items():
        if sha256 not in SOURCE_HASHES.get(name, (sha256,)):
            yield f"{name} is not known to be as its source has it"
    if task.settings.get("path") is not None:
        yield "a path line above the prompt"
    try:
        expected = find_tasks(task.name)[0].sampling
    except CodegemmaError:
        yield "a task that is not known here"
        return
    if sampling.get("max_tokens") != expected.max_tokens:
        yield f"at most {sampling.get('max_tokens')} tokens, not {expected.max_tokens}"
    if tuple(sampling.get("stop") or ()) != expected.stop:
        yield "other stop strings"
