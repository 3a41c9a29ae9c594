# SPDX-License-Identifier: Apache-2.0

import xml.etree.ElementTree as ET

import pytest

from codegemma.evaluate.report.document import Bars, Mark, Plot, Shares
from codegemma.evaluate.report.plot import draw_bars, draw_plot, draw_shares


def mark(value, low, high, series=0):
    return Mark(series=series, value=value, low=low, high=high, text=f"{value} of all")


def drawn(plot):
    return ET.fromstring(draw_plot(plot))


def test_a_point_stands_at_its_value_between_the_ends_of_its_interval():
    figure = drawn(Plot(title="t", series=("ours",), rows=[("task", [mark(0.5, 0.25, 1.0)])]))

    row = figure.findall("div")[1]
    span, *ends = [line for line in row.iter("line") if "span" in line.get("class")]
    # The axis goes from 0 to 100 %, with a margin of 2 % at both ends.
    assert (span.get("x1"), span.get("x2")) == ("26.000%", "98.000%")
    assert [end.get("x1") for end in ends] == ["26.000%", "98.000%"]
    assert row.find("svg/svg").get("x") == "50.000%"
    assert row.find("svg").get("role") == "img"
    assert row.find("svg/title").text == "task: 0.5 of all"
    ticks = [text.text for text in figure.iter("text")]
    assert ticks == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [
        ((0.01, 0.043), ["0 %", "1 %", "2 %", "3 %", "4 %", "5 %"]),
        ((0.5, 0.5), ["0 %", "10 %", "20 %", "30 %", "40 %", "50 %"]),
        ((0.0, 0.0), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]),
    ],
)
def test_the_axis_has_round_ends_that_hold_all(ends, ticks):
    low, high = ends
    plot = Plot(title="t", series=("a",), rows=[("task", [mark(low, low, high)])])

    found = [text.text for text in drawn(plot).iter("text")]

    assert found == ticks


def test_differences_are_drawn_about_zero():
    plot = Plot(
        title="t", series=("a",), rows=[("x", [mark(0.02, -0.01, 0.05)])], has_zero_line=True
    )

    figure = drawn(plot)

    assert [text.text for text in figure.iter("text")] == ["-2", "0", "+2", "+4", "+6"]
    (zero,) = [line for line in figure.iter("line") if line.get("class") == "zero"]
    assert zero.get("x1") == "26.000%"


def test_series_differ_in_shape_and_are_named():
    rows = [("task", [mark(0.1, 0.0, 0.2), mark(0.2, 0.1, 0.3, 1), mark(0.3, 0.3, 0.3, 2)])]
    figure = drawn(Plot(title="t", series=("one", "two", "published"), rows=rows))

    assert [item.find("svg").tail for item in figure.iter("li")] == ["one", "two", "published"]
    shapes = [next(iter(svg)).tag for svg in figure.findall("div")[1].iterfind("svg/svg")]
    assert shapes == ["circle", "rect", "path"]
    # A figure without an interval has no span.
    assert len([line for line in figure.iter("line") if "c2" in line.get("class")]) == 0


def test_parts_fill_their_bar_and_are_said_in_words():
    shares = Shares(title="t", parts=("pass", "fail", "timeout"), rows=[("task", [1, 3, 0])])

    figure = ET.fromstring(draw_shares(shares))

    bars = list(figure.find("div").iter("rect"))
    assert [(bar.get("x"), bar.get("width")) for bar in bars] == [
        ("0.000%", "25.000%"),
        ("25.000%", "75.000%"),
    ]
    assert bars[0].get("class") == "good"
    assert figure.find("div/svg/title").text == "task: pass 1, fail 3"


def test_the_longest_bar_fills_the_drawing_and_others_are_measured_by_it():
    bars = Bars(title="<t>", rows=[("a", 4, "four"), ("b", 1, "one"), ("c", 0, "none")])

    figure = ET.fromstring(draw_bars(bars))

    assert figure.findtext("figcaption") == "<t>"
    assert [rect.get("width") for rect in figure.iter("rect")] == ["100.000%", "25.000%", "0.000%"]
    assert [row.find("svg/title").text for row in figure.findall("div")] == [
        "a: four",
        "b: one",
        "c: none",
    ]
    assert "rect" not in draw_bars(Bars(title="t", rows=[]))
