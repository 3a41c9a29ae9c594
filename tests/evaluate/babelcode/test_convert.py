# SPDX-License-Identifier: Apache-2.0

import ast

import pytest

from codegemma.errors import InputError
from codegemma.evaluate.babelcode.convert import convert
from codegemma.evaluate.babelcode.schema import Question


def _convert(solution: str, tests: str) -> Question:
    body = ast.parse(tests).body
    return convert(number="1", text="Do.", solution=solution, tests=body, name="doIt")


def test_solution_and_assertions_make_a_question():
    question = _convert(
        "def doIt(Text, count: int) -> List[str]:\n    return doIt('', 0)",
        "assert doIt('a', 2) == ['a', 'a']\nassert doIt('ab', 0) == []\nassert True, 'fine'",
    )

    assert question.name == "do_it"
    assert [(name, str(kind)) for name, kind in question.parameters] == [
        ("text", "string"),
        ("count", "integer"),
    ]
    assert str(question.returns) == "list<string>"
    assert [(case.arguments, case.expected) for case in question.cases] == [
        (("a", 2), ["a", "a"]),
        (("ab", 0), []),
    ]
    assert question.is_annotated
    assert question.solution == (
        "def do_it(Text, count: int) -> List[str]:\n    return do_it('', 0)"
    )


def test_doubtful_escapes_in_a_solution_are_nobodys_business():
    assert _convert("def doIt(x): return '\\w'", "assert doIt(1) == 'ab'").name == "do_it"


def test_bare_and_negated_calls_expect_true_and_false():
    question = _convert("def doIt(x): ...", "assert doIt(1)\nassert not doIt(2)")

    assert str(question.returns) == "boolean"
    assert [case.expected for case in question.cases] == [True, False]
    assert not question.is_annotated


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ("string, x", ["string_arg0", "x"]),
        ("a, A", ["a0", "a1"]),
        ("length, map", ["length_arg0", "map_arg1"]),
        ("list, dict", ["list", "dict"]),
    ],
)
def test_parameters_get_names_that_no_language_minds(parameters, names):
    question = _convert(f"def doIt({parameters}): ...", "assert doIt(1, 2) == 3")

    assert [name for name, _ in question.parameters] == names


@pytest.mark.parametrize(
    ("solution", "tests", "reason"),
    [
        ("def other(x): ...", "assert doIt(1) == 1", "defines no function doIt"),
        ("def doIt(x=1): ...", "assert doIt(1) == 1", "no, optional or special parameters"),
        ("def doIt(): ...", "assert doIt() == 1", "no, optional or special parameters"),
        ("def doIt(x): ...", "assert True", "no tests"),
        ("def doIt(x): ...", "x = 1", "not an assertion: x = 1"),
        ("def doIt(x): ...", "assert doIt(1, 2) == 1", "gives 2 arguments to 1 parameters"),
        ("def doIt(x): ...", "assert set(doIt(1)) == 1", "not a call of doIt"),
        ("def doIt(x): ...", "assert doIt(1) < 2", "not a call of doIt"),
        ("def doIt(x): ...", "assert doIt([]) == 1", "what an empty list would hold"),
        ("def doIt(x): ...", "assert doIt(None) == 1\nassert doIt(1) == 1", "None is no integer"),
        ("def doIt(x): ...", "assert doIt(1) == 'a'\nassert doIt(1) == 1", "no type in common"),
    ],
)
def test_what_not_every_language_can_say_is_refused(solution, tests, reason):
    with pytest.raises(InputError, match=reason):
        _convert(solution, tests)
