# SPDX-License-Identifier: Apache-2.0
"""What may be masked in a Python file: functions, and in each a line, a block and the whole body.

Reads one text and the names in it that stand for other files of the repository. A span starts where
the code of its first line starts, as a cursor behind the indentation, and ends with the code of its
last line. Which line and which block is drawn by a hash of the function, so that it is always the
same one.

Source: CodeGemma, arXiv 2406.11409, section 5, the in-house check: snippets of functions that
    depend on other files.
Unstated: how snippets are drawn, and of which sizes.
"""

import ast
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

SpanKind = Literal["line", "block", "body"]
KINDS: Final[tuple[SpanKind, ...]] = ("line", "block", "body")
MAX_BODY_LINES: Final = 40
"""Longer bodies are no snippets."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A piece of a text that may be masked: `text[start:end]`."""

    kind: SpanKind
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A function that uses names of other files.

    Args:
        name: Qualified, as in `Cart.add`.
        first_line: First line of its body, its docstring left out, from 1.
        last_line: Last line of its body.
        indent: Of the body, in columns.
        spans: At most one of each kind.
    """

    name: str
    first_line: int
    last_line: int
    indent: int
    spans: tuple[Span, ...]


def find_functions(
    text: str, *, is_of_repository: Callable[[str], Sequence[bool]]
) -> list[Function]:
    """List the functions whose body uses a name that is imported from another file.

    Args:
        text: A Python file with LF line ends.
        is_of_repository: Tells of an import statement, for each of its names, whether it means
            another file of the repository.

    Returns:
        In the order of the text; none for text that does not parse. Functions inside functions
        count as part of the outer one.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    names = _imported_names(tree, is_of_repository)
    offsets = _line_offsets(text)
    found: list[Function] = []
    for name, function in _functions(tree, ""):
        body = _without_docstring(function.body)
        if not body or body[0].lineno == function.lineno:
            continue  # nothing to fill in, or all of it on the line of the signature
        first, last = body[0].lineno, body[-1].end_lineno or body[-1].lineno
        if last - first >= MAX_BODY_LINES or not _uses(body, names):
            continue
        if isinstance(body[0], _Function | ast.ClassDef) and body[0].decorator_list:
            first = body[0].decorator_list[0].lineno
        lines = text.split("\n")
        spans = [_span("body", first, last, lines, offsets)]
        draw = int.from_bytes(hashlib.sha256(f"{name}\n{text}".encode()).digest()[:8], "big")
        block = _draw_block(body, draw)
        if block is not None:
            spans.insert(0, _span("block", *block, lines, offsets))
        line = _draw_line(body, draw)
        if line is not None:
            spans.insert(0, _span("line", line, line, lines, offsets))
        indent = len(lines[first - 1]) - len(lines[first - 1].lstrip())
        found.append(
            Function(name=name, first_line=first, last_line=last, indent=indent, spans=tuple(spans))
        )
    return found


def without_body(text: str, function: Function) -> str:
    """Give the text with a function's body made one statement that raises."""
    lines = text.split("\n")
    lines[function.first_line - 1 : function.last_line] = [
        " " * function.indent + "raise NotImplementedError"
    ]
    return "\n".join(lines)


def _functions(node: ast.AST, head: str) -> Iterator[tuple[str, _Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Function):
            yield head + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{head}{child.name}.")
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _functions(child, head)


def _imported_names(
    tree: ast.AST, is_of_repository: Callable[[str], Sequence[bool]]
) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            flags = is_of_repository(ast.unparse(node))
            for alias, is_inside in zip(node.names, flags, strict=False):
                if is_inside and alias.name != "*":
                    names.add(alias.asname or alias.name.split(".")[0])
    return frozenset(names)


def _uses(body: Sequence[ast.stmt], names: frozenset[str]) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id in names
        for statement in body
        for node in ast.walk(statement)
    )


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_text else body


def _draw_line(body: Sequence[ast.stmt], draw: int) -> int | None:
    """Choose a simple statement on a line of its own."""
    simple = [
        node.lineno
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.stmt)
        and not hasattr(node, "body")
        and node.lineno == node.end_lineno
        and not isinstance(node, ast.Pass | ast.Global | ast.Nonlocal)
    ]
    return simple[draw % len(simple)] if simple else None


def _draw_block(body: Sequence[ast.stmt], draw: int) -> tuple[int, int] | None:
    """Choose the block of a compound statement, or statements that follow each other."""
    blocks: list[tuple[int, int]] = []
    for statement in body:
        for node in ast.walk(statement):
            for field in ("body", "orelse", "finalbody"):
                inner = cast("list[ast.stmt]", getattr(node, field, None) or [])
                if not isinstance(node, ast.Lambda | ast.IfExp) and inner:
                    first, last = inner[0].lineno, inner[-1].end_lineno or 0
                    if first > getattr(node, "lineno", 0):
                        blocks.append((first, last))
    blocks += [
        (body[i].lineno, body[j].end_lineno or 0)
        for i in range(len(body))
        for j in range(i + 1, len(body))
        if j - i < len(body) - 1
    ]
    several = [block for block in blocks if block[1] > block[0]]
    return several[draw % len(several)] if several else None


def _span(
    kind: SpanKind, first: int, last: int, lines: Sequence[str], offsets: Sequence[int]
) -> Span:
    line = lines[first - 1]
    start = offsets[first - 1] + len(line) - len(line.lstrip())
    return Span(kind=kind, start=start, end=offsets[last - 1] + len(lines[last - 1].rstrip()))


def _line_offsets(text: str) -> list[int]:
    offsets = [0]
    for line in text.split("\n"):
        offsets.append(offsets[-1] + len(line) + 1)
    return offsets
