# SPDX-License-Identifier: Apache-2.0
"""Token healing: code is shown to a model up to token borders on both sides of a cursor.

A cursor often stands where no token would end: after `ret`, the model was rarely shown `ret` and
`urn` as two tokens. So the last few tokens are left out of what it reads, and their text is drawn
again under the condition that the drawn bytes begin with it. So it is where a suffix begins: shown
`urn x`, the model seldom ends a middle with `ret`; shown ` x`, it may end it with `return`, whose
`urn`, the seam, is then no part of the completion. Here is what can be left out, and which tokens
agree with a text; the drawing is `generate`'s part.

Source: AWS, 'Token Alignment', arXiv 2403.08688; guidance's token healing.
Differs: a middle may end without the seam. Forbidding that changed no result in 400 measured
spans, and costs a second look at every end (docs/decisions/0008).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from jaxtyping import Int32

from codegemma.text.tokens import FIM_MIDDLE_ID, FIM_PREFIX_ID, FIM_SUFFIX_ID

if TYPE_CHECKING:
    from codegemma.text.tokenizer import Tokenizer

MAX_TOKENS: Final = 4
"""Most tokens that are left out on one side and drawn again."""

MAX_BYTES: Final = 32
"""Most bytes of them."""


_MAX_INDENT: Final = 8  # tokens of it that are looked at


class Agreeing(NamedTuple):
    """The tokens that agree with a text: those that begin with it, and those it begins with.

    Args:
        low: First place, in the order of bytes, of the tokens that begin with it.
        high: The place after the last of them.
        shorter: Ids of the tokens that it begins with and that are shorter.
    """

    low: int
    high: int
    shorter: tuple[int, ...]


class ByteTable:
    """The tokens of a vocabulary in the order of their bytes.

    Args:
        token_bytes: The bytes of each id; ids without any are drawn for no text.
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        ids = [token for token, data in enumerate(token_bytes) if data]
        ids.sort(key=token_bytes.__getitem__)
        self._ids = ids
        self._sorted = [token_bytes[token] for token in ids]
        self._after = b"\xff" * (max(map(len, self._sorted), default=0) + 1)
        self.rank: Int32[np.ndarray, " V"] = np.full(len(token_bytes), -1, np.int32)
        self.rank[ids] = np.arange(len(ids), dtype=np.int32)

    def agreeing(self, text: bytes) -> Agreeing:
        """Find the tokens that may come next where `text` must come next, at least one byte."""
        shorter: list[int] = []
        for length in range(1, len(text)):
            head = text[:length]
            shorter += self._ids[bisect_left(self._sorted, head) : bisect_right(self._sorted, head)]
        low = bisect_left(self._sorted, text)
        return Agreeing(low, bisect_left(self._sorted, text + self._after), tuple(shorter))

    def has_longer(self, text: bytes) -> bool:
        """Whether some token begins with `text` and goes on."""
        return bisect_right(self._sorted, text) < bisect_left(self._sorted, text + self._after)


class Healed(NamedTuple):
    """A prompt up to token borders.

    Args:
        tokens: The prompt without the tokens that are drawn again.
        typed: The text of those before the cursor.
        seam: The text of those after it.
    """

    tokens: tuple[int, ...]
    typed: str = ""
    seam: str = ""


def heal(tokens: Sequence[int], *, tokenizer: "Tokenizer") -> Healed:
    """Leave out the tokens on both sides of the cursor that others could span.

    Args:
        tokens: A prompt of code, from `render_prompt`, in any order of its parts.
        tokenizer: Its vocabulary.

    Example:
        [67, "return", " sel", 69, "um", "(x)", 68]  ->  [67, "return", 69, "(x)", 68]
    """
    shown, _, seam = heal_suffix(tokens, tokenizer=tokenizer)
    return heal_prefix(shown, tokenizer=tokenizer)._replace(seam=seam)


