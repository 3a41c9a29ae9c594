# SPDX-License-Identifier: Apache-2.0
"""What a parser knows about a source text: its language, whether it parses, where it breaks.

Reads text of the languages below with tree-sitter and gives numbers, offsets and pieces of it,
never a tree.
Python's grammar is always there; the others are used when their packages are installed. Work is
bounded in parser steps, and in seconds far above what code needs: hostile text gives the answer of
text that does not parse. This module draws nothing at random.
"""

import importlib
import importlib.util
import itertools
import re
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final, NamedTuple, cast

import tree_sitter

from codegemma.errors import ConfigError, PrerequisiteError
from codegemma.text import hazards

MAX_BYTES: Final = 4 << 20
"""Longer texts (in UTF-8) are not parsed."""
MAX_STEPS: Final = 30_000
"""Most parser steps (of a hundred operations each) spent on a text; 2 MB of Python take 13,000."""
MAX_PARSE_S: Final = 60.0
"""Most processor time of a text: steps of one full of errors grow; 2 MB of code take seconds."""
_READ_BYTES: Final = 1 << 16
_local = threading.local()


@dataclass(frozen=True, slots=True)
class _Grammar:
    """Where a grammar lives, and its nodes inside which text is not code."""

    package: str
    opaque: tuple[str, ...]
    entry: str = "language"

    @property
    def module(self) -> str:
        return self.package.replace("-", "_")


_C_OPAQUE: Final = (
    "comment",
    "string_literal",
    "raw_string_literal",
    "char_literal",
    "system_lib_string",
    "preproc_arg",
)
_JS_OPAQUE: Final = ("comment", "string", "template_string", "regex", "jsx_text")
_GRAMMARS: Final = {
    "python": _Grammar("tree-sitter-python", ("comment", "string")),
    "java": _Grammar(
        "tree-sitter-java",
        ("line_comment", "block_comment", "string_literal", "character_literal"),
    ),
    "javascript": _Grammar("tree-sitter-javascript", _JS_OPAQUE),
    "typescript": _Grammar("tree-sitter-typescript", _JS_OPAQUE, "language_typescript"),
    "tsx": _Grammar("tree-sitter-typescript", _JS_OPAQUE, "language_tsx"),
    "go": _Grammar(
        "tree-sitter-go",
        ("comment", "interpreted_string_literal", "raw_string_literal", "rune_literal"),
    ),
    "c": _Grammar("tree-sitter-c", _C_OPAQUE),
    "cpp": _Grammar("tree-sitter-cpp", _C_OPAQUE),
    "csharp": _Grammar(
        "tree-sitter-c-sharp",
        (
            "comment",
            "string_literal",
            "verbatim_string_literal",
            "raw_string_literal",
            "interpolated_string_expression",
            "character_literal",
        ),
    ),
    "rust": _Grammar(
        "tree-sitter-rust",
        ("line_comment", "block_comment", "string_literal", "raw_string_literal", "char_literal"),
    ),
    "kotlin": _Grammar(
        "tree-sitter-kotlin",
        (
            "line_comment",
            "block_comment",
            "string_literal",
            "multiline_string_literal",
            "character_literal",
        ),
    ),
}
LANGUAGES: Final = tuple(_GRAMMARS)
"""Languages this module can name."""

_EXTENSIONS: Final = {
    ".py": "python",
    ".pyi": "python",
    ".pyw": "python",
    ".java": "java",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".jsx": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".cts": "typescript",
    ".tsx": "tsx",
    ".go": "go",
    ".c": "c",
    ".h": "cpp",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hh": "cpp",
    ".hpp": "cpp",
    ".hxx": "cpp",
    ".cs": "csharp",
    ".rs": "rust",
    ".kt": "kotlin",
    ".kts": "kotlin",
}

_LINE: Final = re.compile(r"^.*\S", re.MULTILINE)
"""A line that is not blank, without its trailing blanks."""

_PART_END: Final = re.compile(r"\n[ \t]*\n(?=[^\s)}\]])")
_MAX_PARTS: Final = 2000
_LOST_FRACTION: Final = 0.2

