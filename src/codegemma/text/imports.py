# SPDX-License-Identifier: Apache-2.0
"""What a source file asks for of other files: its imports, as the paths they spell.

Reads the head of a text with tree-sitter, so that words in strings and comments do not count, and
gives one entry for each imported name. Which file of a repository is meant is for `data/graph.py`
to say. A language without an installed grammar has no imports.

Source: CodeGemma, arXiv 2406.11409, 'Multi-file packing': imports in a file's first N lines.
Unstated: N, and how an import is read in each language.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from codegemma.text import syntax
from codegemma.text.syntax import Statement

MAX_LINES: Final = 200
"""How many lines of a file are looked at."""
_MAX_CHARS: Final = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """One imported name.

    Args:
        parts: The path it spells, without extension except in C and C++.
        up: How many folders above the file's own the path starts; in Rust, modules above its own.
            None: anywhere in the repository.
        optional: How many of the last parts may name something inside a file.
        is_folder: Whether the path may name a folder, as a package of Go.
        least: Fewest parts that a reading may keep.
        name: The imported name where the path does not end in it.
        is_eager: Whether the import stands at the margin: one inside a function or a condition is
            often put there to break a cycle.
    """

    parts: tuple[str, ...]
    up: int | None = None
    optional: int = 0
    is_folder: bool = False
    least: int = 1
    name: str = ""
    is_eager: bool = True


def find_imports(text: str, *, language: str) -> tuple[Import, ...]:
    """List the imports at a file's head in their order; a name imported twice is there once.

    Args:
        text: Source text with LF line ends.
        language: One of `syntax.LANGUAGES`.
    """
    reader = _READERS.get(language)
    if reader is None or not syntax.has_grammar(language):
        return ()
    head = _head(text, reader.mark)
    if not head:
        return ()
    found: dict[Import, None] = {}
    for statement in syntax.find_statements(head, language, kinds=reader.kinds):
        for parts in reader.read(statement):
            found.setdefault(parts)
    return tuple(found)


def _head(text: str, mark: re.Pattern[str]) -> str:
    """Give the text up to the last statement in reach that may be an import, "" without one."""
    head = "\n".join(text[:_MAX_CHARS].split("\n", MAX_LINES)[:MAX_LINES])
    starts = [match.start() for match in mark.finditer(head)]
    if not starts:
        return ""
    place = starts[-1]
    end = head.find("\n", place)
    depth = 0
    while end >= 0:
        line = head[place:end]
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        if depth <= 0 and not line.endswith("\\"):
            return head[: end + 1]
        place, end = end + 1, head.find("\n", end + 1)
    return head


def _python(statement: Statement) -> Iterator[Import]:
    text = re.sub(r"#.*|[()\\]", " ", statement.text)
    is_eager = statement.column == 0
    if statement.kind == "import_statement":
        for name in text.removeprefix("import").split(","):
            yield Import(parts=_dotted(name), is_eager=is_eager)
        return
    match = re.match(r"from\s*(\.*)\s*([\w.]*)\s*import\b(.*)", text, re.DOTALL)
    if match is None:
        return
    up = len(match[1]) - 1 if match[1] else None
    module = _dotted(match[2])
    for name in match[3].split(","):
        wanted = _dotted(name)
        if wanted == ("*",):
            least = min(1, len(module))
            yield Import(parts=module, up=up, least=least, is_eager=is_eager)
        elif wanted:
            least = 1 if up is None else 0
            parts = module + wanted
            yield Import(parts=parts, up=up, optional=1, least=least, is_eager=is_eager)


def _dotted(name: str) -> tuple[str, ...]:
    """Take `a.b as c` apart."""
    words = name.split()
    return tuple(part for part in words[0].split(".") if part) if words else ()


def _java(statement: Statement) -> Iterator[Import]:
    path = re.sub(r"^import\s+(static\s+)?|\s+as\s+\w+|[;`]|\s", "", statement.text)
    parts = tuple(path.removesuffix(".*").split("."))
    if path.endswith(".*"):
        yield Import(parts=parts, is_folder=True, least=2)
    else:
        yield Import(parts=parts, optional=2, least=2)


def _javascript(statement: Statement) -> Iterator[Import]:
    text = statement.text
    is_eager = statement.column == 0
    names = [""]
    if statement.kind == "call_expression":
        sources = re.findall(r"\b(?:require|import)\s*\(\s*[\"']([^\"'\n]+)[\"']\s*\)", text)
        is_eager = text.startswith("require")
    else:
        sources = re.findall(r"(?:from|import|\()\s*[\"']([^\"'\n]+)[\"']\s*\)?\s*;?\s*$", text)
        braces = re.search(r"\{([^}]*)\}", text)
        if braces:
            names = re.findall(r"(\w+)(?:\s+as\s+\w+)?\s*(?:,|$)", braces[1].rstrip()) or [""]
    for source in sources:
        parts = re.sub(r"\.(?:[mc]?[jt]s|[jt]sx)$", "", source).split("/")
        inside = tuple(part for part in parts if part not in (".", "..", "", "@", "~", "#"))
        is_relative = parts[0] in (".", "..")
        up = parts.count("..") if is_relative else None
        if is_relative or len(inside) > 1:
            least = 0 if is_relative else 2
            for name in names:
                yield Import(parts=inside, up=up, least=least, name=name, is_eager=is_eager)


def _go(statement: Statement) -> Iterator[Import]:
    match = re.search(r"[\"`]([^\"`]+)[\"`]", statement.text)
    if match:
        yield Import(parts=tuple(match[1].split("/")), is_folder=True)


def _c(statement: Statement) -> Iterator[Import]:
    match = re.search(r"include\s*([\"<])([^\">]+)[\">]", statement.text)
    if match is None:
        return
    parts = match[2].split("/")
    inside = tuple(part for part in parts if part not in (".", "..", ""))
    if match[1] == '"':
        yield Import(parts=inside, up=parts.count(".."))
    elif len(inside) > 1:
        yield Import(parts=inside, least=2)


def _csharp(statement: Statement) -> Iterator[Import]:
    path = re.sub(r"^(global\s+)?using\s+(static\s+)?(\w+\s*=)?|[;\s]", "", statement.text)
    yield Import(parts=tuple(path.split(".")), is_folder=True, least=2)


def _rust(statement: Statement) -> Iterator[Import]:
    text = re.sub(r"//.*", "", statement.text)
    if statement.kind == "mod_item":
        match = re.search(r"\bmod\s+(\w+)\s*;\s*$", text)
        if match:
            yield Import(parts=(match[1],), up=0)
        return
    match = re.search(r"\buse\s+(.*?);?\s*$", text, re.DOTALL)
    for path in _expand(re.sub(r"\s+as\s+\w+|\s|r#", "", match[1])) if match else ():
        parts = [part for part in path.split("::") if part not in ("", "*")]
        up: int | None = None
        least = 2
        if parts[:1] == ["crate"]:
            parts, least = parts[1:], 1
        elif parts[:1] in (["self"], ["super"]):
            up, least = parts.count("super"), 0
        parts = [part for part in parts if part not in ("self", "super")]
        if parts:
            optional = max(0, len(parts) - least)
            yield Import(parts=tuple(parts), up=up, optional=optional, least=least)


def _expand(tree: str) -> list[str]:
    """Write out the braces of a use tree: `a::{b, c::{d, e}}` names a::b, a::c::d and a::c::e."""
    head, brace, rest = tree.partition("{")
    if not brace:
        return [tree] if tree else []
    inner, depth, start = rest.removesuffix("}"), 0, 0
    pieces: list[str] = []
    for place, letter in enumerate(inner):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            pieces.append(inner[start:place])
            start = place + 1
    pieces.append(inner[start:])
    return [head + path for piece in pieces for path in _expand(piece)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    """How a language's imports are found: the nodes, their reading, what a line with one holds."""

    kinds: frozenset[str]
    read: Callable[[Statement], Iterator[Import]]
    mark: re.Pattern[str]


