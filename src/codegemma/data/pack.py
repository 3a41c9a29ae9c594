# SPDX-License-Identifier: Apache-2.0
"""Cut long files into windows and pack windows of one repository into records.

Documents that are no code are records of their own, long texts in windows and conversations whole.

A file that fits the context is never cut. A longer one is cut at the least indented statement
border within reach. Files come in the order of `graph.arrange`, what is imported before what
imports it, and fill records in that order. Neighbours of which one imports or tests the other stay
together wherever a record holds them; records that this leaves with much room are taken apart into
such groups, which are put together anew by best fit. Nothing is cut afterwards. What remains of a
repository shares a row of training with that of others, each a segment (`train.input`).

Source: CodeGemma, arXiv 2406.11409, 'Multi-file packing'.
Unstated: how the ordered files are divided into examples; best fit is Ding et al.'s, arXiv
    2404.10830.
"""

import bisect
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from codegemma.data import graph, languages
from codegemma.data.document import TURN_END, File, Ledger, Repository
from codegemma.data.pairing import pair_tests
from codegemma.data.recipes import DataRecipe
from codegemma.data.shards import Record, RecordFile
from codegemma.text import syntax
from codegemma.text.chat import render_conversation
from codegemma.text.tokenizer import Tokenizer

RESERVED_TOKENS = 16
"""Kept free for each file: sentinels, the separator, and tokens that a cut splits in two."""
_SEGMENT_TOKENS = 2
_FULL_FRACTION = 0.9
"""A run in order that fills as much of a record stays as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    file: RecordFile
    num_tokens: int


def pack_repository(
    repository: Repository, *, tokenizer: Tokenizer, recipe: DataRecipe
) -> tuple[list[Record], int, Ledger]:
    """Turn a repository into records.

    Returns:
        The records, the tokens they hold uncut, and a ledger of windows that no budget holds.
    """
    ledger = Ledger()
    if repository.genre != "code":
        return _document_records(repository, tokenizer, recipe, ledger)
    items: list[_Item] = []
    counter = _LineCounter(tokenizer)
    files = {file.path: file for file in repository.files}
    edges = graph.link_all({path: graph.imports_of(file) for path, file in files.items()})
    for path in graph.arrange_linked(edges):
        lost = functools.partial(_lose, ledger, repository, files[path])
        items.extend(_windows(files[path], repository.origin, counter, recipe, lost))
    num_tokens = sum(item.num_tokens - RESERVED_TOKENS for item in items)
    related = [(user, other) for user, others in edges.items() for other in others]
    related += pair_tests(edges).items()
    return _pack(items, related, recipe.context_tokens), num_tokens, ledger


class _LineCounter:
    """Counts the tokens of lines; those that a repository repeats are counted once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._sizes: dict[str, int] = {}

    def sizes(self, lines: Sequence[str]) -> list[int]:
        """Give the tokens of each line, with the line end before it.

        That and the indentation may be one token.
        """
        new = [line for line in dict.fromkeys(lines) if line not in self._sizes]
        counted = self.tokenizer.encode_batch("\n" + line.removesuffix("\n") for line in new)
        self._sizes.update(zip(new, map(len, counted), strict=True))
        return [self._sizes[line] for line in lines]


def _document_records(
    repository: Repository, tokenizer: Tokenizer, recipe: DataRecipe, ledger: Ledger
) -> tuple[list[Record], int, Ledger]:
    """Make the records of documents, which stand for themselves: nothing is packed together."""
    records: list[Record] = []
    num_tokens = 0
    counter = _LineCounter(tokenizer)
    for file in repository.files:
        origin = f"{repository.origin}/{file.path}"
        if repository.genre == "chat":
            turns = file.text.split(TURN_END)
            size = len(render_conversation(tokenizer, turns))
            if size > recipe.context_tokens:
                _lose(ledger, repository, file, "conversation_over_budget", file.size_bytes)
                continue
            groups = [(tuple(_turn(index, text, origin) for index, text in enumerate(turns)), size)]
        else:
            lost = functools.partial(_lose, ledger, repository, file)
            windows = _windows(replace(file, path=""), origin, counter, recipe, lost)
            groups = [((item.file,), item.num_tokens - RESERVED_TOKENS) for item in windows]
        for files, size in groups:
            num_tokens += size
            records.append(
                Record(files=files, max_tokens=recipe.context_tokens, genre=repository.genre)
            )
    return records, num_tokens, ledger