_GOES_ON: Final = re.compile(r"[=+\-*/%&|^~<.?(\[\\@!]|\b(?:and|or|not|in|is|if|else|extends)")
"""How a line ends whose statement goes on: an operator, an opening bracket, a joining word."""


def language_of(path: str) -> str | None:
    """Name the language of a file by its extension, None when it is none of `LANGUAGES`.

    `.h` counts as C++, whose grammar reads nearly all C.
    """
    return _EXTENSIONS.get(PurePosixPath(path).suffix.lower())


@lru_cache
def has_grammar(language: str) -> bool:
    """Whether the grammar of a language is installed here."""
    grammar = _GRAMMARS.get(language)
    return grammar is not None and importlib.util.find_spec(grammar.module) is not None


def parses(text: str, language: str) -> bool:
    """Whether a text is free of syntax errors, as far as tree-sitter's grammar sees.

    False for text beyond the bounds of this module.

    Raises:
        ConfigError: The language is none of `LANGUAGES`.
        PrerequisiteError: Its grammar is not installed.
    """
    tree = parse_bytes(text.encode("utf-8", "replace"), language)
    return tree is not None and not tree.root_node.has_error


def error_fraction(text: str, language: str) -> float:
    """Give the share of a text's bytes, in [0, 1], that lie in what the parser could not place.

    A token the parser had to invent counts as one byte. 1.0 for text beyond the bounds. One macro
    may leave the parser lost to the end of the file, so a text with many errors is read again in
    parts, each from a blank line to the next that a line without indentation follows.

    Raises:
        ConfigError: The language is none of `LANGUAGES`.
        PrerequisiteError: Its grammar is not installed.
    """
    data = text.encode("utf-8", "replace")
    tree = parse_bytes(data, language)
    if tree is None:
        return 1.0
    wrong = _wrong_bytes(tree)
    if wrong > _LOST_FRACTION * len(data):
        parts = [part.encode("utf-8", "replace") for part in _PART_END.split(text, _MAX_PARTS)]
        trees = [parse_bytes(part, language) for part in parts]
        counts = (
            len(part) if one is None else min(len(part), _wrong_bytes(one))
            for part, one in zip(parts, trees, strict=True)
        )
        wrong = min(wrong, sum(counts))
    return min(1.0, wrong / max(1, len(data)))


def _wrong_bytes(tree: tree_sitter.Tree) -> int:
    wrong = 0
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        if node.is_error:
            wrong += node.end_byte - node.start_byte
        elif node.is_missing:
            wrong += 1
        elif node.has_error:
            stack += node.children
    return wrong


class Statement(NamedTuple):
    """A piece of a text that a grammar has a name for.

    Args:
        kind: The grammar's name, such as "import_statement".
        text: The piece.
        column: Bytes of its first line before it.
    """

    kind: str
    text: str
    column: int


def find_statements(text: str, language: str, *, kinds: Collection[str]) -> list[Statement]:
    """List the pieces of these kinds in the order of the text, the outermost where they nest.

    Empty for text beyond the bounds of this module.

    Raises:
        ConfigError: The language is none of `LANGUAGES`.
        PrerequisiteError: Its grammar is not installed.
    """
    data = text.encode("utf-8", "replace")
    tree = parse_bytes(data, language)
    if tree is None:
        return []
    wanted = _kind_ids(language, frozenset(kinds))
    found: list[Statement] = []
    cursor = tree.walk()
    while True:
        node = cast("tree_sitter.Node", cursor.node)
        if node.kind_id in wanted:
            piece = data[node.start_byte : node.end_byte].decode("utf-8", "replace")
            found.append(Statement(node.type, piece, node.start_point.column))
        elif cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return found


class Node(NamedTuple):
    """A syntactic unit of a text.

    Args:
        start: Its first character.
        end: The character behind its last.
        parent: Number of the smallest listed unit around it, -1 for none.
    """

    start: int
    end: int
    parent: int


