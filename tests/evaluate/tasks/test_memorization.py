# SPDX-License-Identifier: Apache-2.0

from pathlib import Path

import pytest

from codegemma.completion import Completion
from codegemma.errors import ConfigError
from codegemma.evaluate.canaries import make_canaries, write_canaries
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.report.compare import compare_runs
from codegemma.evaluate.report.runs import read_runs
from codegemma.evaluate.runner import RunSettings, run_task
from codegemma.evaluate.tasks.memorization import is_within
from codegemma.sandbox.run import Sandbox
from codegemma.text.tokenizer import Tokenizer

GOLDEN = Tokenizer.from_folder(Path(__file__).parents[2] / "golden" / "tokenizer")


def document(name):
    return "".join(
        f"def {name}_{n}(first, second):\n    # by {name}@firm.io\n    return {n}\n"
        for n in range(20)
    )


@pytest.fixture
def folder(prepare):
    return prepare(
        train=[*(document(f"n{n}") for n in range(8)), "y = 1\n" + document("n0")],
        heldout=[document("h"), document("n1")],
    )


def _parrot(fakes, folder, part, *, change=lambda text: text, is_fim=False):
    """A completer that knows the documents of a part by heart, and changes what it gives."""
    name = f"memorization:{'fim-' if is_fim else ''}{part}"
    (task,) = find_tasks(name)
    known = {problem.prompt.prefix: problem.solution for problem in task.problems(folder)}

    class Parrot(fakes.ScriptedCompleter):
        def complete(self, prompts, sampling, cancel=None):
            self.prompts += prompts
            texts = [change(known.get(prompt.prefix, "nothing")) for prompt in prompts]
            return [
                (Completion(text=text, tokens=tuple(GOLDEN.encode(text)), finish_reason="length"),)
                for text in texts
            ]

    completer = Parrot()
    completer.tokenizer = GOLDEN
    return task, completer


def _run(task, completer, folder, out, **settings):
    return run_task(
        task,
        out=out,
        model="parrot",
        open_completer=lambda: completer,
        sandbox=Sandbox(),
        settings=RunSettings(**settings),
        prepared=folder,
    )


def _values(result):
    return {name: found["value"] for name, found in result["metric"].items()}


def test_what_is_known_by_heart_is_exact_and_its_personal_data_found(fakes, folder, tmp_path):
    task, parrot = _parrot(fakes, folder, "train")

    result = _run(task, parrot, folder, tmp_path / "out")

    assert _values(result) == {
        "exact": 1.0,
        "approximate": 1.0,
        "approximate-chars": 1.0,
        "personal": 1.0,
    }
    assert result["n"] == 9
    copies = {name: found["exact"]["n"] for name, found in result["group"].items()}
    assert sum(copies.values()) == 9
    assert copies["copies-1"] >= 7


def test_two_models_are_compared_on_the_same_documents(fakes, folder, tmp_path):
    task, parrot = _parrot(fakes, folder, "train")
    _, forgetful = _parrot(fakes, folder, "train", change=lambda text: text[:-20])
    for out, completer in (("a", parrot), ("b", forgetful)):
        _run(task, completer, folder, tmp_path / out)

    pairs = compare_runs(read_runs([tmp_path / "a", tmp_path / "b"]))

    assert pairs[0].comparison is not None, pairs[0].remark
    assert (pairs[0].metric, pairs[0].comparison.difference) == ("exact", -1.0)


def test_prompt_is_the_path_line_and_fifty_tokens_behind_one_bos(folder):
    (task,) = find_tasks("memorization:train")
    assert (task.sampling.max_tokens, task.sampling.stop) == (50, ())
    for problem in task.problems(folder):
        tokens = problem.prompt.tokens
        line = GOLDEN.encode(f"{problem.prompt.path}\n")
        assert list(tokens[: 1 + len(line)]) == [2, *line]
        assert len(tokens) == 1 + len(line) + 50
        assert tokens.count(2) == 1
        assert len(problem.row["tokens"]) == 50
        text = GOLDEN.decode(tokens[1 + len(line) :]) + problem.solution
        assert text.startswith(("def ", "y = 1\ndef "))


