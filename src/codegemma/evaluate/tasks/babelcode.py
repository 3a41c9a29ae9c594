# SPDX-License-Identifier: Apache-2.0
"""BabelCode: 161 problems of HumanEval and 342 of sanitized MBPP in eight languages.

`bc-humaneval:go` is one language, `bc-humaneval` all eight, a task each. Problems, prompts and
test programs are made here from the two Python benchmarks; nothing of BabelCode's own is needed.

Source: BabelCode, arXiv 2302.01973; CodeGemma, arXiv 2406.11409, table 4 (161 and 342 problems in
every language, one greedy completion each).
Differs: a program has 20 s of processor time (BabelCode: 10 s of the clock), since one reference
solution takes 6; Kotlin, which is compiled as it runs, has 30 (there 30 s of the clock).
Unstated: how completions were drawn and cut: see `evaluate/babelcode/prompt.py` and `cut.py`. In
Python an idiomatic tuple is no pass where a test was written with one, since BabelCode turned
those into lists; `lenient` takes either. Some problems no program passes, and all are counted, as
in the published denominators: BC-MBPP 626, 746 and 755 outside Python, which spell None as a
number; in C# besides the three that give a map with numbers as keys.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from codegemma.completion import Prompt, Sampling
from codegemma.evaluate.babelcode.cut import at_function_end, at_stop
from codegemma.evaluate.babelcode.humaneval import HUMAN_EVAL, read_human_eval
from codegemma.evaluate.babelcode.language import Language
from codegemma.evaluate.babelcode.languages import LANGUAGES
from codegemma.evaluate.babelcode.mbpp import SANITIZED, read_mbpp
from codegemma.evaluate.babelcode.program import build_program, build_python
from codegemma.evaluate.babelcode.prompt import render_prompt
from codegemma.evaluate.babelcode.schema import Question
from codegemma.evaluate.registry import refuse_argument
from codegemma.evaluate.task import Problem, Task, Variant
from codegemma.sandbox.program import MEBIBYTE, Limits, Program

_READERS: Final[dict[str, Callable[[Path], list[Question]]]] = {
    "bc-humaneval": read_human_eval,
    "bc-mbpp": read_mbpp,
}
_FILES: Final = {"bc-humaneval": HUMAN_EVAL, "bc-mbpp": SANITIZED}
_TITLES: Final = {"bc-humaneval": "HumanEval", "bc-mbpp": "MBPP"}
_DRAWN_STOPS: Final = {"go": ("\nfunc", "\n// ")}
_LIMITS: Final = Limits(cpu_s=20, wall_s=80.0, memory_bytes=1536 * MEBIBYTE)
_MORE_LIMITS: Final = {"kotlin": replace(_LIMITS, cpu_s=30, wall_s=180.0)}


def make(name: str, argument: str | None) -> tuple[Task, ...]:
    """Make the task of one language, or of all eight."""
    if argument is None:
        return tuple(_task(name, language) for language in LANGUAGES.values())
    if argument not in LANGUAGES:
        raise refuse_argument(name, argument, tuple(LANGUAGES))
    return (_task(name, LANGUAGES[argument]),)


def _task(name: str, language: Language) -> Task:
    completed, whole = partial(_completed, language), partial(_whole, language)
    variants = [
        Variant(name="stop", cut=partial(_cut_stop, language), check=completed),
        Variant(name="function", cut=partial(_cut_function, language), check=completed),
    ]
    if language.key == "python":
        lenient = partial(_completed, language, is_lenient=True)
        variants.append(Variant(name="lenient", cut=partial(_cut_stop, language), check=lenient))
    return Task(
        name=f"{name}:{language.key}",
        files=(_FILES[name],),
        problems=partial(_problems, name, language),
        # "struct" ends a Go completion for "stop" alone: it stands within functions too
        sampling=Sampling(max_tokens=512, stop=_DRAWN_STOPS.get(language.key, language.stops)),
        variants=tuple(variants),
        raw=Variant(name="raw", cut=lambda _, text: text, check=completed),
        whole=Variant(name="solution", cut=lambda _, text: text, check=whole),
        language=language.key,
        limits=_MORE_LIMITS.get(language.key, _LIMITS),
        has_slow_programs=language.key != "python",
    )


def _problems(name: str, language: Language, folder: Path) -> Sequence[Problem]:
    return tuple(
        Problem(
            task_id=f"{_TITLES[name]}/{question.number}",
            prompt=Prompt(prefix=render_prompt(question, language)),
            row={"question": question},
        )
        for question in _READERS[name](folder)
    )


def _completed(
    language: Language, problem: Problem, text: str, *, is_lenient: bool = False
) -> Program:
    return _whole(language, problem, problem.prompt.prefix + text, is_lenient=is_lenient)


def _whole(language: Language, problem: Problem, code: str, *, is_lenient: bool = False) -> Program:
    question: Question = problem.row["question"]
    if language.key == "python":
        return build_python(question, language, code, is_lenient=is_lenient)
    return build_program(question, language, code, nonce=secrets.token_hex(16))


def _cut_stop(language: Language, problem: Problem, text: str) -> str:
    del problem
    return at_stop(text, language)


def _cut_function(language: Language, problem: Problem, text: str) -> str:
    return at_function_end(text, language, prompt=problem.prompt.prefix)