def heal_prefix(tokens: Sequence[int], *, tokenizer: "Tokenizer") -> Healed:
    """Leave out the last tokens before the cursor, if some token could go on behind their text.

    As many as there can be, at most `MAX_TOKENS`: where the text of the last three begins some
    token, they are left out together. None where no token holds more than the text's end does.

    Args:
        tokens: A prompt of code, from `render_prompt`, in any order of its parts.
        tokenizer: Its vocabulary.

    Example:
        [2, "return", " sel"]  ->  [2, "return"] and " sel"
    """
    end = cursor_place(tokens)
    table = tokenizer.byte_table
    typed, best = b"", (end, b"")
    for start in range(end - 1, max(end - MAX_TOKENS, 0) - 1, -1):
        data = tokenizer.token_bytes(tokens[start])
        typed = data + typed
        if not data or len(typed) > MAX_BYTES:
            break
        if not _is_inside(typed) and table.has_longer(typed):
            best = start, typed
    start, typed = best
    return Healed((*tokens[:start], *tokens[end:]), typed=typed.decode())


def heal_suffix(tokens: Sequence[int], *, tokenizer: "Tokenizer") -> Healed:
    r"""Leave out the first tokens after the cursor, if some token could end with their text.

    As many as there can be, at most `MAX_TOKENS`, and never the last one of the suffix. A suffix
    that begins with a blank or a line end stays, and so does one at the start of a line: tokens
    begin there.

    Args:
        tokens: As for `heal_prefix`; from left to right there is no suffix.
        tokenizer: Its vocabulary.

    Example:
        [69, "urn", " x", "\n", 67, "ret", 68]  ->  [69, " x", "\n", 67, "ret", 68] and "urn"
    """
    start, stop = suffix_place(tokens)
    if _begins_line(tokens, tokenizer):
        return Healed(tuple(tokens))
    data, best = b"", (start, "")
    for end in range(start + 1, min(start + MAX_TOKENS, stop - 1) + 1):
        data += tokenizer.token_bytes(tokens[end - 1])
        if len(data) > MAX_BYTES or data[:1].isspace() or b"\n" in data:
            break
        is_whole = not _is_inside(tokenizer.token_bytes(tokens[end]))
        if is_whole and tokenizer.is_longer_end(data):
            best = end, data.decode()
    end, seam = best
    return Healed((*tokens[:start], *tokens[end:]), seam=seam)


def cursor_place(tokens: Sequence[int]) -> int:
    """Give the place in a prompt's tokens behind which the text before the cursor ends.

    That is the prompt's end for text from left to right, and where a middle was begun.
    """
    middle = _last(tokens, FIM_MIDDLE_ID)
    if middle != len(tokens) - 1:
        return len(tokens)
    start = _last(tokens, FIM_PREFIX_ID) + 1
    return next(i for i in range(start, len(tokens)) if tokens[i] in (FIM_SUFFIX_ID, FIM_MIDDLE_ID))


def suffix_place(tokens: Sequence[int]) -> tuple[int, int]:
    """Give the places in a prompt's tokens where the suffix begins and ends; alike without one."""
    start = _last(tokens, FIM_SUFFIX_ID) + 1
    after = range(start, len(tokens)) if start else ()
    end = next((i for i in after if tokens[i] in (FIM_PREFIX_ID, FIM_MIDDLE_ID)), start)
    return start, end


def _begins_line(tokens: Sequence[int], tokenizer: "Tokenizer") -> bool:
    """Whether there are only blanks between the cursor and the start of its line, or many."""
    end = cursor_place(tokens)
    before = tokenizer.decode(tokens[max(0, end - _MAX_INDENT) : end])
    return not before.rpartition("\n")[2].strip()


def _is_inside(data: bytes) -> bool:
    """Whether bytes begin inside a character."""
    return data[:1] != b"" and data[0] & 0xC0 == 0x80


def _last(tokens: Sequence[int], token: int) -> int:
    return next((i for i in range(len(tokens) - 1, -1, -1) if tokens[i] == token), -1)