def _reader(
    read: Callable[[Statement], Iterator[Import]], kinds: str, mark: str = r"^[ \t]*import\b"
) -> _Reader:
    return _Reader(kinds=frozenset(kinds.split()), read=read, mark=re.compile(mark, re.MULTILINE))


_JS_READER: Final = _reader(
    _javascript,
    "import_statement export_statement call_expression",
    r"^[ \t]*import\b|\bfrom\s*[\"']|\brequire\s*\(|\bimport\s*\(",
)
_C_READER: Final = _reader(_c, "preproc_include", r"^[ \t]*#\s*include\b")
_READERS: Final[Mapping[str, _Reader]] = {
    "python": _reader(
        _python, "import_statement import_from_statement", r"^[ \t]*(?:import|from)\b"
    ),
    "java": _reader(_java, "import_declaration"),
    "kotlin": _reader(_java, "import"),
    "javascript": _JS_READER,
    "typescript": _JS_READER,
    "tsx": _JS_READER,
    "go": _reader(_go, "import_spec"),
    "c": _C_READER,
    "cpp": _C_READER,
    "csharp": _reader(_csharp, "using_directive", r"^[ \t]*(?:global\s+)?using\b"),
    "rust": _reader(_rust, "use_declaration mod_item", r"^[ \t]*(?:pub\b.*)?\b(?:use|mod)\b"),
}
