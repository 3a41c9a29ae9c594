# SPDX-License-Identifier: Apache-2.0
"""HumanEval infilling: a line, some lines or a span of characters cut out of a right solution.

The single-line and the multi-line set follow from HumanEval by a rule and are derived from it; the
spans of the random sets were drawn once and are read from their files. A completion passes when the
function is right again with it in place.

Source: "InCoder", arXiv 2204.05999 (single, multi); arXiv 2207.14255 (random).
Unstated: how CodeGemma's completions were cut before they were scored; every likely way is a
variant. Prompts carry no path line unless one is asked for.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from codegemma.completion import Prompt, Sampling
from codegemma.evaluate.benchmark import BenchmarkFile
from codegemma.evaluate.registry import refuse_argument
from codegemma.evaluate.task import Cut, Problem, Task, Variant
from codegemma.evaluate.tasks import humaneval
from codegemma.sandbox.program import Program
from codegemma.text import trim

_SOURCE: Final = "github.com/openai/human-eval-infilling"
_RANDOM_FILES: Final = {
    "random": "HumanEval-RandomSpanInfilling",
    "random-light": "HumanEval-RandomSpanInfillingLight",
}
_MAX_TOKENS: Final = 128  # CodeGemma, table 2: "128-token continuations"


def make(name: str, argument: str | None) -> tuple[Task]:
    """Make one of the four infilling tasks."""
    if argument is not None:
        raise refuse_argument(name, argument, ())
    kind = name.removeprefix("humaneval-infilling-")
    stem = _RANDOM_FILES.get(kind)
    if stem is None:
        file = humaneval.FILE
        problems = partial(_derived_problems, is_single=kind == "single")
    else:
        file = BenchmarkFile(name=f"human-eval-infilling/{stem}.jsonl.gz", source=_SOURCE)
        problems = partial(_stored_problems, file)
    return (
        Task(
            name=name,
            files=(file,),
            problems=problems,
            sampling=Sampling(max_tokens=_MAX_TOKENS),
            variants=_variants(is_single=kind == "single"),
            raw=Variant(name="raw", cut=lambda _, text: text, check=program),
            whole=humaneval.WHOLE,
            limits=humaneval.LIMITS,
        ),
    )


def derive_rows(row: dict[str, Any], *, is_single: bool) -> list[dict[str, Any]]:
    r"""Cut the lines of one HumanEval solution out, in the published order.

    A span begins and ends with a line that is not blank. The published quirk is kept: a span from
    the first line on has a line end too many before it.
    """
    lines = row["canonical_solution"].split("\n")
    filled = [index for index, line in enumerate(lines) if line.strip()]
    kind = "SingleLine" if is_single else "MultiLine"
    rows: list[dict[str, Any]] = []
    for first in filled:
        for last in [first] if is_single else filled[filled.index(first) :]:
            span = f"L{first}" if is_single else f"L{first}_L{last}"
            line_end = "\n" if last + 1 < len(lines) else ""
            rows.append(
                {
                    "task_id": f"{kind}Infilling/{row['task_id']}/{span}",
                    "entry_point": row["entry_point"],
                    "prompt": row["prompt"] + "\n".join(lines[:first]) + "\n",
                    "suffix": "\n".join(lines[last + 1 :]),
                    "canonical_solution": "\n".join(lines[first : last + 1]) + line_end,
                    "test": row["test"],
                }
            )
    return rows


def program(problem: Problem, completion: str) -> Program:
    """Put a completion in its place, with the problem's tests."""
    source = problem.prompt.prefix + completion + (problem.prompt.suffix or "")
    return humaneval.tested(problem, source)


def _derived_problems(folder: Path, *, is_single: bool) -> Sequence[Problem]:
    rows = humaneval.FILE.rows(folder)
    return tuple(
        _problem(derived) for row in rows for derived in derive_rows(row, is_single=is_single)
    )


def _stored_problems(file: BenchmarkFile, folder: Path) -> Sequence[Problem]:
    return tuple(_problem(row) for row in file.rows(folder))


def _problem(row: dict[str, Any]) -> Problem:
    return Problem(
        task_id=row["task_id"],
        prompt=Prompt(prefix=row["prompt"], suffix=row["suffix"]),
        solution=row["canonical_solution"],
        cluster="/".join(row["task_id"].split("/")[1:3]),
        row=row,
    )


def _variants(*, is_single: bool) -> tuple[Variant, ...]:
    chosen: list[tuple[str, Cut]] = [("sentinel", _cut_by())]
    if is_single:
        chosen.append(("sentinel+firstline", _cut_by(trim.single_line)))
    chosen += [
        ("sentinel+suffix-overlap", _cut_by(trim.suffix_overlap)),
        ("sentinel+dedent-block", _cut_by(trim.block)),
        ("sentinel+suffix-overlap+dedent-block", _cut_by(trim.suffix_overlap, trim.block)),
    ]
    variants = [Variant(name=name, cut=cut, check=program) for name, cut in chosen]
    exact = Variant(name="exact-match", cut=_cut_by(), check=_is_exact, is_pass_rate=False)
    return (*variants, exact)


def _cut_by(*rules: trim.Rule) -> Cut:
    """Chain rules of `trim` behind `sentinel`.

    A rule that ends a text with its line leaves out the line's end, which a hole of whole lines
    needs: there it is kept.
    """

    def cut(problem: Problem, text: str) -> str:
        prefix, suffix = problem.prompt.prefix, problem.prompt.suffix or ""
        text = trim.sentinel(text, prefix=prefix, suffix=suffix)
        for rule in rules:
            kept = rule(text, prefix=prefix, suffix=suffix)
            is_line = rule in (trim.single_line, trim.block) and prefix.endswith("\n")
            text = text[: len(kept) + 1] if is_line and text[len(kept) :][:1] == "\n" else kept
        return text

    return cut


def _is_exact(problem: Problem, completion: str) -> float:
    return float(completion == problem.solution)
