# SPDX-License-Identifier: Apache-2.0
"""Scores samples in groups, keeping each group's scores before the next is begun.

Serves a run's own samples and files of samples made elsewhere alike; a scoring that was stopped
goes on with the first sample that has no score.
"""

import logging
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from codegemma.errors import ConfigError, InputError
from codegemma.evaluate.benchmark import benchmark_folder
from codegemma.evaluate.judge import Judge, variants_of
from codegemma.evaluate.provenance import program_versions
from codegemma.evaluate.store import (
    LineFile,
    ScoreKey,
    read_samples,
    read_scores,
    score_key,
    write_score,
)
from codegemma.evaluate.summary import summarize
from codegemma.evaluate.task import Problem, Sample, Score, Task
from codegemma.sandbox.run import Sandbox

logger = logging.getLogger(__name__)

GROUP: Final = 64
"""Samples that are scored together; a kill loses the scores of so many at most."""

_NUM_SLOW: Final = 4
"""Samples of a group for each processor, where a program takes seconds."""


class Progress(NamedTuple):
    """How far a task is.

    Args:
        task: Its name.
        stage: What goes on.
        done: Samples that are through this stage.
        total: Of how many.
        num_passed: Samples that passed so far, by the headline variant.
        num_scored: Of how many.
    """

    task: str
    stage: Literal["reading the data", "looking for functions", "drawing", "scoring"]
    done: int
    total: int
    num_passed: int
    num_scored: int


Listener = Callable[[Progress], None]


class Scorer:
    """Keeps the scores of one task's samples.

    Args:
        task: The task.
        problems: Its problems.
        sandbox: Runs the programs.
        scores: Those known already; new ones are added.
        lines: Where new ones are written, None for nowhere.
    """

    def __init__(
        self,
        task: Task,
        problems: Sequence[Problem],
        *,
        sandbox: Sandbox,
        scores: dict[ScoreKey, Score],
        lines: LineFile | None,
    ) -> None:
        self._task = task
        self._judge = Judge(task, problems, sandbox=sandbox)
        self._scores = scores
        self._lines = lines
        self.num_passed = 0
        self.num_scored = 0

    def score(self, samples: Sequence[Sample], *, listener: Listener | None = None) -> None:
        """Score samples as far as they have no scores; each sample is to be given once."""
        size = group_size(self._task)
        for start in range(0, len(samples), size):
            group = samples[start : start + size]
            new = self._judge.score(group, known=self._scores)
            if self._lines is not None:
                self._lines.write(map(write_score, new))
            self._scores |= {score_key(score): score for score in new}
            for sample in group:
                headline = self._scores[self._judge.keys(sample)[0]]
                self.num_passed += headline.value == 1.0
                self.num_scored += 1
            if listener is not None:
                done = min(start + size, len(samples))
                listener(
                    Progress(
                        self._task.name,
                        "scoring",
                        done,
                        len(samples),
                        self.num_passed,
                        self.num_scored,
                    )
                )

    def scores_of(self, samples: Sequence[Sample]) -> dict[tuple[str, int, str], Score]:
        """Give the scores of samples as they are now, by task id, index and variant."""
        keys = [key for sample in samples for key in self._judge.keys(sample)]
        return {
            (key.task_id, key.index, key.variant): self._scores[key]
            for key in keys
            if key in self._scores
        }


def group_size(task: Task) -> int:
    """Give how many samples of a task are scored before their scores are kept."""
    return min(GROUP, _NUM_SLOW * (os.cpu_count() or 1)) if task.has_slow_programs else GROUP


def score_samples(
    task: Task,
    file: Path,
    *,
    sandbox: Sandbox,
    scores_file: Path | None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Score a file of samples, made here or elsewhere, and give the result.

    Args:
        task: What they answer.
        file: Samples, as `store.read_samples` reads them; never written to.
        sandbox: Runs the programs.
        scores_file: Where scores are kept, so that a stopped scoring goes on; None keeps none.
        listener: Told of every group.

    Raises:
        InputError: There are no samples, or of problems that the task has not.
        CodegemmaError: The data, the sandbox or a file is not as it should be.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    data = data_folder(task, None)
    problems = list(task.problems(data))
    samples = task_samples(task, problems, file)
    for sample in samples:
        variants_of(task, sample)  # refuses before anything runs
    check_sandbox(task, sandbox)
    with ExitStack() as stack:
        lines = stack.enter_context(LineFile(scores_file)) if scores_file else None
        known = read_scores(scores_file) if scores_file else {}
        scorer = Scorer(task, problems, sandbox=sandbox, scores=known, lines=lines)
        scorer.score(samples, listener=listener)
    result = summarize(task, problems, samples, scorer.scores_of(samples))
    kept = None if scores_file is None else str(scores_file.absolute())
    result |= {"file": str(file.absolute()), "scores_file": kept}
    hashes = {each.name: each.sha256(data) for each in task.files}
    settings = {"task": task.name, "data": hashes}
    return result | {"settings": settings, "scoring": program_versions(task, sandbox.isolation)}


def task_samples(task: Task, problems: Sequence[Problem], file: Path) -> list[Sample]:
    """Read a file of samples of a task, their task ids spelt as the benchmark does.

    Those of problems that the benchmark has and the task does not ask are left out.

    Raises:
        DataError: A line is damaged.
        InputError: It holds no samples, or such of problems that the task has not.
    """
    asked = {problem.task_id for problem in problems}
    names = _spellings(asked | task.other_ids)
    # Samples are counted by the benchmark's spelling: two spellings are no two problems.
    samples = read_samples(file, spell=lambda task_id: names.get(task_id.casefold(), task_id))
    unknown = sorted({sample.task_id for sample in samples} - asked - task.other_ids)
    found = [sample for sample in samples if sample.task_id in asked]
    if unknown or not found:
        what = f"there is no {', '.join(unknown[:3])} in it" if unknown else "it holds no sample"
        raise InputError(f"{file} holds no samples of {task.name}: {what}")
    if len(found) < len(samples):
        logger.warning(
            "%s: %d samples are of problems that %s does not ask, and left out",
            *(file, len(samples) - len(found), task.name),
        )
    return found


def data_folder(task: Task, prepared: Path | None) -> Path:
    """Give the folder that a task's problems are read from.

    Args:
        task: The task.
        prepared: What the user gave for tasks that read prepared data, None if nothing.

    Raises:
        ConfigError: Prepared data is needed and was not given.
        PrerequisiteError: The benchmark folder is not there.
    """
    if not task.reads_prepared:
        return benchmark_folder(task.files) if task.files else Path()
    if prepared is None:
        raise ConfigError(
            f"{task.name} reads training data: codegemma evaluate {task.name} --data FOLDER, a "
            "folder that codegemma prepare wrote"
        )
    return prepared


def check_sandbox(task: Task, sandbox: Sandbox) -> None:
    """Refuse before anything is drawn what could not be scored.

    Raises:
        PrerequisiteError: The sandbox or the tools of the task's language are missing or broken.
        SandboxError: This machine does not isolate.
    """
    if task.language is not None:
        sandbox.check(task.language)


def _spellings(task_ids: Collection[str]) -> dict[str, str]:
    """Give task ids by how other tools write them: in another case, or the number alone."""
    names = {name.casefold(): name for name in task_ids}
    numbers = {name.rpartition("/")[2]: name for name in names.values()}
    return names | numbers if len(numbers) == len(names) else names
