# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

import bench_funnel


def test_every_source_stage_reason_and_rate_has_a_row(data: Path) -> None:
    manifest, report = (
        json.loads((data / f"{part}.json").read_text("utf-8")) for part in ("manifest", "report")
    )

    cost = {"processor": 2.0, "wall": 4.0, "peak": 100.0, "load": 1.0}
    rows = {row.name: row for row in bench_funnel.rows_of(manifest, report, cost=cost)}

    assert len(manifest["repositories"]) == 2
    kept = rows["source wsgiref, Apache-2.0: kept"]
    assert (kept.n, kept.unit) == (manifest["repositories"][0]["files"], "MB")
    assert rows["funnel, python: after read"].n >= rows["funnel, python: after share"].n > 0
    assert rows["drawn: files cut, of those long enough"].note == "asked: 0.9"
    assert rows["drawn: split line"].low is not None
    assert rows["segments of 897 to 1024 tokens"].unit == "count"
    assert rows["train: packed examples"].value == manifest["totals"]["train"]["records"]
    read = sum(row["read"][1] for row in report["funnel"].values())
    speed = rows["throughput per core, start included"].value
    assert speed == pytest.approx(read / 2e6)


def test_files_are_drawn_until_enough_could_be_cut(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_funnel, "_FILES", 200)
    cut, first = bench_funnel.drawn_rows(data)

    assert 200 <= cut.n < 250
    assert cut.note == "asked: 0.8"
    assert cut.value == pytest.approx(0.8, abs=0.12)
    assert first.n == round(cut.value * cut.n)
    assert first.value == pytest.approx(0.5, abs=0.15)
