# SPDX-License-Identifier: Apache-2.0
import argparse
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.errors import ConfigError, PrerequisiteError
from codegemma.text import hazards, syntax
from codegemma.text.syntax import (
    LANGUAGES,
    error_fraction,
    find_statements,
    has_grammar,
    language_of,
    parses,
    suffix_starts,
)

MARK = "\u25ae"

# Every place where a suffix may start is marked.
DRAWN = {
    "python": '''"""Doc,
string."""▮
▮import os  # why (not)▮

▮def f(x▮,▮
▮      y=1▮):▮
▮    # a comment, with é; and so on▮
▮    if x and \\
       y:▮
▮        return [x +
                y▮, "a,b"▮]▮
▮    return f"{x}, {y}" or (
        None▮
▮    ▮)▮


▮class A: pass▮
▮''',
    "java": """class A {▮
▮  /* a, b
     c; */▮
▮  String s = "a;)"▮;▮
▮  void f(int x▮, int y▮) {▮
▮    g('}'▮, x▮)▮;▮
▮  ▮}▮
▮}▮""",
    "javascript": """const a = `x
${b}, y`▮;▮
▮foo((▮) => {▮
▮  return /[,;)]/.test(x▮)▮;▮
▮}▮)▮;▮""",
    "typescript": """function f(x: number▮, y: Array<string>▮): void {▮
▮  // z, (w)▮
▮  return g<number>('a,b'▮)▮;▮
▮}▮""",
    "tsx": """const a = <p>b, c;</p>▮;▮""",
    "go": """package main▮

▮func f(a int▮, b string▮) error {▮
▮	s := `x,
y)`▮
▮	return g(s▮, ','▮)▮
▮}▮""",
    "c": """#include <a.h>▮
▮int main(▮) {▮
▮  for (int i = 0▮; i < 3▮; i++▮) {▮
▮    printf("a;%d"▮, i▮)▮;▮
▮  ▮}▮
▮}▮""",
    "cpp": """template <class T> T f(T a▮) {▮
▮  auto s = R"(a,
b;)"▮;▮
▮  return a['x'▮]▮;▮
▮}▮""",
    "csharp": """class A {▮
▮  string S = @"a;
b)"▮;▮
▮  int F(int x▮) => G($"{x},"▮, x▮)▮;▮
▮}▮""",
    "rust": """/// docs, (and more)▮
▮fn f(x: u8▮) -> Vec<u8> {▮
▮    let s = r#"a,
b;"#▮;▮
▮    vec![x▮, b'x'▮]▮
▮}▮""",
    "kotlin": '''fun f(x: Int▮, y: String▮): Int {▮
▮    val s = """a,
b)"""▮
▮    return g(s▮, 'x'▮)▮
▮}▮''',
}


def drawn(text: str, offsets: list[int]) -> str:
    marks = set(offsets)
    return "".join(
        (MARK if index in marks else "") + char for index, char in enumerate([*text, ""])
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_suffix_may_start_where_it_is_drawn(language: str):
    text = DRAWN[language].replace(MARK, "")
    assert parses(text, language)
    assert drawn(text, suffix_starts(text, language)) == DRAWN[language]


def test_offsets_increase_from_one_to_the_length_in_characters():
    assert suffix_starts("x = f(a, b)\n", "python") == [7, 10, 11, 12]
    assert suffix_starts("é = ['ü', 1]", "python") == [8, 11, 12]
    assert suffix_starts("", "python") == []
    assert suffix_starts("\n\n", "python") == [2]


def test_code_that_does_not_parse_still_breaks_somewhere():
    text = "def f(:\n  return 1\n"
    assert drawn(text, suffix_starts(text, "python")) == "def f(:▮\n▮  return 1▮\n▮"


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a/b.py", "python"),
        ("A.JAVA", "java"),
        ("x.test.ts", "typescript"),
        ("x.d.tsx", "tsx"),
        ("x.mjs", "javascript"),
        ("x.h", "cpp"),
        ("x.c", "c"),
        ("x.cs", "csharp"),
        ("x.kts", "kotlin"),
        ("dir.py/Makefile", None),
        (".py", None),
        ("", None),
    ],
)
def test_a_language_goes_by_the_extension(path: str, language: str | None):
    assert language_of(path) == language


def test_the_share_of_errors_is_that_of_the_bytes_the_parser_could_not_place():
    assert error_fraction("x = 1\n", "python") == 0.0
    assert parses("x = 1\n", "python")
    assert not parses("x = (1\n", "python")
    # "$$$$" of the eleven bytes.
    assert error_fraction("x = 1\n$$$$\n", "python") == pytest.approx(4 / 11)
    # A bracket had to be invented.
    assert error_fraction("def f(:\n  return 1\n", "python") == pytest.approx(1 / 19)
    assert error_fraction("", "python") == 0.0
    assert 0.0 < error_fraction("\x00\x01\x02" * 50, "python") <= 1.0


def test_what_the_preprocessor_alone_puts_right_costs_no_more_than_its_part():
    """With a head for each of two cases the tree of the whole text is one error."""
    body = "\n\n".join(f"int twice{i}(int x) {{ return 2 * x + {i}; }}" for i in range(50))
    head = "#if X\nint a(\n#else\nint b(\n#endif\n) {"

    assert 0.0 < error_fraction(f"namespace a {{\n\n{head}\n\n{body}\n\n}}\n", "cpp") < 0.1
    assert error_fraction("\n\n".join(["so it was, my friend ) ("] * 50), "cpp") > 0.5


