# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys
from pathlib import Path

import pytest

from codegemma.errors import PrerequisiteError
from codegemma.evaluate import harness
from codegemma.evaluate.harness import HarnessTask, cut_windows, open_model
from codegemma.text.tokenizer import Tokenizer

PIQA = [
    {"goal": "open a jar", "sol1": "turn the lid", "sol2": "eat the lid slowly", "label": 0},
    {"goal": "dry a cup", "sol1": "pour water in it, and wait", "sol2": "wipe it", "label": 1},
    {"goal": "cut bread", "sol1": "tear", "sol2": "use a knife", "label": 1},
]
SUMS = [
    {"question": "What is one and two?", "answer": "It is <<1+2=3>>3.\n#### 3"},
    {"question": "What is a thousand and one?", "answer": "#### 1,001"},
    {"question": "What is 6 by 7?", "answer": "#### 42"},
]


class _Request:
    """What the harness hands to a model."""

    def __init__(self, *args):
        self.args = args


def _evaluate(file, rows, completer, **settings):
    """What the harness's own evaluator says, its task made by itself of the same rows."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import __file__ as folder
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(Path(folder).parent / f"{file}.yaml")
    split = config.get("test_split") or config["validation_split"]
    config.pop("tag", None)
    config["custom_dataset"] = lambda **_: {split: datasets.Dataset.from_list(rows), "train": rows}
    task = ConfigurableTask(config=config)
    results = evaluate(
        open_model(completer, **settings), {task.config.task: task}, bootstrap_iters=0
    )
    return results["samples"][task.config.task]


def _prefers_short(context, continuation):
    return -float(len(continuation))


def _answer(prompt, index):
    return {
        "one and two": " The answer is 3.\n\nQ: And 4?",
        "a thousand": " It is $1,001 of them.",
        "6 by 7": " The answer is 40.",
    }[next(word for word in ("one and two", "a thousand", "6 by 7") if word in prompt.prefix[-90:])]


def test_choices_score_as_the_harness_itself_scores_them(fakes):
    completer = fakes.ScriptedCompleter(logprob=_prefers_short)
    task = HarnessTask("piqa/piqa", PIQA)
    requests = task.requests()
    results = [
        [(each.logprob, False) for each in completer.loglikelihood(request.pairs)]
        for request in requests
    ]

    own = [
        {name: task.score(name, doc, found) for name in task.variants()}
        for doc, found in zip(task.docs, results, strict=True)
    ]
    theirs = _evaluate("piqa/piqa", PIQA, fakes.ScriptedCompleter(logprob=_prefers_short))

    assert own == [
        {"acc": 1.0, "acc_norm": 0.0},
        {"acc": 1.0, "acc_norm": 0.0},
        {"acc": 0.0, "acc_norm": 1.0},
    ]
    assert [{"acc": each["acc"], "acc_norm": each["acc_norm"]} for each in theirs] == own
    assert [pair for request in requests for pair in request.pairs] == completer.pairs
    assert completer.pairs[0] == ("Question: open a jar\nAnswer:", " turn the lid")


def test_answers_score_as_the_harness_itself_scores_them(fakes):
    task = HarnessTask("gsm8k/gsm8k-cot", SUMS, num_shots=8)
    requests = task.requests()
    asked = fakes.ScriptedCompleter(_answer)

    own = {
        name: [
            task.score(name, doc, [asked.complete([prompt], sampling)[0][0].text])
            for doc, request in zip(task.docs, requests, strict=True)
            for prompt, sampling in [_prompt(request)]
        ]
        for name in task.variants()
    }
    theirs = _evaluate("gsm8k/gsm8k-cot", SUMS, fakes.ScriptedCompleter(_answer))

    assert own == {"strict-match": [1.0, 0.0, 0.0], "flexible-extract": [1.0, 1.0, 0.0]}
    for name, values in own.items():
        assert [each["exact_match"] for each in theirs if each["filter"] == name] == values
    prompts = {prompt.prefix for prompt in asked.prompts}
    assert prompts == {each["arguments"][0][0] for each in theirs}


def _prompt(request):
    from codegemma.completion import Prompt, Sampling

    sampling = Sampling(max_tokens=request.max_tokens, stop=request.stops)
    return Prompt(prefix=request.context), sampling


def test_drawn_examples_are_those_of_the_harness(fakes):
    """It draws them with a seed of its own, row after row, and leaves out the row itself."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import __file__ as folder
    from lm_eval.tasks._yaml_loader import load_yaml

    shots = [
        {"question": f"What is {n} and 1", "answer": {"aliases": [str(n + 1)]}} for n in range(9)
    ]
    rows = [{"question": "Who wrote Hamlet", "answer": {"aliases": ["Shakespeare"]}}] * 2
    config = load_yaml(Path(folder).parent / "triviaqa" / "default.yaml") | {"num_fewshot": 5}
    data = {
        "train": datasets.Dataset.from_list(shots),
        "validation": datasets.Dataset.from_list(rows),
    }
    theirs = ConfigurableTask(config=config | {"custom_dataset": lambda **_: data})
    theirs.set_fewshot_seed(1234)
    theirs.build_all_requests()

    own = HarnessTask("triviaqa/default", rows, shots=shots, num_shots=5)

    contexts = [request.context for request in own.requests()]
    assert contexts == [each.args[0] for each in theirs.instances]
    assert contexts == [request.context for request in own.requests()]
    assert contexts[0] != contexts[1]
    assert contexts[0].count("Question: ") == 6


