# SPDX-License-Identifier: Apache-2.0
import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegemma.data import recipes, split
from codegemma.data.recipes import SplitKind
from codegemma.data.shards import Record, RecordFile
from codegemma.text import syntax
from codegemma.text.syntax import Node

NANO = recipes.nano()
TEXT = "import os\n\n# a note\ndef f(a, b):\n    return a + b\n"


def file(text: str = TEXT) -> RecordFile:
    starts = tuple(syntax.suffix_starts(text, "python"))
    return RecordFile(path="f.py", text=text, suffix_starts=starts, origin="r@1:1")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def cuts(kind: SplitKind, text: str = TEXT, n: int = 400) -> list[tuple[int, int]]:
    one, generator = file(text), rng()
    drawn = [split.draw_cut(one, kind, recipe=NANO, rng=generator) for _ in range(n)]
    assert {cut.kind for cut in drawn} == {kind}
    return [(cut.start, cut.end) for cut in drawn]


CHARACTERS = st.characters(exclude_categories=["Cs"])


@given(
    st.text(CHARACTERS, min_size=3).filter(lambda text: len(text.strip()) >= 3),
    st.sampled_from(["line", "suffix_start", "ast", "random"]),
    st.integers(0, 2**32),
    st.sampled_from([None, 1, 600]),
)  # fmt: skip
def test_the_parts_make_up_the_file_and_the_middle_is_never_empty(
    text: str, kind: SplitKind, seed: int, longest: int | None
) -> None:
    recipe = dataclasses.replace(NANO, max_middle_chars=longest)

    start, end, _ = split.draw_cut(file(text), kind, recipe=recipe, rng=rng(seed))

    assert 0 <= start < end <= len(text)


def test_suffixes_start_at_natural_points() -> None:
    natural = set(file().suffix_starts)

    assert {end for _, end in cuts("suffix_start")} <= natural


def test_random_suffixes_start_anywhere() -> None:
    natural = set(file().suffix_starts)

    assert len({end for _, end in cuts("random")} - natural) > 10


def test_middles_start_at_any_character() -> None:
    assert {start for start, _ in cuts("suffix_start", n=2000)} >= set(range(len(TEXT) - 1))


def test_lines_are_taken_whole_or_from_within_and_are_no_comments_or_blanks() -> None:
    middles = {TEXT[start:end] for start, end in cuts("line", n=1000)}

    assert "    return a + b\n" in middles
    assert "    return a + b" in middles
    assert "return a + b\n" in middles
    assert "b):\n" in middles
    assert "import os" in middles
    assert not any("note" in middle for middle in middles)
    assert all(middle.strip() and middle.rstrip("\n").count("\n") == 0 for middle in middles)


def test_every_line_of_code_is_drawn() -> None:
    text = "".join(f"name_{i} = {i}\n" for i in range(8))
    lines = Counter(text[:start].count("\n") for start, _ in cuts("line", text, n=1600))

    assert sorted(lines) == list(range(8))
    assert min(lines.values()) > 120


def test_syntactic_middles_are_units_or_neighbours_of_one_parent() -> None:
    middles = {TEXT[start:end] for start, end in cuts("ast", n=2000)}

    assert {"import os", "os", "f", "(a, b)", "a", "a + b", "return a + b", "# a note"} <= middles
    assert {"f(a, b)", "# a note\ndef f(a, b):\n    return a + b"} <= middles  # of neighbours
    assert TEXT.strip() not in middles
    assert not {"import", "def", "def f(a,", "(a", "+ b", "return"} & middles


@pytest.mark.slow
def test_of_single_units_longer_ones_are_drawn_more_often() -> None:
    text = "a = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'\nbbbbbbbbbb = 1\n"
    drawn = Counter(text[start:end] for start, end in cuts("ast", text, n=4000))

    assert drawn["bbbbbbbbbb"] > 3 * drawn["1"]
    assert drawn["'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'"] > 3 * drawn["bbbbbbbbbb"]


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=12),
    st.integers(0, 40),
    st.integers(1, 20),
)  # fmt: skip
def test_the_run_of_units_most_like_a_span_is_the_best_of_all_runs(
    steps: list[int], start: int, length: int
) -> None:
    places = np.cumsum([step + (index % 2) for index, step in enumerate(steps)]).tolist()
    units = [(a, b) for a, b in zip(places[::2], places[1::2], strict=False)]
    size = places[-1] + 1
    start, end = min(start, size - 1), min(start + length, size)
    end = max(end, start + 1)
    nodes = [Node(0, size, -1), *(Node(a, b, 0) for a, b in units)]

    found = split.aligned(nodes, start, end)

    span = set(range(start, end))
    likeness = {
        (a, b): len(span & set(range(a, b))) / len(span | set(range(a, b)))
        for a, _ in units
        for _, b in units
        if a < b
    }
    assert likeness[found] == pytest.approx(max(likeness.values()))


