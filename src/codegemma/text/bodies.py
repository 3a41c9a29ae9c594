# SPDX-License-Identifier: Apache-2.0
"""The functions of a text in a language of braces: where their bodies are, and what is in them.

Reads text with tree-sitter and gives lines and names. Python, which has a parser of its own in its
library, is not read here. A body counts if its statements stand on lines of their own, between the
line of its opening and that of its closing brace.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, cast

import tree_sitter

from codegemma.text import syntax

Lines = tuple[int, int]
"""First and last line, from 1."""

LANGUAGES: Final = tuple(name for name in syntax.LANGUAGES if name != "python")
"""Languages whose bodies this module finds."""

_BLOCKS: Final = frozenset({"statement_block", "block", "compound_statement"})
_FUNCTIONS: Final = frozenset(
    {
        "function_declaration",
        "generator_function_declaration",
        "method_definition",
        "method_declaration",
        "arrow_function",
        "function_expression",
        "function_item",
        "function_definition",
    }
)
_TYPES: Final = frozenset(
    {
        *("class_declaration", "abstract_class_declaration", "interface_declaration"),
        *("enum_declaration", "record_declaration", "struct_declaration", "object_declaration"),
        *("class_specifier", "struct_specifier", "enum_specifier", "type_spec"),
        *("struct_item", "enum_item", "trait_item", "type_alias_declaration"),
    }
)
_CONTAINERS: Final = _TYPES | frozenset(
    {"impl_item", "mod_item", "namespace_definition", "namespace_declaration"}
)
_WORDS: Final = frozenset(
    {
        *("identifier", "simple_identifier", "type_identifier", "property_identifier"),
        *("field_identifier", "package_identifier", "namespace_identifier"),
        "shorthand_property_identifier",
    }
)
_WRAPPERS: Final = frozenset({"function_body", "statement_list", "statements"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """The body of a function.

    Args:
        name: Qualified by what the function stands in, as in `Cart.total`; numbered where the text
            has several of one name, as in `Cart.total#2`.
        start: Character behind its opening brace.
        statements: Lines of its own statements, in order; comments are none.
        blocks: Lines of the statements of each block inside it.
        simple: Lines that hold one whole statement, at any depth.
        words: All names in it.
    """

    name: str
    start: int
    statements: tuple[Lines, ...]
    blocks: tuple[Lines, ...]
    simple: tuple[int, ...]
    words: frozenset[str]


@dataclass(slots=True)
class _Parts:
    blocks: list[Lines] = field(default_factory=list[Lines])
    simple: list[int] = field(default_factory=list[int])
    words: set[str] = field(default_factory=set[str])


def find_bodies(text: str, language: str) -> list[Body]:
    """List the bodies of functions in the order of the text; inner ones belong to the outer.

    None for text that does not parse without an error, and for text beyond the bounds of `syntax`.

    Args:
        text: Source text with LF line ends.
        language: One of `LANGUAGES`.

    Raises:
        PrerequisiteError: The grammar of the language is not installed.
    """
    data = text.encode("utf-8", "replace")
    tree = syntax.parse_bytes(data, language)
    if tree is None or tree.root_node.has_error:
        return []
    found: list[Body] = []
    counts: dict[str, int] = {}
    for name, block in _functions(tree.root_node, ""):
        statements = [_lines(node) for node in _statements(block)]
        opened, closed = block.start_point.row + 1, block.end_point.row + 1
        if not statements or statements[0][0] == opened or statements[-1][1] == closed:
            continue
        counts[name] = counts.get(name, 0) + 1
        parts = _Parts()
        _collect(block, parts, is_outermost=True)
        found.append(
            Body(
                name=name if counts[name] == 1 else f"{name}#{counts[name]}",
                start=len(data[: block.start_byte + 1].decode("utf-8", "replace")),
                statements=tuple(statements),
                blocks=tuple(parts.blocks),
                simple=tuple(parts.simple),
                words=frozenset(parts.words),
            )
        )
    return found


def find_names(text: str, language: str) -> frozenset[str]:
    """Name the functions and types that a text defines for others, methods left out.

    None for text beyond the bounds of `syntax`.

    Raises:
        PrerequisiteError: The grammar of the language is not installed.
    """
    tree = syntax.parse_bytes(text.encode("utf-8", "replace"), language)
    if tree is None:
        return frozenset()
    names = (re.findall(r"\w+", name) for name in _defined(tree.root_node))  # exports.add, a::add
    return frozenset(found[-1] for found in names if found)


def _functions(node: tree_sitter.Node, head: str) -> Iterator[tuple[str, tree_sitter.Node]]:
    for child in node.named_children:
        if child.type in _FUNCTIONS and (block := _block(child)) is not None:
            yield head + _name(child), block
        elif child.type in _CONTAINERS:
            yield from _functions(child, f"{head}{_name(child)}.")
        else:
            yield from _functions(child, head)


def _defined(node: tree_sitter.Node) -> Iterator[str]:
    for child in node.named_children:
        if child.type in _FUNCTIONS:
            if child.child_by_field_name("receiver") is None:
                yield _name(child)
        elif child.type in _TYPES:
            yield _name(child)
        elif child.type != "impl_item":
            yield from _defined(child)


def _block(function: tree_sitter.Node) -> tree_sitter.Node | None:
    """Give the block of a function; None for one without, such as a declaration."""
    for child in function.named_children:
        if child.type in _BLOCKS:
            return child
        if child.type in _WRAPPERS:
            return _block(child)
    return None


def _name(node: tree_sitter.Node) -> str:
    """Name a function or what functions stand in; one without a name by what it is bound to."""
    named = node.child_by_field_name("type" if node.type == "impl_item" else "name")
    if named is not None:
        return _receiver(node.child_by_field_name("receiver")) + _text(named)
    declared = node.child_by_field_name("declarator")  # of C and C++
    while declared is not None and (inner := declared.child_by_field_name("declarator")):
        declared = inner
    if declared is not None:
        return _text(declared)
    for name in ("name", "key", "left"):
        bound = node.parent.child_by_field_name(name) if node.parent is not None else None
        if bound is not None:
            return _text(bound)
    return "function"


def _receiver(node: tree_sitter.Node | None) -> str:
    """Name the type that a method of Go is of, as in `Cart.`."""
    stack = [node] if node is not None else []
    while stack:
        one = stack.pop()
        if one.type == "type_identifier":
            return f"{_text(one)}."
        stack += reversed(one.named_children)
    return ""


def _collect(node: tree_sitter.Node, parts: _Parts, *, is_outermost: bool = False) -> None:
    """Gather blocks, lines of one statement and names below a node, without deep recursion."""
    stack = [(node, is_outermost)]
    while stack:
        one, is_first = stack.pop()
        if one.type in _WORDS:
            parts.words.add(_text(one))
        if one.type in _BLOCKS:
            statements = _statements(one)
            lines = [_lines(statement) for statement in statements]
            if lines and not is_first and lines[0][0] > one.start_point.row + 1:
                parts.blocks.append((lines[0][0], lines[-1][1]))
            rows = [row for pair in lines for row in dict.fromkeys(pair)]
            parts.simple += [
                first
                for first, last in lines
                if first == last
                and rows.count(first) == 1
                and first > one.start_point.row + 1
                and first < one.end_point.row + 1
            ]
        stack += [(child, False) for child in reversed(one.named_children)]


def _statements(block: tree_sitter.Node) -> list[tree_sitter.Node]:
    found: list[tree_sitter.Node] = []
    for child in block.named_children:
        if child.type in _WRAPPERS:
            found += _statements(child)
        elif "comment" not in child.type:
            found.append(child)
    return found


def _lines(node: tree_sitter.Node) -> Lines:
    end = node.end_point
    return node.start_point.row + 1, end.row + (0 if end.column == 0 else 1)


def _text(node: tree_sitter.Node) -> str:
    return cast("bytes", node.text).decode("utf-8", "replace")
