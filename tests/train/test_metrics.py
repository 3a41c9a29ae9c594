# SPDX-License-Identifier: Apache-2.0
import json
import math
from pathlib import Path
from typing import Any

import pytest

from codegemma.train.metrics import MetricsLog, Speed, best_order, read_metrics


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_is_written_and_told(tmp_path: Path) -> None:
    told = []
    log = MetricsLog(tmp_path / "metrics.jsonl", step=0, listener=told.append)

    log.write("step", 5, {"loss": 1.23456789, "tokens": 7})

    line = {"kind": "step", "step": 5, "loss": 1.23457, "tokens": 7}
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == json.dumps(line) + "\n"
    assert told == [line]


def test_a_value_that_is_not_finite_is_still_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path, step=0).write("step", 1, {"loss": math.nan, "seconds_left": math.inf})

    assert read_metrics(path) == [{"kind": "step", "step": 1, "loss": "nan", "seconds_left": "inf"}]


def test_going_back_drops_the_lines_after_the_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, step=0)
    for step in (1, 2, 3):
        log.write("step", step, {"loss": float(step)})

    log = MetricsLog(path, step=2)
    assert [log.holds("step", step) for step in (1, 2, 3)] == [True, True, False]
    log.write("step", 3, {"loss": 0.5})
    assert log.holds("step", 3)

    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 0.5),
    ]


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path, step=0).write("step", 1, {})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "step", "st')

    MetricsLog(path, step=1).write("step", 2, {})

    assert [line["step"] for line in read_metrics(path)] == [1, 2]


def test_speed_is_of_the_last_20_steps() -> None:
    clock = Clock()
    speed = Speed(clock)
    assert speed.tokens_per_s == 0
    assert speed.seconds_left(3) == math.inf

    for seconds in [10.0] * 5 + [2.0] * 20:
        clock.now += seconds
        speed.add(100)

    assert speed.tokens_per_s == pytest.approx(50)
    assert speed.seconds_left(30) == pytest.approx(60)


def test_time_spent_on_something_else_does_not_count() -> None:
    clock = Clock()
    speed = Speed(clock)
    clock.now += 2
    speed.add(100)
    clock.now += 1000
    speed.pause()
    clock.now += 2
    speed.add(100)

    assert speed.tokens_per_s == pytest.approx(50)


def test_the_better_order_is_that_of_the_newest_held_out_line() -> None:
    step = {"kind": "step", "step": 5, "loss": 1.0}

    def heldout(psm: float, spm: float) -> dict[str, Any]:
        middles = {"middle_psm_nll_per_byte": psm, "middle_spm_nll_per_byte": spm}
        return {"kind": "heldout", "step": 5, "nll_per_byte": 1.0} | middles

    assert best_order([heldout(1.0, 2.0), heldout(0.9, 0.8), step]) == "spm"
    assert best_order([heldout(0.9, 0.8), heldout(1.0, 2.0)]) == "psm"
    assert best_order([step, {"kind": "heldout", "step": 9}]) is None
