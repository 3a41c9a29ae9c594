# SPDX-License-Identifier: Apache-2.0
"""Types of Python values as they stand in an assertion, and of annotations.

A value written out in source has one type: numbers of a list agree on the widest, letters on
strings, and an empty list waits for another test to say what it would hold. What is not written
out, such as a sum or a comprehension, is refused.
"""

import ast
import re
from collections.abc import Sequence
from typing import Any, Final

from codegemma.errors import InputError
from codegemma.evaluate.babelcode.schema import Type

NULL: Final = Type("null")
"""Type of the elements of an empty list, and of None."""

_WIDER: Final = {
    "character": ("string",),
    "float": ("double",),
    "integer": ("long", "float", "double"),
    "long": ("double",),
}
_ANNOTATIONS: Final = {"bool": "boolean", "float": "float", "int": "integer", "str": "string"}
_MANY_DIGITS = re.compile(r".[0-9]{7,}")  # more than a 32-bit float holds


def unify(first: Type, second: Type) -> Type:
    """Give the type that holds values of both.

    Raises:
        InputError: There is none.
    """
    if first.kind == "null":
        return second
    if second.kind in ("null", first.kind) and first.element is None:
        return first
    if second.kind == "null":
        return first
    if second.kind in _WIDER.get(first.kind, ()):
        return second
    if first.kind in _WIDER.get(second.kind, ()):
        return first
    if first.kind == second.kind and first.element and second.element:
        key = unify(first.key, second.key) if first.key and second.key else None
        return Type(first.kind, unify(first.element, second.element), key)
    raise InputError(f"{first} and {second} have no type in common")


def has_null(kind: Type | None) -> bool:
    """Whether a type still waits to be told what an empty list would hold."""
    return kind is not None and (
        kind.kind == "null" or has_null(kind.element) or has_null(kind.key)
    )


def read_value(node: ast.expr) -> tuple[Any, Type]:
    """Read a value written out in source, as JSON would hold it.

    Raises:
        InputError: It is not written out, or not every language can hold it.
    """
    if isinstance(node, ast.Constant):
        return node.value, _constant_type(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value, kind = read_value(node.operand)
        if not isinstance(value, bool) and isinstance(value, (int, float)):
            return -value, kind
    if isinstance(node, ast.List):
        values, kinds = _read_all(node.elts)
        return values, Type("list", _unify_all(kinds))
    if isinstance(node, ast.Tuple):
        values, kinds = _read_all(node.elts)
        if len(set(kinds)) == 1 or all(kind.element for kind in kinds):
            return values, Type("list", _unify_all(kinds))
    if isinstance(node, ast.Dict) and None not in node.keys:
        return _read_map(node)
    raise InputError(f"not a value that every language can hold: {ast.unparse(node)}")


def _constant_type(value: object) -> Type:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return Type("boolean")
    if isinstance(value, str):
        return Type("character" if len(value) == 1 else "string")
    if isinstance(value, float):
        return Type("double" if _MANY_DIGITS.search(str(value)) else "float")
    if isinstance(value, int):
        return Type("long" if len(str(value)) > 9 else "integer")
    raise InputError(f"not a value that every language can hold: {value!r}")


def _read_map(node: ast.Dict) -> tuple[dict[str, Any], Type]:
    keys, key_kinds = _read_all([key for key in node.keys if key])
    values, kinds = _read_all(node.values)
    key = _unify_all(key_kinds)
    if key.kind == "character":
        key = Type("string")
    if key.kind not in ("integer", "string", "boolean", "null"):
        raise InputError(f"not every language has maps from {key}: {ast.unparse(node)}")
    pairs = {str(key): value for key, value in zip(keys, values, strict=True)}
    return pairs, Type("map", _unify_all(kinds), key)


def _read_all(nodes: Sequence[ast.expr]) -> tuple[list[Any], list[Type]]:
    pairs = [read_value(node) for node in nodes]
    return [value for value, _ in pairs], [kind for _, kind in pairs]


def _unify_all(kinds: Sequence[Type]) -> Type:
    result = NULL
    distinct = dict.fromkeys(kinds)
    if NULL in distinct and len(distinct) > 1:
        raise InputError("not every language can hold None beside other elements")
    for kind in distinct:
        result = unify(result, kind)
    return result


def read_annotation(node: ast.expr | None) -> Type | None:
    """Read an annotation of a parameter or result, such as `List[int]`.

    Returns:
        Its type; None where there is no annotation or one that says less than the tests do, such
        as `list`, `Any`, or types within types.
    """
    if isinstance(node, ast.Name):
        return Type(_ANNOTATIONS[node.id]) if node.id in _ANNOTATIONS else None
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        return None
    inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    kinds = [read_annotation(each) for each in inside if isinstance(each, ast.Name)]
    if len(kinds) < len(inside) or None in kinds:
        return None
    if node.value.id == "Dict" and len(kinds) == 2:
        return Type("map", kinds[1], kinds[0])
    if (node.value.id == "List" and len(kinds) == 1) or (
        node.value.id == "Tuple" and len(set(kinds)) == 1
    ):
        return Type("list", kinds[0])
    return None
