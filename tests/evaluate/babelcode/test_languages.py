# SPDX-License-Identifier: Apache-2.0

import typing

import pytest

from codegemma.evaluate.babelcode.languages import LANGUAGES
from codegemma.evaluate.babelcode.schema import LEAVES, parse_type
from codegemma.sandbox import program


def test_the_eight_are_those_of_the_sandbox():
    assert list(LANGUAGES) == list(typing.get_args(program.Language))


@pytest.mark.parametrize("key", [key for key in LANGUAGES if key != "javascript"])
def test_languages_with_types_name_every_leaf(key):
    assert set(LANGUAGES[key].leaves) == set(LEAVES)


@pytest.mark.parametrize(
    ("key", "type_name", "literal"),
    [
        ("cpp", "vector<map<string,bool>>", '{{{"a", true}}}'),
        (
            "csharp",
            "List<Dictionary<string, bool>>",
            'new List<Dictionary<string, bool>>{new Dictionary<string, bool>{{"a", true}}}',
        ),
        ("go", "[]map[string]bool", '[]map[string]bool{map[string]bool{"a": true}}'),
        (
            "java",
            "ArrayList<Map<String, Boolean>>",
            'new ArrayList<>(Arrays.asList(Map.ofEntries(entry("a", true))))',
        ),
        ("javascript", "", '[{"a": true}]'),
        ("kotlin", "ArrayList<Map<String, Boolean>>", 'arrayListOf(mapOf("a" to true))'),
        ("python", "List[Dict[str, bool]]", '[{"a": True}]'),
        (
            "rust",
            "Vec<HashMap<String, bool>>",
            'Vec::from([HashMap::from([("a".to_string(), true)])])',
        ),
    ],
)
def test_types_and_values_are_spelt_as_in_the_language(key, type_name, literal):
    kind = parse_type("list<map<string;boolean>>")

    if key != "javascript":
        assert LANGUAGES[key].type_name(kind) == type_name
    assert LANGUAGES[key].literal(kind, [{"a": True}]) == literal


@pytest.mark.parametrize(
    ("key", "literal"), [("csharp", "0.5m"), ("java", "0.5"), ("kotlin", "0.5"), ("rust", "0.5")]
)
def test_double_has_the_mark_of_the_language(key, literal):
    assert LANGUAGES[key].literal(parse_type("double"), 0.5) == literal


@pytest.mark.parametrize("key", LANGUAGES)
def test_templates_have_every_section(key):
    assert LANGUAGES[key].section("header", {}) or key == "javascript"
    for section, marks in (
        ("case", ("arguments", "expected", "number")),
        ("prompt", ("documentation", "name", "parameters", "returns")),
    ):
        text = LANGUAGES[key].section(section, {mark: f"({mark})" for mark in marks})
        assert "<<" not in text.replace("<< ", "")


def test_stop_strings_are_those_that_babelcode_publishes():
    assert {key: language.stops for key, language in LANGUAGES.items()} == {
        "cpp": ("\n}",),
        "csharp": ("\n    }\n",),
        "go": ("\nfunc", "struct", "\n// "),
        "java": ("\n    }\n",),
        "javascript": ("\nfunction ", "\n/*", "\n//"),
        "kotlin": ("\n}",),  # ours: BabelCode has none
        "python": ("\ndef", "\n#", "\nif", "\nclass"),
        "rust": ("\n}",),
    }