def test_model_measures_in_batches_and_one_by_one(fakes):
    completer = fakes.ScriptedCompleter(logprob=_prefers_short)
    asked = []
    measure = completer.loglikelihood
    completer.loglikelihood = lambda pairs: asked.append(len(pairs)) or measure(pairs)
    requests = [_Request("a", " b"), _Request("", "cc"), _Request("x", "y" * 5)]

    for batch in (2, 1):
        found = open_model(completer, batch=batch).loglikelihood(requests)
        assert found == [(-2.0, False), (-2.0, False), (-5.0, False)]

    assert asked == [2, 1, 1, 1, 1]


def test_model_writes_up_to_each_requests_own_ends(fakes):
    completer = fakes.ScriptedCompleter("ab.cd\nef")
    requests = [
        _Request("one", {"until": ["."]}),
        _Request("two", {"until": "\n", "max_gen_toks": 4}),
        _Request("three", {"until": ["."], "do_sample": True, "temperature": 0.5}),
        _Request("four", {"until": ["."], "do_sample": False, "temperature": 0.5}),
    ]

    found = open_model(completer, batch=2).generate_until(requests)

    assert found == ["ab", "ab.c", "ab", "ab"]
    assert [prompt.prefix for prompt in completer.prompts] == ["one", "four", "two", "three"]
    assert [s.max_tokens for s in completer.samplings] == [256, 256, 4, 256]
    assert [s.temperature for s in completer.samplings] == [0.0, 0.0, 0.0, 0.5]


def test_long_prompt_loses_its_start_and_keeps_one_bos(fakes):
    completer = fakes.ScriptedCompleter("x", context_length=60)
    completer.tokenizer = Tokenizer.from_folder(Path(__file__).parents[1] / "golden" / "tokenizer")
    text = "a = 1\n" * 50 + "Q: last"

    open_model(completer).generate_until([_Request(text, {"until": ["Q:"], "max_gen_toks": 20})])

    (prompt,) = completer.prompts
    assert len(prompt.tokens) == 40
    assert (prompt.tokens[0], prompt.tokens.count(2)) == (2, 1)
    assert completer.tokenizer.decode(prompt.tokens).endswith("\na = 1\nQ: last")


def test_long_text_is_measured_window_by_window(fakes):
    completer = fakes.ScriptedCompleter(logprob=_prefers_short, context_length=13)

    (found,) = open_model(completer).loglikelihood_rolling([_Request("abcd\u00e9fghij")])

    assert completer.pairs == [("", "abcd"), ("d", "\u00e9fgh"), ("h", "ij")]
    assert found == -10.0


def test_empty_text_is_one_window(fakes):
    assert cut_windows("", fakes.ScriptedCompleter()) == [("", "")]


def test_harness_is_not_imported_before_it_is_needed():
    code = (
        "import importlib, sys\n"
        "for name in ('harness', 'registry', 'runner', 'tasks.language'):\n"
        "    importlib.import_module(f'codegemma.evaluate.{name}')\n"
        "from codegemma.evaluate.registry import find_tasks\n"
        "find_tasks('gsm8k')\n"
        "print([name for name in ('lm_eval', 'datasets', 'pyarrow', 'jax') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_missing_harness_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks._yaml_loader", None)

    with pytest.raises(PrerequisiteError, match=r"lm-eval: pip install 'codegemma\[evaluate\]'"):
        HarnessTask("piqa/piqa", PIQA)


def test_task_that_needs_more_packages_says_which(monkeypatch):
    def refuse(path):
        raise ImportError("`sympy` is required")

    loader = harness._import("lm_eval.tasks._yaml_loader")
    monkeypatch.setattr(loader, "load_yaml", refuse)

    with pytest.raises(PrerequisiteError, match=r"minerva_math.* needs more packages: `sympy`"):
        HarnessTask("minerva_math/minerva_math_algebra", [])
