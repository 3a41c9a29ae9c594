# SPDX-License-Identifier: Apache-2.0
"""Choose the files of a repository that a model is shown beside the one under the cursor.

Takes an index, the file and a number of tokens; gives files in the order in which training examples
are packed, those that are imported before those that import. A file too long for what is left of
the tokens is shown from the definition of what is wanted of it, or from its start, as training
shows windows of long files. Draws nothing at random.

Source: CodeGemma, arXiv 2406.11409, 'Multi-file packing': a small distance is a strong relation.
Unstated: how files are chosen at inference.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from codegemma.completion import SourceFile, TokenizerProtocol
from codegemma.context.index import RepositoryIndex
from codegemma.data import graph, pack
from codegemma.data.resolve import family_of
from codegemma.text import syntax
from codegemma.text.budget import count_by_line, count_tokens

Reason = Literal["tested by it", "imported", "tests it", "beside it", "imports it", "near"]
"""Why a file is shown: the one under the cursor tests it or imports it, or is tested by it, lies in
one package with it (where a folder is one), is imported by it, or is two imports away."""

MIN_TOKENS: Final = 64
"""Fewer are not worth a file."""
_MAX_WINDOWS: Final = 2
_BYTES_PER_TOKEN: Final = 5
_MAX_READ_BYTES_PER_TOKEN: Final = 12
_SEPARATOR_TOKENS: Final = 1
_ROOM_TOKENS: Final = 24
"""Kept free in a window for its path and for tokens that a cut splits."""
_LINES_AT_A_TIME: Final = 64
_FOLDER_PACKAGES: Final = frozenset({"go", "java", "kotlin", "csharp"})
_DEFINING: Final = re.compile(
    r"^[ \t]*(?:[a-z]+[ \t]+)*(?:def|class|func|fn|function|struct|enum|union|trait|interface|type|"
    r"record|object|const|let|var|val|fun|static|#[ \t]*define)[ \t]+(?:\([^)\n]*\)[ \t]*)?([\w$]+)"
    r"|^([\w$]+)[ \t]*[:=]",
    re.MULTILINE,
)
"""Where a name is defined; one pattern for all, since one of names of its own takes longer to build
than a file to search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A file, or a window of one, and why it is shown.

    Args:
        file: Path and text.
        num_tokens: With its path line and the separator behind it.
        reason: How it has to do with the file under the cursor.
        is_whole: Whether it is the whole file.
    """

    file: SourceFile
    num_tokens: int
    reason: Reason
    is_whole: bool


class _Candidate(NamedTuple):
    """A file that may be shown; the least comes first."""

    rank: int
    minus_names: int
    is_far: bool
    num_users: int
    path: str
    reason: Reason


def choose(
    index: RepositoryIndex, path: str, *, tokenizer: TokenizerProtocol | None, max_tokens: int
) -> tuple[Shown, ...]:
    """Choose the files to show beside a file, in the order in which the model reads them.

    Time is bounded by `max_tokens` and the number of files.

    Args:
        index: The repository, as of its last `refresh`.
        path: The file under the cursor, from the repository's root; it need not be indexed.
        tokenizer: Counts tokens; estimated without one, or where it is another machine's.
        max_tokens: Most tokens of all files with their path lines and separators.
    """
    left = max_tokens
    bytes_left = _MAX_READ_BYTES_PER_TOKEN * max_tokens
    windows = 0
    chosen: dict[str, Shown] = {}
    for candidate in _candidates(index, path):
        if left < MIN_TOKENS or bytes_left <= 0:
            break
        size_bytes = index.size_bytes(candidate.path)
        may_fit = size_bytes <= left * _BYTES_PER_TOKEN
        if not may_fit and windows == _MAX_WINDOWS:
            continue
        shown: Shown | None = None
        text = index.read(candidate.path)
        if may_fit:
            bytes_left -= size_bytes
            shown = _show(text, candidate, tokenizer, left)
        if shown is None or shown.num_tokens > left:
            if windows == _MAX_WINDOWS:
                continue
            windows += 1
            bytes_left -= left * _BYTES_PER_TOKEN
            names = index.imported_names(path, candidate.path)
            window = _window(text, candidate.path, names, tokenizer, left - _ROOM_TOKENS)
            shown = replace(_show(window, candidate, tokenizer, left), is_whole=False)
        if shown.file.text.strip() and shown.num_tokens <= left:
            left -= shown.num_tokens
            chosen[candidate.path] = shown
    return tuple(chosen[one] for one in _order(index, [*chosen, path]) if one in chosen)


def _show(
    text: str, candidate: "_Candidate", tokenizer: TokenizerProtocol | None, max_tokens: int
) -> Shown:
    """Give a text with the number of its tokens; where that is over the most, with any over it."""
    path = count_tokens(candidate.path + "\n", tokenizer=tokenizer)
    tokens = count_tokens(text, tokenizer=tokenizer, max_tokens=max_tokens)
    return Shown(
        file=SourceFile(path=candidate.path, text=text),
        num_tokens=path + tokens + _SEPARATOR_TOKENS,
        reason=candidate.reason,
        is_whole=True,
    )


def _order(index: RepositoryIndex, paths: list[str]) -> list[str]:
    """Put a few files in the order of packing, by the edges between them alone."""
    inside = set(paths)
    return graph.arrange_linked(
        {
            path: {
                target: weight
                for target, weight in index.edges.get(path, {}).items()
                if target in inside
            }
            for path in sorted(inside)
        }
    )


def _candidates(index: RepositoryIndex, path: str) -> Iterator[_Candidate]:
    """Give the files that have to do with a file, the nearest first, as far as they are asked."""
    users = index.graph.users
    folder = path.rpartition("/")[0]
    found = {path}
    for rank, reason, others in _related(index, path):
        kind: list[_Candidate] = []
        for other, names in others.items():
            if other not in found and other in index.edges:
                is_far = other.rpartition("/")[0] != folder
                num_users = len(users.get(other, ()))
                kind.append(_Candidate(rank, -names, is_far, num_users, other, reason))
        found.update(others)
        yield from sorted(kind)


def _related(index: RepositoryIndex, path: str) -> Iterator[tuple[int, Reason, Mapping[str, int]]]:
    """Give the kinds of related files, the nearest first, each with a number of names."""
    edges, tests, whole = index.edges, index.tests, index.graph
    if path in tests:
        yield 0, "tested by it", {tests[path]: 0}
    yield 1, "imported", {other: weight.names for other, weight in edges.get(path, {}).items()}
    yield 2, "tests it", {test: 0 for test, tested in tests.items() if tested == path}
    folder = path.rpartition("/")[0]
    if syntax.language_of(path) in _FOLDER_PACKAGES:
        family = family_of(path)
        beside = (one for one in edges if one.rpartition("/")[0] == folder and one not in tests)
        yield 3, "beside it", {other: 0 for other in beside if family_of(other) == family}
    yield 4, "imports it", {user: edges[user][path].names for user in whole.users.get(path, ())}
    near = graph.distances(whole, path, max_distance=2)
    yield 5, "near", dict.fromkeys(near, 0)


def _window(
    text: str, path: str, names: list[str], tokenizer: TokenizerProtocol | None, max_tokens: int
) -> str:
    """Cut a window of a long file from the first definition of a name, else from its start."""
    wanted = frozenset(names)
    found = (
        match.start() for match in _DEFINING.finditer(text) if wanted.intersection(match.groups())
    )
    start = next(found, 0) if wanted else 0
    lines = text[start : start + max(0, max_tokens) * _BYTES_PER_TOKEN].split("\n")
    lines = [*(line + "\n" for line in lines[:-1]), lines[-1]]
    sizes: list[int] = []
    used = 0
    while len(sizes) < len(lines) and used <= max(0, max_tokens):
        chunk = lines[len(sizes) : len(sizes) + _LINES_AT_A_TIME]
        counted = count_by_line("".join(chunk), tokenizer=tokenizer)[: len(chunk)]
        sizes += counted
        used += sum(counted)
    lines = lines[: len(sizes)]
    if sizes[0] > max_tokens:
        return ""
    language = syntax.language_of(path)
    has_grammar = language is not None and syntax.has_grammar(language)
    starts = syntax.suffix_starts("".join(lines), language) if language and has_grammar else []
    first, last = pack.cut_lines(lines, sizes, starts, budgets=[max_tokens])[0]
    return "".join(lines[first:last])
