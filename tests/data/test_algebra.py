# SPDX-License-Identifier: Apache-2.0
"""Problems are checked by evaluating what they say, not by the code that made them."""

import re
from collections import Counter
from fractions import Fraction

import pytest

from codegemma.data import algebra
from codegemma.data.algebra import Problem

PROBLEMS = list(algebra.make_problems(400, seed=0))


def value(expression: str, **unknowns: Fraction) -> Fraction:
    """Evaluate school notation: `2(x + 1)(x - 1)` and `3x^2`."""
    python = expression.replace("^", "**")
    python = re.sub(r"(\d|\))\s*(?=[a-z(])", r"\1*", python)
    python = re.sub(r"\b\d+\b", lambda m: f"F({m.group()})", python)
    python = re.sub(r"\*\*F\((\d+)\)", r"**\1", python)
    return eval(python, {"F": Fraction, "__builtins__": {}}, dict(unknowns))


def is_true(equation: str, **unknowns: Fraction) -> bool:
    left, right = equation.split(" = ")
    return value(left, **unknowns) == value(right, **unknowns)


def equations(problem: Problem) -> list[str]:
    asked = problem.question.partition(": ")[2].split(" and ")
    return asked + [line.rpartition(": ")[2] for line in problem.solution.split("\n")]


def unknowns(problem: Problem) -> dict[str, Fraction]:
    names = problem.question.partition(":")[0].removeprefix("Solve for ").split(" and ")
    found = [part.rpartition(" ")[2] for part in problem.answer.split(", ")]
    return {name: Fraction(text) for name, text in zip(names, found, strict=True)}


def test_a_reader_can_follow_a_problem_of_each_kind() -> None:
    chain, equation, system, product = PROBLEMS[4:8]

    assert (chain.question, chain.answer) == ("Solve for z: z + 3 - 8 - 8 = -18", "-5")
    assert chain.solution.split("\n") == [
        "Add 8 to both sides: z + 3 - 8 = -10",
        "Add 8 to both sides: z + 3 = -2",
        "Subtract 3 from both sides: z = -5",
    ]
    assert equation.question == "Solve for p: 5(-5p - 9) - 4(2p - 10) = (9p - 8) + (p + 9) - 264"
    assert equation.solution.split("\n")[-1] == "Divide both sides by -43: p = 6"
    assert system.question == "Solve for a and z: -4a - 9z = 67 and -8a - 6z = 50"
    assert system.answer == "a = -1, z = -7"
    assert product.question == "Expand: (-2b - 7)(-4b + 3)(3b - 6)(3b - 6)(b - 3)"


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_every_step_of_a_solution_holds_at_the_answer(kind: int) -> None:
    for problem in PROBLEMS[kind::4]:
        found = unknowns(problem)
        for equation in equations(problem):
            assert is_true(equation, **found), (problem, equation)


@pytest.mark.parametrize("at", [-2, 1, 3])
def test_every_step_of_a_product_is_the_same_polynomial(at: int) -> None:
    for problem in PROBLEMS[3::4]:
        product = problem.question.removeprefix("Expand: ")
        (name,) = set(re.findall("[a-z]", product))
        unknown = {name: Fraction(at)}
        assert value(product, **unknown) == value(problem.answer, **unknown)
        assert all(is_true(line, **unknown) for line in problem.solution.split("\n"))


def test_problems_are_of_all_lengths_and_hardly_repeat() -> None:
    lengths = Counter(problem.solution.count("\n") + 1 for problem in PROBLEMS)

    assert set(range(3, 9)) <= set(lengths)
    assert len({problem.question for problem in PROBLEMS}) == 400


def test_a_problem_depends_on_seed_and_number_alone() -> None:
    assert algebra.make_problem(7, seed=0) == PROBLEMS[7]
    assert algebra.make_problem(7, seed=1) != PROBLEMS[7]
