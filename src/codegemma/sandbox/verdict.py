# SPDX-License-Identifier: Apache-2.0
"""Runs a Python program and then its tests, and reports that control came back after the last.

Program and tests share an interpreter, which the program may change before its tests run and from
within them. What it can reach by ordinary names is kept from deciding the verdict:

- This module runs with builtins of its own: `inside.py` executes it in a namespace that has them.
- Tests run with the same, see no name of the program that hides one of them, and find the library
  as it was.
- The function under test gives back nothing whose operators are the program's.

A program that looks through the frames or the memory of this very harness, or that changes parts of
the library which no test was seen to use, can still forge its verdict. Standard library alone.
"""

import array
import builtins
import collections
import collections.abc
import datetime
import decimal
import fractions
import operator
import os
import re
import sys
import traceback
import types
import typing

_Names = collections.abc.Mapping[str, object]
# A metaclass cannot stand in the way of these three.
_FLAGS: collections.abc.Callable[[type], int] = type.__dict__["__flags__"].__get__
_BASES: collections.abc.Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_NAMES: collections.abc.Callable[[type], _Names] = type.__dict__["__dict__"].__get__
_DICT: typing.Any = dict  # whose methods no subclass replaces
_MADE_IN_C = 1 << 8  # types that no Python code can make or change
_EMPTY: dict[str, object] = {}
_VIEWS = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))
# fmt: off
_SEQUENCES: tuple[type, ...] = (list, tuple, set, frozenset, dict, collections.deque)
_CONTAINERS: frozenset[type] = frozenset((*_SEQUENCES, *_VIEWS))
_PLAIN: frozenset[type] = _CONTAINERS | frozenset((
    object, type, int, str, float, bool, type(None), type(...), complex, bytes, bytearray, range,
    collections.OrderedDict, collections.defaultdict, decimal.Decimal, datetime.date,
    datetime.time, datetime.datetime, datetime.timedelta, datetime.tzinfo, datetime.timezone,
    array.array, re.Match, re.Pattern, types.FunctionType, types.BuiltinFunctionType,
    types.MethodType,
))
_PASSIVE = frozenset((
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__", "__hash__",
    "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__init__",
    "__new__", "__init_subclass__", "__match_args__", "__orig_bases__", "__parameters__",
    "__static_attributes__", "__firstlineno__", "__classdictcell__",
))
# fmt: on
_TESTS_USE = ("math", "random", "copy", "string", "re", "itertools", "collections", "functools")
_THEY_USE = (*_TESTS_USE, "copyreg")


def _methods(kind: type) -> dict[str, tuple[object, object]]:
    """Give what a class defines, with the code of its functions."""
    return {name: (value, getattr(value, "__code__", None)) for name, value in vars(kind).items()}


_LIBRARY_METHODS = {
    base: _methods(base)
    for kind in (collections.Counter, fractions.Fraction)
    for base in kind.__mro__
    if not _FLAGS(base) & _MADE_IN_C
}
_TUPLE_CODES = [
    code for _, code in _methods(typing.NamedTuple("_Sample", [("a", int)])).values() if code
]


def _held_in(module: types.ModuleType) -> tuple[list[dict[typing.Any, typing.Any]], list[type]]:
    """Give what a module's functions look things up in, and the classes that it defines."""
    tables: list[dict[typing.Any, typing.Any]] = []
    kinds: list[type] = []
    contents: dict[str, object] = vars(module)
    for name, value in contents.items():
        kind = type(value)
        if isinstance(value, type):
            if not _FLAGS(value) & _MADE_IN_C and value.__module__ == module.__name__:
                kinds.append(value)
        elif kind is dict and name != "__builtins__":
            tables.append(typing.cast("dict[typing.Any, typing.Any]", value))
        elif kind.__module__ == module.__name__ and hasattr(value, "__dict__"):
            tables.append(vars(value))  # such as the generator of `random`
    return tables, kinds


