# SPDX-License-Identifier: Apache-2.0
"""Tell the programming language of a file: by extension, name, modeline, shebang, then content.

Knows the languages of `text/syntax.py` and gives "other" for all else. Extensions that several
languages share (.h, .ts, .cs) are decided by content. The table is small on purpose: it says what
is read, not what there is.

Source: the order of the tests is that of GitHub's linguist.
"""

import re
from collections.abc import Callable
from typing import Final

from codegemma.text import syntax

ALL: Final = syntax.LANGUAGES
"""Every language that is told."""

EXTENSIONS: Final = (
    *(".py", ".pyi", ".pyw", ".java", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts"),
    *(".tsx", ".go", ".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".cs", ".rs"),
    *(".kt", ".kts"),
)
"""File name ends of these languages."""

OTHER: Final = "other"

_NAMES: Final = {
    "SConstruct": "python",
    "SConscript": "python",
    "wscript": "python",
    "Jakefile": "javascript",
}
_PROGRAMS: Final = (
    (re.compile(r"python[\d.]*|pypy[\d.]*|uv"), "python"),
    (re.compile(r"node|nodejs|qjs|bun"), "javascript"),
    (re.compile(r"deno|ts-node|tsx"), "typescript"),
    (re.compile(r"kotlin|kotlinc"), "kotlin"),
    (re.compile(r"rust-script|cargo"), "rust"),
    (re.compile(r"java"), "java"),
)
_MODES: Final = {
    "python": "python",
    "javascript": "javascript",
    "js": "javascript",
    "typescript": "typescript",
    "java": "java",
    "go": "go",
    "c": "c",
    "c++": "cpp",
    "cpp": "cpp",
    "cs": "csharp",
    "csharp": "csharp",
    "rust": "rust",
    "kotlin": "kotlin",
}
_EMACS: Final = re.compile(r"-\*-(.*?)-\*-")
_VIM: Final = re.compile(r"\bvim?:.*?\b(?:ft|filetype|syntax)=([\w+#]+)", re.IGNORECASE)
_SHEBANG: Final = re.compile(r"#![ \t]*(\S+)([^\n]*)")

_OBJECTIVE_C: Final = re.compile(
    r"^[ \t]*(@(interface|implementation|property|protocol|end|class|synthesize)\b|#import\b)",
    re.MULTILINE,
)
_CPP: Final = re.compile(
    r"^[ \t]*(template[ \t]*<|namespace\b[^;=]*\{|using[ \t]+(namespace|\w+[ \t]*=)"
    r"|(public|private|protected):|class[ \t]+\w+[^;]*[:{]|#[ \t]*include[ \t]*<\w+>)"
    r"|\bstd::|\bconstexpr\b|\bnullptr\b|\w::\w",
    re.MULTILINE,
)
_XML: Final = re.compile(r"\s*<(\?xml|!DOCTYPE|TS\b)")
_SMALLTALK: Final = re.compile(r"^![\w ]+methodsFor: ", re.MULTILINE)


def detect(path: str, text: str) -> str:
    """Name the language of a file, one of `ALL` or "other".

    Args:
        path: Inside its repository.
        text: Its content; only the head counts but for .h.

    Example:
        bin/run with "#!/usr/bin/env python3"  -> python
        shape.h with "namespace a {"           -> cpp
        nl.ts with "<?xml ..."                 -> other, it is a translation
    """
    name = path.rpartition("/")[2]
    found = syntax.language_of(path)
    if found is not None:
        decide = _AMBIGUOUS.get(name[name.rfind(".") :].lower())
        return decide(text, found) if decide else found
    if "." in name:
        return OTHER
    return _NAMES.get(name) or _by_modeline(text) or _by_shebang(text) or OTHER


def _by_modeline(text: str) -> str:
    head = text[:600].split("\n")[:5]
    for line in head:
        mode = _MODES.get(_mode_of(line[:300]).lower())
        if mode:
            return mode
    return ""


def _mode_of(line: str) -> str:
    """Give the mode that a line names for an editor, "" for none.

    Example:
        -*- C++ -*-                           -> C++
        -*- coding: utf-8; mode: python -*-   -> python
        vim: set ft=cpp sw=2 :                -> cpp
    """
    told = _EMACS.search(line)
    if not told:
        found = _VIM.search(line)
        return found[1] if found else ""
    if ":" not in told[1]:
        return told[1].strip()
    pairs = (part.partition(":") for part in told[1].split(";"))
    return next((value.strip() for key, _, value in pairs if key.strip().lower() == "mode"), "")


def _by_shebang(text: str) -> str:
    match = _SHEBANG.match(text[:300])
    if not match:
        return ""
    words = [match.group(1).rpartition("/")[2], *match.group(2).split()]
    if words[0] == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    program = words[0].rpartition("/")[2] if words else ""
    return next((name for pattern, name in _PROGRAMS if pattern.fullmatch(program)), "")


def _header(text: str, _found: str) -> str:
    mode = _by_modeline(text)
    if mode in ("c", "cpp"):
        return mode
    if _OBJECTIVE_C.search(text):
        return OTHER
    return "cpp" if _CPP.search(text) else "c"


def _typescript(text: str, found: str) -> str:
    return OTHER if _XML.match(text) else found


def _csharp(text: str, found: str) -> str:
    return OTHER if _SMALLTALK.search(text) else found


_AMBIGUOUS: Final[dict[str, Callable[[str, str], str]]] = {
    ".h": _header,
    ".ts": _typescript,
    ".cs": _csharp,
}
