# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.text import syntax
from codegemma.text.bodies import LANGUAGES, find_bodies, find_names

# Of each language: a text, its body as (name, statements, blocks, lines of one statement), names
# in the body that tell, and the names that it defines for others.
CASES = {
    "javascript": (
        "class Cart {\n  sum(x) {\n    // of all\n    let t = 0;\n    for (const i of x) {\n"
        "      t = add(t, i);\n      t += 1;\n    }\n    return t;\n  }\n}\n"
        "exports.twice = (x) => { return x; };\n",
        [("Cart.sum", ((4, 4), (5, 8), (9, 9)), ((6, 7),), {4, 6, 7, 9})],
        {"add", "t", "x"},
        {"Cart", "twice"},
    ),
    "typescript": (
        "export const sum = (x: number): number => {\n  return add(x);\n};\n",
        [("sum", ((2, 2),), (), {2})],
        {"add", "x"},
        {"sum"},
    ),
    "tsx": (
        "export function View(): Node {\n  return <p>{add(1)}</p>;\n}\n",
        [("View", ((2, 2),), (), {2})],
        {"add"},
        {"View"},
    ),
    "go": (
        "package p\n\nfunc (c *Cart) Sum(x int) int {\n\ty := Add(x)\n\treturn y\n}\n\n"
        "type Cart struct{ A int }\n\nfunc Make() int { return 1 }\n",
        [("Cart.Sum", ((4, 4), (5, 5)), (), {4, 5})],
        {"Add", "x", "y"},
        {"Cart", "Make"},
    ),
    "java": (
        "class Cart {\n  int sum(int x) {\n    return Money.add(x);\n  }\n  int sum() {\n"
        "    return 0;\n  }\n}\n",
        [("Cart.sum", ((3, 3),), (), {3}), ("Cart.sum#2", ((6, 6),), (), {6})],
        {"Money", "add", "x"},
        {"Cart"},
    ),
    "kotlin": (
        "class Cart {\n  fun sum(x: Int): Int {\n    return add(x)\n  }\n}\nfun one() = 1\n",
        [("Cart.sum", ((3, 3),), (), {3})],
        {"add", "x"},
        {"Cart", "one"},
    ),
    "csharp": (
        "namespace N {\n  class Cart {\n    int Sum(int x) {\n      return Money.Add(x);\n    }\n"
        "  }\n}\n",
        [("N.Cart.Sum", ((4, 4),), (), {4})],
        {"Money", "Add", "x"},
        {"Cart"},
    ),
    "rust": (
        "impl Cart {\n    fn sum(x: i32) -> i32 {\n        let y = add(x);\n        y\n    }\n}\n"
        "fn one() {}\nstruct Cart;\n",
        [("Cart.sum", ((3, 3), (4, 4)), (), {3, 4})],
        {"add", "x", "y"},
        {"Cart", "one"},
    ),
    "c": (
        "static int *sum(int x) {\n  if (x)\n    add(x);\n  return 0;\n}\n",
        [("sum", ((2, 3), (4, 4)), (), {4})],
        {"add", "x"},
        {"sum"},
    ),
    "cpp": (
        "int Cart::sum(int x) {\n  return add(x);\n}\n",
        [("Cart::sum", ((2, 2),), (), {2})],
        {"add", "x"},
        {"sum"},
    ),
}


def test_every_language_of_braces_has_a_case() -> None:
    assert set(CASES) == set(LANGUAGES) == set(syntax.LANGUAGES) - {"python"}


@pytest.mark.parametrize("language", CASES)
def test_bodies_and_names_are_found(language: str) -> None:
    if not syntax.has_grammar(language):
        pytest.skip(f"the grammar of {language} is not installed")
    text, expected, words, names = CASES[language]

    found = find_bodies(text, language)

    assert [(b.name, b.statements, b.blocks, set(b.simple)) for b in found] == expected
    assert words <= found[0].words
    assert all(text[body.start - 1] == "{" for body in found)
    assert find_names(text, language) == names


def test_characters_are_counted_and_not_bytes() -> None:
    text = "// \u00e4\u20ac\nfunction f() {\n  return g();\n}\n"

    (body,) = find_bodies(text, "javascript")

    assert text[: body.start] == "// \u00e4\u20ac\nfunction f() {"


@pytest.mark.parametrize(
    "text", ["function f( {\n  g();\n}\n", "", "function f() { g(); }\n", "function f() {\n}\n"]
)
def test_text_that_is_broken_or_has_nothing_to_fill_in_has_no_bodies(text: str) -> None:
    assert find_bodies(text, "javascript") == []


def test_statements_that_share_a_line_are_no_lines_of_their_own() -> None:
    text = "function f() {\n  a(); b();\n  c();\n}\n"

    assert find_bodies(text, "javascript")[0].simple == (3,)
