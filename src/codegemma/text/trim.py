# SPDX-License-Identifier: Apache-2.0
"""Where a completion ends: one ordered list of rules for generation, serving and scoring alike.

A rule takes a completion and the text on both sides of the cursor and gives back a head of the
completion; no rule adds or rewrites anything. Text is LF. Rules in `DEFAULT_RULES` are those that
leave correct completions alone: `benchmarks/bench_text.py` applies each to true middles of real
code and counts those it damages. Scoring against a benchmark takes the raw text instead.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from codegemma.text.tokens import (
    END_OF_TURN,
    FILE_SEPARATOR,
    FIM_MIDDLE,
    FIM_PREFIX,
    FIM_SUFFIX,
    START_OF_TURN,
)

MIN_OVERLAP: Final = 8
"""Fewest visible characters of a repeated suffix that count as a repetition."""

MIN_REPEATS: Final = 4
MIN_REPEATED_CHARS: Final = 40
"""A tail is a loop when one unit stands in it this often and it is this long."""

WINDOW: Final = 4000
"""Most characters on each side of a cursor that a rule looks at."""

SPELLINGS: Final = (
    FIM_PREFIX,
    FIM_MIDDLE,
    FIM_SUFFIX,
    FILE_SEPARATOR,
    START_OF_TURN,
    END_OF_TURN,
)
"""What `sentinel` cuts at."""

MAX_BRACKETS: Final = 16
"""Most closing brackets that are dropped from an end."""

_BRACKETS: Final = re.compile(r"[()\[\]{}]")
_STRING: Final = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")
_CLOSING: Final = re.compile(rf"[)\]}}]{{1,{MAX_BRACKETS}}}\Z")
_OPENER_OF: Final = {")": "(", "]": "[", "}": "{"}


class Overlap:
    """Finds the longest end of a growing text that `head` begins with, in linear time.

    `length` is that end's, 0 if there is none.
    """

    def __init__(self, head: str) -> None:
        self.length = 0
        self._head = head
        self._borders = _borders(head)

    def push(self, char: str) -> None:
        """Take the next character of the text."""
        head, length = self._head, self.length
        if length == len(head):
            length = self._borders[-1] if head else 0
        while length and head[length] != char:
            length = self._borders[length - 1]
        self.length = length + 1 if head[length : length + 1] == char else 0


@runtime_checkable
class Rule(Protocol):
    """A named pure function that shortens a completion."""

    @property
    def __name__(self) -> str: ...

    def __call__(self, text: str, *, prefix: str, suffix: str) -> str:
        """Give the head of `text` that is to be kept."""
        ...


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A completion after the rules.

    Args:
        text: What is kept, always a head of what came in.
        rule: Names of the rules that shortened it, joined by "+"; None when none did.
    """

    text: str
    rule: str | None


def sentinel(text: str, *, prefix: str, suffix: str) -> str:
    """Cut at a control token that is written out, unless the file itself writes it.

    `x = 1<|fim_prefix|>y` becomes `x = 1`. A model's real control tokens never become text.
    """
    ends = [text.find(spelling) for spelling in SPELLINGS if spelling in text]
    written = [
        text.find(spelling)
        for spelling in SPELLINGS
        if spelling in text and (spelling in prefix or spelling in suffix)
    ]
    return text[: min(set(ends) - set(written), default=len(text))]


def file_separator(text: str, *, prefix: str, suffix: str) -> str:
    """Drop a written `<|file_separator|>` at the very end, whole or broken off after `<|fi`."""
    del prefix, suffix
    for length in range(len(FILE_SEPARATOR), 3, -1):
        if text.endswith(FILE_SEPARATOR[:length]):
            return text[:-length]
    return text


def suffix_overlap(text: str, *, prefix: str, suffix: str) -> str:
    """Drop the longest tail that the suffix already begins with.

    The tail counts from `MIN_OVERLAP` visible characters on, a letter or digit among them: rules
    drawn with signs go on through both sides. So does a line that the prefix ends with.
    """
    tail, head = text[-WINDOW:], suffix[:WINDOW]
    length = _longest_overlap(tail, head)
    overlap = tail[len(tail) - length :]
    if len("".join(overlap.split())) < MIN_OVERLAP or not any(map(str.isalnum, overlap)):
        return text
    if prefix[-WINDOW:].rstrip().endswith(overlap.strip()):
        return text
    return text[: len(text) - length]


def closing_brackets(text: str, *, prefix: str, suffix: str) -> str:
    """Drop closing brackets at the end that the suffix has and that nothing opened.

    Between `print(` and `)`, `"hello")` becomes `"hello"`; between `f(g(` and `)`, `x)` stays,
    since then the brackets around the cursor fit.
    """
    match = _CLOSING.search(text)
    if match is None:
        return text
    length = _longest_overlap(match.group(), suffix[: len(match.group())])
    if length == 0:
        return text
    before, after = (prefix[-WINDOW:] + text)[-2 * WINDOW :], suffix[:WINDOW]
    if _fits(_unclosed(before), after):
        return text
    for count in range(1, length + 1):
        if suffix.startswith(text[-count:]) and _fits(_unclosed(before[:-count]), after):
            return text[:-count]
    return text


