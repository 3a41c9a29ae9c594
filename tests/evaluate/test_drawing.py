# SPDX-License-Identifier: Apache-2.0

from dataclasses import replace
from pathlib import Path

import pytest

from codegemma.completion import Prompt
from codegemma.errors import ConfigError, ContextLengthError, InputError
from codegemma.evaluate.drawing import DrawSettings, draw_samples
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.store import hash_prompt
from codegemma.evaluate.task import Problem, Sample
from codegemma.generate.load import load_engine
from codegemma.text.tokenizer import Tokenizer

PROBLEMS = [Problem(task_id=f"p{n}", prompt=Prompt(prefix=f"{n}:", suffix="")) for n in range(5)]
GOLDEN = Path(__file__).parents[1] / "golden" / "tokenizer"
(TASK,) = find_tasks("humaneval-infilling-single")


def _draw(completer, settings=None, done=(), problems=PROBLEMS) -> list[list[Sample]]:
    settings = settings or DrawSettings()
    return list(draw_samples(TASK, problems, completer=completer, settings=settings, done=done))


def test_greedy_problems_are_drawn_once_each_in_batches(fakes):
    completer = fakes.ScriptedCompleter(lambda prompt, index: f"{prompt.prefix}{index}")

    batches = _draw(completer, DrawSettings(batch=2))

    assert [[(s.task_id, s.index, s.text) for s in batch] for batch in batches] == [
        [("p0", 0, "0:0"), ("p1", 0, "1:0")],
        [("p2", 0, "2:0"), ("p3", 0, "3:0")],
        [("p4", 0, "4:0")],
    ]
    assert {(s.seed, s.finish_reason) for batch in batches for s in batch} == {(None, "stop")}
    assert completer.samplings[0] == TASK.sampling


def test_sample_says_how_it_came_about(fakes):
    ((sample, *_), *_) = _draw(fakes.ScriptedCompleter("ab"))

    assert sample.prompt_sha256 == hash_prompt(PROBLEMS[0].prompt)
    assert sample.tokens == (1097, 1098, 1)
    assert sample.prompt_tokens is None  # this completer tokenizes elsewhere
    assert sample.timings.total_ms == 10.0
    assert sample.wall_s >= 0


def test_what_is_there_is_not_drawn_again(fakes):
    completer = fakes.ScriptedCompleter("x")

    batches = _draw(completer, DrawSettings(batch=2), done={("p0", 0), ("p3", 0)})

    assert [[s.task_id for s in batch] for batch in batches] == [["p1", "p2"], ["p4"]]
    assert [prompt.prefix for prompt in completer.prompts] == ["1:", "2:", "4:"]


def test_several_samples_of_a_problem_share_a_seed_of_its_own(fakes):
    settings = DrawSettings(n=3, temperature=0.8, top_p=0.95, seed=7)
    completer = fakes.ScriptedCompleter(lambda prompt, index: str(index))

    batches = _draw(completer, settings)

    assert [[s.text for s in batch] for batch in batches] == [["0", "1", "2"]] * 5
    seeds = [{s.seed for s in batch} for batch in batches]
    assert all(len(each) == 1 for each in seeds)
    assert len(set.union(*seeds)) == 5
    assert [sampling.seed for sampling in completer.samplings] == [s for (s,) in seeds]
    assert {(s.n, s.temperature, s.top_p) for s in completer.samplings} == {(3, 0.8, 0.95)}
    again = _draw(fakes.ScriptedCompleter("x"), settings, problems=PROBLEMS[3:])
    assert [batch[0].seed for batch in again] == [s for (s,) in seeds[3:]]
    other = _draw(fakes.ScriptedCompleter("x"), replace(settings, seed=8))
    assert {batch[0].seed for batch in other}.isdisjoint(set.union(*seeds))


def test_only_the_missing_samples_of_a_problem_are_given(fakes):
    settings = DrawSettings(n=3, temperature=0.8)

    batches = _draw(
        fakes.ScriptedCompleter("x"),
        settings,
        done={("p0", 0), ("p0", 2)} | {(f"p{n}", k) for n in range(1, 5) for k in range(3)},
    )

    assert [[(s.task_id, s.index) for s in batch] for batch in batches] == [[("p0", 1)]]