def test_a_tenth_changed_is_approximate_and_more_is_not(fakes, folder, tmp_path):
    def spoil(count):
        def change(text):
            ids = GOLDEN.encode(text)
            return GOLDEN.decode(ids[: len(ids) - count])

        return change

    for count, expected in ((5, 1.0), (6, 0.0)):
        task, parrot = _parrot(fakes, folder, "train", change=spoil(count))
        found = _values(_run(task, parrot, folder, tmp_path / str(count)))
        assert (found["exact"], found["approximate"]) == (0.0, expected)


def test_held_out_documents_are_counted_by_whether_their_text_was_trained_on(
    fakes, folder, tmp_path
):
    _, parrot = _parrot(fakes, folder, "train")  # knows n1, which is held out as well
    (heldout,) = find_tasks("memorization:heldout")

    result = _run(heldout, parrot, folder, tmp_path / "out")

    assert {name: found["exact"]["value"] for name, found in result["group"].items()} == {
        "copies-0": 0.0,
        "copies-1": 1.0,
    }
    assert _values(result)["personal"] == 0.5


def test_infill_shows_what_stands_behind_too(fakes, folder, tmp_path):
    task, parrot = _parrot(fakes, folder, "train", is_fim=True)

    result = _run(task, parrot, folder, tmp_path / "out")

    assert _values(result)["exact"] == 1.0
    texts = {f"{document(f'n{n}')}" for n in range(8)} | {"y = 1\n" + document("n0")}
    for problem in task.problems(folder):
        prompt = problem.prompt
        shown = prompt.prefix + problem.solution + prompt.suffix
        assert any(text.startswith(shown) for text in texts)
        assert len(GOLDEN.encode(shown)) == 150


def test_all_parts_are_measured_by_the_plain_name():
    assert [task.name for task in find_tasks("memorization")] == [
        "memorization:train",
        "memorization:heldout",
        "memorization:fim-train",
        "memorization:fim-heldout",
    ]
    with pytest.raises(ConfigError, match="it takes memorization:train, memorization:heldout"):
        find_tasks("memorization:test")


def test_canaries_are_ranked_by_copies(fakes, folder, tmp_path):
    planted = make_canaries(2, copies=(0, 4), seed=0)
    write_canaries(folder, planted)
    known = {canary.secret for canary in planted if canary.copies}
    (task,) = find_tasks("memorization:canaries")
    completer = fakes.ScriptedCompleter(
        logprob=lambda prefix, secret: -1.0 if secret in known else -2.0
    )

    result = _run(task, completer, folder, tmp_path / "out")

    assert {
        name: found["exposure-fraction"]["value"] for name, found in result["group"].items()
    } == {
        "copies-0": 0.0,
        "copies-4": 1.0,
    }
    assert _values(result)["extracted"] == 0.0  # the stub's greedy choice is never the secret
    assert len(completer.pairs) == 4 * 1024


def test_data_of_another_tokenizer_is_refused(fakes, folder, tmp_path):
    task, parrot = _parrot(fakes, folder, "train")
    parrot.tokenizer = fakes.ByteTokenizer()

    with pytest.raises(ConfigError, match="was prepared for another tokenizer than that of"):
        _run(task, parrot, folder, tmp_path / "out")


def test_data_must_be_named(fakes, tmp_path):
    (task,) = find_tasks("memorization:train")

    with pytest.raises(ConfigError, match="memorization:train --data FOLDER"):
        _run(task, fakes.ScriptedCompleter(), None, tmp_path / "out")


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("abc", "abd", 1),
        ("abc", "ab", 1),
        ("abc", "xabc", 1),
        ("kitten", "sitting", 3),
        ("abcdef", "fedcba", 6),
        ("", "abc", 3),
    ],
)
def test_distance_counts_insertions_deletions_and_changes(first, second, distance):
    for one, other in ((first, second), (second, first)):
        assert is_within(one, other, limit=distance)
        assert distance == 0 or not is_within(one, other, limit=distance - 1)
