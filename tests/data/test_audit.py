# SPDX-License-Identifier: Apache-2.0
"""Counts are compared with those of drawing every record by hand, and with sums done by eye."""

import dataclasses

import pytest

from codegemma.data import audit, recipes, shards
from codegemma.data.recipes import DataRecipe
from codegemma.data.shards import Record, RecordFile
from codegemma.text import syntax
from codegemma.text.tokenizer import Tokenizer

CODE = "".join(f"def step_{i}(value):\n    return value + {i}\n\n\n" for i in range(8))


def record(*texts: str, max_tokens: int = 1024) -> bytes:
    files = [
        RecordFile(
            path=f"f{number}.py",
            text=text,
            suffix_starts=tuple(syntax.suffix_starts(text, "python")),
            origin="mine:1",
        )
        for number, text in enumerate(texts)
    ]
    return shards.pack_record(Record(files=tuple(files), max_tokens=max_tokens))


def measure(rows: list[bytes], tokenizer: Tokenizer, **changes: object) -> dict[str, object]:
    recipe: DataRecipe = dataclasses.replace(recipes.nano(), **changes)
    return audit.measure(rows, tokenizer=tokenizer, recipe=recipe)


def test_what_is_always_cut_and_never_is_counted_so(tokenizer: Tokenizer) -> None:
    rows = [record(CODE, "ab"), record(CODE + "x = 1\n")]
    broken = RecordFile(path="g.py", text=CODE, suffix_starts=(), origin="r", is_broken=True)
    hopeless = shards.pack_record(Record(files=(broken,), max_tokens=1024))

    cut = measure(rows, tokenizer, fim_fraction=1.0, psm_fraction=1.0, no_path_fraction=0.0)
    whole = measure(rows, tokenizer, fim_fraction=0.0, no_path_fraction=1.0)

    assert (cut["segments"], cut["files"], cut["eligible"]) == (2, 3, 2)  # "ab" is too short
    assert (cut["cut"], cut["psm"], cut["spm"], cut["with_path"]) == (2, 2, 0, 3)
    assert cut["files_per_segment"] == {"1": 1, "2": 1}
    assert (whole["cut"], whole["with_path"], whole["middle_chars"]) == (0, 0, {})
    assert whole["kinds"] == {"line": 0, "random": 0, "suffix_start": 0}
    none = measure([hopeless], tokenizer, fim_fraction=1.0)
    assert (none["files"], none["broken"], none["eligible"], none["cut"]) == (1, 1, 0, 0)


def test_shares_come_near_what_the_recipe_asks_for(tokenizer: Tokenizer) -> None:
    rows = [record(CODE + f"x = {number}\n") for number in range(400)]

    found = measure(rows, tokenizer)

    assert found["segments"] == found["files"] == 400
    assert found["cut"] == pytest.approx(360, abs=20)
    assert found["psm"] == pytest.approx(180, abs=35)
    assert found["psm"] + found["spm"] == found["cut"] == sum(found["kinds"].values())
    assert found["kinds"]["line"] == pytest.approx(180, abs=35)
    assert sum(found["middle_chars"].values()) == found["cut"]
    assert sum(found["segment_sizes"]) == 400
    assert found["fallbacks"] == 0


def test_segments_without_room_for_a_cut_are_counted(tokenizer: Tokenizer) -> None:
    uncut = measure([record(CODE)], tokenizer, fim_fraction=0.0, no_path_fraction=0.0)

    tight = measure(
        [record(CODE, max_tokens=int(uncut["tokens"]))],
        tokenizer,
        fim_fraction=1.0,
        no_path_fraction=0.0,
    )

    assert (tight["fallbacks"], tight["cut"], tight["tokens"]) == (1, 0, uncut["tokens"])


def test_the_sample_ends_where_it_is_large_enough(tokenizer: Tokenizer) -> None:
    rows = [record(CODE + f"x = {number}\n") for number in range(50)]

    found = audit.measure(rows, tokenizer=tokenizer, recipe=recipes.nano(), max_tokens=500)

    assert 500 <= found["tokens"] < 1000
    assert measure([], tokenizer)["segments"] == 0


def test_every_epoch_draws_the_same_files_anew(tokenizer: Tokenizer) -> None:
    rows = [record(CODE + f"x = {number}\n") for number in range(40)]

    first, again, second = (
        audit.measure(rows, tokenizer=tokenizer, recipe=recipes.nano(), epoch=epoch)
        for epoch in (0, 0, 1)
    )

    assert first == again
    assert (first["files"], first["eligible"]) == (second["files"], second["eligible"])
    assert first["middle_chars"] != second["middle_chars"]


@pytest.mark.parametrize(
    ("sizes", "padding"),
    [
        ([], 0.0),
        ([100], 0.0),
        ([50], 0.5),
        ([60, 60, 40, 40], 0.0),  # each 40 beside a 60
        ([60, 60, 50], 1 - 170 / 300),
        ([50, 60, 40, 50], 0.0),  # the 40 beside the 60, though the 50 came first
        ([60] * 32 + [100], 1 - (60 * 32 + 100) / 3300),
    ],
)
def test_padding_is_what_whole_segments_leave_free(sizes: list[int], padding: float) -> None:
    assert audit.padding_fraction(sizes, row_tokens=100) == pytest.approx(padding)
