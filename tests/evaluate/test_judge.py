# SPDX-License-Identifier: Apache-2.0

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.errors import InputError
from codegemma.evaluate.judge import Judge, variants_of
from codegemma.evaluate.store import score_key
from codegemma.evaluate.task import Problem, Sample, Task, Variant
from codegemma.sandbox.program import Limits, Program, RunResult
from codegemma.sandbox.run import Sandbox

PROBLEM = Problem(task_id="p", prompt=Prompt(prefix="x = "))


class Counting(Sandbox):
    """Passes what says so, and remembers what it ran."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, Limits]] = []

    def map(self, programs: Iterable[Program], limits: Limits | None = None) -> Iterator[RunResult]:
        for program in programs:
            assert limits is not None
            self.ran.append((program.source, limits))
            yield RunResult(
                outcome="pass" if "ok" in program.source else "fail",
                stdout="out",
                stderr="" if "quiet" in program.source else "E" * 2000,
                wall_s=0.25,
                backend="counted",
            )


def _program(problem: Problem, text: str) -> Program:
    return Program(language="python", source=problem.prompt.prefix + text)


WHOLE = Variant(
    name="solution", cut=lambda _, text: text, check=lambda _, text: _program(PROBLEM, text)
)
TASK = Task(
    name="t",
    files=(),
    problems=lambda _: (PROBLEM,),
    sampling=Sampling(),
    variants=(
        Variant(name="first", cut=lambda _, text: text.split("|")[0], check=_program),
        Variant(name="last", cut=lambda _, text: text.split("|")[-1], check=_program),
        Variant(
            name="length",
            cut=lambda _, text: text,
            check=lambda _, text: len(text) / 10,
            is_pass_rate=False,
        ),
    ),
    raw=Variant(name="raw", cut=lambda _, text: text, check=_program),
    whole=WHOLE,
)


def _sample(text, **fields):
    return Sample(**{"task_id": "p", "index": 0, "text": text, "prompt_sha256": "ours"} | fields)


def test_every_variant_is_scored_on_what_it_keeps():
    sandbox = Counting()

    scores = Judge(TASK, [PROBLEM], sandbox=sandbox).score([_sample("ok|no")], known={})

    assert [(s.variant, s.value, s.outcome, s.backend) for s in scores] == [
        ("first", 1.0, "pass", "counted"),
        ("last", 0.0, "fail", "counted"),
        ("length", 0.5, None, ""),
    ]
    assert [source for source, _ in sandbox.ran] == ["x = ok", "x = no"]
    assert scores[0].stderr == ""
    assert scores[1].stderr == "E" * 1000  # the end of it
    assert scores[0].wall_s == 0.25


def test_equal_programs_run_once_whatever_sample_or_variant_they_come_from():
    sandbox = Counting()
    judge = Judge(TASK, [PROBLEM], sandbox=sandbox)

    scores = judge.score(
        [_sample("ok"), _sample("ok", index=1), _sample("no|ok", index=2)], known={}
    )
    judge.score([_sample("ok", index=3)], known={})

    assert [source for source, _ in sandbox.ran] == ["x = ok", "x = no"]
    assert [s.value for s in scores if s.variant == "first"] == [1.0, 1.0, 0.0]


def test_known_scores_are_not_made_again_unless_text_or_problem_changed():
    judge = Judge(TASK, [PROBLEM], sandbox=Counting())
    scores = judge.score([_sample("ok|no")], known={})
    known = {score_key(score): score for score in scores}

    assert judge.score([_sample("ok|no")], known=known) == []
    again = judge.score([_sample("ok|yes")], known=known)

    assert [s.variant for s in again] == ["last", "length"]  # "first" judged the same text

    changed = replace(PROBLEM, row={"test": "another"})
    again = Judge(TASK, [changed], sandbox=Counting()).score([_sample("ok|no")], known=known)

    assert [s.variant for s in again] == ["first", "last", "length"]


def test_whole_program_and_completion_of_the_same_text_are_not_taken_for_each_other():
    judge = Judge(TASK, [PROBLEM], sandbox=Counting())
    made = {"prompt_sha256": ""}

    (key, *_) = judge.keys(_sample("ok", **made))
    (whole,) = judge.keys(_sample("ok", is_whole=True, **made))

    assert key.variant == whole.variant == "raw"
    assert key != whole


def test_samples_made_elsewhere_are_scored_as_they_stand_first():
    ours, theirs = _sample("a"), _sample("a", prompt_sha256="")

    assert [name for name, _ in variants_of(TASK, ours)] == ["first", "last", "length"]
    assert [name for name, _ in variants_of(TASK, theirs)] == ["raw", "first", "last", "length"]
    assert variants_of(TASK, replace(theirs, is_whole=True)) == [("raw", WHOLE)]


def test_whole_program_of_a_task_that_takes_none_is_refused():
    with pytest.raises(InputError, match="t takes completions and no whole programs, as of p"):
        variants_of(replace(TASK, whole=None), _sample("a", is_whole=True))


def test_refused_prompt_passes_nothing_without_running():
    sandbox = Counting()

    scores = Judge(TASK, [PROBLEM], sandbox=sandbox).score(
        [_sample("", refusal="too long")], known={}
    )

    assert {(s.value, s.outcome, s.stderr) for s in scores} == {(0.0, None, "too long")}
    assert sandbox.ran == []


def test_text_that_no_program_can_hold_fails():
    scores = Judge(TASK, [PROBLEM], sandbox=Counting()).score([_sample("\ud800")], known={})

    assert [(s.variant, s.value) for s in scores] == [
        ("first", 0.0),
        ("last", 0.0),
        ("length", 0.1),
    ]
    assert "surrogate" in scores[0].stderr


def test_program_runs_within_the_limits_of_its_problem():
    slow = replace(PROBLEM, task_id="slow", limits=Limits(wall_s=60.0))
    sandbox = Counting()

    Judge(TASK, [PROBLEM, slow], sandbox=sandbox).score(
        [_sample("a", task_id="slow"), _sample("b")], known={}
    )

    assert [(source, limits.wall_s) for source, limits in sandbox.ran] == [
        ("x = a", 60.0),
        ("x = b", 3.0),
    ]


def test_words_of_a_failure_come_from_the_output_where_the_error_stream_is_empty():
    (score, *_) = Judge(TASK, [PROBLEM], sandbox=Counting()).score([_sample("quiet")], known={})

    assert score.stderr == "out"
