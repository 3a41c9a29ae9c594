# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.evaluate.report.latency import compare_paces, latency
from codegemma.evaluate.report.runs import read_runs


def test_seconds_are_given_by_part_and_model(write_repository_run):
    path = write_repository_run("one", [1.0] * 4, [0.1, 0.4, 0.3, 0.6])

    section = latency(read_runs([path]))

    (table, _) = section.blocks
    assert [row[:4] for row in table.rows] == [
        ["one, repo:shop, line, alone", "0.200 s", "0.120 to 0.280 s", "2"],
        ["one, repo:shop, line, with context", "0.500 s", "0.420 to 0.580 s", "2"],
    ]
    assert table.rows[0][4] == "batch 16, float32, cpu"


def test_two_runs_are_set_against_each_other_sample_by_sample(write_repository_run):
    one = write_repository_run("one", [1.0] * 4, [0.1, 0.4, 0.3, 0.6])
    two = write_repository_run("two", [1.0] * 4, [0.2, 0.4, 0.6, 0.6])

    alone, context = compare_paces(read_runs([one, two]))

    assert (alone.part, alone.first, alone.second) == ("line, alone", "one", "two")
    assert alone.ratio.ratio == pytest.approx(2.0)
    assert (alone.ratio.n, alone.ratio.p_value) == (2, 0.5)
    assert context.ratio.ratio == pytest.approx(1.0)
    rows = latency(read_runs([one, two])).blocks[1].rows
    assert rows[0] == [
        *("repo:shop, line, alone: two over one", "2.00", "2.00 to 2.00"),
        *("0.500", "1.000", "no difference shown", "2, worth 2"),
    ]


def test_runs_of_no_repository_have_no_latency_by_part(write_run):
    assert latency(read_runs([write_run("one", [1.0])])) is None


def test_the_card_shows_it(write_repository_run, make_report):
    from codegemma.evaluate.report.markdown import render_markdown

    one = write_repository_run("one", [0.0] * 4, [0.1] * 4)
    two = write_repository_run("two", [1.0] * 4, [0.2] * 4)

    card = render_markdown(make_report(one, two))

    assert "Latency" in card
    assert "repo:shop, line, with context, edit-similarity: two over one" in card
