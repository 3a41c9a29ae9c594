# SPDX-License-Identifier: Apache-2.0
import builtins
import collections
import copy
import copyreg
import datetime
import math
import random
import string
import sys
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import pytest

from codegemma.sandbox import verdict

Point = collections.namedtuple("Point", "x y")


class Node:
    """A class as solutions have them."""

    def __init__(self, value: int) -> None:
        self.value = value


@pytest.mark.parametrize(
    "value",
    [
        *(1, 1.5, 2j, "a", b"a", None, ..., True, [1, {"a": (2,)}], {1, 2}, range(3)),
        *(Counter("aab"), Fraction(1, 2), Decimal("0.1"), collections.deque([1]), Point(1, [2])),
        *(collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), {"a": 1}.keys()),
        *(datetime.date(2024, 2, 29), datetime.datetime.now(datetime.UTC), Node(3), len, str),
    ],
)
def test_plain_results_are_let_through(value):
    assert verdict.checked(value) is value


def test_result_that_holds_itself_is_let_through():
    ring: list[object] = [1]
    ring.append(ring)

    assert verdict.checked(ring) is ring


class Equal:
    """Equal to everything, by what is no plain function."""

    __eq__ = staticmethod(lambda *_: True)
    __hash__ = object.__hash__


class Near:
    """At no distance from anything."""

    def __sub__(self, other: object) -> int:
        return 0


@pytest.mark.parametrize(
    ("value", "method"),
    [
        (Equal(), "__eq__"),
        (Near(), "__sub__"),
        ([[[[[[Equal()]]]]]], "__eq__"),
        ({"a": (Equal(),)}, "__eq__"),
        ({Equal(): 1}, "__eq__"),
        (Point(1, Equal()), "__eq__"),
        (type("Any", (Counter,), {"__getitem__": lambda self, key: key})(), "__getitem__"),
        (type("Any", (Point,), {"__eq__": lambda self, other: True})(1, 2), "__eq__"),
        (type("Any", (), {"__str__": lambda self: "a"})(), "__str__"),
    ],
)
def test_operators_of_the_programs_own_are_refused_by_name(value, method):
    with pytest.raises(AssertionError, match=rf"the result's type \w+ defines its own {method}"):
        verdict.checked(value)


def test_methods_put_into_a_type_of_the_library_are_refused(monkeypatch):
    monkeypatch.setattr(Counter, "__eq__", lambda self, other: True)

    with pytest.raises(AssertionError, match="Counter defines its own __eq__"):
        verdict.checked(Counter())


def test_types_that_compare_by_what_they_hold_are_no_plain_values():
    with pytest.raises(AssertionError, match="type mappingproxy is no plain value's"):
        verdict.checked(vars(Node))


def test_items_of_an_iterator_are_checked_as_they_come():
    items = verdict.checked(iter([1, Equal()]))

    assert next(items) == 1
    with pytest.raises(AssertionError, match="Equal defines its own __eq__"):
        next(items)


def test_library_is_made_what_it_was(monkeypatch):
    monkeypatch.setattr(random._inst, "gauss_next", 0.5)
    library, make = verdict.Library(), copyreg.__newobj__
    for holder, name in (
        *((builtins, "abs"), (math, "isclose"), (random, "randint"), (random.Random, "randint")),
        *((copyreg, "__newobj__"), (string.Template, "delimiter")),
    ):
        monkeypatch.setattr(holder, name, None, raising=False)
    monkeypatch.setattr(random._inst, "gauss_next", None)
    monkeypatch.setitem(sys.modules, "random", None)
    monkeypatch.setitem(copy._deepcopy_dispatch, list, None)
    setattr(random.Random, "own", None)  # noqa: B010
    monkeypatch.setattr(random.Random.randrange, "__code__", (lambda *_: 7).__code__)
    monkeypatch.setattr(copy.deepcopy, "__defaults__", ("x", "x"))

    library.restore()

    assert (abs(-1), math.isclose(1, 1), random.randint(1, 1)) == (1, True, 1)
    assert (random.Random.randint(random._inst, 2, 2), random.Random().randrange(1)) == (2, 0)
    assert sys.modules["random"] is random
    assert copy.deepcopy([1]) == [1]
    assert (string.Template.delimiter, random._inst.gauss_next) == ("$", 0.5)
    assert copyreg.__newobj__ is make
    assert not hasattr(random.Random, "own")


def test_tests_see_no_name_that_hides_what_they_use():
    library = verdict.Library()
    program = {"abs": None, "math": None, "helper": 1, "answer": lambda: 42, "__name__": "x"}

    names = library.test_names(program, "answer")

    assert names.keys() == {"math", "helper", "answer", "__name__", "__builtins__"}
    assert (names["math"], names["__name__"], names["answer"]()) == (math, "__main__", 42)
    assert names["__builtins__"] == vars(builtins)
    assert names["__builtins__"] is not vars(builtins)


def test_function_under_test_may_be_called_as_a_builtin_is():
    names = verdict.Library().test_names({"sum": lambda: 42}, "sum")

    assert names["sum"]() == 42
