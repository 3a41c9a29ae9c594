# SPDX-License-Identifier: Apache-2.0
"""From a Python solution and its assertions to a Question.

Names of parameters come from the solution, types from its annotations and from the values in the
assertions `assert f(...) == value`, `assert f(...)` and `assert not f(...)`. What cannot be said
in eight languages is refused, and so decides which problems a benchmark has.

Source: BabelCode, arXiv 2302.01973, section 3; reserved words from google-research/babelcode.
"""

import ast
import warnings
from collections.abc import Sequence
from typing import Any, cast

from codegemma.errors import InputError
from codegemma.evaluate.babelcode.infer import NULL, has_null, read_annotation, read_value, unify
from codegemma.evaluate.babelcode.naming import rename
from codegemma.evaluate.babelcode.reserved import RESERVED
from codegemma.evaluate.babelcode.schema import Case, Question, Type


def convert(
    *, number: str, text: str, solution: str, tests: Sequence[ast.stmt], name: str
) -> Question:
    """Convert one problem.

    Args:
        number: Its number in its benchmark.
        text: What is asked.
        solution: A right Python program that defines the function `name`.
        tests: Assertions about it, parsed; a bare `assert True` is passed over.
        name: The function's name.

    Raises:
        InputError: Solution or tests cannot be said in every language.
    """
    function = _find_function(solution, name)
    names, kinds = _parameters(function)
    is_annotated = any(kind is not None for kind in kinds)
    calls = [_read_assertion(node, name) for node in _assertions(tests)]
    if not calls:
        raise InputError("no tests")
    found = [NULL] * len(names)
    result = NULL
    for arguments, (_, kind) in calls:
        if len(arguments) != len(names):
            raise InputError(f"a test gives {len(arguments)} arguments to {len(names)} parameters")
        found = [unify(before, given) for before, (_, given) in zip(found, arguments, strict=True)]
        result = unify(result, kind)
    for arguments, _ in calls:
        for (value, _), kind in zip(arguments, found, strict=True):
            _refuse_nothing(value, kind)
    return Question(
        number=number,
        name=rename(name, "snake"),
        text=text,
        parameters=tuple(
            (each, _settle(annotation, kind))
            for each, annotation, kind in zip(names, kinds, found, strict=True)
        ),
        returns=_settle(read_annotation(function.returns), result),
        cases=tuple(
            Case(arguments=tuple(value for value, _ in arguments), expected=expected)
            for arguments, (expected, _) in calls
        ),
        is_annotated=is_annotated,
        solution=solution.replace(name, rename(name, "snake")),
    )


def _find_function(solution: str, name: str) -> ast.FunctionDef:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # published solutions hold escapes Python frowns upon
        body = ast.parse(solution).body
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise InputError(f"the solution defines no function {name}")


def _parameters(function: ast.FunctionDef) -> tuple[list[str], list[Type | None]]:
    """Name the parameters so that no language minds."""
    given = function.args
    if given.defaults or given.posonlyargs or given.kwonlyargs or given.vararg or not given.args:
        raise InputError(f"{function.name} has no, optional or special parameters")
    lowered = [each.arg.lower() for each in given.args]
    names: list[str] = []
    for index, name in enumerate(lowered):
        if lowered.count(name) > 1:
            name = f"{name}{lowered[:index].count(name)}"
        names.append(f"{name}_arg{index}" if name in RESERVED else name)
    return names, [read_annotation(each.annotation) for each in given.args]


def _assertions(tests: Sequence[ast.stmt]) -> list[ast.Assert]:
    found: list[ast.Assert] = []
    for node in tests:
        if not isinstance(node, ast.Assert):
            raise InputError(f"not an assertion: {ast.unparse(node)}")
        if not (isinstance(node.test, ast.Constant) and node.test.value is True):
            found.append(node)
    return found


def _read_assertion(node: ast.Assert, name: str) -> tuple[list[tuple[Any, Type]], tuple[Any, Type]]:
    """Read the arguments and the expected result of one assertion, each with its type."""
    test, expected = node.test, (True, Type("boolean"))
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, expected = test.operand, (False, Type("boolean"))
    elif isinstance(test, ast.Compare) and [type(each) for each in test.ops] == [ast.Eq]:
        expected = read_value(test.comparators[0])
        test = test.left
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == name:
        return [read_value(argument) for argument in test.args], expected
    raise InputError(f"not a call of {name} compared with a value: {ast.unparse(node)}")


def _settle(annotation: Type | None, found: Type) -> Type:
    """Give the type of a parameter or result from what its annotation and the tests say."""
    kind = unify(annotation or NULL, found)
    if has_null(kind):
        raise InputError("the tests do not say what an empty list would hold")
    return kind


def _refuse_nothing(value: object, kind: Type) -> None:
    """Refuse None among the arguments where no empty value stands for it."""
    if value is None and kind.element is None and kind.kind not in ("string", "character"):
        raise InputError(f"None is no {kind}")
    if kind.element and isinstance(value, list):
        for item in cast("list[object]", value):
            _refuse_nothing(item, kind.element)
