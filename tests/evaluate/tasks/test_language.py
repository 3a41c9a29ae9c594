# SPDX-License-Identifier: Apache-2.0

import importlib.util
import json
import re
from importlib.metadata import version

import pytest

from codegemma.errors import ConfigError, DataError, PrerequisiteError
from codegemma.evaluate.benchmark import BenchmarkFile
from codegemma.evaluate.drawing import DrawSettings
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.runner import RunSettings, run_task
from codegemma.evaluate.tasks import language
from codegemma.sandbox.run import Sandbox

needs_latex = pytest.mark.skipif(
    importlib.util.find_spec("antlr4") is None
    or not version("antlr4-python3-runtime").startswith("4.11"),
    reason="no antlr4-python3-runtime of version 4.11, by which answers are compared",
)

ROWS = {
    "boolq/validation.jsonl": [
        {"question": "is it wet", "passage": "Rain -- Rain is wet.", "idx": 0, "label": 1},
        {"question": "is it dry", "passage": "Rain -- Rain is wet.", "idx": 1, "label": 0},
    ],
    "piqa/valid.jsonl": [
        {"goal": "open a jar", "sol1": "turn the lid", "sol2": "eat the lid slowly"},
        {"goal": "dry a cup", "sol1": "pour water in it, and wait", "sol2": "wipe it"},
        {"goal": "cut bread", "sol1": "tear", "sol2": "use a knife"},
    ],
    "gsm8k/test.jsonl": [
        {"question": "What is one and two?", "answer": "It is <<1+2=3>>3.\n#### 3"},
        {"question": "What is 6 by 7?", "answer": "#### 42"},
    ],
    "mmlu_stem/test.jsonl": [
        {"question": "1+1?", "type": "college_physics", "choices": [*"1234"], "answer": 1},
    ],
    "triviaqa/validation.jsonl": [
        {"question": "Who wrote Hamlet", "answer": {"aliases": ["Shakespeare", "The Bard"]}},
        {"question": "Where is Elsinore", "answer": {"aliases": ["Denmark"]}},
    ],
    "triviaqa/train.jsonl": [
        {"question": f"What follows {n}", "answer": {"aliases": [str(n + 1)]}} for n in range(9)
    ],
    "arc-challenge/test.jsonl": [
        {
            "id": "a",
            "question": "Which is a metal?",
            "choices": {"text": ["iron", "wood"], "label": ["A", "B"]},
            "answerKey": "A",
        },
        {
            "id": "b",
            "question": "Which is not?",
            "choices": {"text": ["zinc", "tin", "oak"], "label": ["1", "2", "3"]},
            "answerKey": "3",
        },
    ],
    "hellaswag/validation.jsonl": [
        {
            "activity_label": "Baking",
            "ctx_a": "A man [title] bakes.",
            "ctx_b": "he",
            "endings": ["flies", "eats [step] it.", "sings", "naps"],
            "label": "1",
        }
    ],
    "winogrande/validation.jsonl": [
        {
            "sentence": "Ann asked Bob because _ knew the way.",
            "option1": "Ann",
            "option2": "Bob",
            "answer": "2",
        }
    ],
    "mmlu/test.jsonl": [
        {"question": "1+1? ", "subject": "abstract_algebra", "choices": [*"1234"], "answer": 1},
        {"question": "Who?", "subject": "world_religions", "choices": [*"abcd"], "answer": 3},
        {"question": "2+2?", "subject": "abstract_algebra", "choices": [*"1234"], "answer": 3},
    ],
    "mmlu/dev.jsonl": [
        {"question": f"{name} {n}?", "subject": subject, "choices": [*"wxyz"], "answer": n % 4}
        for name, subject in (("A", "abstract_algebra"), ("R", "world_religions"))
        for n in range(6)
    ],
    "math/test.jsonl": [
        {
            "problem": "What is $1/2+0$?",
            "level": "Level 1",
            "type": "Algebra",
            "solution": "It is $\\boxed{\\frac{1}{2}}$.",
        },
        {
            "problem": "How many sides has a square?",
            "level": "Level 1",
            "type": "Geometry",
            "solution": "There are $\\boxed{4}$.",
        },
    ],
}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A benchmark folder with some rows of every task of the language tasks."""
    folder = tmp_path / "benchmarks"
    for name, rows in ROWS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "piqa" / "valid-labels.lst").write_text("0\n1\n1\n")
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(folder))
    return folder


class _Untouched(Sandbox):
    """A sandbox that must not be asked for anything."""

    def run(self, program, limits=None):
        raise AssertionError("no program is to be run")

    map = run


def _problems(name, folder):
    (task,) = find_tasks(name)
    return task.problems(folder)


def _score(name, completer, out, **settings):
    """Run a task without a sandbox at hand: it needs none."""
    (task,) = find_tasks(name)
    return run_task(
        task,
        out=out,
        model="scripted",
        open_completer=lambda: completer,
        sandbox=_Untouched(),
        settings=RunSettings(**settings),
    )


def _values(result, *, digits=6):
    return {name: round(found["value"], digits) for name, found in result["metric"].items()}


def test_boolq_asks_for_yes_or_no(small, fakes, tmp_path):
    first, _ = _problems("boolq", small)
    assert first.pairs == (
        ("Rain -- Rain is wet.\nQuestion: is it wet?\nAnswer:", " no"),
        ("Rain -- Rain is wet.\nQuestion: is it wet?\nAnswer:", " yes"),
    )

    yes = fakes.ScriptedCompleter(logprob=lambda context, answer: float(answer == " yes"))

    assert _values(_score("boolq", yes, tmp_path / "out")) == {"acc": 0.5}


def test_triviaqa_shows_five_and_takes_any_alias(small, fakes, tmp_path):
    first, _ = _problems("triviaqa", small)
    parts = first.prompt.prefix.split("\n\n")
    assert len(parts) == 6
    assert all(re.fullmatch(r"Question: What follows \d\?\nAnswer: \d", part) for part in parts[:5])
    assert parts[5] == "Question: Who wrote Hamlet?\nAnswer:"
    (task,) = find_tasks("triviaqa")
    assert (task.sampling.stop, task.sampling.max_tokens) == (("\n", ".", ","), 256)
    assert [file.name for file in task.files] == [
        "triviaqa/validation.jsonl.gz",
        "triviaqa/train.jsonl.gz",
    ]

    bard = fakes.ScriptedCompleter("  the BARD, William Shakespeare.\n")

    assert _values(_score("triviaqa", bard, tmp_path / "out")) == {"exact_match": 0.5}


def test_arc_scores_the_answers_themselves(small, fakes, tmp_path):
    first, second = _problems("arc-challenge", small)
    assert first.pairs == (
        ("Question: Which is a metal?\nAnswer:", " iron"),
        ("Question: Which is a metal?\nAnswer:", " wood"),
    )
    assert [answer for _, answer in second.pairs] == [" zinc", " tin", " oak"]

    # "zinc" is the likeliest (-2.9), by letter too (-0.73; "oak" -1.2, "tin" -1.0).
    table = {" iron": -1.0, " wood": -2.0, " zinc": -2.9, " tin": -3.0, " oak": -3.6}
    stub = fakes.ScriptedCompleter(logprob=lambda _, answer: table[answer])

    assert _values(_score("arc-challenge", stub, tmp_path / "out")) == {"acc_norm": 0.5, "acc": 0.5}


def test_hellaswag_mends_its_text_and_weighs_by_length(small, fakes, tmp_path):
    (only,) = _problems("hellaswag", small)
    assert only.pairs[0] == ("Baking: A man. bakes. He", " flies")
    assert only.pairs[1][1] == " eats it."

    # The longest is the least likely in all, and the likeliest a letter.
    stub = fakes.ScriptedCompleter(logprob=lambda _, answer: -5.0 - 0.1 * len(answer))

    result = _score("hellaswag", stub, tmp_path / "out")
    assert _values(result) == {"acc_norm": 1.0, "acc": 0.0}


def test_winogrande_scores_what_stands_behind_the_blank(small, fakes, tmp_path):
    (only,) = _problems("winogrande", small)
    assert only.pairs == (
        ("Ann asked Bob because Ann", " knew the way."),
        ("Ann asked Bob because Bob", " knew the way."),
    )

    stub = fakes.ScriptedCompleter(logprob=lambda context, _: float(context.endswith("Bob")))

    assert _values(_score("winogrande", stub, tmp_path / "out")) == {"acc": 1.0}


def test_mmlu_shows_five_of_the_subject_and_counts_subjects_too(small, fakes, tmp_path):
    problems = _problems("mmlu", small)
    assert [problem.task_id for problem in problems] == [
        "mmlu/abstract_algebra/0",
        "mmlu/abstract_algebra/1",
        "mmlu/world_religions/0",
    ]
    context, answer = problems[0].pairs[1]
    assert answer == " B"
    assert context.startswith(
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "A 0?\nA. w\nB. x\nC. y\nD. z\nAnswer: A\n\n"
    )
    assert context.count("Answer:") == 6
    assert context.endswith("A 4?\nA. w\nB. x\nC. y\nD. z\nAnswer: A\n\n1+1?\nA. 1\nB. 2\nC. 3\n"
                            "D. 4\nAnswer:")  # fmt: skip
    assert "R 0?" in problems[2].pairs[0][0]

    d = fakes.ScriptedCompleter(logprob=lambda _, answer: float(answer == " D"))
    result = _score("mmlu", d, tmp_path / "out")

    assert _values(result) == {"acc": 0.666667}
    assert {name: found["acc"]["value"] for name, found in result["group"].items()} == {
        "abstract_algebra": 0.5,
        "world_religions": 1.0,
    }


def test_number_of_examples_can_be_asked_for(small):
    context, _ = _problems("mmlu:2-shot", small)[0].pairs[0]
    assert context.count("Answer:") == 3
    context, _ = _problems("mmlu:0-shot", small)[0].pairs[0]
    assert context.count("Answer:") == 1
    (task,) = find_tasks("mmlu:0-shot")
    assert (task.name, len(task.files)) == ("mmlu:0-shot", 1)


@needs_latex
def test_math_compares_what_the_answer_means(small, fakes, tmp_path):
    first, second = _problems("math", small)
    assert first.prompt.prefix.count("Problem:\n") == 5
    assert "Problem:\nIf $\\det \\mathbf{A} = 2$ and" in first.prompt.prefix
    assert first.prompt.prefix.endswith("Problem:\nWhat is $1/2+0$?\n\nSolution:")
    assert (first.group, second.group) == ("Algebra", "Geometry")

    half = fakes.ScriptedCompleter(
        " It is half. Final Answer: The final answer is $0.5$. I hope it is correct.\n\n"
        "Problem:\nMore? Final Answer: The final answer is $4$. I hope it is correct."
    )
    result = _score("math", half, tmp_path / "out")

    assert _values(result) == {"exact_match": 0.5, "math_verify": 0.5}
    assert result["group"]["Geometry"]["exact_match"]["value"] == 0.0


def test_math_without_its_packages_says_what_to_install(small, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "4.13.2")
    monkeypatch.delitem(__import__("sys").modules, "lm_eval.tasks.minerva_math.utils", False)

    with pytest.raises(PrerequisiteError, match=r"antlr4-python3-runtime is of version 4\.11"):
        _problems("math", small)


def test_piqa_takes_its_answers_from_the_file_beside(small, fakes, tmp_path):
    first, *_ = _problems("piqa", small)
    assert first.pairs == (
        ("Question: open a jar\nAnswer:", " turn the lid"),
        ("Question: open a jar\nAnswer:", " eat the lid slowly"),
    )

    # By length "turn the lid", "wipe it" and "tear"; by letter the longer of each two.
    stub = fakes.ScriptedCompleter(logprob=lambda _, answer: -float(len(answer)))

    assert _values(_score("piqa", stub, tmp_path / "out")) == {
        "acc": 0.666667,
        "acc_norm": 0.333333,
    }


def test_stem_asks_without_an_example(small, fakes, tmp_path):
    (only,) = _problems("mmlu:stem", small)
    assert only.task_id == "mmlu/college_physics/0"
    assert only.pairs[3] == (
        "The following are multiple choice questions (with answers) about college physics.\n\n"
        "1+1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:",
        " D",
    )

    b = fakes.ScriptedCompleter(logprob=lambda _, answer: float(answer == " B"))

    assert _values(_score("mmlu:stem", b, tmp_path / "out")) == {"acc": 1.0}


def test_gsm8k_stops_at_the_next_question(small, fakes, tmp_path):
    three = fakes.ScriptedCompleter(" The answer is 3.\n\nQ: 6 by 7?\nA: The answer is 42.")

    result = _score("gsm8k", three, tmp_path / "out")

    assert _values(result) == {"strict-match": 0.5, "flexible-extract": 0.5}
    assert (three.samplings[0].stop, three.samplings[0].max_tokens) == (
        ("Q:", "</s>", "<|im_end|>"),
        256,
    )
    (folder,) = (tmp_path / "out").iterdir()
    assert '"completion": " The answer is 3.\\n\\n"' in (folder / "samples.jsonl").read_text()


@pytest.mark.slow
def test_first_answer_of_every_piqa_question_is_right_910_times(benchmarks, fakes, tmp_path,
                                                                monkeypatch):  # fmt: skip
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(benchmarks))
    stub = fakes.ScriptedCompleter(logprob=lambda _, answer: 0.0)  # of equals the first counts

    result = _score("piqa", stub, tmp_path, draw=DrawSettings(batch=512))

    assert result["n"] == 1838
    assert result["metric"]["acc"]["value"] == 910 / 1838
    assert (
        round(result["metric"]["acc"]["low"], 4),
        round(result["metric"]["acc"]["high"], 4),
    ) == (
        0.4723,
        0.5179,
    )
    assert result["settings"]["data"].keys() == {"piqa/valid.jsonl.gz", "piqa/valid-labels.lst"}
    assert result["outcomes"] == {"not run": 1838}
    written = json.loads((tmp_path / "piqa" / "run.json").read_text())
    assert [list(each) for each in written["scoring"]] == [["python", "lm_eval", "datasets"]]


@pytest.mark.slow
def test_letter_d_is_right_871_times_in_mmlu_stem(benchmarks, fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(benchmarks))
    stub = fakes.ScriptedCompleter(logprob=lambda _, answer: float(answer == " D"))

    result = _score("mmlu:stem", stub, tmp_path, draw=DrawSettings(batch=4096))

    assert result["n"] == 3018
    assert result["metric"]["acc"]["value"] == 871 / 3018
    assert len(result["group"]) == 18
    assert result["group"]["elementary_mathematics"]["acc"]["n"] == 378
    [context] = {context for context, _ in stub.pairs if "Based on the characteristic" in context}
    assert context.startswith(
        "The following are multiple choice questions (with answers) about college biology.\n\n"
        "Based on the characteristic population curves"
    )
    assert context.count("Answer:") == 1


@pytest.mark.slow
def test_gsm8k_shows_eight_and_takes_the_published_form_alone(
    benchmarks, fakes, tmp_path, monkeypatch
):
    monkeypatch.setenv("CODEGEMMA_BENCHMARKS", str(benchmarks))
    right = {
        row["question"]: row["answer"].rpartition("#### ")[2]
        for row in BenchmarkFile(name="gsm8k/test.jsonl.gz", source="").rows(benchmarks)
    }

    def answer(prompt, index):
        question = prompt.prefix.rpartition("Q: ")[2].removesuffix("\nA:")
        number = right[question]
        if len(question) % 2:
            return f" It takes some thought. The answer is {number}.\n\nQ: 1+1?\nA: 2."
        return f" It takes some thought: {number} in all."

    odd = sum(len(question) % 2 for question in right)
    completer = fakes.ScriptedCompleter(answer)
    result = _score("gsm8k", completer, tmp_path, draw=DrawSettings(batch=1319))

    assert (result["n"], odd) == (1319, 670)
    assert _values(result) == {"strict-match": round(670 / 1319, 6), "flexible-extract": 1.0}
    asked = (prompt.prefix for prompt in completer.prompts)
    [prompt] = (each for each in asked if each.endswith("farmers' market?\nA:"))
    assert prompt.startswith(
        "Q: There are 15 trees in the grove. Grove workers will plant trees in the grove today. "
    )
    assert prompt.count("Q: ") == 9
    assert "So he has 23 - 15 dollars left" not in prompt
    assert "So she has 23 - 15 dollars left. 23 - 15 is 8. The answer is 8.\n\nQ: Janet" in prompt
    assert prompt.endswith("every day at the farmers' market?\nA:")


def test_samples_made_elsewhere_are_likelihoods_or_texts(small, tmp_path):
    (task,) = find_tasks("boolq")
    first, _ = task.problems(small)

    assert task.raw.check(first, "[[-2.5, false], [-1.5, true]]") == 1.0
    for text in ("yes", "[[1, true]]", "[1, 2]"):
        with pytest.raises(ValueError, match="expected"):
            task.raw.check(first, text)


def test_stopped_run_measures_only_what_is_missing(small, fakes, tmp_path):
    stub = fakes.ScriptedCompleter(logprob=lambda _, answer: float(answer == " yes"))
    few = _score("boolq", stub, tmp_path / "out", limit=1)
    whole = _score("boolq", stub, tmp_path / "out")

    assert (few["n"], whole["n"]) == (1, 2)
    assert len(stub.pairs) == 4
    assert _values(_score("boolq", None, tmp_path / "out")) == {"acc": 0.5}


def test_likelihoods_are_measured_once(small, fakes, tmp_path):
    settings = DrawSettings(n=2, temperature=0.8)

    with pytest.raises(ConfigError, match="boolq measures likelihoods and draws nothing: n must"):
        _score("boolq", fakes.ScriptedCompleter(), tmp_path / "out", draw=settings)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "piqa").mkdir()
    row = {"goal": "g", "sol1": "a", "sol2": "b"}
    (tmp_path / "piqa" / "valid.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "piqa" / "valid-labels.lst").write_text("0\n1\n")

    with pytest.raises(DataError, match="must have a 0 or 1 for each of the 1 rows"):
        _problems("piqa", tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mmlu:stm", "mmlu takes no 'stm' after the colon; it takes mmlu:stem, mmlu:N-shot"),
        ("piqa:5-shot", "it takes piqa:0-shot alone: it has no other examples"),
        ("gsm8k:9-shot", "gsm8k:N-shot with N at most 8: it has no other examples"),
        ("piqa:", "piqa takes no ''"),
    ],
)
def test_argument_that_a_task_does_not_take_is_refused(name, words):
    with pytest.raises(ConfigError, match=words):
        find_tasks(name)


@pytest.mark.parametrize("name", [key for key in language._BENCHMARKS if key != "math"])
def test_variants_are_those_of_the_harness(small, name):
    (task,) = find_tasks(name)
    problems = task.problems(small)
    reader = task.problems.__self__

    assert {v.name for v in task.variants} == set(reader._tasks[problems[0].row["file"]].variants())
