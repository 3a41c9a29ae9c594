# SPDX-License-Identifier: Apache-2.0
"""What a report is made of, apart from how it is shown: sections of plain blocks.

Texts are plain and untrusted. The two renderers, `markdown.py` and `page.py`, escape them; nothing
else does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """A paragraph; a url stands behind it as a link, and is one of ours."""

    text: str
    url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bullets:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table; every row has as many cells as the head, and the first cell names the row.

    Args:
        caption: What is in it.
        head: Names of the columns.
        rows: Their cells.
        is_detail: Whether a page shows it only when asked.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_detail: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A point with its interval.

    Args:
        series: Number of its series, from 0.
        value: Where it is.
        low: Lower end; equal to the value where there is no interval.
        high: Upper end.
        text: The same in words.
    """

    series: int
    value: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """Points with intervals, a row for each thing measured; the page alone draws it.

    Args:
        title: What is shown.
        series: Names of the series.
        rows: Label and marks of each row.
        unit: "fraction" or another; the axis carries it.
        has_zero_line: Whether the axis is about 0, as of differences.
    """

    title: str
    series: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Mark]]]
    unit: str = "fraction"
    has_zero_line: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """Bars of parts that make a whole, such as outcomes; the page alone draws it.

    Args:
        title: What is shown.
        parts: Names of the parts, in order.
        rows: Label and the count of each part.
    """

    title: str
    parts: Sequence[str]
    rows: Sequence[tuple[str, Sequence[int]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """Bars of counts, such as a histogram; the page alone draws it.

    Args:
        title: What is shown.
        rows: Label, count, and the same in words.
    """

    title: str
    rows: Sequence[tuple[str, int, str]]


Block = Paragraph | Bullets | Table | Plot | Shares | Bars


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading with what stands under it."""

    title: str
    blocks: Sequence[Block] = ()
    sections: "Sequence[Section]" = field(default=())
