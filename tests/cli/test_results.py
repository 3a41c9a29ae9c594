# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.cli import results
from codegemma.evaluate.scoring import Progress


def _metric(value, low, high, n, n_eff):
    return {"value": value, "low": low, "high": high, "n": n, "n_eff": n_eff}


RESULT = {
    "task": "humaneval-infilling-single",
    "metric": {
        "pass@1": _metric(0.0261, 0.0171, 0.0371, 1033, 101.2),
        "exact-match": _metric(1.0, 0.9977, 1.0, 164, 164.0),
    },
    "num_problems": 1033,
    "num_samples": 1033,
    "num_missing": 0,
    "num_refused": 0,
    "num_prompts_cut": 0,
}


def test_page_shows_value_interval_and_what_it_rests_on():
    assert results.page(RESULT).splitlines() == [
        "humaneval-infilling-single",
        "  pass@1         2.6 %  (1.7 to 3.7)  n 1033, worth 101",
        "  exact-match  100.0 %  (99.8 to 100.0)  n 164",
    ]


def test_page_shows_parts_of_a_task_below_the_whole():
    groups = {
        "algebra": {"exact-match": _metric(0.5, 0.1, 0.9, 2, 2.0)},
        "logic": {"exact-match": _metric(0.25, 0.2, 0.3, 200, 200.0)},
    }

    assert results.page(RESULT | {"group": groups}).splitlines()[1:] == [
        "  pass@1                 2.6 %  (1.7 to 3.7)  n 1033, worth 101",
        "  exact-match          100.0 %  (99.8 to 100.0)  n 164",
        "  exact-match algebra   50.0 %  (10.0 to 90.0)  n 2",
        "  exact-match logic     25.0 %  (20.0 to 30.0)  n 200",
    ]
    alone = {"logic": groups["logic"]}
    assert results.page(RESULT | {"group": alone}) == results.page(RESULT)


def test_page_says_what_is_missing_refused_and_cut():
    page = results.page(RESULT | {"num_missing": 3, "num_refused": 2, "num_prompts_cut": 1})

    assert page.splitlines()[-3:] == [
        "  3 of 1033 problems have no sample",
        "  2 samples stand for prompts longer than the model's context",
        "  1 prompts were cut to the model's context",
    ]


def test_page_of_what_was_only_drawn_says_so():
    page = results.page(RESULT | {"metric": {}})

    assert page.splitlines()[1:] == ["  1033 samples, none scored"]


def test_bar_shows_the_running_score_on_a_terminal_alone(capfd, monkeypatch):
    steps = [
        Progress("mbpp", "drawing", 16, 500, 0, 0),
        Progress("mbpp", "drawing", 500, 500, 3, 8),
    ]
    with results.progress() as listener:
        for step in steps:
            listener(step)
    assert capfd.readouterr() == ("", "")

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with results.progress() as listener:
        for step in steps:
            listener(step)
    shown = capfd.readouterr()
    assert shown.out == ""
    for words in ("mbpp: drawing", "500/500", "passed 37.5 %"):
        assert words in shown.err


def test_sandbox_is_opened_only_where_it_is_wanted(monkeypatch, tmp_path):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path))
    with results.sandbox("bubblewrap", is_wanted=False) as nothing:
        assert nothing is None
    with results.sandbox("landlock", is_wanted=True) as opened:
        assert opened is not None
        assert (opened._num_workers, opened.isolation) == (3, "landlock")
        assert opened._prepared == tmp_path / "compilers"


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def test_progress_off_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, 0.0, 5.0, 10.0, 10.0, 12.0])
    monkeypatch.setattr(results.time, "monotonic", lambda: next(clock))

    with results.progress() as listener:
        for stage, done in (("reading the data", 0), ("drawing", 16), ("scoring", 48)):
            listener(Progress("memorization:train", stage, done, 64, 12, done))
        listener(Progress("memorization:train", "drawing", 64, 64, 0, 0))

    assert capsys.readouterr().err.splitlines() == [
        "memorization:train: reading the data",
        "memorization:train: scoring 48 of 64, passed 25.0 %",
    ]