class Library:
    """Builtins and modules as they are now, before any program could change them."""

    def __init__(self) -> None:
        self._set_trace, self._set_profile = sys.settrace, sys.setprofile
        self._loaded = sys.modules
        self.builtins = dict(builtins.__dict__)
        self._known = {name: __import__(name) for name in _THEY_USE}
        self.modules = {name: self._known[name] for name in _TESTS_USE}
        held = [_held_in(module) for module in self._known.values()]
        spaces = [builtins.__dict__, *(module.__dict__ for module in self._known.values())]
        self._spaces = [(names, dict(names)) for names in spaces]
        self._tables = [(table, dict(table)) for tables, _ in held for table in tables]
        self._kinds = [(kind, dict(_NAMES(kind))) for _, kinds in held for kind in kinds]
        values = [
            value
            for _, saved in (*self._spaces, *self._kinds, *self._tables)
            for value in saved.values()
            if isinstance(value, types.FunctionType)
        ]
        self._functions = [
            (each, each.__code__, each.__defaults__, each.__kwdefaults__) for each in set(values)
        ]

    def restore(self) -> None:
        """Make all of it what it was, and trace nothing."""
        self._set_trace(None)
        self._set_profile(None)
        sys.modules = self._loaded
        self._loaded.update(self._known)
        for names, saved in self._spaces:
            names.update(saved)
        for table, saved in self._tables:
            table.clear()
            table.update(saved)
        for kind, saved in self._kinds:
            names = _NAMES(kind)
            for name in [name for name in names if name not in saved]:
                type.__delattr__(kind, name)
            for name, value in saved.items():
                if name not in names or names[name] is not value:
                    type.__setattr__(kind, name, value)
        for function, code, defaults, keywords in self._functions:
            if function.__code__ is not code:
                function.__code__ = code
            if function.__defaults__ is not defaults:
                function.__defaults__ = defaults
            if function.__kwdefaults__ is not keywords:
                function.__kwdefaults__ = keywords

    def test_names(
        self, program: dict[str, object], entry_point: str | None
    ) -> dict[str, typing.Any]:
        """Give the names that tests see: the program's, but for those that hide what tests use."""
        names: dict[str, typing.Any] = {
            name: value
            for name, value in dict(program).items()
            if type(name) is str and name not in self.builtins
        }
        names |= {name: module for name, module in self.modules.items() if name in names}
        names |= {"__name__": "__main__", "__builtins__": dict(self.builtins)}
        if entry_point:
            names[entry_point] = guarded(program[entry_point], self.restore)
        return names


def run_python(
    step: dict[str, typing.Any], secret: bytes, verdict: int, library: Library
) -> typing.NoReturn:
    """Run source and tests; write the secret when control comes back after the last line."""
    write, end = os.write, os._exit
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    sys.stdin = open(0, encoding="utf-8", errors="replace")  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace")  # noqa: SIM115
    out, err = sys.stdout, sys.stderr
    try:
        exec(compile(step["source"], "<program>", "exec"), module.__dict__)
        if step["tests"]:
            library.restore()
            names = library.test_names(module.__dict__, step["entry_point"])
            exec(compile(step["tests"], "<tests>", "exec"), names)
        out.flush()
        err.flush()
        write(verdict, secret)
        end(0)
    except MemoryError:
        write(verdict, b"memory")
    except BaseException:
        traceback.print_exc(file=err)
    out.flush()
    err.flush()
    end(1)


def guarded(
    function: typing.Any, restore: collections.abc.Callable[[], None]
) -> collections.abc.Callable[..., object]:
    """Wrap the function under test: it changes nothing and gives back nothing forged."""

    def call(*arguments: object, **keywords: object) -> object:
        result = function(*arguments, **keywords)
        restore()
        return checked(result)

    return call


def checked(result: object) -> object:
    """Give a result, or for an iterator one that checks each of its items.

    Raises:
        AssertionError: It is, or holds, an object with operators of the program's own.
    """
    _refuse_forged(result)
    kind = type(result)
    if _is_c(kind) and "__next__" in _NAMES(kind):
        return map(checked, typing.cast("collections.abc.Iterator[object]", result))
    return result


def _refuse_forged(result: object) -> None:
    left = [result]
    seen: set[int] = set()
    while left:
        item = left.pop()
        kind, value = type(item), typing.cast("typing.Any", item)
        _refuse_operators(kind)
        bases = _BASES(kind)
        if kind is fractions.Fraction:  # compares what its slots hold
            left += [value._numerator, value._denominator]
        elif datetime.time in bases or datetime.datetime in bases:
            left.append(value.tzinfo)
        if id(value) in seen or not any(base in _CONTAINERS for base in bases if _is_c(base)):
            continue
        seen.add(id(value))
        items: collections.abc.Iterable[object] = value
        if dict in bases:
            items = (*_DICT.keys(value), *_DICT.values(value))
        for item in items:
            inner = typing.cast("type", type(item))
            if not (inner is int or inner is str or inner is float or inner is bool):
                left.append(item)


def _refuse_operators(kind: type) -> None:
    """Refuse a type with operators that neither Python itself nor its library gave it."""
    name = type.__dict__["__name__"].__get__(kind)
    for base in _BASES(kind):
        if _is_c(base):
            if base not in _PLAIN and "__next__" not in _NAMES(base):
                raise AssertionError(f"the result's type {name} is no plain value's")
            continue
        known: dict[str, tuple[object, object]] = {}
        for each, methods in _LIBRARY_METHODS.items():
            if each is base:
                known = methods
        for method, value in _NAMES(base).items():
            if type(method) is str and (method in _PASSIVE or method[:2] + method[-2:] != "____"):
                continue
            code = value.__code__ if type(value) is types.FunctionType else None
            is_known = method in known and all(map(operator.is_, (value, code), known[method]))
            if not is_known and not any(code is each for each in _TUPLE_CODES):
                raise AssertionError(f"the result's type {name} defines its own {method}")


def _is_c(kind: type) -> bool:
    return bool(_FLAGS(kind) & _MADE_IN_C)
