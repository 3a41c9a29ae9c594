# SPDX-License-Identifier: Apache-2.0

import gzip
import json
from collections import Counter

import pytest

from codegemma.completion import Prompt
from codegemma.errors import PrerequisiteError
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.statistics import effective_n
from codegemma.evaluate.task import Problem
from codegemma.evaluate.tasks import infilling

ROW = {
    "task_id": "HumanEval/7",
    "prompt": "def f(x):\n",
    "entry_point": "f",
    "canonical_solution": "    y = x\n\n    return y",
    "test": "\ndef check(candidate):\n    assert candidate(1) == 1\n",
}
NAMES = {
    "humaneval-infilling-single": 1033,
    "humaneval-infilling-multi": 5815,
    "humaneval-infilling-random": 1640,
    "humaneval-infilling-random-light": 164,
}


def _problems(name, folder):
    (task,) = find_tasks(name)
    return task, task.problems(folder)


def test_single_lines_are_those_that_are_not_blank():
    rows = infilling.derive_rows(ROW, is_single=True)

    assert [
        (row["task_id"], row["prompt"], row["canonical_solution"], row["suffix"]) for row in rows
    ] == [
        ("SingleLineInfilling/HumanEval/7/L0", "def f(x):\n\n", "    y = x\n", "\n    return y"),
        ("SingleLineInfilling/HumanEval/7/L2", "def f(x):\n    y = x\n\n", "    return y", ""),
    ]


def test_spans_of_lines_begin_and_end_with_lines_that_are_not_blank():
    rows = infilling.derive_rows(ROW, is_single=False)

    assert [(row["task_id"][-6:], row["canonical_solution"]) for row in rows] == [
        ("/L0_L0", "    y = x\n"),
        ("/L0_L2", "    y = x\n\n    return y"),
        ("/L2_L2", "    return y"),
    ]


@pytest.mark.parametrize(("kind", "stem"), [("single", "SingleLine"), ("multi", "MultiLine")])
def test_derived_sets_equal_the_published_files(benchmarks, kind, stem):
    path = benchmarks / "human-eval-infilling" / f"HumanEval-{stem}Infilling.jsonl.gz"
    published = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]

    _, problems = _problems(f"humaneval-infilling-{kind}", benchmarks)

    assert [problem.row for problem in problems] == published
    assert len(problems) == {"single": 1033, "multi": 5815}[kind]


@pytest.mark.parametrize("name", NAMES)
def test_every_set_has_its_size_and_clusters_by_function(benchmarks, name):
    _, problems = _problems(name, benchmarks)

    assert len(problems) == NAMES[name]
    assert len({problem.task_id for problem in problems}) == NAMES[name]
    assert {problem.cluster for problem in problems} == {f"HumanEval/{n}" for n in range(164)}
    assert all(problem.prompt.suffix is not None for problem in problems)


def test_largest_clusters_hold_the_published_share_of_the_multi_line_set(benchmarks):
    _, problems = _problems("humaneval-infilling-multi", benchmarks)
    sizes = Counter(problem.cluster for problem in problems)

    assert sizes["HumanEval/81"] == 435
    assert round(100 * sum(size for _, size in sizes.most_common(10)) / 5815) == 34


@pytest.mark.parametrize(("kind", "worth"), [("single", 101), ("multi", 50)])
def test_items_are_worth_the_published_number_of_independent_ones(benchmarks, kind, worth):
    _, problems = _problems(f"humaneval-infilling-{kind}", benchmarks)

    assert round(effective_n([problem.cluster for problem in problems])) == worth


def test_missing_file_is_named_with_its_source(tmp_path):
    task, *_ = find_tasks("humaneval-infilling-random")

    with pytest.raises(
        PrerequisiteError,
        match=r"HumanEval-RandomSpanInfilling.jsonl.gz .*github.com/openai/human-eval-infilling",
    ):
        task.problems(tmp_path)


LINES = Problem(
    task_id="t",
    prompt=Prompt(prefix="def f(x):\n    if x:\n", suffix="    return second_value\n"),
    solution="        y = 1\n",
)


def _cut(name, text, problem=LINES):
    (task,) = find_tasks("humaneval-infilling-single")
    return next(v for v in task.variants if v.name == name).cut(problem, text)


