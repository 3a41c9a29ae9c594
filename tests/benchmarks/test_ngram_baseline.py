# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from codegemma.data.loader import ShardReader
from codegemma.text.tokenizer import Tokenizer
from heldout_lines import Line
from ngram_baseline import Baseline, end_probabilities


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def baseline(
    data: Path, tokenizer: Tokenizer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Baseline:
    monkeypatch.setenv("CODEGEMMA_CACHE", str(cache))
    return Baseline(data, tokenizer=tokenizer)


def line(middle: str, prefix: str) -> Line:
    return Line(file=0, path="a.py", prefix=prefix, middle=middle, suffix="")


# Both stand in json/decoder.py.
PREFIX = '            raise JSONDecodeError("Expecting value", s, err.value) from None\n'
NEXT = "        return obj, end\n"


def test_what_was_read_comes_back_with_its_indentation(baseline: Baseline) -> None:
    assert baseline.complete(line(NEXT, PREFIX)) == NEXT.removesuffix("\n")


def test_a_line_that_was_read_is_likelier_than_another_one(baseline: Baseline) -> None:
    known, other, longer = baseline.middle_nll(
        [line(NEXT, PREFIX), line("        zebra = quartz ^ 7\n", PREFIX), line(NEXT * 2, PREFIX)]
    )

    assert 0 < known < other
    assert longer > known


def test_tables_are_counted_once(baseline: Baseline, cache: Path) -> None:
    (folder,) = (cache / "ngram").iterdir()

    assert sorted(path.name for path in folder.iterdir())[:2] == ["0-counts.npy", "0-pairs.npy"]
    assert not (folder / "0-counts.npy").stat().st_mtime_ns > folder.stat().st_mtime_ns + 10**9


def test_a_middle_ends_after_a_line_end_more_often_than_in_a_line(
    data: Path, tokenizer: Tokenizer
) -> None:
    reader = ShardReader(data)
    records = [reader[index] for index in range(len(reader))]

    ends = end_probabilities(records, tokenizer=tokenizer, data=data)

    (newline,) = tokenizer.encode("\n")
    (bracket,) = tokenizer.encode("(")
    assert np.all((ends > 0) & (ends < 1))
    assert ends[newline] > 3 * ends[bracket]