def test_prompt_longer_than_the_context_is_a_refusal_and_the_others_are_drawn(fakes):
    problems = [
        PROBLEMS[0],
        Problem(task_id="long", prompt=Prompt(prefix="x" * 200)),
        PROBLEMS[1],
    ]
    completer = fakes.ScriptedCompleter("x", context_length=140)

    (batch,) = _draw(completer, problems=problems)

    assert [(s.task_id, s.text, bool(s.refusal)) for s in batch] == [
        ("long", "", True),
        ("p0", "x", False),
        ("p1", "x", False),
    ]
    assert "the context holds 140" in batch[0].refusal
    assert batch[0].prompt_sha256 == hash_prompt(problems[1].prompt)


def test_prompt_that_is_known_to_be_too_long_costs_the_others_nothing(fakes):
    completer = fakes.ScriptedCompleter("x", context_length=60)
    completer.tokenizer = Tokenizer.from_folder(GOLDEN)
    problems = [*PROBLEMS, Problem(task_id="long", prompt=Prompt(prefix="a = 1\n" * 50))]

    (batch,) = _draw(completer, DrawSettings(max_tokens=4), problems=problems)

    assert [(s.task_id, bool(s.refusal)) for s in batch] == [
        ("long", True),
        *((f"p{n}", False) for n in range(5)),
    ]
    assert len(completer.prompts) == 5  # each was asked for once, and the long one not at all


def test_prompts_of_a_batch_are_of_similar_length_and_the_longest_come_first(fakes):
    lengths = [3, 90, 5, 80, 4, 70]
    problems = [
        Problem(task_id=str(n), prompt=Prompt(prefix="x" * (n - 2), suffix="yy")) for n in lengths
    ]

    batches = _draw(fakes.ScriptedCompleter("x"), DrawSettings(batch=2), problems=problems)

    assert [[s.task_id for s in batch] for batch in batches] == [
        ["90", "80"],
        ["70", "5"],
        ["4", "3"],
    ]


def test_texts_of_a_real_model_are_the_same_alone_and_in_batches():
    engine = load_engine("nano")
    lines = ["def add(a, b):\n", "    total = 0\n", "for each in range(10):\n", "import o"]
    problems = [
        Problem(
            task_id=f"{n}",
            prompt=Prompt(prefix=lines[n % 4] * (1 + 3 * (n % 3)), suffix=("\n", None)[n % 2]),
        )
        for n in range(7)
    ]
    alone, together = DrawSettings(batch=1, max_tokens=20), DrawSettings(batch=4, max_tokens=20)

    first = {s.task_id: s for batch in _draw(engine, alone, problems=problems) for s in batch}
    second = {s.task_id: s for batch in _draw(engine, together, problems=problems) for s in batch}

    assert {key: s.tokens for key, s in first.items()} == {k: s.tokens for k, s in second.items()}
    assert {key: s.text for key, s in first.items()} == {k: s.text for k, s in second.items()}
    assert sum(len(s.tokens) for s in first.values()) > 20


def test_other_errors_end_the_drawing(fakes):
    completer = fakes.ScriptedCompleter("xx")
    completer.fail = InputError("the model holds no conversations")

    with pytest.raises(InputError, match="holds no conversations"):
        _draw(completer)


def test_prompt_carries_its_ids_and_what_was_cut_where_the_tokenizer_is_ours(fakes):
    completer = fakes.ScriptedCompleter("", context_length=60)
    completer.tokenizer = Tokenizer.from_folder(GOLDEN)
    problems = [
        Problem(task_id="short", prompt=Prompt(prefix="a = ", suffix="\n")),
        Problem(task_id="long", prompt=Prompt(prefix="a = 1\n" * 50, suffix="\n")),
    ]

    (batch,) = _draw(completer, DrawSettings(max_tokens=4), problems=problems)

    assert [(s.task_id, s.is_prompt_cut) for s in batch] == [("long", True), ("short", False)]
    assert batch[1].prompt_tokens is not None
    assert batch[1].prompt_tokens[0] == 2  # one <bos>, first
    assert batch[1].prompt_tokens.count(2) == 1
    assert [batch[1].prompt_tokens.count(n) for n in (67, 69, 68)] == [1, 1, 1]
    assert batch[1].prompt_tokens[-1] == 68  # psm ends with the middle's sentinel


