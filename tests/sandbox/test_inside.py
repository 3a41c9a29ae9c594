# SPDX-License-Identifier: Apache-2.0
import ast
import os
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from codegemma.sandbox import inside


def test_frames_come_back_as_they_went():
    reader, writer = os.pipe()

    inside.write_frame(writer, {"text": "ä\n", "n": 1})
    os.close(writer)

    assert inside.read_frame(reader) == {"text": "ä\n", "n": 1}
    assert inside.read_frame(reader) is None
    os.close(reader)


def test_only_the_standard_library_is_imported():
    tree = ast.parse(Path(inside.__file__).read_text())
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }

    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    assert names <= sys.stdlib_module_names


@pytest.mark.parametrize(
    "value", [1, 1.5, "a", None, [1, {"a": (2,)}], {1, 2}, range(3), Counter("aab"), Fraction(1, 2)]
)
def test_plain_results_are_let_through(value):
    assert inside._guarded(lambda: value)() == value


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"a": (x,)}])
def test_results_with_an_equality_of_their_own_are_refused(wrap):
    class Any:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = object.__hash__

    with pytest.raises(AssertionError, match="Any defines its own equality"):
        inside._guarded(lambda: wrap(Any()))()


def test_equality_put_into_a_type_of_the_library_is_refused(monkeypatch):
    monkeypatch.setattr(Counter, "__eq__", lambda self, other: True)

    with pytest.raises(AssertionError, match="Counter defines its own equality"):
        inside._guarded(lambda: Counter())()


def test_equality_inherited_from_a_type_of_the_library_is_refused():
    class Any(Counter):
        def __getitem__(self, key: object) -> object:
            return key

    with pytest.raises(AssertionError, match="Any defines its own equality"):
        inside._guarded(lambda: Any())()