def find_nodes(text: str, language: str) -> list[Node]:
    """List a text's syntactic units, each before those inside it.

    Left out are keywords and punctuation, the parts of strings and comments, units of the same
    extent as the one around them, blanks at the end of one, and what the parser could not place;
    what stands inside the latter is listed.
    Empty for text beyond the bounds of this module.

    Raises:
        ConfigError: The language is none of `LANGUAGES`.
        PrerequisiteError: Its grammar is not installed.

    Example:
        `x = f(a, b)`: (0, 11, -1), then x (0, 1, 0), f(a, b) (4, 11, 0), f (4, 5, 2),
        (a, b) (5, 11, 2), a (6, 7, 4), b (9, 10, 4).
    """
    data = text.encode("utf-8", "replace")
    tree = parse_bytes(data, language)
    if tree is None:
        return []
    opaque, _ = _kinds(language)
    found: list[tuple[int, int, int]] = []
    around: list[int] = []
    parent = -1
    cursor = tree.walk()
    while True:
        node = cast("tree_sitter.Node", cursor.node)
        here = parent
        if node.is_named and not node.is_error:
            start, end = _without_blanks(data, node)
            if end > start and (parent < 0 or (start, end) != found[parent][:2]):
                here = len(found)
                found.append((start, end, parent))
        if node.kind_id not in opaque and cursor.goto_first_child():
            around.append(parent)
            parent = here
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return _in_characters(found, data, is_ascii=len(data) == len(text))
            parent = around.pop()


def _in_characters(found: list[tuple[int, int, int]], data: bytes, *, is_ascii: bool) -> list[Node]:
    if is_ascii:
        return [Node(*row) for row in found]
    to_char = _char_offsets(data, [place for row in found for place in row[:2]])
    return [Node(to_char[start], to_char[end], parent) for start, end, parent in found]


def suffix_starts(text: str, language: str) -> list[int]:
    """List the character offsets at which a suffix may begin so that the syntax breaks there.

    They are, outside strings and comments:

    - the end of a line's code, unless its statement goes on (an operator or an opening bracket
      comes last): the suffix begins with the line break;
    - the start of the next line that is not blank: the suffix begins with a fresh line;
    - closing brackets, and commas and semicolons: the suffix begins with them;
    - the end of the text: the suffix is empty.

    Args:
        text: Source text with LF line ends.
        language: One of `LANGUAGES`.

    Returns:
        Increasing offsets in [1, len(text)]; none for text beyond the bounds or empty.

    Raises:
        ConfigError: The language is none of `LANGUAGES`.
        PrerequisiteError: Its grammar is not installed.

    Example:
        `x = f(a, b)` and a line break: 7 (the comma), 10 (the bracket), 11 (line end), 12 (end).

    Source: CodeGemma's model card, which says that the suffix starts at a syntactically natural
        point, and the sample outputs of its documentation, which show both line borders.
    Unstated: which points count as natural; how the middle's start is drawn (data does, at any
        character, as a cursor falls).
    """
    data = text.encode("utf-8", "replace")
    tree = parse_bytes(data, language)
    if tree is None or not text:
        return []
    opaque, marks = _landmarks(tree, data, language)
    if len(data) != len(text):
        to_char = _char_offsets(data, [*(x for pair in opaque for x in pair), *marks])
        opaque = [(to_char[start], to_char[end]) for start, end in opaque]
        marks = [to_char[mark] for mark in marks]
    return sorted({len(text), *marks, *_line_borders(text, opaque)} - {0})


def _line_borders(text: str, opaque: list[tuple[int, int]]) -> Iterator[int]:
    """Give the ends of lines at which nothing goes on, and the starts of the lines after them."""
    index = 0
    is_border = False
    for match in _LINE.finditer(text):
        start, last = match.start(), match.end() - 1
        if is_border:
            yield start
        while index < len(opaque) and opaque[index][1] <= last:
            index += 1
        if index < len(opaque) and opaque[index][0] <= last:
            is_border = opaque[index][1] == last + 1
        else:
            is_border = not _goes_on(text, last)
        if is_border:
            yield last + 1


def _goes_on(text: str, last: int) -> bool:
    """Whether the line whose last visible character stands at `last` does not end there."""
    if not text[last].isalpha():
        return _GOES_ON.match(text, last) is not None
    word = re.search(r"\w+\Z", text[max(0, last - 8) : last + 1])
    return word is not None and _GOES_ON.fullmatch(word.group()) is not None


