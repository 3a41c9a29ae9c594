# SPDX-License-Identifier: Apache-2.0

import json

import pytest

from codegemma.evaluate.report.compare import compare_runs
from codegemma.evaluate.report.runs import read_runs


def pairs_of(*paths):
    return compare_runs(read_runs(paths))


def test_a_difference_that_is_there_is_shown_and_whose_it_is(write_run):
    worse, better = write_run("worse", [0.0] * 12), write_run("better", [1.0] * 10 + [0.0] * 2)

    (pair,) = pairs_of(worse, better)

    assert pair.comparison.difference == pytest.approx(10 / 12)
    assert (pair.comparison.test, pair.comparison.p_value) == ("mcnemar", pytest.approx(2 / 1024))
    assert pair.adjusted_p == pytest.approx(2 / 1024)
    assert (pair.verdict, pair.remark) == ("better is higher", "")
    assert (pair.comparison.n, pair.comparison.n_eff) == (12, 12.0)

    (turned,) = pairs_of(better, worse)
    assert turned.verdict == "better is higher"
    assert turned.comparison.low < turned.comparison.high < 0


def test_a_difference_within_chance_is_none(write_run):
    one, two = write_run("one", [0.0] * 12), write_run("two", [1.0] * 3 + [0.0] * 9)

    (pair,) = pairs_of(one, two)

    assert pair.comparison.low < 0 < pair.comparison.high
    assert pair.verdict == "no difference shown"


def test_all_tests_together_are_adjusted(write_run):
    first = write_run("first", [0.0] * 12)
    others = [write_run(f"other{n}", [1.0] * n + [0.0] * (12 - n)) for n in (6, 7)]

    pairs = pairs_of(first, *others)

    assert [pair.comparison.p_value for pair in pairs] == pytest.approx([2 / 64, 2 / 128])
    assert [pair.adjusted_p for pair in pairs] == pytest.approx([2 / 64, 4 / 128])


def test_what_is_shown_alone_is_not_shown_among_many(write_run):
    first = write_run("first", [0.0] * 12)
    better = write_run("better", [1.0] * 6 + [0.0] * 6)
    alike = [write_run(f"alike{n}", [0.0] * 12) for n in range(2)]

    alone, among = pairs_of(first, better), pairs_of(first, better, *alike)

    assert (alone[0].adjusted_p, alone[0].verdict) == (pytest.approx(0.03125), "better is higher")
    assert among[0].adjusted_p == pytest.approx(0.09375)
    assert among[0].verdict == "no difference shown"


def test_problems_that_one_run_lacks_are_left_out_and_counted(write_run):
    one, two = write_run("one", [0.0] * 12), write_run("two", [0.0] * 9)

    (pair,) = pairs_of(one, two)

    assert pair.comparison.n == 9
    assert pair.remark == "3 problems were answered by one alone"


