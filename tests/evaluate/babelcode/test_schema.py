# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.errors import InputError
from codegemma.evaluate.babelcode.schema import Type, from_row, parse_type


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("integer", Type("integer")),
        ("list<string>", Type("list", Type("string"))),
        ("tuple<float|float>", Type("list", Type("float"))),
        ("map<string;integer>", Type("map", Type("integer"), Type("string"))),
        (
            "list<map<string;tuple<boolean|boolean>>>",
            Type("list", Type("map", Type("list", Type("boolean")), Type("string"))),
        ),
    ],
)
def test_types_are_read_as_they_are_written(text, kind):
    assert parse_type(text) == kind


@pytest.mark.parametrize(
    "text",
    ["", "int", "tuple<integer|string>", "set<integer>", "list<integer", "map<string>", "list<>"],
)
def test_types_that_not_every_language_holds_are_refused(text):
    with pytest.raises(InputError, match="not every language can hold the type"):
        parse_type(text)


def test_tuples_of_one_type_are_written_as_lists():
    assert str(parse_type("map<integer;tuple<string|string>>")) == "map<integer;list<string>>"


def test_row_of_the_converter_becomes_a_question():
    question = from_row(
        {
            "qid": "7",
            "title": "T/7",
            "entry_fn_name": "add",
            "text": "Add.",
            "schema": {
                "params": [{"name": "a", "type": "integer"}, {"name": "b", "type": "integer"}],
                "return": {"type": "integer"},
            },
            "test_list": [{"idx": 0, "inputs": {"b": 2, "a": 1}, "outputs": 3}],
            "use_type_annotation": True,
            "solutions": {"Python": "def add(a, b): return a + b"},
        }
    )

    assert question.parameters == (("a", Type("integer")), ("b", Type("integer")))
    assert [(case.arguments, case.expected) for case in question.cases] == [((1, 2), 3)]
    assert question.is_annotated