def _landmarks(
    tree: tree_sitter.Tree, data: bytes, language: str
) -> tuple[list[tuple[int, int]], list[int]]:
    """List the byte ranges of strings and comments, and the bytes where marks outside them start.

    A walk, since a query takes quadratic time where the parser gave up on a long text.
    """
    opaque_kinds, mark_kinds = _kinds(language)
    opaque: list[tuple[int, int]] = []
    marks: list[int] = []
    cursor = tree.walk()
    while True:
        node = cast("tree_sitter.Node", cursor.node)
        kind = node.kind_id
        if kind in opaque_kinds:
            opaque.append(_without_blanks(data, node))
        elif kind in mark_kinds:
            if node.end_byte > node.start_byte:  # else the parser made it up
                marks.append(node.start_byte)
        elif cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return opaque, marks


def _without_blanks(data: bytes, node: tree_sitter.Node) -> tuple[int, int]:
    """Give a node's range without blanks at its end.

    Rust's documentation comments, for one, take in the line break behind them.
    """
    start, end = node.byte_range
    while end > start and data[end - 1] in b" \t\r\n":
        end -= 1
    return start, end


def _char_offsets(data: bytes, offsets: list[int]) -> dict[int, int]:
    """Map byte offsets at character borders to character offsets."""
    mapped: dict[int, int] = {}
    byte = char = 0
    for offset in sorted(set(offsets)):
        char += len(data[byte:offset].decode())
        byte = offset
        mapped[offset] = char
    return mapped


def parse_bytes(data: bytes, language: str) -> tree_sitter.Tree | None:
    """Parse UTF-8 within the bounds; None when they do not suffice. For modules of `text` alone."""
    parser = tree_sitter.Parser(_language(language))
    if len(data) > MAX_BYTES:
        return None
    # The binding (0.26.1) never lets go of what it is given to parse: always the same object, then.
    buffer: bytearray = _local.__dict__.setdefault("buffer", bytearray())
    is_parsed, steps, end_s = False, itertools.count(), time.thread_time() + MAX_PARSE_S

    def read(offset: int, _point: tree_sitter.Point) -> bytes | bytearray:
        piece = data[offset : offset + _READ_BYTES]
        if not is_parsed:  # later nodes are asked for their texts
            buffer[:] = piece
        return piece if is_parsed else buffer

    def is_over(_offset: int, _has_error: bool) -> bool:
        if time.thread_time() > end_s:
            hazards.give_up(data, language)
            return True
        return next(steps) >= MAX_STEPS

    with hazards.noted(data, language) as is_fit, suppress(ValueError):  # raised when it is over
        try:
            return parser.parse(read, progress_callback=is_over) if is_fit else None
        finally:
            is_parsed = True


@lru_cache
def _language(language: str) -> tree_sitter.Language:
    grammar = _GRAMMARS.get(language)
    if grammar is None:
        raise ConfigError(f"no language {language!r}; known are {', '.join(LANGUAGES)}")
    try:
        module = importlib.import_module(grammar.module)
    except ImportError as error:
        raise PrerequisiteError(
            f"the grammar of {language} is not installed; pip install {grammar.package}"
        ) from error
    return tree_sitter.Language(cast("object", getattr(module, grammar.entry)()))


@lru_cache
def _kind_ids(language: str, names: frozenset[str]) -> frozenset[int]:
    """Give the ids of named node kinds."""
    grammar = _language(language)
    return frozenset(
        kind
        for kind in range(grammar.node_kind_count)
        if grammar.node_kind_is_named(kind) and grammar.node_kind_for_id(kind) in names
    )


@lru_cache
def _kinds(language: str) -> tuple[frozenset[int], frozenset[int]]:
    """Give the node kinds of a language that are opaque, and those that are marks."""
    grammar = _language(language)
    return (
        _kind_ids(language, frozenset(_GRAMMARS[language].opaque)),
        frozenset(
            kind
            for kind in range(grammar.node_kind_count)
            if not grammar.node_kind_is_named(kind)
            and grammar.node_kind_for_id(kind) in (")", "]", "}", ",", ";")
        ),
    )
