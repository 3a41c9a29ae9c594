# SPDX-License-Identifier: Apache-2.0

import json
import sys

import pytest

from codegemma.completion import CompleterInfo, Completion, Timings
from codegemma.errors import ConfigError, DataError, InputError, PrerequisiteError
from codegemma.evaluate.report import seconds
from codegemma.evaluate.report.document import Table
from codegemma.evaluate.report.runs import read_runs

TASK = "humaneval-infilling-single"


class Engine:
    """Answers every prompt with its second id and the end of a middle."""

    tokenizer = None
    stream = loglikelihood = lambda *_: None  # of a completer, and not asked for

    def __init__(self, **fields):
        known = {"fingerprint": "ab" * 32, "dtype": "float32", "name": "nano", "mode": "psm"}
        self.info = CompleterInfo(**{**known, "context_length": 64, **fields})
        self.asked = []

    def complete(self, prompts, sampling, cancel=None):
        (prompt,) = prompts
        self.asked.append((prompt.tokens, sampling.max_tokens))
        ids = (prompt.tokens[1], 70)
        return [(Completion(text="", tokens=ids, finish_reason="stop", timings=Timings()),)]


@pytest.fixture
def run(write_run):
    path = write_run("one", [1.0, 0.0], task=TASK, sampling={"max_tokens": 128})
    samples = path / TASK / "samples.jsonl"
    samples.write_text(samples.read_text().replace("[2, 10]", "[2, 10, 0]"))
    (run,) = read_runs([path])
    return run


@pytest.fixture
def peer(monkeypatch):
    """An engine in place of transformers, which agrees on the first prompt alone."""
    monkeypatch.setattr(seconds, "_import_transformers", lambda: (None, None))

    def draw(ids, max_tokens):
        return [ids[1]] if ids[1] == 10 else [5, 6, 7]

    monkeypatch.setattr(seconds, "_open_transformers", lambda *_, info: (draw, "5.0"))


def measure(run, engine, tmp_path, **fields):
    told = []
    found = seconds.measure(
        run,
        open_completer=lambda: engine,
        peer="transformers",
        folder=tmp_path,
        progress=lambda *now: told.append(now),
        **{"limit": None, **fields},
    )
    return found, told


def test_both_engines_complete_the_same_prompts_one_at_a_time(run, peer, tmp_path):
    engine = Engine()

    (found,), told = measure(run, engine, tmp_path)

    # One as long as the longest to warm up, and turned about; then each in order.
    assert engine.asked == [((2, 0, 10), 128), ((2, 10, 0), 128), ((2, 11), 128)]
    assert (found.n, found.tokens, found.peer_tokens, found.same_texts) == (2, 2, 4, 1)
    assert (found.peer, found.dtype, found.device) == ("transformers 5.0", "float32", "cpu")
    assert [now[1:] for now in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert seconds.read_timings([run]) == [found]


def test_a_limit_takes_the_first_prompts(run, peer, tmp_path):
    (found,), _ = measure(run, Engine(), tmp_path, limit=1)

    assert (found.n, found.same_texts) == (1, 1)


def test_another_model_is_refused(run, peer, tmp_path):
    with pytest.raises(ConfigError, match="made by another model: dtype bfloat16 instead of float"):
        measure(run, Engine(dtype="bfloat16"), tmp_path)


def test_a_run_without_infilling_is_refused(write_run, tmp_path):
    (run,) = read_runs([write_run("plain", [1.0])])

    with pytest.raises(InputError, match="holds no infilling whose prompts"):
        measure(run, Engine(), tmp_path)
    assert seconds.seconds([run], []) is None


def test_packages_that_are_missing_are_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(PrerequisiteError, match=r"pip install -r requirements/reference\.txt"):
        measure(run, Engine(), tmp_path)


def test_seconds_are_shown_beside_the_published_ones_of_another_machine(run, peer, tmp_path):
    timings, _ = measure(run, Engine(), tmp_path)

    ours, beside, published = (
        block for block in seconds.seconds([run], timings).blocks if isinstance(block, Table)
    )

    assert list(ours.rows[0]) == [
        *("one, humaneval-infilling-single", "1.5 s", "2", "0.125 s", "100 %"),
        "batch 16, float32, cpu",
    ]
    assert beside.rows[0][4:7] == ("2", "2 and 4", "1")
    assert published.caption == "Published seconds, on another machine, not run here"
    assert list(published.rows[0])[:3] == ["HumanEval Single Line", "543", "771"]


def test_a_damaged_file_is_named(run):
    path = run.path / TASK / "beside.json"
    path.write_text(json.dumps({"peer": "x"}))

    with pytest.raises(DataError, match=r"beside.json is damaged: .*; remove it"):
        seconds.read_timings([run])


@pytest.mark.reference
def test_transformers_and_ours_draw_the_same_ids(write_run, tmp_path):
    pytest.importorskip(
        "transformers", reason="transformers of requirements/reference.txt is missing"
    )
    from codegemma.generate.load import load_engine
    from codegemma.model.hub import resolve

    engine = load_engine("nano")
    tokens = engine.tokenizer.encode("def add(a, b):\n    return ")
    model = {"fingerprint": engine.info.fingerprint, "dtype": engine.info.dtype}
    path = write_run("one", [1.0], task=TASK, model=model, sampling={"max_tokens": 16})
    samples = path / TASK / "samples.jsonl"
    line = json.loads(samples.read_text())
    samples.write_text(json.dumps(line | {"prompt_tokens": [2, 67, *tokens, 69, 68]}) + "\n")
    (run,) = read_runs([path])

    (found,) = seconds.measure(
        run,
        open_completer=lambda: engine,
        peer="transformers",
        folder=resolve("nano"),
        limit=None,
        progress=lambda *_: None,
    )

    assert (found.n, found.same_texts) == (1, 1)
    assert found.tokens == found.peer_tokens > 0
    assert found.seconds > 0
    assert found.peer_seconds > 0