def test_first_line_keeps_its_line_end():
    assert _cut("sentinel+firstline", "        y = 1\n        z = 2\n") == "        y = 1\n"
    assert _cut("sentinel+firstline", "\n  y\nz") == "\n  y\n"
    assert _cut("sentinel+firstline", "        y = 1") == "        y = 1"


def test_written_sentinel_ends_every_variant():
    text = "        y = 1\n<|file_separator|>other.py\n"

    (task,) = find_tasks("humaneval-infilling-single")
    assert {variant.cut(LINES, text) for variant in task.variants} == {"        y = 1\n"}


def test_repeated_suffix_is_dropped():
    text = "        y = 1\n    return second_value\n"

    assert _cut("sentinel", text) == text
    assert _cut("sentinel+suffix-overlap", text) == "        y = 1\n"


def test_lines_left_of_the_block_are_dropped_and_the_line_end_kept():
    text = "        y = 1\n    z = 2\n"

    assert _cut("sentinel+dedent-block", text) == "        y = 1\n"


def test_hole_inside_a_line_gets_no_line_end():
    inside = Problem(task_id="t", prompt=Prompt(prefix="    x = f(", suffix=")\n"))

    assert _cut("sentinel+firstline", "1, 2\n)", inside) == "1, 2"


def test_only_single_lines_are_cut_at_the_first_line():
    names = {
        name: [variant.name for variant in find_tasks(name)[0].variants] for name in list(NAMES)[:2]
    }

    assert names["humaneval-infilling-single"] == [
        "sentinel",
        "sentinel+firstline",
        "sentinel+suffix-overlap",
        "sentinel+dedent-block",
        "sentinel+suffix-overlap+dedent-block",
        "exact-match",
    ]
    assert "sentinel+firstline" not in names["humaneval-infilling-multi"]


def test_exact_match_compares_with_the_line_that_was_there():
    (task,) = find_tasks("humaneval-infilling-single")
    exact = task.variants[-1]

    assert exact.check(LINES, "        y = 1\n") == 1.0
    assert exact.check(LINES, "        y = 1") == 0.0


def test_program_is_the_file_with_the_completion_in_place_and_the_problems_check(benchmarks):
    _, problems = _problems("humaneval-infilling-single", benchmarks)
    problem = next(p for p in problems if p.task_id == "SingleLineInfilling/HumanEval/53/L0")

    program = infilling.program(problem, "    return x - y\n")

    assert program.source.endswith('    12\n    """\n\n    return x - y\n')
    assert program.tests.endswith("\ncheck(add)")
    assert program.entry_point == "add"


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_cut_out_spans_passes_in_its_place(benchmarks, sandbox, name):
    task, problems = _problems(name, benchmarks)
    programs = [infilling.program(p, p.solution) for p in problems[:: len(problems) // 6]]

    assert {result.outcome for result in sandbox.map(programs, task.limits)} == {"pass"}


def test_rules_that_cut_what_was_right_are_known_for_it(benchmarks):
    task, problems = _problems("humaneval-infilling-multi", benchmarks)
    some = problems[::20]
    kept = {v.name: sum(v.cut(p, p.solution) == p.solution for p in some) for v in task.variants}

    # 134 of these spans leave the block that they began in, and are right to.
    assert kept == {
        "sentinel": 291,
        "sentinel+suffix-overlap": 291,
        "sentinel+dedent-block": 157,
        "sentinel+suffix-overlap+dedent-block": 157,
        "exact-match": 291,
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_every_span_that_was_cut_out_passes_in_its_place(benchmarks, sandbox, name):
    task, problems = _problems(name, benchmarks)
    programs = [infilling.program(problem, problem.solution) for problem in problems]
    distinct = list(dict.fromkeys(programs))  # most are a function put together again

    results = dict(zip(distinct, sandbox.map(distinct, task.limits), strict=True))

    assert [
        p.task_id for p, q in zip(problems, programs, strict=True) if not results[q].is_pass
    ] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "num_passed"),
    [
        ("humaneval-infilling-single", 27),
        ("humaneval-infilling-random", 30),
        ("humaneval-infilling-random-light", 0),
    ],
)
def test_empty_completions_pass_as_often_as_is_known(benchmarks, sandbox, name, num_passed):
    task, problems = _problems(name, benchmarks)
    programs = [infilling.program(problem, "") for problem in problems]

    assert sum(r.is_pass for r in sandbox.map(programs, task.limits)) == num_passed