CHOICES = [
    Problem(task_id=f"c{n}", prompt=Prompt(), pairs=((f"{n}:", " a"), (f"{n}:", " bbb")))
    for n in range(3)
]


def _count_pairs(completer):
    asked, measure = [], completer.loglikelihood
    completer.loglikelihood = lambda pairs: asked.append(len(pairs)) or measure(pairs)
    return asked


def test_choices_are_measured_in_batches_and_one_by_one(fakes):
    completer = fakes.ScriptedCompleter(logprob=lambda context, answer: -float(len(answer)))
    asked = _count_pairs(completer)

    together = _draw(completer, DrawSettings(batch=3), problems=CHOICES)
    assert asked == [3, 3]
    del asked[:]
    alone = _draw(completer, DrawSettings(batch=1), problems=CHOICES)
    assert asked == [1] * 6

    texts = [(s.task_id, s.text) for batch in together for s in batch]
    assert texts == [(f"c{n}", "[[-2.0, false], [-4.0, false]]") for n in range(3)]
    assert [(s.task_id, s.text) for batch in alone for s in batch] == texts
    hashes = {s.prompt_sha256 for batch in together for s in batch}
    assert len(hashes) == 3  # of the choices, since no prompt tells them apart


def test_choice_longer_than_the_context_is_a_refusal(fakes):
    def logprob(context, answer):
        if context == "1:":
            raise ContextLengthError("too long")
        return -1.0

    (batch,) = _draw(fakes.ScriptedCompleter(logprob=logprob), problems=CHOICES)

    assert [(s.task_id, s.refusal) for s in batch] == [("c0", ""), ("c1", "too long"), ("c2", "")]


def test_context_that_was_cut_is_counted(fakes):
    completer = fakes.ScriptedCompleter()
    measure = completer.loglikelihood
    completer.loglikelihood = lambda pairs: [
        replace(each, is_cut=context == "2:")
        for each, (context, _) in zip(measure(pairs), pairs, strict=True)
    ]

    (batch,) = _draw(completer, problems=CHOICES)

    assert [s.is_prompt_cut for s in batch] == [False, False, True]


def test_task_may_have_its_prompts_cut_at_the_start(fakes):
    completer = fakes.ScriptedCompleter("x", context_length=60)
    completer.tokenizer = Tokenizer.from_folder(GOLDEN)
    problems = [Problem(task_id="long", prompt=Prompt(prefix="a = 1\n" * 50 + "Q: last"))]
    task = replace(TASK, keeps_tail=True)
    settings = DrawSettings(max_tokens=20)

    ((sample,),) = draw_samples(task, problems, completer=completer, settings=settings, done=())

    assert sample.is_prompt_cut
    assert (len(sample.prompt_tokens), sample.prompt_tokens.count(2)) == (40, 1)
    assert sample.prompt_tokens[0] == 2
    assert sample.prompt_sha256 == hash_prompt(problems[0].prompt)


def test_path_line_and_order_go_to_infill_alone(fakes):
    settings = DrawSettings(path="f.py", mode="spm", max_tokens=9)
    problems = [PROBLEMS[0], Problem(task_id="l", prompt=Prompt(prefix="x"))]
    completer = fakes.ScriptedCompleter("x")

    _draw(completer, settings, problems=problems)

    assert [prompt.path for prompt in completer.prompts] == ["f.py", None]
    assert {(s.mode, s.max_tokens) for s in completer.samplings} == {("spm", 9)}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2}, "2 samples need a temperature above 0"),
        ({"n": 0}, "n and batch must be at least 1, not 0 and 16"),
        ({"batch": 0}, "not 1 and 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        DrawSettings(**fields)
