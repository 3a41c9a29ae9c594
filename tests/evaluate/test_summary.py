# SPDX-License-Identifier: Apache-2.0

from dataclasses import replace

import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.evaluate.summary import problem_values, summarize
from codegemma.evaluate.task import Problem, Sample, Score, Task, Variant

TASK = Task(
    name="t:go",
    files=(),
    problems=lambda _: (),
    sampling=Sampling(),
    variants=(
        Variant(name="stop", cut=lambda _, text: text, check=lambda _, __: 1.0),
        Variant(name="stop+more", cut=lambda _, text: text, check=lambda _, __: 1.0),
        Variant(name="match", cut=lambda _, text: text, check=lambda *_: 1.0, is_pass_rate=False),
    ),
    raw=Variant(name="raw", cut=lambda _, text: text, check=lambda _, __: 1.0),
)


def _run(values, *, clusters=None, **fields):
    """Samples and scores of the headline: a list of values for each problem."""
    problems = [
        Problem(task_id=name, prompt=Prompt(prefix=name), cluster=(clusters or {}).get(name, ""))
        for name in values
    ]
    defaults = {"prompt_sha256": "ours", "finish_reason": "stop", "wall_s": 0.5}
    samples = [
        Sample(task_id=name, index=index, text="", **defaults | fields)
        for name, each in values.items()
        for index in range(len(each))
    ]
    scores = {
        (name, index, "stop"): Score(
            task_id=name,
            index=index,
            variant="stop",
            value=value,
            judged_sha256="",
            outcome="pass" if value else "fail",
            wall_s=0.1,
            backend="bubblewrap",
        )
        for name, each in values.items()
        for index, value in enumerate(each)
    }
    return problems, samples, scores


def test_result_has_the_fields_that_others_rely_on():
    problems, samples, scores = _run({str(n): [float(n < 8)] for n in range(10)})

    result = summarize(TASK, problems, samples, scores)

    assert (result["task"], result["n"]) == ("t:go", 10)
    (name,) = result["metric"]
    metric = result["metric"][name]
    assert name == "pass@1"
    assert (metric["value"], metric["n"], metric["n_eff"]) == (0.8, 10, 10.0)
    assert (metric["low"], metric["high"]) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert (metric["variant"], metric["method"]) == ("stop", "wilson")
    assert result["outcomes"] == {"fail": 2, "pass": 8}
    assert result["finish_reasons"] == {"stop": 10}
    assert result["seconds_drawing"] == 5.0
    assert result["seconds_running"] == 1.0
    assert result["backends"] == ["bubblewrap"]


def test_items_of_one_problem_share_a_cluster():
    clusters = {str(n): f"c{n // 5}" for n in range(100)}
    problems, samples, scores = _run(
        {str(n): [float(n // 5 % 2)] for n in range(100)}, clusters=clusters
    )

    metric = summarize(TASK, problems, samples, scores)["metric"]["pass@1"]

    assert (metric["n"], metric["n_eff"], metric["method"]) == (100, 20.0, "cluster bootstrap")


def test_many_samples_give_pass_at_more():
    values = {str(n): [1.0, 1.0] + [0.0] * 8 for n in range(12)} | {"hard": [0.0] * 10}
    metric = summarize(TASK, *_run(values))["metric"]

    assert list(metric) == ["pass@1", "pass@10"]
    assert metric["pass@1"]["value"] == pytest.approx(0.2 * 12 / 13)
    assert metric["pass@10"]["value"] == pytest.approx(12 / 13)


def test_k_goes_as_far_as_the_problem_with_the_fewest_samples():
    metric = summarize(TASK, *_run({"a": [1.0] * 10, "b": [0.0] * 9}))["metric"]

    assert list(metric) == ["pass@1"]
    assert metric["pass@1"]["value"] == 0.5


def test_other_variants_carry_their_names():
    problems, samples, scores = _run({"a": [1.0], "b": [0.0]})
    for name in ("stop+more", "match"):
        for task_id, value in (("a", 0.0), ("b", 0.5)):
            scores[task_id, 0, name] = Score(
                task_id=task_id, index=0, variant=name, value=value, judged_sha256=""
            )

    metric = summarize(TASK, problems, samples, scores)["metric"]

    assert list(metric) == ["pass@1", "pass@1:stop+more", "match"]
    assert metric["pass@1:stop+more"]["value"] == 0.0  # half a pass is none
    assert metric["match"]["value"] == 0.25


def test_samples_made_elsewhere_lead_with_what_they_are():
    problems, samples, scores = _run({"a": [1.0]}, prompt_sha256="")
    scores["a", 0, "raw"] = Score(
        task_id="a", index=0, variant="raw", value=0.0, judged_sha256="", outcome="timeout"
    )

    result = summarize(TASK, problems, samples, scores)

    assert {name: each["value"] for name, each in result["metric"].items()} == {
        "pass@1": 0.0,
        "pass@1:stop": 1.0,
    }
    assert result["metric"]["pass@1"]["variant"] == "raw"
    assert result["outcomes"] == {"timeout": 1}


def test_what_is_missing_refused_or_cut_is_counted():
    problems, samples, scores = _run({"a": [1.0], "b": [0.0], "c": [0.0]}, is_prompt_cut=True)
    samples = [samples[0], Sample(task_id="b", index=0, text="", prompt_sha256="p", refusal="long")]
    del scores["c", 0, "stop"]

    result = summarize(TASK, problems, samples, scores)

    assert (result["num_problems"], result["num_samples"], result["num_missing"]) == (3, 2, 1)
    assert (result["num_refused"], result["num_prompts_cut"], result["n"]) == (1, 1, 2)


def test_samples_without_scores_have_no_metric():
    problems, samples, _ = _run({"a": [1.0]})

    result = summarize(TASK, problems, samples, {})

    assert (result["metric"], result["n"], result["outcomes"]) == ({}, 1, {})


def test_values_by_problem_are_for_comparing_runs():
    _, samples, scores = _run({"a": [1.0, 0.0], "b": [0.0]})

    assert problem_values(samples, scores, variant="stop") == {"a": [1.0, 0.0], "b": [0.0]}
    assert problem_values(samples, scores, variant="match") == {}


def test_parts_of_a_task_are_counted_by_themselves_too():
    problems, samples, scores = _run({str(n): [float(n < 3)] for n in range(4)})
    problems = [
        replace(problem, group="algebra" if index < 2 else "geometry" if index < 3 else "")
        for index, problem in enumerate(problems)
    ]
    empty = Problem(task_id="no sample", prompt=Prompt(), group="logic")

    result = summarize(TASK, [*problems, empty], samples, scores)

    assert result["metric"]["pass@1"]["value"] == 0.75
    assert list(result["group"]) == ["algebra", "geometry"]
    assert [found["pass@1"]["n"] for found in result["group"].values()] == [2, 1]
    assert result["group"]["algebra"]["pass@1"]["value"] == 1.0