def repetition(text: str, *, prefix: str, suffix: str) -> str:
    """Cut a loop at the end down to the first time round, to the end of a line where it has lines.

    The tail is a loop when a unit with a letter or digit stands in it `MIN_REPEATS` times or
    more, the last time perhaps in part, over at least `MIN_REPEATED_CHARS` characters, and the
    text around the cursor does not loop in the same way.
    """
    del suffix
    start, period = _loop(text[-WINDOW:])
    if period == 0:
        return text
    start += max(0, len(text) - WINDOW)
    unit = text[start : start + period]
    if not any(char.isalnum() for char in unit) or prefix[-WINDOW:].endswith(unit):
        return text
    end = text.find("\n", start + period - 1, start + 2 * period)
    return text[: end if end >= 0 else start + period]


def trailing_blanks(text: str, *, prefix: str, suffix: str) -> str:
    """Drop spaces and tabs at the end when the line ends there too."""
    del prefix
    return text.rstrip(" \t") if suffix[:1] in ("", "\n") else text


def block(text: str, *, prefix: str, suffix: str) -> str:
    """Cut before the line whose indentation leaves the cursor's block, and the blank ones above.

    The block is that of the cursor's line. When that line, with what was completed of it, opens
    a block, the cut is also before a line as far left as it, unless it begins with a closing
    bracket.
    """
    del suffix
    line = prefix[prefix.rfind("\n") + 1 :]
    first, *rest = text.split("\n")
    base = _indentation(line if line.strip() else line + first)
    opens = (line + first).rstrip().endswith((":", "{", "(", "["))
    end = kept = len(first)
    for row in rest:
        if row.strip():
            indentation = _indentation(row)
            is_closing = row.lstrip()[0] in ")]}"
            if indentation < base or (opens and indentation == base and not is_closing):
                return text[:kept]
        end += 1 + len(row)
        kept = end if row.strip() else kept
    return text


def single_line(text: str, *, prefix: str, suffix: str) -> str:
    """Cut at the end of the first line that is not blank."""
    del prefix, suffix
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    return text if end < 0 else text[:end]


DEFAULT_RULES: Final[tuple[Rule, ...]] = (
    sentinel,
    file_separator,
    repetition,
    suffix_overlap,
    closing_brackets,
    trailing_blanks,
)
"""For a completion at a cursor; they leave correct completions alone."""

LINE_RULES: Final[tuple[Rule, ...]] = (single_line, *DEFAULT_RULES)
"""For a completion that is to end with its line."""

BLOCK_RULES: Final[tuple[Rule, ...]] = (block, *DEFAULT_RULES)
"""For left-to-right generation of one block, as of a function's body."""


def trim(
    text: str, *, prefix: str, suffix: str | None, rules: Sequence[Rule] = DEFAULT_RULES
) -> Trimmed:
    """Apply rules in order, each to what the one before left.

    Args:
        text: The completion, LF.
        prefix: Text before the cursor.
        suffix: Text after it; None, as for left to right, is taken as none.
        rules: What to apply.
    """
    names: list[str] = []
    for rule in rules:
        shorter = rule(text, prefix=prefix, suffix=suffix or "")
        if shorter != text:
            names.append(rule.__name__)
            text = shorter
    return Trimmed(text, "+".join(names) or None)


def _longest_overlap(tail: str, head: str) -> int:
    """Give the length of the longest end of `tail` that `head` begins with, in linear time."""
    overlap = Overlap(head[: len(tail)])
    for char in tail:
        overlap.push(char)
    return overlap.length


def _borders(text: str) -> list[int]:
    """Give, for every head of a text, the length of its longest end that it also begins with."""
    borders = [0] * len(text)
    length = 0
    for index in range(1, len(text)):
        while length and text[index] != text[length]:
            length = borders[length - 1]
        if text[index] == text[length]:
            length += 1
        borders[index] = length
    return borders


def _loop(text: str) -> tuple[int, int]:
    """Find the longest looping end of a text: its start and its unit's length, (0, 0) if none."""
    borders = _borders(text[::-1])
    for index in range(len(borders) - 1, -1, -1):
        length = index + 1
        period = length - borders[index]
        if length < MIN_REPEATED_CHARS:
            break
        if length >= MIN_REPEATS * period:
            return len(text) - length, period
    return 0, 0


def _unclosed(text: str) -> list[str]:
    """List the brackets that a text opens and does not close, the outermost first."""
    stack: list[str] = []
    for bracket in _BRACKETS.findall(_STRING.sub("", text)):
        opener = _OPENER_OF.get(bracket)
        if opener is None:
            stack.append(bracket)
        elif stack and stack[-1] == opener:
            stack.pop()
    return stack


def _fits(opened: list[str], after: str) -> bool:
    """Whether the first closing brackets of the text after the cursor meet what is open."""
    stack = list(opened)
    for bracket in _BRACKETS.findall(_STRING.sub("", after.split("\n", 1)[0])):
        opener = _OPENER_OF.get(bracket)
        if opener is None:
            stack.append(bracket)
        elif not stack or stack.pop() != opener:
            return False
    return True


def _indentation(line: str) -> int:
    """Give the width of a line's leading blanks, a tab up to the next multiple of eight."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip(" "))
