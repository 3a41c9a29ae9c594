# SPDX-License-Identifier: Apache-2.0
"""The nouns of evaluation: Task, Problem, Variant, Sample, Score.

A task is plain data: where its problems come from, how completions of them are drawn, and the
named ways in which one drawn text is turned into a value. Nothing here generates or runs
anything; `runner.py` does, and `store.py` keeps what came out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codegemma.completion import Completer, FinishReason, Prompt, Sampling, Timings
from codegemma.errors import ConfigError
from codegemma.evaluate.benchmark import BenchmarkFile
from codegemma.sandbox.program import Language, Limits, Outcome, Program


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One problem of a task.

    Args:
        task_id: Its name, unique within the task, as the benchmark spells it.
        prompt: What the completer gets.
        solution: A completion known to be right, None where the benchmark has none.
        cluster: What it shares with others that are not independent of it, such as the function
            they were all cut from; "" for a problem of its own.
        row: The benchmark's own fields, for the builders of programs.
        limits: Bounds of its programs where they are not the task's.
        pairs: Context and continuation of each choice. Where there are any, nothing is drawn: the
            sample's text is their log likelihoods, a JSON list of `[logprob, is_greedy]`.
        group: A part of the task that is also counted by itself, such as a subject; "" for none.
    """

    task_id: str
    prompt: Prompt
    solution: str | None = None
    cluster: str = ""
    row: Mapping[str, Any] = field(default_factory=dict[str, Any])
    limits: Limits | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    group: str = ""


Cut = Callable[[Problem, str], str]
"""Post-processor: gives of a drawn text what is to be scored."""

Check = Callable[[Problem, str], Program | float]
"""Turns a post-processed text into a program that passes or not, or directly into a value in
[0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A named way of scoring one drawn text.

    Args:
        name: Such as "sentinel+firstline".
        cut: What of the text counts.
        check: How that is judged.
        is_pass_rate: Whether its values are passes, counted as pass@k; otherwise they are averaged
            under the variant's own name.
    """

    name: str
    cut: Cut
    check: Check
    is_pass_rate: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A benchmark.

    Args:
        name: As the command line spells it, such as "bc-humaneval:go".
        files: The data it reads.
        problems: Reads the problems, in the benchmark's order, from the benchmark folder.
        sampling: How completions are drawn unless asked otherwise: length and stop strings.
        variants: All ways of scoring; the first is the headline.
        raw: Scores a text as it stands, for samples made elsewhere, which are cut already.
        whole: Judges a whole program, the `solution` of a sample made elsewhere; None where the
            task knows completions alone.
        language: Language of its programs; None: it runs none, and needs no sandbox.
        limits: Bounds of each program.
        has_slow_programs: Whether one takes seconds, so that few are scored before they are kept.
        keeps_tail: Whether a prompt that is too long loses its start instead of being refused.
        reads_prepared: Whether `problems` and `files` are of a folder that `codegemma prepare`
            wrote, rather than of the benchmark folder.
        check_model: Refuses a model that cannot be asked these problems, read from that folder.
        other_ids: Problems of the same data that the task does not ask; samples of them, made
            elsewhere, are left out.
        packages: What its prompts and scores are made with, whose versions a run keeps.
    """

    name: str
    files: tuple[BenchmarkFile, ...]
    problems: Callable[[Path], Sequence[Problem]]
    sampling: Sampling
    variants: tuple[Variant, ...]
    raw: Variant
    whole: Variant | None = None
    language: Language | None = "python"
    limits: Limits = field(default_factory=Limits)
    has_slow_programs: bool = False
    keeps_tail: bool = False
    reads_prepared: bool = False
    check_model: Callable[[Completer, Path], None] | None = None
    other_ids: frozenset[str] = frozenset()
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"{self.name} needs variants of different names, not {names}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One drawn text.

    Args:
        task_id: Whose problem it answers.
        index: Its number among the problem's samples, from 0.
        text: What was drawn, as it was drawn.
        is_whole: Whether `text` is a whole program rather than a completion of the prompt.
        prompt_sha256: Hash of the prompt (`store.hash_prompt`), "" for samples made elsewhere.
        prompt_tokens: The prompt as the model read it, None where the completer does not tell.
        is_prompt_cut: Whether the prompt was cut to the model's context.
        tokens: The drawn ids.
        finish_reason: Why it ended, None for samples made elsewhere.
        seed: Of the draw; None for greedy ones.
        timings: Where its time went.
        wall_s: Its share of the wall-clock seconds of its batch.
        refusal: Why the prompt could not be completed, "" if it was; such a sample has no text and
            passes nothing.
    """

    task_id: str
    index: int
    text: str
    is_whole: bool = False
    prompt_sha256: str = ""
    prompt_tokens: tuple[int, ...] | None = None
    is_prompt_cut: bool = False
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    seed: int | None = None
    timings: Timings = field(default_factory=Timings)
    wall_s: float = 0.0
    refusal: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One sample under one variant.

    Args:
        task_id: As in the sample.
        index: As in the sample.
        variant: Name of the way of scoring.
        value: In [0, 1]; 1 is a pass.
        judged_sha256: Hash of the problem and of the text that was judged: a score holds for
            nothing else.
        outcome: What the program did, None where none ran.
        stderr: The end of its error stream, or of its output where that is empty; "" when it
            passed.
        wall_s: Seconds the program ran.
        backend: What it was isolated by, "" where none ran.
    """

    task_id: str
    index: int
    variant: str
    value: float
    judged_sha256: str
    outcome: Outcome | None = None
    stderr: str = ""
    wall_s: float = 0.0
    backend: str = ""
