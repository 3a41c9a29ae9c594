# SPDX-License-Identifier: Apache-2.0
"""Draws the samples that a run lacks, batch by batch, through any completer.

Greedy prompts go together in batches of similar length, the longest first. Drawn samples of one
problem share a seed made of the run's seed and the problem's name, so that a run gives the same
texts however often it was stopped and however it was divided among machines. Of problems with
choices the likelihoods are measured.
"""

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from codegemma.completion import Completer, Completion, Loglikelihood, Mode, Prompt, Sampling
from codegemma.errors import ConfigError, ContextLengthError
from codegemma.evaluate.store import hash_prompt
from codegemma.evaluate.task import Problem, Sample, Task
from codegemma.text.budget import fit_prompt, keep_tail


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawSettings:
    """How samples are drawn; what is None is the task's own.

    Args:
        n: Samples of each problem.
        temperature: 0 is greedy, which draws one sample alone.
        top_p: As in `Sampling`.
        max_tokens: Most tokens of a sample.
        mode: Order of an infill prompt.
        path: Path line shown above an infill prompt; None shows none.
        seed: Of drawn samples.
        batch: Prompts, or choices, given to the completer together; 1 takes padding out of the
            results.
    """

    n: int = 1
    temperature: float = 0.0
    top_p: float | None = None
    max_tokens: int | None = None
    mode: Mode = "auto"
    path: str | None = None
    seed: int = 0
    batch: int = 16

    def __post_init__(self) -> None:
        faults: list[str] = []
        if self.n < 1 or self.batch < 1:
            faults.append(f"n and batch must be at least 1, not {self.n} and {self.batch}")
        if self.n > 1 and self.temperature == 0:
            faults.append(f"{self.n} samples need a temperature above 0: greedy ones are all alike")
        if faults:
            raise ConfigError("; ".join(faults))

    def sampling(self, task: Task) -> Sampling:
        """Give the sampling of a task's prompts, without a seed."""
        return replace(
            task.sampling,
            n=self.n,
            temperature=self.temperature,
            top_p=self.top_p,
            mode=self.mode,
            max_tokens=self.max_tokens or task.sampling.max_tokens,
        )

    def prompt(self, problem: Problem) -> Prompt:
        """Give a problem's prompt, with the path line if one is asked for."""
        if self.path is None or problem.prompt.suffix is None:
            return problem.prompt
        return replace(problem.prompt, path=self.path)


def draw_samples(
    task: Task,
    problems: Sequence[Problem],
    *,
    completer: Completer,
    settings: DrawSettings,
    done: Collection[tuple[str, int]],
) -> Iterator[list[Sample]]:
    """Yield the missing samples, a batch at a time.

    A prompt that does not fit the model's context gives samples with a refusal.

    Args:
        task: What the problems are of.
        problems: Those to be answered, in the order in which they are.
        completer: Draws.
        settings: How.
        done: Task ids and indices of the samples that are there.
    """
    sampling = settings.sampling(task)
    if settings.n > 1 and any(problem.pairs for problem in problems):
        raise ConfigError(
            f"{task.name} measures likelihoods and draws nothing: n must be 1, not {settings.n}"
        )
    missing = [
        problem
        for problem in problems
        if any((problem.task_id, index) not in done for index in range(settings.n))
    ]
    missing.sort(key=_num_chars, reverse=True)  # what differs in length is padded in a batch
    size = settings.batch if sampling.temperature == 0 else 1
    for start in range(0, len(missing), size):
        group = missing[start : start + size]
        seed = None
        if sampling.temperature > 0:
            seed = _seed(settings.seed, group[0].task_id)
        began = time.monotonic()
        if group[0].pairs:
            drawn = _measure(group, completer, settings)
        else:
            drawn = _complete(group, task, completer, replace(sampling, seed=seed), settings)
        wall_s = (time.monotonic() - began) / len(drawn)
        yield [
            replace(sample, seed=seed, wall_s=round(wall_s, 4))
            for sample in drawn
            if (sample.task_id, sample.index) not in done
        ]