def _turn(index: int, text: str, origin: str) -> RecordFile:
    path = "model" if index % 2 else "user"
    return RecordFile(path=path, text=text, suffix_starts=(), origin=origin)


def _lose(ledger: Ledger, repository: Repository, file: File, rule: str, size_bytes: int) -> None:
    """Count what no record holds of a file."""
    genre = repository.genre
    language = languages.detect(file.path, file.text) if genre == "code" else genre
    ledger.add(rule, size_bytes, language=language, sample=f"{repository.name}/{file.path}")


def _windows(
    file: File,
    origin: str,
    counter: _LineCounter,
    recipe: DataRecipe,
    lost: Callable[[str, int], None],
) -> list[_Item]:
    lines = [line + "\n" for line in file.text.split("\n")]
    lines[-1] = lines[-1].removesuffix("\n")
    if not lines[-1]:
        lines.pop()
    sizes = counter.sizes(lines)
    overhead = RESERVED_TOKENS + len(counter.tokenizer.encode(file.path + "\n"))
    room = recipe.context_tokens - _SEGMENT_TOKENS - overhead
    language = syntax.language_of(file.path)
    has_grammar = language is not None and syntax.has_grammar(language)
    starts = syntax.suffix_starts(file.text, language) if language and has_grammar else []
    if sum(sizes) <= room:
        bounds = [(0, len(lines))]
    else:
        bounds = cut_lines(lines, sizes, starts, budgets=_budgets(file, room, recipe))
    offsets = [0, *itertools.accumulate(map(len, lines))]
    items: list[_Item] = []
    for first, last in bounds:
        begin, end = offsets[first], offsets[last]
        num_tokens = sum(sizes[first:last])
        text = file.text[begin:end]
        if num_tokens > room:
            lost("line_over_budget", len(text.encode()))
        elif text.strip():
            reach = slice(bisect.bisect_right(starts, begin), bisect.bisect_right(starts, end))
            inside = tuple(start - begin for start in starts[reach])
            where = f"{origin}:{first + 1}"
            found = RecordFile(
                path=file.path,
                text=text,
                suffix_starts=inside,
                origin=where,
                line_ends=file.line_ends,
                is_broken=file.is_broken,
            )
            items.append(_Item(file=found, num_tokens=num_tokens + overhead))
    return items


def _budgets(file: File, room: int, recipe: DataRecipe) -> list[int]:
    """Draw budgets for the windows of a file from its content, to be used in turn."""
    digest = hashlib.sha256(file.text.encode()).digest()
    return [min(room, recipe.window_tokens[byte % len(recipe.window_tokens)]) for byte in digest]


def cut_lines(
    lines: Sequence[str], sizes: Sequence[int], starts: Sequence[int], *, budgets: Sequence[int]
) -> list[tuple[int, int]]:
    """Cut a file into windows at its least indented statement borders.

    Args:
        lines: With their line ends.
        sizes: Tokens of each line.
        starts: Natural suffix starts in characters of the whole file.
        budgets: Most tokens of each window, repeated as needed; a longer line stands alone.

    Returns:
        First line and last line (exclusive) of each window; together they cover every line.
    """
    indents = _statement_indents(lines, frozenset(starts))
    bounds: list[tuple[int, int]] = []
    first = 0
    while first < len(lines):
        budget = budgets[len(bounds) % len(budgets)]
        last, used = first, 0
        halfway = first + 1
        while last < len(lines) and (used + sizes[last] <= budget or last == first):
            used += sizes[last]
            last += 1
            if used <= budget // 2:
                halfway = last + 1
        if last < len(lines):
            places = [place for place in range(min(halfway, last), last + 1) if place in indents]
            last = min(places, key=lambda place: (indents[place], -place), default=last)
        bounds.append((first, last))
        first = last
    return bounds


