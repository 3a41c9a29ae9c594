# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.evaluate.babelcode.languages import LANGUAGES
from codegemma.evaluate.babelcode.schema import parse_type

CPP, CSHARP, GO, KOTLIN = (LANGUAGES[key] for key in ("cpp", "csharp", "go", "kotlin"))


def test_lists_within_lists_name_their_type_as_often_as_the_language_asks():
    kind = parse_type("list<list<character>>")

    assert GO.literal(kind, [["x"], []]) == "[][]rune{{'x'}, {}}"
    assert CSHARP.literal(kind, [["x"], []]) == (
        "new List<List<char>>{new List<char>{'x'}, new List<char>{}}"
    )


def test_lists_within_maps_name_their_type_in_go():
    assert GO.literal(parse_type("map<string;list<integer>>"), {"a": [1]}) == (
        'map[string][]int{"a": []int{1}}'
    )


def test_numeric_keys_of_maps_stand_as_numbers():
    assert KOTLIN.literal(parse_type("map<integer;integer>"), {"10": 4}) == "mapOf(10 to 4)"


def test_whole_numbers_are_floats_where_the_type_says_so():
    assert CPP.literal(parse_type("list<float>"), [1, 2.5]) == "{1.0, 2.5}"


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ('say "hi"', r'"say \"hi\""'),
        ("it's", '"it\'s"'),
        ("a\nb\\c", r'"a\nb\\c"'),
        ("both ' and \"", '"both \' and \\""'),
        ("$x", '"$x"'),
    ],
)
def test_strings_are_escaped(value, literal):
    assert CPP.literal(parse_type("string"), value) == literal


def test_kotlin_escapes_what_it_would_fill_in():
    assert KOTLIN.literal(parse_type("string"), "$x") == r'"\$x"'


def test_single_quote_as_a_letter_is_escaped():
    assert CPP.literal(parse_type("character"), "'") == r"'\''"


def test_nothing_is_an_empty_value_except_among_numbers():
    assert CPP.literal(parse_type("string"), None) == '""'
    assert CPP.literal(parse_type("list<integer>"), None) == "{}"
    assert CSHARP.literal(parse_type("float"), None) == "Nonef"


def test_what_is_filled_into_a_section_is_not_looked_at_again():
    marks = {"documentation": "<<name>>", "returns": "int", "name": "f", "parameters": ""}

    assert CPP.section("prompt", marks) == "<<name>>\nint f() {"