def test_a_text_without_natural_points_or_units_is_cut_anywhere_and_says_so() -> None:
    plain = RecordFile(
        path="notes", text="some words in no language\n", suffix_starts=(), origin=""
    )
    draws = [
        split.draw_cut(plain, kind, recipe=recipes.codegemma_2b(), rng=rng(seed))
        for kind in ("suffix_start", "ast")
        for seed in range(50)
    ]

    assert {cut.kind for cut in draws} == {"random"}
    assert len({cut.end for cut in draws}) > 10


def test_lengths_of_middles_stay_below_the_limit() -> None:
    text = "".join(f"name_{i} = function({i})\n" for i in range(400))
    lengths = [end - start for start, end in cuts("random", text, n=2000)]

    assert max(lengths) <= 600
    assert sum(length <= 25 for length in lengths) > 800


def test_without_a_limit_both_ends_are_uniform() -> None:
    recipe = dataclasses.replace(NANO, max_middle_chars=None, empty_suffix_fraction=0.0)
    text = "x" * 3000
    one, generator = file(text), rng()
    drawn = [split.draw_cut(one, "random", recipe=recipe, rng=generator) for _ in range(2000)]

    assert np.mean([cut.end - cut.start for cut in drawn]) == pytest.approx(1000, abs=50)


def test_shares_of_modes_kinds_and_path_lines_are_those_of_the_recipe() -> None:
    one = file()
    draws = [
        split.draw_file(one, recipe=NANO, rng=split.generator(
            Record(files=(one,), max_tokens=64), seed=seed, epoch=0, purpose="test"
        ))
        for seed in range(4000)
    ]  # fmt: skip
    cut = [draw for draw in draws if draw.split]
    kinds = Counter(draw.kind for draw in cut)

    assert len(cut) / 4000 == pytest.approx(0.9, abs=0.02)
    assert sum(draw.mode == "psm" for draw in cut) / len(cut) == pytest.approx(0.5, abs=0.03)
    assert sum(draw.has_path for draw in draws) / 4000 == pytest.approx(0.8, abs=0.02)
    assert kinds["line"] / len(cut) == pytest.approx(0.5, abs=0.03)
    assert kinds["suffix_start"] / len(cut) == pytest.approx(0.4, abs=0.03)
    assert kinds["random"] / len(cut) == pytest.approx(0.1, abs=0.02)


def test_texts_too_short_to_cut_stay_whole() -> None:
    recipe = dataclasses.replace(NANO, fim_fraction=1.0)

    assert split.draw_file(file("x\n"), recipe=recipe, rng=rng()).split is None
    assert split.draw_file(file("x=1"), recipe=recipe, rng=rng()).split is not None


def test_draws_change_with_seed_epoch_purpose_and_content_and_with_nothing_else() -> None:
    record = Record(files=(file(),), max_tokens=64)
    other = Record(files=(file(TEXT + "x = 1\n"),), max_tokens=64)
    settings = {"seed": 0, "epoch": 0, "purpose": "fim"}
    first = split.generator(record, **settings).random()

    assert split.generator(record, **settings).random() == first
    changed = [
        split.generator(record, **(settings | {"seed": 1})).random(),
        split.generator(record, **(settings | {"epoch": 1})).random(),
        split.generator(record, **(settings | {"purpose": "x"})).random(),
        split.generator(other, **settings).random(),
    ]
    assert len({first, *changed}) == 5


def test_a_file_with_too_many_syntax_errors_is_never_cut() -> None:
    broken = dataclasses.replace(file(), is_broken=True)
    recipe = dataclasses.replace(NANO, fim_fraction=1.0)

    drawn = [split.draw_file(broken, recipe=recipe, rng=rng(seed)) for seed in range(20)]

    assert [draw.split for draw in drawn] == [None] * 20
    assert not split.can_be_cut(broken)
    assert split.draw_file(file(), recipe=recipe, rng=rng()).split is not None