def _statement_indents(lines: Sequence[str], starts: frozenset[int]) -> dict[int, int]:
    """Map each line that starts a statement to its indentation, comments and decorators with it."""
    indents: dict[int, int] = {}
    offset = 0
    for index, line in enumerate(lines):
        bare = line.lstrip()
        indent = len(line) - len(bare)
        if bare and (offset in starts or offset + indent in starts):
            place = index
            while place and lines[place - 1].lstrip().startswith(("#", "@")):
                place -= 1
            if place == index or place not in indents:
                indents[place] = indent
            if place != index:
                indents.pop(index, None)
        offset += len(line)
    indents.pop(0, None)
    return indents


def _pack(
    items: Sequence[_Item], related: Iterable[tuple[str, str]], context_tokens: int
) -> list[Record]:
    """Fill records with items in their order, and what that leaves short by best fit."""
    room = context_tokens - _SEGMENT_TOKENS
    ends = [0, *itertools.accumulate(item.num_tokens for item in items)]
    runs: list[list[range]] = []
    for group in _groups(items, related, ends, room):
        if runs and ends[group.stop] - ends[runs[-1][0].start] <= room:
            runs[-1].append(group)
        else:
            runs.append([group])
    units: list[range] = []
    for run in runs:
        whole = range(run[0].start, run[-1].stop)
        is_full = ends[whole.stop] - ends[whole.start] >= _FULL_FRACTION * room
        units += [whole] if is_full else run
    return [
        Record(
            files=tuple(items[place].file for unit in packed for place in unit),
            max_tokens=context_tokens,
        )
        for packed in _best_fit(units, ends, room)
    ]


def _groups(
    items: Sequence[_Item], related: Iterable[tuple[str, str]], ends: Sequence[int], room: int
) -> list[range]:
    """Divide items into runs that are not torn: related ones and what stands between them.

    Those that stand nearest to one another are brought together first.
    """
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(item.file.path, []).append(place)
    near = [pair for found in places.values() for pair in itertools.pairwise(found)]
    for one, other in related:
        if one in places and other in places:
            first, second = sorted((places[one], places[other]))
            near.append((first[-1], second[0]))
    starts = list(range(len(items) + 1))
    for low, high in sorted(near, key=lambda pair: (pair[1] - pair[0], pair)):
        begin, end = bisect.bisect_right(starts, low) - 1, bisect.bisect_right(starts, high)
        if ends[starts[end]] - ends[starts[begin]] <= room:
            del starts[begin + 1 : end]
    return [range(*pair) for pair in itertools.pairwise(starts)]


def _best_fit(units: Sequence[range], ends: Sequence[int], room: int) -> list[list[range]]:
    """Put runs of items together, the longest first, each where it leaves the least room."""
    packed: list[list[range]] = []
    spaces: list[tuple[int, int]] = []
    sizes = {unit: ends[unit.stop] - ends[unit.start] for unit in units}
    for unit in sorted(units, key=lambda unit: (-sizes[unit], unit.start)):
        fitting = bisect.bisect_left(spaces, (sizes[unit], -1))
        if fitting < len(spaces):
            space, into = spaces.pop(fitting)
            packed[into].append(unit)
        else:
            space, into = room, len(packed)
            packed.append([unit])
        bisect.insort(spaces, (space - sizes[unit], into))
    return sorted(
        (sorted(found, key=lambda unit: unit.start) for found in packed),
        key=lambda found: found[0].start,
    )
