# SPDX-License-Identifier: Apache-2.0
"""Line ends: LF inside, the user's own outside.

Models, splits and parsers see LF only. What the user has is noted once per text and put back
into what is inserted; the user's own text is never rewritten.
"""

from typing import Literal

LineEnd = Literal["\n", "\r\n", "\r"]


def line_end_of(text: str) -> LineEnd:
    r"""Name the line end a text uses most, LF when it has none or on a tie."""
    crlf = text.count("\r\n")
    counts: dict[LineEnd, int] = {
        "\n": text.count("\n") - crlf,
        "\r\n": crlf,
        "\r": text.count("\r") - crlf,
    }
    return max(counts, key=lambda end: counts[end])


def to_lf(text: str) -> str:
    r"""Turn every CRLF and lone CR into LF.

    Other separators (form feed, U+0085, U+2028) are characters like any other.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def restore(text: str, line_end: LineEnd) -> str:
    """Give an LF text the line ends of the file it goes into."""
    return text if line_end == "\n" else text.replace("\n", line_end)
