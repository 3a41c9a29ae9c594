# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG within HTML: points with intervals, and bars of parts.

Places are in per cent of the width, so that a plot fits any screen while its words keep their size.
Colour is never alone: series differ in shape, and every row says its numbers in words too.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

from codegemma.evaluate.report.document import Bars, Mark, Plot, Shares
from codegemma.evaluate.report.text import as_html, number

_ROW_PX: Final = 22
_TICKS: Final = 5
_STEPS: Final = (1, 2, 2.5, 5, 10)
_NUM_COLOURS: Final = 6
_GOOD: Final = ("pass", "kept")
_PARTS: Final = ("c5", "c1", "c3", "c4", "c0")  # none of them near the green of what passed


def draw_plot(plot: Plot) -> str:
    """Draw points with their intervals, a row for each thing measured."""
    low, high, step = _axis(plot)
    rows = "".join(_plot_row(plot, label, marks, low, high, step) for label, marks in plot.rows)
    ticks = "".join(
        f'<text x="{_place(tick, low, high)}" y="14" text-anchor="{_anchor(tick, low, high)}">'
        f"{as_html(_tick(tick, plot))}</text>"
        for tick in _all_ticks(low, high, step)
    )
    legend = (
        _legend(plot.series, [_colour(i) for i in range(len(plot.series))])
        if len(plot.series) > 1
        else ""
    )
    return (
        f'<figure class="plot"><figcaption>{as_html(plot.title)}, with 95 % intervals</figcaption>'
        f'{legend}<div class="row axis" aria-hidden="true"><span></span>'
        f'<svg class="drawing" height="18">{ticks}</svg><span></span></div>{rows}</figure>\n'
    )


def draw_shares(shares: Shares) -> str:
    """Draw bars of parts that make a whole."""
    rows: list[str] = []
    others = itertools.cycle(_PARTS)
    colours = ["good" if part in _GOOD else next(others) for part in shares.parts]
    for label, counts in shares.rows:
        total, done = sum(counts) or 1, 0
        words = ", ".join(
            f"{part} {found:,}" for part, found in zip(shares.parts, counts, strict=True) if found
        )
        bars: list[str] = []
        for index, found in enumerate(counts):
            if found:
                x, width = 100 * done / total, 100 * found / total
                bars.append(
                    f'<rect class="{colours[index]}" x="{x:.3f}%" width="{width:.3f}%" '
                    f'y="3" height="{_ROW_PX - 6}"/>'
                )
            done += found
        rows.append(_row(label, words, "".join(bars), _ROW_PX))
    legend = _legend(shares.parts, colours, shape=1)
    title = as_html(shares.title)
    return (
        f'<figure class="plot"><figcaption>{title}</figcaption>{legend}{"".join(rows)}</figure>\n'
    )


def draw_bars(bars: Bars) -> str:
    """Draw bars from a common start, the longest as wide as the drawing."""
    longest = max((value for _, value, _ in bars.rows), default=0) or 1
    rows = "".join(
        _row(
            label,
            words,
            f'<rect class="c0" x="0" width="{100 * value / longest:.3f}%" y="3" '
            f'height="{_ROW_PX - 6}"/>',
            _ROW_PX,
        )
        for label, value, words in bars.rows
    )
    return f'<figure class="plot"><figcaption>{as_html(bars.title)}</figcaption>{rows}</figure>\n'


def _plot_row(
    plot: Plot, label: str, marks: Sequence[Mark], low: float, high: float, step: float
) -> str:
    height = _ROW_PX * max(1, len(marks))
    lines = "".join(
        f'<line class="{"zero" if plot.has_zero_line and abs(tick) < step / 10 else "grid"}" '
        f'x1="{_place(tick, low, high)}" x2="{_place(tick, low, high)}" y1="0" y2="{height}"/>'
        for tick in _all_ticks(low, high, step)
    )
    drawn = "".join(
        part
        for place, mark in enumerate(marks)
        for part in _mark(mark, _ROW_PX * place + _ROW_PX / 2, low, high)
    )
    words = "; ".join(
        f"{plot.series[mark.series]}: {mark.text}" if len(plot.series) > 1 else mark.text
        for mark in marks
    )
    return _row(label, words, lines + drawn, height)


def _mark(mark: Mark, y: float, low: float, high: float) -> Iterator[str]:
    colour = _colour(mark.series)
    if mark.low != mark.high:
        ends = [_place(end, low, high) for end in (mark.low, mark.high)]
        yield f'<line class="span {colour}" x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}"/>'
        for end in ends:
            yield f'<line class="span {colour}" x1="{end}" x2="{end}" y1="{y - 4}" y2="{y + 4}"/>'
    # An inner svg moves a shape in pixels to a place in per cent.
    x = _place(mark.value, low, high)
    yield f'<svg x="{x}" y="{y}" overflow="visible">{_shape(mark.series, colour)}</svg>'


def _shape(series: int, colour: str) -> str:
    shapes = (
        '<circle class="{}" r="4.5"/>',
        '<rect class="{}" x="-4" y="-4" width="8" height="8"/>',
        '<path class="{}" d="M0 -6 L6 0 L0 6 L-6 0 Z"/>',
        '<path class="{}" d="M0 -5.5 L5.5 4.5 L-5.5 4.5 Z"/>',
    )
    return shapes[series % len(shapes)].format(colour)


def _row(label: str, words: str, drawing: str, height: int) -> str:
    return (
        f'<div class="row"><span class="label">{as_html(label)}</span>'
        f'<svg class="drawing" height="{height}" role="img">'
        f"<title>{as_html(label)}: {as_html(words)}</title>{drawing}</svg>"
        f'<span class="words">{as_html(words)}</span></div>'
    )


def _legend(names: Sequence[str], colours: Sequence[str], *, shape: int | None = None) -> str:
    items: list[str] = []
    for index, (name, colour) in enumerate(zip(names, colours, strict=True)):
        drawn = _shape(index if shape is None else shape, colour)
        items.append(
            '<li><svg width="16" height="16" aria-hidden="true"><svg x="8" y="8" '
            f'overflow="visible">{drawn}</svg></svg>{as_html(name)}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _colour(index: int) -> str:
    return f"c{index % _NUM_COLOURS}"


def _axis(plot: Plot) -> tuple[float, float, float]:
    """Choose ends and step of an axis that holds all marks: round numbers, few of them."""
    ends = [end for _, marks in plot.rows for mark in marks for end in (mark.low, mark.high)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    low = min(low, 0.0) if plot.has_zero_line or low >= 0 else low
    if plot.has_zero_line:
        high = max(high, 0.0)
    high = high if high > low else low + 1.0
    width = high - low
    power = 10 ** math.floor(math.log10(width / _TICKS))
    step = next(each * power for each in _STEPS if each * power * _TICKS >= width * (1 - 1e-9))
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def _all_ticks(low: float, high: float, step: float) -> list[float]:
    return [low + index * step for index in range(round((high - low) / step) + 1)]


def _tick(value: float, plot: Plot) -> str:
    value = 0.0 if abs(value) < 1e-12 else value
    if plot.has_zero_line:
        return f"{100 * value:+.3g}" if value else "0"
    if plot.unit == "fraction":
        return f"{100 * value:.3g} %"
    return number(value, "")


def _place(value: float, low: float, high: float) -> str:
    """Give a value's place, with a margin at both ends so that marks there are whole."""
    return f"{2 + 96 * (value - low) / (high - low):.3f}%"


def _anchor(tick: float, low: float, high: float) -> str:
    if math.isclose(tick, low, abs_tol=1e-12):
        return "start"
    return "end" if math.isclose(tick, high) else "middle"
