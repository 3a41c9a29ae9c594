# SPDX-License-Identifier: Apache-2.0
"""Runs a task from its problems to its result, and goes on where an earlier run stopped.

Drawing and scoring are stages of their own over the files of one folder: what is drawn is never
drawn again, what is scored is scored again only if the text or the problem changed. They alternate,
so that a running score can be shown and programs do not compete with the model for the processor.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codegemma.completion import Completer
from codegemma.errors import ConfigError, DataError
from codegemma.evaluate.drawing import DrawSettings, draw_samples
from codegemma.evaluate.folder import RunFolder, Shard, write_json
from codegemma.evaluate.problems import write_problems
from codegemma.evaluate.provenance import program_versions, session, shared_settings
from codegemma.evaluate.scoring import (
    Listener,
    Progress,
    Scorer,
    check_sandbox,
    data_folder,
    group_size,
)
from codegemma.evaluate.store import LineFile, hash_prompt, write_sample
from codegemma.evaluate.summary import summarize
from codegemma.evaluate.task import Problem, Sample, Task
from codegemma.sandbox.run import Sandbox


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """What is run.

    Args:
        draw: How samples are drawn.
        limit: The first so many problems; None is all.
        shard: Which part of those.
    """

    draw: DrawSettings = field(default_factory=DrawSettings)
    limit: int | None = None
    shard: Shard = field(default_factory=Shard)

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, not {self.limit}")

    def choose(self, problems: Sequence[Problem]) -> list[Problem]:
        """Give the problems to be answered; a shard takes each so many-th of them."""
        chosen = problems if self.limit is None else problems[: self.limit]
        return list(chosen[self.shard.index - 1 :: self.shard.count])


def run_task(
    task: Task,
    *,
    out: Path,
    model: str,
    open_completer: Callable[[], Completer],
    sandbox: Sandbox | None,
    settings: RunSettings | None = None,
    merge: Iterable[Path] = (),
    prepared: Path | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Draw and score what is missing in a folder, and write the result there.

    Args:
        task: The benchmark.
        out: Folder of the run of all tasks; the task has one of its own in it.
        model: The name that the user gave the model.
        open_completer: Loads it; called only if something is to be drawn or to be proved.
        sandbox: Runs programs; None draws alone.
        settings: What is run; None takes every default.
        merge: Folders of runs of the same settings whose samples and scores are taken over.
        prepared: Folder of prepared data, for tasks that read it.
        listener: Told of every step.

    Returns:
        The result of the chosen problems, as written to the folder.

    Raises:
        CodegemmaError: The data, the model, the sandbox or the folder is not as it should be.
    """
    settings = settings or RunSettings()
    data = data_folder(task, prepared)
    problems = _choose(task, data, settings, listener=listener)
    if sandbox is not None:
        check_sandbox(task, sandbox)
    folder = RunFolder(out, task.name, shard=settings.shard)
    folder.merge(merge)
    folder.check(shared_settings(task, data, settings.draw, info=None))
    if not task.files or task.reads_prepared:
        write_problems(folder.path, problems)  # a report finds them nowhere else
    total = len(problems) * settings.draw.n
    with ExitStack() as stack:
        samples_file = stack.enter_context(LineFile(folder.file("samples")))
        scores_file = stack.enter_context(LineFile(folder.file("scores")))
        samples = _chosen(folder.samples(), problems, settings.draw)
        scorer = None
        if sandbox is not None:
            known = folder.scores()
            folder.record_scoring(program_versions(task, sandbox.isolation))
            scorer = Scorer(task, problems, sandbox=sandbox, scores=known, lines=scores_file)
            scorer.score(list(samples.values()), listener=listener)
        if len(samples) < total or model not in folder.models():
            completer = open_completer()
            if task.check_model is not None:
                task.check_model(completer, data)
            fixed = shared_settings(task, data, settings.draw, info=completer.info)
            about = session(settings.draw, model=model, device=completer.info.device)
            folder.record(fixed, session=about)
            if sandbox is not None:
                folder.record_scoring(program_versions(task, sandbox.isolation))
            drawn = draw_samples(
                task, problems, completer=completer, settings=settings.draw, done=set(samples)
            )
            num_missing, group = total - len(samples), group_size(task)
            for batch in _scored(drawn, scorer, num_missing=num_missing, group=group):
                samples_file.write(map(write_sample, batch))
                samples |= {(sample.task_id, sample.index): sample for sample in batch}
                if listener is not None:
                    counts = (scorer.num_passed, scorer.num_scored) if scorer else (0, 0)
                    listener(Progress(task.name, "drawing", len(samples), total, *counts))
    found = list(samples.values())
    result = summarize(task, problems, found, scorer.scores_of(found) if scorer else {})
    result |= {"model": model, "settings": folder.settings(), "limit": settings.limit}
    result["shard"] = f"{settings.shard.index}/{settings.shard.count}"
    write_json(folder.file("result"), result)
    return result


def _choose(
    task: Task, data: Path, settings: RunSettings, *, listener: Listener | None
) -> list[Problem]:
    """Give the problems to be answered, each of an id of its own."""
    told = listener if task.reads_prepared else None  # that takes a while
    if told is not None:
        told(Progress(task.name, "reading the data", 0, 1, 0, 0))
    problems = settings.choose(task.problems(data))
    if told is not None:
        told(Progress(task.name, "reading the data", 1, 1, 0, 0))
    if not problems:
        raise ConfigError(
            f"shard {settings.shard.index} of {settings.shard.count} of {task.name} has no problem"
        )
    counts = Counter(problem.task_id for problem in problems)
    twins = [task_id for task_id, count in counts.items() if count > 1]
    if twins:  # the samples of one would be taken for the other's
        raise DataError(f"{task.name} has several problems of one id: {', '.join(twins[:3])}")
    return problems


def _scored(
    batches: Iterable[list[Sample]], scorer: Scorer | None, *, num_missing: int, group: int
) -> Iterator[list[Sample]]:
    """Pass batches on, and after them score what has gathered."""
    unscored: list[Sample] = []
    for batch in batches:
        yield batch
        unscored += batch
        num_missing -= len(batch)
        if scorer is not None and (num_missing == 0 or len(unscored) >= group):
            scorer.score(unscored)
            unscored = []


def _chosen(
    samples: Mapping[tuple[str, int], Sample], problems: Sequence[Problem], draw: DrawSettings
) -> dict[tuple[str, int], Sample]:
    """Give the samples that were asked for, in the order of the problems."""
    found: dict[tuple[str, int], Sample] = {}
    for problem in problems:
        keys = [(problem.task_id, index) for index in range(draw.n)]
        kept = {key: samples[key] for key in keys if key in samples}
        expected = hash_prompt(draw.prompt(problem), problem.pairs) if kept else ""
        if any(sample.prompt_sha256 != expected for sample in kept.values()):
            raise ConfigError(
                f"the samples of {problem.task_id} answer another prompt than this version asks; "
                "take another folder"
            )
        found |= kept
    return found
