# SPDX-License-Identifier: Apache-2.0
"""Turns samples into scores: every variant of a task on every sample, programs in the sandbox.

Programs that are equal to the last letter run once. A score that is known is not made again: it
names by hash the problem and the text that were judged.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from codegemma.errors import InputError
from codegemma.evaluate.store import ScoreKey
from codegemma.evaluate.task import Problem, Sample, Score, Task, Variant
from codegemma.sandbox.program import Limits, Outcome, Program
from codegemma.sandbox.run import Sandbox

RAW: Final = "raw"
"""The headline variant of samples made elsewhere."""

_TAIL_CHARS: Final = 1000


class _Verdict(NamedTuple):
    outcome: Outcome
    words: str
    wall_s: float
    backend: str


class _Open(NamedTuple):
    """A score that waits for its program."""

    key: ScoreKey
    program: tuple[Program, Limits]


class Judge:
    """Scores samples of one task.

    Args:
        task: The task.
        problems: Its problems, those at least that samples answer.
        sandbox: Runs the programs.
    """

    def __init__(self, task: Task, problems: Sequence[Problem], *, sandbox: Sandbox) -> None:
        self._task = task
        self._problems = {problem.task_id: problem for problem in problems}
        self._row_hashes: dict[str, str] = {}
        self._sandbox = sandbox
        self._verdicts: dict[tuple[Program, Limits], _Verdict] = {}

    def score(self, samples: Sequence[Sample], *, known: Mapping[ScoreKey, Score]) -> list[Score]:
        """Give the scores that are missing, sample by sample, the headline variant first.

        Raises:
            InputError: The task takes no whole programs, and a sample is one.
            PrerequisiteError: The sandbox or the language's tools are not installed.
            SandboxError: The sandbox broke; the scores of this call are lost, and no others.
        """
        scores: dict[ScoreKey, Score] = {}
        waiting: list[_Open] = []
        programs: dict[tuple[str, int, str], Program | float] = {}
        for sample in samples:
            problem = self._problems[sample.task_id]
            for name, variant in variants_of(self._task, sample):
                text = variant.cut(problem, sample.text)
                key = self._key(sample, name, text)
                if key in known:
                    continue
                built = (sample.task_id, id(variant.check), text)
                try:
                    if sample.refusal:
                        raise InputError(sample.refusal)
                    checked = programs[built] if built in programs else variant.check(problem, text)
                except InputError as error:  # such as half a surrogate pair: no program can be made
                    scores[key] = _score(key, 0.0, stderr=str(error))
                    continue
                programs[built] = checked
                scores[key] = _score(key, 0.0 if isinstance(checked, Program) else checked)
                if isinstance(checked, Program):
                    limits = problem.limits or self._task.limits
                    waiting.append(_Open(key, (checked, limits)))
        self._run([item.program for item in waiting])
        for item in waiting:
            verdict = self._verdicts[item.program]
            scores[item.key] = Score(
                task_id=item.key.task_id,
                index=item.key.index,
                variant=item.key.variant,
                value=float(verdict.outcome == "pass"),
                judged_sha256=item.key.judged_sha256,
                outcome=verdict.outcome,
                stderr=verdict.words,
                wall_s=verdict.wall_s,
                backend=verdict.backend,
            )
        return list(scores.values())

    def keys(self, sample: Sample) -> list[ScoreKey]:
        """Name the scores of a sample, the headline variant's first."""
        problem = self._problems[sample.task_id]
        return [
            self._key(sample, name, variant.cut(problem, sample.text))
            for name, variant in variants_of(self._task, sample)
        ]

    def _key(self, sample: Sample, variant: str, text: str) -> ScoreKey:
        row_hash = self._row_hashes.get(sample.task_id)
        if row_hash is None:
            row = json.dumps(dict(self._problems[sample.task_id].row), sort_keys=True, default=repr)
            row_hash = self._row_hashes[sample.task_id] = hashlib.sha256(row.encode()).hexdigest()
        judged = json.dumps([row_hash, text, sample.is_whole, bool(sample.refusal)])
        return ScoreKey(
            sample.task_id, sample.index, variant, hashlib.sha256(judged.encode()).hexdigest()
        )

    def _run(self, programs: Sequence[tuple[Program, Limits]]) -> None:
        new = dict.fromkeys(program for program in programs if program not in self._verdicts)
        for limits in dict.fromkeys(limits for _, limits in new):
            group = [program for program, bounds in new if bounds == limits]
            for program, result in zip(group, self._sandbox.map(group, limits), strict=True):
                words = "" if result.is_pass else (result.stderr or result.stdout)[-_TAIL_CHARS:]
                self._verdicts[program, limits] = _Verdict(
                    result.outcome, words, round(result.wall_s, 4), result.backend
                )


def variants_of(task: Task, sample: Sample) -> list[tuple[str, Variant]]:
    """Give the ways in which a sample is scored, by name, the headline first.

    A text drawn by this project is scored by the task's variants; one made elsewhere as it stands
    before that, since it was cut already; a whole program as it stands alone.

    Raises:
        InputError: The task takes no whole programs, and the sample is one.
    """
    if sample.is_whole:
        if task.whole is None:
            raise InputError(
                f"{task.name} takes completions and no whole programs, as of {sample.task_id}"
            )
        return [(RAW, task.whole)]
    named = [(variant.name, variant) for variant in task.variants]
    return named if sample.prompt_sha256 else [(RAW, task.raw), *named]


def _score(key: ScoreKey, value: float, *, stderr: str = "") -> Score:
    return Score(
        task_id=key.task_id,
        index=key.index,
        variant=key.variant,
        value=value,
        judged_sha256=key.judged_sha256,
        stderr=stderr,
    )
