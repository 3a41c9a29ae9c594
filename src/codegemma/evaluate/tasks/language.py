# SPDX-License-Identifier: Apache-2.0
"""The card's tasks of language, questions and mathematics, as lm-evaluation-harness asks them.

    boolq piqa hellaswag winogrande    0 examples    triviaqa mmlu    5 examples
    arc-challenge                      0 examples    gsm8k            8 fixed ones, with reasoning
    math                               4 fixed ones

`NAME:N-shot` shows N examples. `mmlu:stem` is the 18 subjects of science without an example, since
its file has none. WinoGrande scores the text behind the blank given each word in the blank
("partial scoring"). Rows come from files below the benchmark folder, or from the hub.

Source: "Gemma", arXiv 2403.08295, table 6, for shots; the harness for all else.
Unstated: CodeGemma's settings, and examples of ARC-Challenge, WinoGrande and GSM8K in either paper;
which of acc and acc_norm, both are reported.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from codegemma.completion import Prompt, Sampling
from codegemma.errors import DataError, InputError
from codegemma.evaluate.benchmark import BenchmarkFile, HubData
from codegemma.evaluate.harness import MAX_TOKENS, PACKAGE, HarnessTask
from codegemma.evaluate.registry import refuse_argument
from codegemma.evaluate.task import Problem, Task, Variant

_HUB: Final = "a data set of that name on the Hugging Face hub, saved as JSON Lines"
_MATH_SUBJECTS: Final = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
_SHOTS: Final = re.compile(r"(\d{1,2})-shot")


def _file(name: str, hub: str, *configs: str, split: str, source: str = "") -> BenchmarkFile:
    data = HubData(path=hub, configs=configs or ("",), split=split)
    return BenchmarkFile(name=name, source=source or f"{hub}, {_HUB}", hub=data)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Benchmark:
    """What is ours of a task: where its rows lie, and how many examples it shows.

    Args:
        yaml: The harness's file; "{}" stands for a subject, of which each has its own.
        rows: The rows to be answered.
        labels: A file with an answer a line, beside rows that have none.
        shots: Rows to take examples from, None where the harness has its own.
        num_shots: Examples unless asked otherwise.
        variants: Ways of scoring, the headline first.
        stops: Strings that end an answer, () where choices are measured.
    """

    yaml: str
    rows: BenchmarkFile
    labels: BenchmarkFile | None = None
    shots: BenchmarkFile | None = None
    num_shots: int = 0
    variants: tuple[str, ...]
    stops: tuple[str, ...] = ()


_MMLU_DEV: Final = _file("mmlu/dev.jsonl.gz", "cais/mmlu", "all", split="dev")
_BENCHMARKS: Final[dict[str, _Benchmark]] = {
    "boolq": _Benchmark(
        yaml="super_glue/boolq/default",
        rows=_file("boolq/validation.jsonl.gz", "aps/super_glue", "boolq", split="validation"),
        shots=_file("boolq/train.jsonl.gz", "aps/super_glue", "boolq", split="train"),
        variants=("acc",),
    ),
    "piqa": _Benchmark(
        yaml="piqa/piqa",
        rows=_file(
            "piqa/valid.jsonl.gz",
            "baber/piqa",
            split="validation",
            source="github.com/ybisk/ybisk.github.io, folder piqa/data",
        ),
        labels=_file(
            "piqa/valid-labels.lst",
            "baber/piqa",
            split="validation",
            source="github.com/ybisk/ybisk.github.io, folder piqa/data",
        ),
        variants=("acc", "acc_norm"),
    ),
    "triviaqa": _Benchmark(
        yaml="triviaqa/default",
        rows=_file(
            "triviaqa/validation.jsonl.gz",
            "mandarjoshi/trivia_qa",
            "rc.nocontext",
            split="validation",
        ),
        shots=_file(
            "triviaqa/train.jsonl.gz", "mandarjoshi/trivia_qa", "rc.nocontext", split="train"
        ),
        num_shots=5,
        variants=("exact_match",),
        stops=("\n", ".", ","),
    ),
    "arc-challenge": _Benchmark(
        yaml="arc/arc_challenge",
        rows=_file("arc-challenge/test.jsonl.gz", "allenai/ai2_arc", "ARC-Challenge", split="test"),
        shots=_file(
            "arc-challenge/train.jsonl.gz", "allenai/ai2_arc", "ARC-Challenge", split="train"
        ),
        variants=("acc_norm", "acc"),
    ),
    "hellaswag": _Benchmark(
        yaml="hellaswag/hellaswag",
        rows=_file("hellaswag/validation.jsonl.gz", "Rowan/hellaswag", split="validation"),
        shots=_file("hellaswag/train.jsonl.gz", "Rowan/hellaswag", split="train"),
        variants=("acc_norm", "acc"),
    ),
    "mmlu": _Benchmark(
        yaml="mmlu/default/mmlu_{}",
        rows=_file("mmlu/test.jsonl.gz", "cais/mmlu", "all", split="test"),
        shots=_MMLU_DEV,
        num_shots=5,
        variants=("acc",),
    ),
    "mmlu:stem": _Benchmark(
        yaml="mmlu/default/mmlu_{}",
        rows=BenchmarkFile(
            name="mmlu_stem/test.jsonl.gz",
            source="github.com/QwenLM/Qwen2.5-Math, evaluation/data/mmlu_stem",
        ),
        variants=("acc",),
    ),
    "winogrande": _Benchmark(
        yaml="winogrande/default",
        rows=_file(
            "winogrande/validation.jsonl.gz",
            "allenai/winogrande",
            "winogrande_xl",
            split="validation",
        ),
        shots=_file(
            "winogrande/train.jsonl.gz", "allenai/winogrande", "winogrande_xl", split="train"
        ),
        variants=("acc",),
    ),
    "gsm8k": _Benchmark(
        yaml="gsm8k/gsm8k-cot",
        rows=_file(
            "gsm8k/test.jsonl.gz",
            "openai/gsm8k",
            "main",
            split="test",
            source="github.com/openai/grade-school-math",
        ),
        num_shots=8,
        variants=("strict-match", "flexible-extract"),
        stops=("Q:", "</s>", "<|im_end|>"),
    ),
    "math": _Benchmark(
        yaml="minerva_math/minerva_math_algebra",
        rows=_file(
            "math/test.jsonl.gz", "EleutherAI/hendrycks_math", *_MATH_SUBJECTS, split="test"
        ),
        num_shots=4,
        variants=("exact_match", "math_verify"),
        stops=("Problem:",),
    ),
}
_PACKAGES: Final = (PACKAGE, "datasets")


def make(name: str, argument: str | None) -> tuple[Task]:
    """Make the task, plain, of `N-shot`, or the part of it that the argument names."""
    full_name = name if argument is None else f"{name}:{argument}"
    match = _SHOTS.fullmatch(argument or "")
    benchmark = _BENCHMARKS.get(full_name if match is None else name)
    num_shots = benchmark.num_shots if benchmark is not None else 0
    if match is not None:
        num_shots = int(match[1])
    has_shots = benchmark is not None and (
        benchmark.shots is not None or num_shots <= benchmark.num_shots
    )
    if benchmark is None or not has_shots:
        parts = [key.partition(":")[2] for key in _BENCHMARKS if key.startswith(f"{name}:")]
        known = _BENCHMARKS.get(name)
        words = "N-shot"
        if known is not None and known.shots is None:
            most = f"N-shot with N at most {known.num_shots}"
            words = f"{most if known.num_shots else '0-shot alone'}: it has no other examples"
        raise refuse_argument(name, argument or "", (*parts, words))
    reader = _Reader(name, benchmark, num_shots=num_shots)
    variants = tuple(
        Variant(
            name=variant,
            cut=lambda _, text: text,
            check=partial(reader.check, variant),
            is_pass_rate=False,
        )
        for variant in benchmark.variants
    )
    return (
        Task(
            name=full_name,
            files=reader.files,
            problems=reader.problems,
            sampling=Sampling(max_tokens=MAX_TOKENS, stop=benchmark.stops),
            variants=variants,
            raw=variants[0],
            language=None,
            keeps_tail=True,
            packages=_PACKAGES,
        ),
    )


class _Reader:
    """Reads the problems of a task and keeps what is needed to score them."""

    def __init__(self, name: str, benchmark: _Benchmark, *, num_shots: int) -> None:
        self._name = name
        self._benchmark = benchmark
        self._num_shots = num_shots
        self._shots = benchmark.shots if num_shots else None
        self._tasks: dict[str, HarnessTask] = {}

    @property
    def files(self) -> tuple[BenchmarkFile, ...]:
        """The files of this number of examples."""
        given = (self._benchmark.rows, self._benchmark.labels, self._shots)
        return tuple(file for file in given if file is not None)

    def problems(self, folder: Path) -> Sequence[Problem]:
        """Read rows and examples and let the harness make prompts of them."""
        rows = _by_file(self._benchmark, self._rows(folder))
        shots = None
        if self._shots is not None:
            shots = _by_file(self._benchmark, self._shots.rows(folder))
        problems: list[Problem] = []
        for file, part in rows.items():
            task = self._tasks[file] = HarnessTask(
                file,
                part,
                shots=None if shots is None else shots.get(file, []),
                num_shots=self._num_shots,
            )
            is_of_subject = file != self._benchmark.yaml
            prefix = f"{self._name}/{_subject(part[0])}" if is_of_subject else self._name
            for number, (doc, request) in enumerate(zip(task.docs, task.requests(), strict=True)):
                assert request.stops == self._benchmark.stops
                problems.append(
                    Problem(
                        task_id=f"{prefix}/{number}",
                        prompt=Prompt(prefix=request.context),
                        row={"file": file, "doc": doc, PACKAGE: version(PACKAGE)},
                        pairs=request.pairs,
                        group=_subject(part[number]),
                    )
                )
        return problems

    def check(self, variant: str, problem: Problem, text: str) -> float:
        """Score a text, or the likelihoods of the choices, with the harness."""
        results: list[Any] = [text]
        if problem.pairs:
            results = _likelihoods(text, num_choices=len(problem.pairs))
        return self._tasks[problem.row["file"]].score(variant, problem.row["doc"], results)

    def _rows(self, folder: Path) -> list[dict[str, Any]]:
        rows = self._benchmark.rows.rows(folder)
        labels = self._benchmark.labels
        if labels is None or all("label" in row for row in rows):
            return rows
        path = labels.path(folder)
        words = path.read_text(encoding="utf-8").split()
        if len(words) != len(rows) or set(words) - {"0", "1"}:
            raise DataError(
                f"{path} must have a 0 or 1 for each of the {len(rows)} rows; get it again from "
                f"{labels.source}"
            )
        return [{**row, "label": int(word)} for row, word in zip(rows, words, strict=True)]


def _subject(row: Mapping[str, Any]) -> str:
    """Name the subject that a row says it is of."""
    return str(row.get("subject") or row.get("type") or "")


def _by_file(
    benchmark: _Benchmark, rows: Sequence[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Divide rows by the harness's file for them, in the order in which subjects appear."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(benchmark.yaml.format(_subject(row)), []).append(row)
    return parts


def _likelihoods(text: str, *, num_choices: int) -> list[tuple[float, bool]]:
    try:
        found = [(float(logprob), bool(is_greedy)) for logprob, is_greedy in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise InputError(f"expected a JSON list of [logprob, is_greedy]: {error}") from error
    if len(found) != num_choices:
        raise InputError(f"expected likelihoods of {num_choices} choices, not {len(found)}")
    return found
