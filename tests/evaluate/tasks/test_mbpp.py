# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.completion import Prompt
from codegemma.evaluate.judge import Judge
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.task import Problem, Sample
from codegemma.evaluate.tasks import mbpp
from codegemma.sandbox.program import Limits

ROW = {
    "code": "def helper(x):\r\n  return x\r\ndef f(x):\r\n  return helper(x)",
    "test_setup_code": "given = 1",
    "test_list": ["assert set(f(given)) == 1", "assert f(2) == 2"],
}


def _cut(text):
    (task,) = find_tasks("mbpp")
    problem = Problem(task_id="t", prompt=Prompt())
    return {variant.name: variant.cut(problem, text) for variant in task.variants}


def _problems(name, folder):
    (task,) = find_tasks(name)
    return {problem.task_id: problem for problem in task.problems(folder)}


def test_problems_are_those_of_the_test_split(benchmarks):
    problems = _problems("mbpp", benchmarks)

    assert list(problems) == [f"MBPP/{n}" for n in range(11, 511)]


def test_prompt_shows_three_tasks_solved_and_asks_for_one(benchmarks):
    text = _problems("mbpp", benchmarks)["MBPP/11"].prompt.prefix

    assert text.startswith(
        "You are an expert Python programmer, and here is your task: Write a function to find the "
        "similar elements from the given two tuple lists. Your code should pass these tests:\n\n"
        "assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)\n"
    )
    assert (
        "assert similar_elements((11, 12, 14, 13),(17, 15, 14, 13)) == (13, 14)\n"
        "[BEGIN]\n"
        "def similar_elements(test_tup1, test_tup2):\r\n"
        "  res = tuple(set(test_tup1) & set(test_tup2))\r\n"
        "  return (res) \n"
        "[DONE]\n"
        "You are an expert Python programmer, and here is your task: Write a python function to "
        "identify non-prime numbers."
    ) in text
    assert text.count("[BEGIN]\n") == 4
    assert text.count("[DONE]\n") == 3
    assert text.endswith('assert remove_Occ("PHP","P") == "H"\n[BEGIN]\n')


def test_line_ends_can_be_made_plain_and_shots_left_out(benchmarks):
    plain = _problems("mbpp", benchmarks)["MBPP/11"].prompt.prefix
    lf = _problems("mbpp:lf", benchmarks)["MBPP/11"].prompt.prefix
    alone = _problems("mbpp:0-shot", benchmarks)["MBPP/11"].prompt.prefix

    assert plain.count("\r\n") == 11
    assert lf == plain.replace("\r\n", "\n")
    assert plain.endswith(alone)
    assert alone.count("You are an expert") == 1


def test_setup_runs_after_the_program_and_before_the_assertions(benchmarks, sandbox):
    problem = _problems("mbpp", benchmarks)["MBPP/367"]
    program = mbpp.program(problem, problem.solution)

    assert program.tests.startswith("root = Node(1)")
    assert sandbox.run(program).is_pass


def test_entry_point_is_the_function_that_the_assertions_call():
    assert mbpp.entry_point(ROW) == "f"
    assert mbpp.entry_point({**ROW, "code": "x = 1"}) is None


def test_every_problem_has_an_entry_point(benchmarks):
    problems = _problems("mbpp", benchmarks).values()

    assert [problem.task_id for problem in problems if mbpp.entry_point(problem.row) is None] == []


def test_text_ends_before_the_mark():
    (task,) = find_tasks("mbpp")

    assert task.sampling.stop == ("[DONE]",)
    assert _cut("x = 1\n[DONE]\nYou are") == {
        "done": "x = 1\n",
        "done+bigcode": "x = 1\n",
        "done+fence": "x = 1\n",
    }


def test_text_without_the_mark_is_cut_in_every_likely_way():
    assert _cut("def f():\n    return 1\nprint(f())\n") == {
        "done": "def f():\n    return 1\nprint(f())\n",
        "done+bigcode": "def f():\n    return 1",
        "done+fence": "def f():\n    return 1\nprint(f())\n",
    }
    assert _cut("Here:\n```python\nx = 1\n```\nDone [DONE]") == {
        "done": "Here:\n```python\nx = 1\n```\nDone ",
        "done+bigcode": "Here:",
        "done+fence": "x = 1\n",
    }


def test_task_that_works_for_seconds_gets_more_time(benchmarks):
    problems = _problems("mbpp", benchmarks)

    slow = Limits(wall_s=120.0, cpu_s=60)
    assert problems["MBPP/123"].limits == slow
    assert {problem.limits for problem in problems.values()} == {None, slow}


@pytest.mark.parametrize("name", ["mbpp", "mbpp:lf", "mbpp:0-shot"])
def test_a_sample_of_reference_solutions_passes(benchmarks, sandbox, name):
    problems = _problems(name, benchmarks)
    chosen = [f"MBPP/{n}" for n in (11, 40, 88, 200, 300, 367, 510)]  # 40 and 88 give a Counter
    programs = [mbpp.program(problems[n], problems[n].solution) for n in chosen]

    assert {result.outcome for result in sandbox.map(programs)} == {"pass"}


def test_wrong_program_fails(benchmarks, sandbox):
    problem = _problems("mbpp", benchmarks)["MBPP/11"]

    result = sandbox.run(mbpp.program(problem, "def remove_Occ(s, ch):\n    return s\n"))

    assert result.outcome == "fail"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_reference_solution_passes(benchmarks, sandbox):
    (task,) = find_tasks("mbpp")
    problems = task.problems(benchmarks)
    judge = Judge(task, problems, sandbox=sandbox)
    samples = [
        Sample(task_id=p.task_id, index=0, text=p.solution, prompt_sha256="ours") for p in problems
    ]

    scores = judge.score(samples, known={})

    missed = [(score.variant, score.task_id) for score in scores if score.value != 1.0]
    assert missed == [("done+bigcode", "MBPP/342")]  # it holds a class of its own
    assert len(scores) == 3 * 500


def test_samples_of_the_tasks_before_and_after_the_tested_ones_are_known():
    (task,) = find_tasks("mbpp")

    assert {"MBPP/1", "MBPP/10", "MBPP/511", "MBPP/974"} <= task.other_ids
    assert len(task.other_ids) == 974 - 500
    assert "MBPP/11" not in task.other_ids