def _num_chars(problem: Problem) -> int:
    """Estimate how long the completer works on a problem."""
    prompt = problem.prompt
    texts = [prompt.prefix, prompt.suffix or ""]
    texts += [file.text for file in prompt.context] + [turn.text for turn in prompt.turns]
    return sum(map(len, texts)) + sum(len(text) for pair in problem.pairs for text in pair)


def _measure(
    group: Sequence[Problem], completer: Completer, settings: DrawSettings
) -> list[Sample]:
    """Measure the likelihoods of problems' choices, and apart where one does not fit."""
    pairs = [pair for problem in group for pair in problem.pairs]
    try:
        found: list[Loglikelihood] = []
        for start in range(0, len(pairs), settings.batch):
            found += completer.loglikelihood(pairs[start : start + settings.batch])
    except ContextLengthError as error:
        if len(group) == 1:
            return _refused(group[0], group[0].prompt, error)
        return [sample for problem in group for sample in _measure([problem], completer, settings)]
    samples: list[Sample] = []
    for problem in group:
        own, found = found[: len(problem.pairs)], found[len(problem.pairs) :]
        samples.append(
            Sample(
                task_id=problem.task_id,
                index=0,
                text=json.dumps([[choice.logprob, choice.is_greedy] for choice in own]),
                prompt_sha256=hash_prompt(problem.prompt, problem.pairs),
                is_prompt_cut=any(choice.is_cut for choice in own),
            )
        )
    return samples


def _complete(
    group: Sequence[Problem],
    task: Task,
    completer: Completer,
    sampling: Sampling,
    settings: DrawSettings,
) -> list[Sample]:
    """Complete problems together; those that do not fit the context are refused."""
    fit = keep_tail if task.keeps_tail else fit_prompt
    tokenizer, info = completer.tokenizer, completer.info
    refused: list[Sample] = []
    fitted: list[tuple[Problem, Prompt]] = []
    for problem in group:
        prompt = settings.prompt(problem)
        try:
            fitted.append((problem, fit(prompt, sampling, tokenizer=tokenizer, info=info)))
        except ContextLengthError as error:
            refused += _refused(problem, prompt, error, n=sampling.n)
    if not fitted:
        return refused
    try:
        results = completer.complete([prompt for _, prompt in fitted], sampling)
    except ContextLengthError as error:  # of a completer that tokenizes elsewhere
        if len(fitted) == 1:
            ((problem, prompt),) = fitted
            return refused + _refused(problem, prompt, error, n=sampling.n)
        apart = [_complete([one], task, completer, sampling, settings) for one, _ in fitted]
        return [*refused, *(sample for samples in apart for sample in samples)]
    return refused + [
        _sample(problem, prompt, completion, index)
        for (problem, prompt), completions in zip(fitted, results, strict=True)
        for index, completion in enumerate(completions)
    ]


def _refused(
    problem: Problem, prompt: Prompt, error: ContextLengthError, *, n: int = 1
) -> list[Sample]:
    sha256 = hash_prompt(prompt, problem.pairs)
    return [
        Sample(
            task_id=problem.task_id, index=index, text="", prompt_sha256=sha256, refusal=str(error)
        )
        for index in range(n)
    ]


def _sample(problem: Problem, prompt: Prompt, completion: Completion, index: int) -> Sample:
    return Sample(
        task_id=problem.task_id,
        index=index,
        text=completion.text,
        prompt_sha256=hash_prompt(prompt),
        prompt_tokens=prompt.tokens or None,
        is_prompt_cut=completion.cut is not None or prompt.cut is not None,
        tokens=completion.tokens,
        finish_reason=completion.finish_reason,
        timings=completion.timings,
    )


def _seed(seed: int, task_id: str) -> int:
    digest = hashlib.sha256(f"{seed}\n{task_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
