# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from codegemma.data import decontaminate, index_cache, results, shingles
from codegemma.data.decontaminate import BenchmarkIndex
from codegemma.errors import InputError

LONG = "def rotate(items, places): head, tail = items[:places], items[places:] return tail + head"
SHORT = "return sum(outer - inner for outer, inner in zipped)"


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"long": LONG, "short": SHORT}) + "\n", encoding="utf-8")
    return path


def get(benchmark: Path, cache: Path | None) -> BenchmarkIndex:
    fingerprint = decontaminate.fingerprint([benchmark])
    return index_cache.benchmark_index([benchmark], fingerprint=fingerprint, cache=cache)


def found(index: BenchmarkIndex) -> list[tuple[str, str]]:
    text = f"x = 1\n{LONG}\n{SHORT}\n"
    return [(hit.item, hit.words) for hit in index.hits(text, shingles.hash_words(text))]


def refuse(*_: object) -> None:
    raise AssertionError("the kept index was to be used")


def test_an_index_is_built_once_and_read_back_as_it_was(
    benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = get(benchmark, None)
    get(benchmark, tmp_path / "cache")
    monkeypatch.setattr(decontaminate, "build_index", refuse)
    kept = get(benchmark, tmp_path / "cache")

    assert found(kept) == found(built)
    assert ("set.jsonl#0", SHORT.replace(" ", "")) in found(kept)
    assert len(found(kept)) == 5
    assert (kept.grams.dtype, kept.owners.dtype) == (built.grams.dtype, built.owners.dtype)


def test_a_damaged_index_is_built_again_wherever_the_damage_is(
    benchmark: Path, tmp_path: Path
) -> None:
    expected = found(get(benchmark, tmp_path))
    (path,) = (tmp_path / "benchmarks").iterdir()
    whole = path.read_bytes()

    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert found(get(benchmark, tmp_path)) == expected
        assert path.read_bytes() == whole
    path.write_bytes(whole[: len(whole) // 2])
    assert found(get(benchmark, tmp_path)) == expected


def test_other_benchmarks_and_other_rules_have_an_index_of_their_own(
    benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(benchmark, tmp_path)
    monkeypatch.setattr(index_cache, "rules_version", lambda: "other")
    get(benchmark, tmp_path)
    benchmark.write_text(json.dumps({"long": LONG + " twice"}) + "\n", encoding="utf-8")
    get(benchmark, tmp_path)

    assert len(list((tmp_path / "benchmarks").iterdir())) == 3


def test_no_more_than_four_indexes_are_kept(benchmark: Path, tmp_path: Path) -> None:
    for number in range(6):
        benchmark.write_text(json.dumps({"long": LONG + f" {number}"}) + "\n", encoding="utf-8")
        get(benchmark, tmp_path)

    assert len(list((tmp_path / "benchmarks").iterdir())) == 4


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchmarks").write_text("a file where the folder should be", encoding="utf-8")
    assert len(found(get(benchmark, tmp_path))) == 5

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write", fail)
    assert len(found(get(benchmark, tmp_path / "full"))) == 5


def test_a_benchmark_that_is_not_there_is_named_with_a_cache_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        index_cache.benchmark_index([tmp_path / "no"], fingerprint="f", cache=tmp_path)
