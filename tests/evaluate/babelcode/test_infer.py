# SPDX-License-Identifier: Apache-2.0

import ast

import pytest

from codegemma.errors import InputError
from codegemma.evaluate.babelcode.infer import NULL, has_null, read_annotation, read_value, unify
from codegemma.evaluate.babelcode.schema import Type, parse_type


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("True", "boolean"),
        ("-7", "integer"),
        ("1234567890", "long"),
        ("-2.5", "float"),
        ("0.6516731880255975", "double"),
        ("'a'", "character"),
        ("'ab'", "string"),
        ("''", "string"),
        ("['a', 'bc']", "list<string>"),
        ("[1, 2.5]", "list<float>"),
        ("(1, 2)", "list<integer>"),
        ("[(1, 2), (3, 4, 5)]", "list<list<integer>>"),
        ("{'a': 1}", "map<string;integer>"),
        ("{1: ['x']}", "map<integer;list<character>>"),
        ("[[], [1]]", "list<list<integer>>"),
    ],
)
def test_values_have_one_type(text, kind):
    assert read_value(_expression(text))[1] == parse_type(kind)


def test_values_are_as_json_holds_them():
    assert read_value(_expression("{3: (1, -2)}"))[0] == {"3": [1, -2]}


@pytest.mark.parametrize(
    "text",
    [
        "3 * 19",
        "(1, 'a')",
        "(1, 2.5)",
        "{1, 2}",
        "['a', None]",
        "[1, 'a']",
        "{1.5: 2}",
        "f(1)",
        "b'x'",
        "-True",
        "{**{}}",
    ],
)
def test_what_is_not_written_out_or_mixed_is_refused(text):
    with pytest.raises(InputError):
        read_value(_expression(text))


def test_empty_list_takes_the_type_of_another_test():
    empty, full = Type("list", NULL), parse_type("list<list<string>>")

    assert unify(empty, full) == unify(full, empty) == full
    assert has_null(empty)
    assert not has_null(full)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("integer", "float", "float"),
        ("long", "double", "double"),
        ("character", "string", "string"),
        ("list<character>", "list<string>", "list<string>"),
        ("map<string;integer>", "map<string;float>", "map<string;float>"),
    ],
)
def test_the_wider_type_wins_either_way(first, second, both):
    first, second = parse_type(first), parse_type(second)

    assert unify(first, second) == unify(second, first) == parse_type(both)


@pytest.mark.parametrize(
    ("first", "second"), [("integer", "string"), ("list<integer>", "integer"), ("long", "float")]
)
def test_types_without_a_wider_one_are_refused(first, second):
    with pytest.raises(InputError, match=f"{first} and {second} have no type in common"):
        unify(parse_type(first), parse_type(second))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("int", "integer"),
        ("List[str]", "list<string>"),
        ("Dict[str, int]", "map<string;integer>"),
        ("Tuple[int, int]", "list<integer>"),
    ],
)
def test_annotations_say_types(text, kind):
    assert read_annotation(_expression(text)) == parse_type(kind)


@pytest.mark.parametrize("text", ["list", "Any", "List[Any]", "List[List[int]]", "Optional[str]"])
def test_annotations_that_say_less_than_tests_do_are_passed_over(text):
    assert read_annotation(_expression(text)) is None
    assert read_annotation(None) is None
