# SPDX-License-Identifier: Apache-2.0

import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from codegemma.errors import ConfigError, PrerequisiteError
from codegemma.evaluate.babelcode.languages import LANGUAGES
from codegemma.evaluate.task import Check, Problem, Task
from codegemma.evaluate.tasks.babelcode import make
from codegemma.sandbox.languages import find_toolchain
from codegemma.sandbox.program import Program
from codegemma.sandbox.run import Sandbox

SOLUTIONS = Path(__file__).parents[1] / "babelcode" / "solutions"
NAMES = ("bc-humaneval", "bc-mbpp")


@pytest.fixture(scope="module")
def find(benchmarks):
    """Give task and problem by language and task id; what was read once is kept."""

    @cache
    def read(language: str) -> dict[str, tuple[Task, Problem]]:
        tasks = [task for name in NAMES for task in make(name, language)]
        return {each.task_id: (task, each) for task in tasks for each in task.problems(benchmarks)}

    return lambda language, task_id: read(language)[task_id]


@pytest.fixture(scope="module")
def prepared_sandbox(sandbox) -> Iterator[Sandbox]:
    """A sandbox whose compilers start fast, from a folder that boxes can be shown."""
    del sandbox  # skips by name what is missing
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
        Sandbox(num_workers=2, prepared=Path(folder)) as prepared,
    ):
        yield prepared


def _solutions(language: str) -> Iterator[tuple[str, str, str]]:
    """Task, "right" or "wrong", and completion of each section of a language's file."""
    text = (SOLUTIONS / f"{language}.txt").read_text()
    _, *parts = re.split(r"(?m)^=== (\S+) (right|wrong)\n", text)
    yield from zip(parts[::3], parts[1::3], parts[2::3], strict=True)


def _program(check: Check, problem: Problem, text: str) -> Program:
    program = check(problem, text)
    assert isinstance(program, Program)
    return program


def test_one_name_stands_for_eight_tasks_and_each_has_its_own():
    assert [task.name for task in make("bc-mbpp", None)] == [
        "bc-mbpp:cpp",
        "bc-mbpp:csharp",
        "bc-mbpp:go",
        "bc-mbpp:java",
        "bc-mbpp:javascript",
        "bc-mbpp:kotlin",
        "bc-mbpp:python",
        "bc-mbpp:rust",
    ]
    (task,) = make("bc-humaneval", "rust")
    assert (task.name, task.language) == ("bc-humaneval:rust", "rust")
    assert task.has_slow_programs
    assert not make("bc-humaneval", "python")[0].has_slow_programs


def test_unknown_language_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="takes no 'c' after the colon; it takes bc-mbpp:cpp, "):
        make("bc-mbpp", "c")


def test_python_is_scored_leniently_too():
    assert [variant.name for variant in make("bc-mbpp", "go")[0].variants] == ["stop", "function"]
    assert [variant.name for variant in make("bc-mbpp", "python")[0].variants] == [
        "stop",
        "function",
        "lenient",
    ]


def test_go_is_not_drawn_up_to_the_word_that_one_variant_alone_ends_at():
    assert make("bc-mbpp", "go")[0].sampling.stop == ("\nfunc", "\n// ")
    assert make("bc-mbpp", "csharp")[0].sampling.stop == ("\n    }\n",)


@pytest.mark.parametrize(("name", "count"), [("bc-humaneval", 161), ("bc-mbpp", 342)])
def test_problems_are_as_many_as_were_published(benchmarks, name, count):
    problems = make(name, "javascript")[0].problems(benchmarks)

    assert len({problem.task_id for problem in problems}) == count
    assert all(problem.prompt.prefix.endswith(") {") for problem in problems)


def test_every_program_has_a_nonce_of_its_own(find):
    task, problem = find("javascript", "HumanEval/13")

    first, second = (_program(task.raw.check, problem, "}") for _ in range(2))

    assert not set(first.expected_lines) & set(second.expected_lines)
    assert re.fullmatch(r"TEST-0\.\.\.PASSED-[0-9a-f]{32}", first.expected_lines[0])


def test_completion_goes_behind_the_prompt_and_a_whole_program_does_not(find):
    task, problem = find("javascript", "HumanEval/13")
    assert task.whole is not None

    completed = _program(task.raw.check, problem, " return 1; }").source
    whole = _program(task.whole.check, problem, "const greatestCommonDivisor = Math.min").source

    assert " */\nfunction greatestCommonDivisor(a, b) { return 1; }\n" in completed
    assert "====\nconst greatestCommonDivisor = Math.min\n" in whole


@pytest.mark.parametrize("language", LANGUAGES)
def test_ten_problems_are_solved_and_missed_by_hand_in_each_language(language):
    sections = [(task_id, kind) for task_id, kind, _ in _solutions(language)]

    assert len(sections) == len(set(sections)) == 20
    assert {task_id for task_id, _ in sections} == {
        *(f"HumanEval/{number}" for number in (0, 3, 13, 14, 45, 87, 111, 114)),
        "MBPP/11",
        "MBPP/742",
    }


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_some_solutions_pass_and_some_mistakes_do_not(sandbox, find, language):
    _check_solutions(sandbox, find, language, of=("HumanEval/14", "MBPP/11"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_solution_passes_and_every_mistake_fails(prepared_sandbox, find, language):
    _check_solutions(prepared_sandbox, find, language)


def _check_solutions(sandbox, find, language, of=None):
    """Run the sections of a language, which both cuts leave as they are."""
    if language != "python":
        try:
            find_toolchain(language)
        except PrerequisiteError as error:
            pytest.skip(str(error))
    programs, expected, named = [], [], []
    for task_id, kind, text in _solutions(language):
        if of is None or task_id in of:
            task, problem = find(language, task_id)
            stop, function = (variant.cut(problem, text) for variant in task.variants[:2])
            assert stop.rstrip() == function.rstrip()
            programs.append(_program(task.variants[0].check, problem, stop))
            expected.append("pass" if kind == "right" else "fail")
            named.append((task_id, kind))

    results = list(sandbox.map(programs, task.limits))

    assert [*zip(named, (each.outcome for each in results), strict=True)] == [
        *zip(named, expected, strict=True)
    ]
