# SPDX-License-Identifier: Apache-2.0
import ast

import pytest

from codegemma.evaluate.snippets import (
    MAX_BODY_LINES,
    Function,
    find_braced_functions,
    find_functions,
    without_body,
)

TEXT = '''"""Carts."""
import json
from .money import Money as M, add
from .other import *


class Cart:
    """One."""

    def total(self):
        """Add up."""
        total = M(0)
        for item in self.items:
            if item:
                total = add(total, item.price)
                self.seen += 1
        return total

    def size(self):
        return json.loads(len(self.items))

    def short(self): return M(1)


async def load(path):
    x = (
        M(1)
    )
    return x


def only_text():
    """M."""
'''


def of_repository(statement: str) -> list[bool]:
    """Say of each name whether the import is relative."""
    names = ast.parse(statement).body[0]
    assert isinstance(names, ast.Import | ast.ImportFrom)
    return [statement.startswith("from .")] * len(names.names)


def found() -> list[Function]:
    return find_functions(TEXT, is_of_repository=of_repository)


def test_functions_that_use_names_of_other_files_are_found() -> None:
    assert [(one.name, one.first_line, one.last_line, one.indent) for one in found()] == [
        ("Cart.total", 12, 17, 8),
        ("load", 26, 29, 4),
    ]


def test_a_span_starts_behind_the_indentation_and_ends_with_the_code() -> None:
    total, load = found()
    parts = {span.kind: TEXT[span.start : span.end] for span in total.spans}

    assert list(parts) == ["line", "block", "body"]
    assert parts["body"].startswith("total = M(0)\n        for item")
    assert parts["body"].endswith("\n        return total")
    assert parts["line"] in parts["body"]
    assert "\n" not in parts["line"]
    assert "\n" in parts["block"]
    assert parts["block"] in parts["body"]
    assert parts["block"] != parts["body"]
    assert [TEXT[span.start : span.end] for span in load.spans if span.kind == "line"] == [
        "return x"
    ]


def test_what_is_drawn_is_the_same_every_time_and_other_for_other_text() -> None:
    other = find_functions("# one\n" + TEXT, is_of_repository=of_repository)

    assert found() == found()
    assert [one.name for one in other] == [one.name for one in found()]


def test_a_body_is_replaced_by_one_statement_that_raises() -> None:
    total, load = found()

    lines = without_body(TEXT, total).split("\n")

    assert lines[10:13] == ['        """Add up."""', "        raise NotImplementedError", ""]
    ast.parse("\n".join(lines))
    ast.parse(without_body(TEXT, load))


@pytest.mark.parametrize("text", ["def f(:\n", "x = 1\0", "(" * 500, ""])
def test_text_that_does_not_parse_has_no_functions(text: str) -> None:
    assert find_functions(text, is_of_repository=of_repository) == []


def test_a_body_that_is_too_long_or_starts_with_a_decorated_function_is_handled() -> None:
    long = "from .a import b\ndef f():\n" + "    b()\n" * (MAX_BODY_LINES + 1)
    inner = "from .a import b\ndef f():\n    @b\n    def g():\n        pass\n    return g\n"

    assert find_functions(long, is_of_repository=of_repository) == []
    (function,) = find_functions(inner, is_of_repository=of_repository)
    assert function.first_line == 3
    ast.parse(without_body(inner, function))


GO = (
    "package shop\n\nfunc Total(prices []int) int {\n\tfound := 0\n"
    "\tfor _, price := range prices {\n\t\tfound = Add(found, price)\n\t\tfound = Add(found, 0)\n"
    "\t}\n\treturn found\n}\n\nfunc Other() int {\n\treturn 1\n}\n"
)


def test_functions_of_one_name_are_numbered() -> None:
    text = """from .money import M
if M:
    def load():
        return 0
else:
    def load():
        return M(2)

class Cart:
    @property
    def size(self):
        return M(0)

    @size.setter
    def size(self, value):
        self.value = M(value)
"""
    functions = find_functions(text, is_of_repository=of_repository)

    assert [one.name for one in functions] == ["load#2", "Cart.size", "Cart.size#2"]


def test_a_function_of_braces_counts_if_it_uses_a_name_of_another_file() -> None:
    (total,) = find_braced_functions(GO, "go", others=frozenset({"Add"}))

    assert (total.name, total.first_line, total.last_line, total.indent) == ("Total", 4, 9, 1)
    parts = {span.kind: GO[span.start : span.end] for span in total.spans}
    assert list(parts) == ["line", "block", "body"]
    assert parts["body"].startswith("found := 0\n\tfor _, price")
    assert parts["body"].endswith("\n\treturn found")
    assert parts["line"] in parts["body"]
    assert "\n" not in parts["line"]
    assert "\n" in parts["block"]
    assert find_braced_functions(GO, "go", others=frozenset({"Sub"})) == []


def test_a_body_of_braces_is_ended_before_it_begins() -> None:
    (total,) = find_braced_functions(GO, "go", others=frozenset({"Add"}))

    lines = without_body(GO, total).split("\n")

    assert lines[2:4] == [
        'func Total(prices []int) int { panic("body removed");',
        "\tfound := 0",
    ]
    assert len(lines) == len(GO.split("\n"))
