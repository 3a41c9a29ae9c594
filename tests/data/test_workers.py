# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from codegemma.data import read, recipes, stages
from codegemma.data.decontaminate import BenchmarkIndex, BenchmarkText
from codegemma.data.stages import Inspected
from codegemma.data.workers import Job, Packed, Workers

WORDS = "def circle_area(radius): Give the area of a circle of this radius. if radius"


def run(
    repositories: Path, folder: Path, tokenizer_file: Path, *, count: int = 1
) -> tuple[list[Inspected], list[Packed], list[tuple[str, int, int]]]:
    folder.mkdir(exist_ok=True)
    job = Job(
        recipe=recipes.nano(),
        benchmarks=BenchmarkIndex([BenchmarkText(item="b#1", text=WORDS)]),
        benchmarks_hash="b",
        folder=folder,
    )
    told: list[tuple[str, int, int]] = []
    with Workers(count, job) as workers:
        locations = read.find_repositories([repositories], each=True)
        inspected = workers.inspect(locations, lambda *now: told.append(now))
        packed = workers.pack(
            [found.repository for found in inspected], tokenizer_file, lambda *now: told.append(now)
        )
    return inspected, packed, told


def assert_same(one: list[Inspected], two: list[Inspected]) -> None:
    for left, right in zip(one, two, strict=True):
        assert left.repository == right.repository
        assert left.digests == right.digests
        assert left.hits == right.hits
        assert left.input_hash == right.input_hash
        assert left.ledgers == right.ledgers
        for a, b in zip(left.signatures, right.signatures, strict=True):
            assert a is not None
            assert b is not None
            np.testing.assert_array_equal(a, b)


def test_results_stand_in_the_order_of_the_work_and_progress_reaches_its_end(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path
) -> None:
    inspected, packed, told = run(repository_folder, tmp_path / "work", tokenizer_file)

    assert [found.repository.name for found in inspected] == ["orders", "shapes"]
    assert [len(found.hits[0]) for found in inspected] == [0, 5]
    assert [result.num_windows for result in packed] == [1, 1]
    for stage in ("inspect", "pack"):
        mine = [(done, total) for name, done, total in told if name == stage]
        assert mine[0][0] == 0
        assert mine[-1][0] == mine[-1][1] > 700


def test_finished_work_is_not_done_again(
    repository_folder: Path,
    tmp_path: Path,
    tokenizer_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, packed, _ = run(repository_folder, tmp_path / "work", tokenizer_file)

    def fail(*args: object, **options: object) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr("codegemma.data.stages.inspect", fail)
    monkeypatch.setattr("codegemma.data.pack.pack_repository", fail)
    second, packed_again, _ = run(repository_folder, tmp_path / "work", tokenizer_file)

    assert_same(first, second)
    assert packed_again == packed


def test_changed_sources_are_inspected_anew(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path
) -> None:
    run(repository_folder, tmp_path / "work", tokenizer_file)
    file = repository_folder / "shapes" / "shapes.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nSIDES = 4\n", encoding="utf-8")

    inspected, packed, _ = run(repository_folder, tmp_path / "work", tokenizer_file)

    assert inspected[1].repository.files[0].text.endswith("SIDES = 4\n")
    assert b"SIDES = 4" in packed[1].records[0]


def test_several_processes_give_the_same_as_one(
    repository_folder: Path, tmp_path: Path, tokenizer_file: Path
) -> None:
    one, packed_one, _ = run(repository_folder, tmp_path / "one", tokenizer_file)
    two, packed_two, _ = run(repository_folder, tmp_path / "two", tokenizer_file, count=2)

    assert_same(one, two)
    assert packed_one == packed_two
    assert stages.content_hash(one[0].repository) == stages.content_hash(two[0].repository)
