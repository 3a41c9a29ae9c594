# SPDX-License-Identifier: Apache-2.0
"""Make algebra problems with worked solutions of many steps, correct by construction.

Four kinds come in turn: an unknown under a chain of operations, linear equations with brackets,
systems of two equations, and products to expand. Problem i of a seed is always the same one. All
arithmetic is of integers and exact. Nothing is copied from a data set; `prepare` looks for
benchmark text in it all the same.

Source: CodeGemma, arXiv 2406.11409, 'Instruction tuning': a programmatically generated data set
    aimed at long algebra problems.
Unstated: what the problems are.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_NAMES: Final = "abkmnpqtuvwxyz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A problem with its solution.

    Args:
        question: What is asked.
        solution: Step by step, a line each.
        answer: The result alone.
    """

    question: str
    solution: str
    answer: str


def make_problems(count: int, *, seed: int) -> Iterator[Problem]:
    """Make so many problems, the kinds in turn."""
    return (make_problem(index, seed=seed) for index in range(count))


def make_problem(index: int, *, seed: int) -> Problem:
    """Make one problem; a function of its arguments alone."""
    digest = hashlib.sha256(f"algebra/{seed}/{index}".encode()).digest()
    question, lines, answer = _KINDS[index % len(_KINDS)](random.Random(digest))
    return Problem(question=question, solution="\n".join(lines), answer=answer)


_Draft = tuple[str, list[str], str]


def _chain(rng: random.Random) -> _Draft:
    """An unknown under three to eight operations, undone one by one."""
    name, value = rng.choice(_NAMES), rng.randint(-12, 12)
    shown, result = [name], value
    values, undone = [value], list[str]()
    for _ in range(rng.randint(3, 8)):
        number = rng.randint(2, 9)
        inner = shown[-1]
        divisors = [d for d in range(2, 10) if result % d == 0 and abs(result) >= 2 * d]
        match rng.choice(("add", "subtract", "times", "over" if divisors else "times")):
            case "add":
                shown.append(f"{inner} + {number}")
                result, why = result + number, f"Subtract {number} from both sides"
            case "subtract":
                shown.append(f"{inner} - {number}")
                result, why = result - number, f"Add {number} to both sides"
            case "over":
                number = rng.choice(divisors)
                shown.append(f"{inner if inner == name else f'({inner})'} / {number}")
                result, why = result // number, f"Multiply both sides by {number}"
            case _:
                shown.append(f"{number}{inner if inner == name else f'({inner})'}")
                result, why = result * number, f"Divide both sides by {number}"
        values.append(result)
        undone.append(why)
    question = f"Solve for {name}: {shown[-1]} = {result}"
    lines = [
        f"{undone[step]}: {shown[step]} = {values[step]}" for step in reversed(range(len(undone)))
    ]
    return question, lines, str(value)


def _equation(rng: random.Random) -> _Draft:
    """A linear equation with brackets on both sides."""
    name, value = rng.choice(_NAMES), rng.randint(-15, 15)
    while True:
        sides = [
            [
                (_nonzero(rng, 9), _nonzero(rng, 9), _nonzero(rng, 12))
                for _ in range(rng.randint(1, 3))
            ]
            for _ in range(2)
        ]
        slopes = [sum(k * a for k, a, _ in side) for side in sides]
        if slopes[0] != slopes[1]:
            break
    constants = [sum(k * b for k, _, b in side) for side in sides]
    # What is added on the right makes both sides equal at the value.
    extra = slopes[0] * value + constants[0] - slopes[1] * value - constants[1]
    shown = [_sum([(k, f"({_sum([(a, name), (b, '')])})") for k, a, b in side]) for side in sides]
    opened = [_sum([t for k, a, b in side for t in ((k * a, name), (k * b, ""))]) for side in sides]
    if extra:
        shown[1], opened[1] = (f"{text} {_signed(extra)}" for text in (shown[1], opened[1]))
    constants[1] += extra
    slope, constant = slopes[0] - slopes[1], constants[1] - constants[0]
    left, right = ((_sum([(s, name), (c, "")])) for s, c in zip(slopes, constants, strict=True))
    lines = [
        f"Expand the brackets: {opened[0]} = {opened[1]}",
        f"Collect like terms: {left} = {right}",
    ]
    if slopes[1]:
        moved = f"{_sum([(slope, name), (constants[0], '')])} = {constants[1]}"
        lines.append(f"Subtract {_term(slopes[1], name)} from both sides: {moved}")
    if constants[0]:
        lines.append(f"Subtract {constants[0]} from both sides: {_term(slope, name)} = {constant}")
    lines += _divided(slope, name, value)
    return f"Solve for {name}: {shown[0]} = {shown[1]}", lines, str(value)