def test_an_unknown_language_and_a_missing_grammar_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
):
    with pytest.raises(ConfigError, match="no language 'cobol'; known are python, java"):
        parses("x", "cobol")
    assert not has_grammar("cobol")
    assert has_grammar("python")
    monkeypatch.setitem(sys.modules, "tree_sitter_go", None)
    syntax._language.cache_clear()
    with pytest.raises(PrerequisiteError, match="grammar of go is not installed; pip install tree"):
        parses("package x", "go")


HOSTILE = {
    "minified": ("javascript", "function a(b,c){return b?c(b+1):{d:[1,2,3],e:'x'}};a(1);" * 8500),
    "one long sum": ("python", "a+" * 250_000 + "a"),
    "nested and closed": ("python", "(" * 10_000 + ")" * 10_000),
    "nested arrays": ("javascript", "[" * 10_000 + "1" + "]" * 10_000),
    "nested blocks": ("c", "void f() {" + "{" * 10_000 + "}" * 10_000 + "}"),
    "opened only": ("cpp", "{" * 100_000),
    "generic or less": ("cpp", "a<" * 30_000),
    "quotes": ("python", '"""' * 50_001),
    "strings of many lines": ("python", 's = """\n' + "x\n" * 200_000 + '"""\n'),
    "comments": ("c", "/* a */" * 50_000),
    "blank": ("python", " " * 500_000 + "\n" * 500_000),
    "one name": ("java", "a" * 1_000_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_bounded_time(name: str):
    language, text = HOSTILE[name]
    start = time.process_time()
    assert 0.0 <= error_fraction(text, language) <= 1.0
    offsets = suffix_starts(text, language)
    assert time.process_time() - start < 10
    assert offsets == sorted(set(offsets))
    assert not offsets or 1 <= offsets[0] <= offsets[-1] <= len(text)


def test_beyond_the_bounds_is_not_parsed(monkeypatch: pytest.MonkeyPatch):
    text = Path(str(argparse.__file__)).read_text("utf-8")
    assert parses(text, "python")
    monkeypatch.setattr(syntax, "MAX_STEPS", 10)
    assert not parses(text, "python")
    assert error_fraction(text, "python") == 1.0
    assert suffix_starts(text, "python") == []
    monkeypatch.undo()
    monkeypatch.setattr(syntax, "MAX_BYTES", 10)
    assert suffix_starts(text, "python") == []


PARTS = ("x", "é", "\n", " ", "(", ")", '"', "'''", "#", ",", ";", "\t", "\U0001f600")


@given(st.lists(st.sampled_from(PARTS)).map("".join), st.sampled_from(LANGUAGES))
@settings(max_examples=200, deadline=None)
def test_offsets_are_sound_for_any_text(text: str, language: str):
    offsets = suffix_starts(text, language)
    assert offsets == sorted(set(offsets))
    assert set(offsets) <= set(range(1, len(text) + 1))
    assert bool(text) == (len(text) in offsets)


def test_a_text_that_was_parsed_is_let_go_of() -> None:
    text = "".join(f"value_{number} = {number}\n" for number in range(20_000))
    assert parses(text, "python")
    tracemalloc.start()
    try:
        for _ in range(5):
            assert parses(text, "python")
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < len(text)  # of the five


def test_a_text_whose_steps_grow_without_end_is_given_up_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 35: behind some errors a step takes a fifth of a second, and there are thousands."""
    monkeypatch.setattr(syntax, "MAX_PARSE_S", 0.3)
    monkeypatch.setattr(hazards, "_given_up", set[str]())
    text = "/*\n" * 20_000
    assert syntax.error_fraction(text, "python") == 1.0
    assert syntax.error_fraction("x = 1\n", "python") == 0.0
    monkeypatch.setattr(syntax, "MAX_PARSE_S", 1e9)  # another try would end with the test's time
    assert syntax.error_fraction(text, "python") == 1.0


def test_statements_are_found_outside_strings_the_outermost_once() -> None:
    text = "'import a'\nimport b\nif x:\n    import \u00e9.d\ndef f():\n    def g(): pass\n"

    found = find_statements(text, "python", kinds=["import_statement", "function_definition"])

    assert found == [
        ("import_statement", "import b", 0),
        ("import_statement", "import \u00e9.d", 4),
        ("function_definition", "def f():\n    def g(): pass", 0),
    ]
    assert find_statements("", "python", kinds=["import_statement"]) == []


def test_units_are_listed_with_what_they_stand_in() -> None:
    text = "x = f(a, 'b c')\n"

    found = syntax.find_nodes(text, "python")

    assert [(text[node.start : node.end], node.parent) for node in found] == [
        ("x = f(a, 'b c')", -1),
        ("x", 0),
        ("f(a, 'b c')", 0),
        ("f", 2),
        ("(a, 'b c')", 2),
        ("a", 4),
        ("'b c'", 4),
    ]


def test_units_are_counted_in_characters() -> None:
    text = "s = '\u00e9\U0001f600' + name\n"

    found = [text[node.start : node.end] for node in syntax.find_nodes(text, "python")]

    value = "'\u00e9\U0001f600'"
    assert found == [f"s = {value} + name", "s", f"{value} + name", value, "name"]


@given(st.text(alphabet="ab1 \n():=.'#,[]{}\u00e9", max_size=60))
def test_units_of_any_text_lie_inside_the_one_around_them(text: str) -> None:
    nodes = syntax.find_nodes(text, "python")

    for place, node in enumerate(nodes):
        assert 0 <= node.start < node.end <= len(text)
        assert node.parent < place
        if node.parent >= 0:
            outer = nodes[node.parent]
            assert outer.start <= node.start
            assert node.end <= outer.end
            assert (node.start, node.end) != (outer.start, outer.end)
