# SPDX-License-Identifier: Apache-2.0
"""The types and problems that are translated: Type, Case, Question.

A type is what every one of the eight languages can hold: a leaf, a list, or a map. Tuples whose
elements are all of one type are lists here; other tuples and sets are refused, as no list or map
says the same.

Source: BabelCode, arXiv 2302.01973, section 3 (the domain-specific language).
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from codegemma.errors import InputError

Leaf = Literal["boolean", "character", "double", "float", "integer", "long", "string"]
LEAVES: Final[tuple[Leaf, ...]] = get_args(Leaf)


@dataclass(frozen=True, slots=True)
class Type:
    """A type: a leaf, `list` of an element, or `map` from a key to an element.

    Args:
        kind: A leaf's name, "list", "map", or "null" for the element of an empty list.
        element: Of a list, or the values of a map.
        key: Of a map.
    """

    kind: str
    element: "Type | None" = None
    key: "Type | None" = None

    def __str__(self) -> str:
        if self.kind == "list":
            return f"list<{self.element}>"
        return f"map<{self.key};{self.element}>" if self.kind == "map" else self.kind


def parse_type(text: str) -> Type:
    """Parse a type as BabelCode writes it.

    Examples:
        parse_type("list<tuple<integer|integer>>")   list of list of integer
        parse_type("map<string;integer>")            map from string to integer

    Raises:
        InputError: The text is no type, or one that not every language can hold.
    """
    kind, opened, inside = text.partition("<")
    if not opened and kind in LEAVES:
        return Type(kind)
    if inside.endswith(">"):
        parts = _split_outermost(inside[:-1])
        if kind == "map" and len(parts) == 2:
            return Type("map", parse_type(parts[1]), parse_type(parts[0]))
        if (kind == "list" and len(parts) == 1) or (kind == "tuple" and len(set(parts)) == 1):
            return Type("list", parse_type(parts[0]))
    raise InputError(f"not every language can hold the type {text}")


def _split_outermost(text: str) -> list[str]:
    """Split at the separators `|` and `;` that lie in no inner type."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "<") - (character == ">")
        if depth == 0 and character in "|;":
            parts.append("")
        else:
            parts[-1] += character
    return parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One test: the arguments in their order and the expected result, as JSON values."""

    arguments: tuple[Any, ...]
    expected: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One problem, in no language yet.

    Args:
        number: Its number in the benchmark it comes from, such as "13" for HumanEval/13.
        name: Name of the function, in snake_case.
        text: What is asked, with the names and words of Python.
        parameters: Name and type of each.
        returns: Type of the result.
        cases: Its tests.
        is_annotated: Whether the Python form carries type annotations.
        solution: A right Python program, "" when none is known.
    """

    number: str
    name: str
    text: str
    parameters: tuple[tuple[str, Type], ...]
    returns: Type
    cases: tuple[Case, ...]
    is_annotated: bool
    solution: str = ""


def from_row(row: dict[str, Any]) -> Question:
    """Read a problem as BabelCode's own converter writes it.

    Raises:
        InputError: A type cannot be held by every language.
    """
    parameters = cast("list[dict[str, str]]", row["schema"]["params"])
    return Question(
        number=row["qid"],
        name=row["entry_fn_name"],
        text=row["text"],
        parameters=tuple((each["name"], parse_type(each["type"])) for each in parameters),
        returns=parse_type(row["schema"]["return"]["type"]),
        cases=tuple(
            Case(
                arguments=tuple(case["inputs"][each["name"]] for each in parameters),
                expected=case["outputs"],
            )
            for case in row["test_list"]
        ),
        is_annotated=row["use_type_annotation"],
        solution=row["solutions"]["Python"],
    )
