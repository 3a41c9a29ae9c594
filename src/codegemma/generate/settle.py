# SPDX-License-Identifier: Apache-2.0
"""Which part of an infill may be shown while the rest is still drawn.

Takes text as it is drawn and gives what no rule of `text/trim.py` can take back, whatever comes
after it, so that pieces shown early join to the text that trimming the whole would give. It looks
at each character once: time is linear in the text. What a rule would do is not repeated here,
only how far from the end it can reach.
"""

import re
from typing import Final

import numpy as np

from codegemma.text.tokens import FILE_SEPARATOR
from codegemma.text.trim import MAX_BRACKETS, MIN_REPEATS, SPELLINGS, WINDOW, Overlap

_MAX_PERIOD: Final = WINDOW // MIN_REPEATS
_MAX_SPELLING: Final = max(map(len, SPELLINGS))
_CLOSING: Final = re.compile(rf"[)\]}}]{{0,{MAX_BRACKETS}}}")


class Settler:
    r"""Settles the text of one infill under `DEFAULT_RULES`.

    Each rule in turn can move the end of the text back from any place at or after the one that
    the rules before it can reach; those places only ever grow.

    Args:
        prefix: Text before the cursor.
        suffix: Text after it.

    Example:
        suffix "\nprint(x)\n", pieces "1", "2\npr", "int(y)"  ->  "1", "2", "\nprint(y)"
    """

    def __init__(self, *, prefix: str, suffix: str) -> None:
        self._forbidden = tuple(s for s in SPELLINGS if s not in prefix and s not in suffix)
        self._repeats = _Repeats()
        self._overlap = Overlap(suffix[:WINDOW])
        closing = _CLOSING.match(suffix)
        self._brackets = "" if closing is None else closing.group()
        self._strips_blanks = suffix[:1] in ("", "\n")
        self._chars: list[str] = []
        self._is_over = False
        # The ends that the rules, each after the ones before it, leave at least.
        self._spelled = self._repeated = self._bracketed = self._stripped = 0
        self._num_given = 0

    def push(self, text: str) -> str:
        """Take the next piece and give what is newly settled."""
        if self._is_over:
            return ""
        self._chars += text
        if any(spelling in self._end(len(text) + _MAX_SPELLING) for spelling in self._forbidden):
            self._is_over = True
            return ""
        # A text that ends where a spelling begins may end with a separator broken off before it.
        end = self._unspelled(len(self._chars), SPELLINGS)
        self._find_repeats(self._unspelled(end, (FILE_SEPARATOR,)))
        self._find_overlap()
        end = self._stripped if self._strips_blanks else self._bracketed
        start, self._num_given = self._num_given, max(self._num_given, end)
        return "".join(self._chars[start:end])

    def _end(self, num_chars: int) -> str:
        return "".join(self._chars[-num_chars:])

    def _unspelled(self, end: int, spellings: tuple[str, ...]) -> int:
        """Move an end to where the longest tail in front of it begins that begins a spelling."""
        tail = "".join(self._chars[max(0, end - _MAX_SPELLING) : end])
        for start in range(len(tail)):
            if tail[start] == "<" and any(s.startswith(tail[start:]) for s in spellings):
                return end - len(tail) + start
        return end

    def _find_repeats(self, spelled: int) -> None:
        """A loop that ends at or after `spelled` is cut after its first time round at the least.

        Or in front of the line end there.
        """
        for char in self._chars[self._spelled : spelled]:
            self._repeats.push(char)
        self._spelled = spelled
        end = spelled - self._repeats.length
        if end and self._chars[end - 1] == "\n":
            end -= 1
        for char in self._chars[self._repeated : end]:
            self._overlap.push(char)
        self._repeated = end

    def _find_overlap(self) -> None:
        """Leave out what may become the suffix's start, brackets it begins with, and blanks."""
        overlapped = self._repeated - self._overlap.length
        end = overlapped
        for length in range(len(self._brackets), 0, -1):
            before = self._chars[max(0, overlapped - length) : overlapped]
            if "".join(before) == self._brackets[:length]:
                end -= length
                break
        for at in range(self._bracketed, end):
            if self._chars[at] not in " \t":
                self._stripped = at + 1
        self._bracketed = end


class _Repeats:
    """Finds the longest end of a growing text that stands in it a second time.

    `length` is that end's; the two may overlap, and the other ends at most `_MAX_PERIOD` before.
    """

    def __init__(self) -> None:
        # Of the distance `_MAX_PERIOD - i`: how long the text has repeated itself at it.
        self._lengths = np.zeros(_MAX_PERIOD, np.int32)
        self._codes = np.full(2 * _MAX_PERIOD, -1, np.int32)
        self._num_codes = _MAX_PERIOD

    @property
    def length(self) -> int:
        return int(self._lengths.max())

    def push(self, char: str) -> None:
        """Take the next character of the text."""
        if self._num_codes == len(self._codes):
            self._codes[:_MAX_PERIOD] = self._codes[_MAX_PERIOD:]
            self._num_codes = _MAX_PERIOD
        code = ord(char)
        before = self._codes[self._num_codes - _MAX_PERIOD : self._num_codes]
        self._lengths += 1
        self._lengths *= before == code
        self._codes[self._num_codes] = code
        self._num_codes += 1
