# SPDX-License-Identifier: Apache-2.0
"""What may be masked in a file: functions, and in each a line, a block and the whole body.

Reads one text and the names in it that stand for other files of the repository. A span starts where
the code of its first line starts, as a cursor behind the indentation, and ends with the code of its
last line. Which line and which block is drawn by a hash of the function, so that it is always the
same one.

In languages of braces a body is taken out by a statement before it that ends the function: what is
left still compiles, with every import used, so that a test fails only if it runs the function.

Source: CodeGemma, arXiv 2406.11409, section 5, the in-house check: snippets of functions that
    depend on other files.
Unstated: how snippets are drawn, and of which sizes.
"""

import ast
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

from codegemma.text.bodies import Lines, find_bodies

SpanKind = Literal["line", "block", "body"]
KINDS: Final[tuple[SpanKind, ...]] = ("line", "block", "body")
MAX_BODY_LINES: Final = 40
"""Longer bodies are no snippets."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_THROW: Final = 'throw new Error("body removed");'
_GUARDS: Final[Mapping[str, str]] = {
    "javascript": _THROW,
    "typescript": _THROW,
    "tsx": _THROW,
    "java": 'if (true) throw new RuntimeException("body removed");',
    "kotlin": 'throw RuntimeException("body removed");',
    "csharp": 'if (true) throw new System.Exception("body removed");',
    "go": 'panic("body removed");',
    "rust": 'panic!("body removed");',
    "c": "__builtin_trap();",
    "cpp": "__builtin_trap();",
}


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
        name: Qualified, as in `Cart.add`, with a number from the second on where a file has several
            of one name, as in `Cart.total#2`.
        first_line: First line of its body, its docstring left out, from 1.
        last_line: Last line of its body.
        indent: Of the body, in columns.
        spans: At most one of each kind.
        start: Character behind the brace that opens its body; 0 in Python.
        guard: Statement that ends the function there; "" in Python.
    """

    name: str
    first_line: int
    last_line: int
    indent: int
    spans: tuple[Span, ...]
    start: int = 0
    guard: str = ""


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
    found: list[Function] = []
    counts: dict[str, int] = {}
    for name, function in _functions(tree, ""):
        counts[name] = counts.get(name, 0) + 1
        body = _without_docstring(function.body)
        if not body or body[0].lineno == function.lineno:
            continue  # nothing to fill in, or all of it on the line of the signature
        first, last = body[0].lineno, body[-1].end_lineno or body[-1].lineno
        if last - first >= MAX_BODY_LINES or not _uses(body, names):
            continue
        if isinstance(body[0], _Function | ast.ClassDef) and body[0].decorator_list:
            first = body[0].decorator_list[0].lineno
        statements = [(node.lineno, node.end_lineno or 0) for node in body]
        found.append(
            _function(
                name if counts[name] == 1 else f"{name}#{counts[name]}",
                text,
                lines=(first, last),
                blocks=[*_blocks(body), *_runs(statements)],
                simple=_simple(body),
            )
        )
    return found


def find_braced_functions(text: str, language: str, *, others: Set[str]) -> list[Function]:
    """List the functions of a language of braces whose body uses a name of another file.

    Args:
        text: A file with LF line ends.
        language: One of `bodies.LANGUAGES`.
        others: Names that other files define, and this one does not.

    Raises:
        PrerequisiteError: The grammar of the language is not installed.
    """
    found: list[Function] = []
    for body in find_bodies(text, language):
        first, last = body.statements[0][0], body.statements[-1][1]
        if last - first >= MAX_BODY_LINES or not body.words & others:
            continue
        function = _function(
            body.name,
            text,
            lines=(first, last),
            blocks=[*body.blocks, *_runs(body.statements)],
            simple=body.simple,
        )
        found.append(replace(function, start=body.start, guard=_GUARDS[language]))
    return found


def _function(
    name: str, text: str, *, lines: Lines, blocks: Sequence[Lines], simple: Sequence[int]
) -> Function:
    """Draw a block and a line of a function."""
    draw = int.from_bytes(hashlib.sha256(f"{name}\n{text}".encode()).digest()[:8], "big")
    rows, offsets = text.split("\n"), _line_offsets(text)
    spans: list[Span] = []
    if simple:
        line = simple[draw % len(simple)]
        spans.append(_span("line", line, line, rows, offsets))
    several = [block for block in blocks if block[1] > block[0]]
    if several:
        spans.append(_span("block", *several[draw % len(several)], rows, offsets))
    first, last = lines
    spans.append(_span("body", first, last, rows, offsets))
    indent = len(rows[first - 1]) - len(rows[first - 1].lstrip())
    return Function(name=name, first_line=first, last_line=last, indent=indent, spans=tuple(spans))


def without_body(text: str, function: Function) -> str:
    """Give the text with a function's body made, or begun by, one statement that ends it."""
    if function.guard:
        return f"{text[: function.start]} {function.guard}{text[function.start :]}"
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


def _simple(body: Sequence[ast.stmt]) -> list[int]:
    """List the lines of simple statements that have a line of their own."""
    return [
        node.lineno
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.stmt)
        and not hasattr(node, "body")
        and node.lineno == node.end_lineno
        and not isinstance(node, ast.Pass | ast.Global | ast.Nonlocal)
    ]


def _blocks(body: Sequence[ast.stmt]) -> Iterator[Lines]:
    """List the lines of the blocks of compound statements."""
    for statement in body:
        for node in ast.walk(statement):
            for field in ("body", "orelse", "finalbody"):
                inner = cast("list[ast.stmt]", getattr(node, field, None) or [])
                if not isinstance(node, ast.Lambda | ast.IfExp) and inner:
                    first, last = inner[0].lineno, inner[-1].end_lineno or 0
                    if first > getattr(node, "lineno", 0):
                        yield first, last


def _runs(statements: Sequence[Lines]) -> Iterator[Lines]:
    """List the lines of statements that follow each other, all of them together left out."""
    for i in range(len(statements)):
        for j in range(i + 1, len(statements)):
            if j - i < len(statements) - 1:
                yield statements[i][0], statements[j][1]


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
