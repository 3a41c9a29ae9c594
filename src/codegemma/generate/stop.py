# SPDX-License-Identifier: Apache-2.0
"""Where a completion stops: control tokens by id, stop strings by text across token borders.

Takes drawn tokens one at a time and gives the text that may be shown. Whole characters only, and
never a piece of a stop string or of what the suffix begins with: what could still become one is
held back until it is clear.
Shortening what was drawn to what fits the code around it is `text/trim.py`.
"""

from collections.abc import Collection, Sequence

from codegemma.completion import FinishReason
from codegemma.text.tokenizer import StreamDecoder, Tokenizer
from codegemma.text.trim import Overlap


class StopStrings:
    """Finds the stop string that is complete first, in text that comes in pieces.

    How the text is cut makes no difference. Of two that end together the longer one counts.

    Example:
        stops ("END",), pieces "xE", "ND y"  ->  "x", ""  and stopped
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.is_stopped = False

    def push(self, text: str) -> str:
        """Take a piece and give what can no longer be part of a stop string."""
        if self.is_stopped:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        found = [(text.find(stop) + len(stop), -len(stop)) for stop in self._stops if stop in text]
        if found:
            self.is_stopped = True
            self._held = ""
            end, minus_length = min(found)
            return text[: end + minus_length]
        start = len(text) - self._num_open(text)
        self._held = text[start:]
        return text[:start]

    def flush(self) -> str:
        """Give what was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _num_open(self, text: str) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = min(len(text), max(map(len, self._stops)) - 1)
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0


class SeamText:
    """Leaves out the suffix's start where it ends a text that comes in pieces.

    Example:
        seam "urn", pieces "x u", "rn u", "rn" and the end  ->  "x ", "urn ", "", ""

    Args:
        seam: The suffix's start; "" leaves everything as it is.
    """

    def __init__(self, seam: str) -> None:
        self._seam = seam
        self._overlap = Overlap(seam)
        self._held = ""

    def push(self, text: str) -> str:
        """Take a piece and give what cannot be the seam."""
        if not self._seam:
            return text
        for char in text:
            self._overlap.push(char)
        text = self._held + text
        start = len(text) - self._overlap.length
        self._held = text[start:]
        return text[:start]

    def flush(self) -> str:
        """Give what was held back at the end of the text, unless it is the whole seam."""
        held, self._held = self._held, ""
        return "" if held == self._seam else held


class RowText:
    """The text of one row: its tokens, what was given out, and why it ended.

    Args:
        tokenizer: Decodes the tokens.
        stop_ids: Ids that end the row; they stay among the tokens, not in the text.
        stops: Strings that end the row; the token that completes one is the row's last.
        max_tokens: Tokens after which the row ends with "length".
        typed: Bytes that come first and are no part of the text; tokens that hold nothing else
            do not count for `max_tokens`.
        seam: Text that is left out where the whole text ends with it.
        max_drawn: Tokens after which the row ends whatever they hold; None leaves it to the others.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop_ids: Collection[int],
        stops: Sequence[str],
        max_tokens: int,
        typed: bytes = b"",
        seam: str = "",
        max_drawn: int | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._decoder = StreamDecoder(tokenizer)
        self._stop_ids = stop_ids
        self._stops = StopStrings(stops)
        self._seam = SeamText(seam)
        self._max_tokens = max_tokens
        self._max_drawn = max_tokens + len(typed) if max_drawn is None else max_drawn
        self.num_typed = 0
        """Tokens that hold nothing but typed bytes."""
        self.rest = typed
        """What of the typed bytes is still to be drawn."""
        self._pieces: list[str] = []
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None

    @property
    def text(self) -> str:
        """All text given out so far."""
        return "".join(self._pieces)

    @property
    def num_left(self) -> int:
        """Most tokens that are still to come."""
        num_counted = len(self.tokens) - self.num_typed
        return min(self._max_tokens - num_counted, self._max_drawn - len(self.tokens))

    def push(self, token: int) -> str:
        """Take the next token and give the text it settles; after the end there is none."""
        assert self.finish_reason is None, "the row has ended"
        self.tokens.append(token)
        if token in self._stop_ids:
            return self._end("stop")
        text = self._stops.push(self._decoder.push(token, skip=self._skip(token)))
        if self._stops.is_stopped:
            self.finish_reason = "stop"
        elif self.num_left <= 0:
            return self._give(text) + self._end("length")
        return self._give(text)

    def end(self, reason: FinishReason) -> str:
        """End the row from outside and give the text that was held back."""
        return "" if self.finish_reason else self._end(reason)

    def _skip(self, token: int) -> int:
        """Count the bytes of a token that were typed."""
        if not self.rest:
            return 0
        data = self._tokenizer.token_bytes(token)
        skipped = min(len(data), len(self.rest))
        assert data[:skipped] == self.rest[:skipped], "a token that was not allowed"
        self.rest = self.rest[skipped:]
        self.num_typed += skipped == len(data)
        return skipped

    def _end(self, reason: FinishReason) -> str:
        """A bare end of a character comes out as the decoder's replacement mark."""
        self.finish_reason = reason
        text = self._stops.push(self._decoder.flush())
        if self._stops.is_stopped:
            self.finish_reason = "stop"
            return self._give(text)
        return self._give(text + self._stops.flush())

    def _give(self, text: str) -> str:
        text = self._seam.push(text)
        if self.finish_reason is not None:
            text += self._seam.flush()
        self._pieces.append(text)
        return text
