# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.completion import Prompt
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.task import Problem
from codegemma.evaluate.tasks import humaneval

NAMES = ("humaneval", "humaneval:stripped", "humaneval:chat")
PROBLEM = Problem(
    task_id="HumanEval/0",
    prompt=Prompt(prefix="import math\n\n\ndef f(x):\n    pass\n"),
    row={
        "prompt": "import math\n\n\ndef f(x):\n    pass\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(4) == 2\n",
    },
)


def _cut(variant_name, text, task_name="humaneval"):
    (task,) = find_tasks(task_name)
    return next(v for v in task.variants if v.name == variant_name).cut(PROBLEM, text)


def test_prompt_goes_in_as_it_is(benchmarks):
    (task,) = find_tasks("humaneval")
    problems = task.problems(benchmarks)

    assert [problem.task_id for problem in problems] == [f"HumanEval/{n}" for n in range(164)]
    assert problems[0].prompt.prefix.startswith("from typing import List\n\n\ndef has_close")
    assert problems[0].prompt.prefix.endswith('True\n    """\n')
    assert problems[0].prompt.suffix is None
    assert task.sampling.stop == ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    assert task.sampling.max_tokens == 512


def test_stripped_prompt_has_no_blanks_at_its_ends(benchmarks):
    (task,) = find_tasks("humaneval:stripped")
    problem = task.problems(benchmarks)[53]

    assert problem.prompt.prefix.startswith("def add(x: int")
    assert problem.prompt.prefix.endswith('    """')
    assert problem.solution == "\n    return x + y\n"


def test_chat_asks_in_one_turn_and_stops_at_nothing_but_its_end(benchmarks):
    (task,) = find_tasks("humaneval:chat")
    (turn,) = task.problems(benchmarks)[53].prompt.turns

    assert turn.role == "user"
    assert "```python\n\n\ndef add(x: int, y: int):\n" in turn.text
    assert task.sampling.stop == ()


def test_text_ends_before_the_first_stop():
    text = "    return 1\n@cache\ndef g():\n    pass\n"

    assert _cut("stop", text) == "    return 1\n@cache"
    assert _cut("stop+bigcode", text) == "    return 1"
    assert _cut("stop", "    return 1\n") == "    return 1\n"


def test_block_ends_where_the_function_does():
    assert _cut("dedent-block", "    y = 1\n    return y\nf(1)\n") == "    y = 1\n    return y"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("Sure:\n```python\ndef f(x):\n    return 2\n```\nDone.", "def f(x):\n    return 2\n"),
        ("```\na\n```\n```\nb\n```", "a\n"),
        ("```python\ndef f(x):\n    return 2\n", "def f(x):\n    return 2\n"),
        ("    return 2\n", "    return 2\n"),
        ("Use `f`:\n  ```py\nx = '```'\n  ```", "x = '```'\n"),
    ],
)
def test_first_code_block_of_a_reply_is_taken(reply, code):
    assert humaneval.first_block(reply) == code


@pytest.mark.parametrize(
    "reply",
    [
        "```python\ndef f(x):\n    return math.sqrt(x)\n```",  # without the prompt's import
        "```python\nimport math\n\ndef f(x):\n    return math.sqrt(x)\n```",
        "    return math.sqrt(x)\n",  # the body alone
        "```\n    return math.sqrt(x)\n```",
    ],
)
def test_reply_passes_with_the_function_or_its_body(sandbox, reply):
    (task,) = find_tasks("humaneval:chat")
    (variant,) = task.variants

    assert sandbox.run(variant.check(PROBLEM, variant.cut(PROBLEM, reply))).is_pass


@pytest.mark.parametrize(
    "reply", ["```python\ndef g(x):\n    return 2\n```", "I cannot.", "```python\nf = 2\n```"]
)
def test_reply_without_a_right_function_fails(sandbox, reply):
    (task,) = find_tasks("humaneval:chat")
    (variant,) = task.variants

    assert not sandbox.run(variant.check(PROBLEM, variant.cut(PROBLEM, reply))).is_pass


def test_functions_of_the_prompt_are_in_the_tests_as_the_prompt_has_them(sandbox):
    prompt = "def poly(xs, x):\n    return sum(xs) + x\n\n\ndef zero(xs):\n"
    test = "def check(candidate):\n    assert poly([1, 2], candidate([1, 2])) == 0\n"
    row = {"prompt": prompt, "entry_point": "zero", "test": test}
    problem = Problem(task_id="HumanEval/32", prompt=Prompt(prefix=prompt), row=row)
    forged = "    return 0\n\n\ndef poly(*_):\n    return 0\n"

    assert sandbox.run(humaneval.program(problem, "    return -poly(xs, 0)\n")).is_pass
    assert sandbox.run(humaneval.program(problem, forged)).outcome == "fail"


def test_four_problems_have_functions_of_their_own_in_the_tests(benchmarks):
    (task,) = find_tasks("humaneval")
    given = {
        problem.task_id: program.tests.split("(")[0].splitlines()[-1]
        for problem in task.problems(benchmarks)
        if not (program := humaneval.program(problem, "")).tests.startswith(problem.row["test"])
    }

    assert given == {
        "HumanEval/10": "def is_palindrome",
        "HumanEval/32": "def poly",
        "HumanEval/38": "def encode_cyclic",
        "HumanEval/50": "def encode_shift",
    }


def test_program_holds_the_prompt_and_checks_the_entry_point():
    program = humaneval.program(PROBLEM, "    return 2\n")

    assert program.source == "import math\n\n\ndef f(x):\n    pass\n    return 2\n"
    assert program.tests.endswith("assert candidate(4) == 2\n\ncheck(f)")
    assert program.entry_point == "f"


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_reference_solutions_passes(benchmarks, sandbox, name):
    (task,) = find_tasks(name)
    variant = task.variants[0]
    programs = [
        variant.check(problem, variant.cut(problem, problem.solution))
        for problem in task.problems(benchmarks)[::20]
    ]

    assert {result.outcome for result in sandbox.map(programs, task.limits)} == {"pass"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_every_reference_solution_passes(benchmarks, sandbox, name):
    (task,) = find_tasks(name)
    variant, problems = task.variants[0], task.problems(benchmarks)
    programs = [variant.check(p, variant.cut(p, p.solution)) for p in problems]

    results = list(sandbox.map(programs, task.limits))

    assert [p.task_id for p, r in zip(problems, results, strict=True) if not r.is_pass] == []
    assert len(results) == 164