def test_several_samples_of_a_problem_count_by_their_mean(write_run):
    one, two = write_run("one", [0.0] * 12), write_run("two", [1.0] * 12)
    folder = two / "humaneval"
    for kind in ("samples", "scores"):
        lines = [json.loads(line) for line in (folder / f"{kind}.jsonl").read_text().splitlines()]
        lines += [
            line | {"sample": 1} | ({"value": 0.0} if "value" in line else {}) for line in lines
        ]
        (folder / f"{kind}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    (pair,) = pairs_of(one, two)

    assert pair.comparison.difference == pytest.approx(0.5)
    assert pair.comparison.test == "cluster sign flips"


def test_what_cannot_be_compared_says_why(write_run, monkeypatch):
    one = write_run("one", [1.0] * 4)
    figures = {"value": 1.0, "low": 0.5, "high": 1.0, "n": 4, "n_eff": 4.0, "variant": "fence"}
    other_way = write_run("way", [1.0] * 4, metric={"pass@1": figures})
    other_data = write_run("data", [1.0] * 4, data={"human-eval/HumanEval.jsonl.gz": "0"})
    unscored = write_run("unscored", [1.0] * 4, metric={})
    other_task = write_run("task", [1.0] * 4, task="mbpp")

    pairs = pairs_of(one, other_way, other_data, unscored, other_task)

    assert [pair.verdict for pair in pairs] == ["not compared"] * 3
    assert [pair.remark for pair in pairs] == [
        "they are scored in different ways",
        "they read different data",
        "one of them has no scores",
    ]
    monkeypatch.delenv("CODEGEMMA_BENCHMARKS")
    (pair,) = pairs_of(one, write_run("two", [1.0] * 4))
    assert pair.comparison is None
    assert pair.remark.startswith("which items belong together is not known: set CODEGEMMA")


def test_different_prompts_are_told(write_run):
    one, two = write_run("one", [1.0] * 4), write_run("two", [1.0] * 4, prompt_sha256="00")

    assert pairs_of(one, two)[0].remark == "they were asked with different prompts"


def test_items_cut_from_one_problem_are_no_more_than_it(write_run, few_problems):
    # Three functions of four lines each: twelve items that differ, three problems.
    rows = [
        {
            "task_id": f"HumanEval/{n}",
            "prompt": "def f():\n",
            "entry_point": "f",
            "canonical_solution": "    a = 1\n    b = 2\n    c = 3\n    return a\n",
            "test": "def check(f):\n    pass\n",
        }
        for n in range(3)
    ]
    file = few_problems / "human-eval" / "HumanEval.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    from codegemma.evaluate.tasks import humaneval

    data = {humaneval.FILE.name: humaneval.FILE.sha256(few_problems)}
    task = "humaneval-infilling-single"
    paths = [
        write_run(name, [verdict] * 12, task=task, data=data)
        for name, verdict in (("one", 0.0), ("two", 1.0))
    ]
    for path in paths:
        for kind in ("samples", "scores"):
            lines_file = path / task / f"{kind}.jsonl"
            lines = [json.loads(line) for line in lines_file.read_text().splitlines()]
            for number, line in enumerate(lines):
                where = f"HumanEval/{number // 4}/L{number % 4}"
                line["task_id"] = f"SingleLineInfilling/{where}"
            lines_file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    (pair,) = pairs_of(*paths)

    assert (pair.comparison.n, pair.comparison.n_eff) == (12, 3.0)
    assert pair.comparison.p_value == pytest.approx(2 / 8)
    assert pair.verdict == "no difference shown"


def test_runs_of_a_repository_are_compared_by_every_metric_and_part(write_repository_run):
    one = write_repository_run("one", [0.0, 0.0, 0.0, 1.0], [0.1] * 4)
    two = write_repository_run("two", [0.0, 1.0, 0.0, 1.0], [0.1] * 4)

    pairs = pairs_of(one, two)

    names = [(pair.part, pair.metric, pair.comparison.difference) for pair in pairs]
    assert names == [
        ("", "pass@1", 0.25),
        ("", "edit-similarity", 0.0),
        ("line, alone", "pass@1", 0.0),
        ("line, alone", "edit-similarity", 0.0),
        ("line, with context", "pass@1", 0.5),
        ("line, with context", "edit-similarity", 0.0),
    ]
    assert [pair.is_headline for pair in pairs] == [True, *[False] * 5]
    assert (pairs[0].comparison.n, pairs[0].comparison.n_eff) == (4, 2.0)
    assert (pairs[4].comparison.n, pairs[4].comparison.n_eff) == (2, 2.0)
    assert {pair.verdict for pair in pairs} == {"no difference shown"}


def test_the_headlines_are_adjusted_among_themselves(write_repository_run):
    paths = [
        write_repository_run(name, [verdict] * 4, [0.1] * 4)
        for name, verdict in (("one", 0.0), ("two", 1.0), ("three", 1.0))
    ]

    pairs = pairs_of(*paths)

    # Two functions: signs fall alike in half of the cases. Two headlines, ten other comparisons.
    assert [p.adjusted_p for p in pairs if p.is_headline] == pytest.approx([1.0, 1.0])
    assert [p.comparison.p_value for p in pairs if p.is_headline] == pytest.approx([0.5, 0.5])


def test_what_is_scored_alike_is_compared_whatever_it_is_called(write_run):
    figures = {"value": 1.0, "low": 0.5, "high": 1.0, "n": 4, "n_eff": 4.0}
    metric = {"pass@1": figures | {"variant": "raw"}, "pass@1:stop": figures | {"variant": "stop"}}
    ours, other = write_run("ours", [0.0] * 4), write_run("other", [1.0] * 4, metric=metric)

    (pair,) = pairs_of(ours, other)

    assert (pair.metric, pair.comparison.difference) == ("pass@1", 1.0)