def _system(rng: random.Random) -> _Draft:
    """Two linear equations with two unknowns, by elimination."""
    first, second = rng.sample(_NAMES, 2)
    x, y = rng.randint(-10, 10), rng.randint(-10, 10)
    a, b, c, d = (_nonzero(rng, 9) for _ in range(4))
    while a * d == b * c:
        d = _nonzero(rng, 9)
    e, f = a * x + b * y, c * x + d * y

    def line(p: int, q: int, r: int) -> str:
        return f"{_sum([(p, first), (q, second)])} = {r}"

    slope, rest = b * c - d * a, e * c - f * a
    lines = [
        f"Multiply the first equation by {c}: {line(a * c, b * c, e * c)}",
        f"Multiply the second equation by {a}: {line(c * a, d * a, f * a)}",
        f"Subtract the second from the first: {_term(slope, second)} = {rest}",
        *_divided(slope, second, y),
        f"Put this into the first equation: {_sum([(a, first), (b * y, '')])} = {e}",
    ]
    if y:
        lines.append(f"Subtract {b * y} from both sides: {_term(a, first)} = {a * x}")
    lines += _divided(a, first, x)
    question = f"Solve for {first} and {second}: {line(a, b, e)} and {line(c, d, f)}"
    return question, lines, f"{first} = {x}, {second} = {y}"


def _product(rng: random.Random) -> _Draft:
    """A product of two to five linear factors to expand, one factor at a time."""
    name = rng.choice(_NAMES)
    factors = [(_nonzero(rng, 4), _nonzero(rng, 7)) for _ in range(rng.randint(2, 5))]
    shown = [f"({_sum([(a, name), (b, '')])})" for a, b in factors]
    done = [factors[0][1], factors[0][0]]  # coefficients, the constant first
    lines: list[str] = []
    for place in range(1, len(factors)):
        a, b = factors[place]
        product = [0] * (len(done) + 1)
        for power, value in enumerate(done):
            product[power] += value * b
            product[power + 1] += value * a
        before = f"({_polynomial(done, name)})"
        lines.append(f"{before}{shown[place]} = {_polynomial(product, name)}")
        done = product
    return f"Expand: {''.join(shown)}", lines, _polynomial(done, name)


_KINDS: Final = (_chain, _equation, _system, _product)


def _divided(slope: int, name: str, value: int) -> list[str]:
    return [f"Divide both sides by {slope}: {name} = {value}"] if slope != 1 else []


def _nonzero(rng: random.Random, largest: int) -> int:
    return rng.choice((-1, 1)) * rng.randint(1, largest)


def _polynomial(coefficients: Sequence[int], name: str) -> str:
    powers = ["", name, *(f"{name}^{power}" for power in range(2, len(coefficients)))]
    return _sum(list(zip(coefficients, powers, strict=True))[::-1])


def _sum(terms: Sequence[tuple[int, str]]) -> str:
    """Write a sum; terms that are nothing are left out.

    Example: `[(2, "x"), (-1, "y"), (3, "")]` gives `2x - y + 3`.
    """
    text = ""
    for value, name in terms:
        if not value:
            continue
        if not text:
            text = _term(value, name)
        else:
            text += f" {'-' if value < 0 else '+'} {_term(abs(value), name)}"
    return text or "0"


def _term(value: int, name: str) -> str:
    if not name:
        return str(value)
    return {1: name, -1: f"-{name}"}.get(value, f"{value}{name}")


def _signed(value: int) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value)}"
