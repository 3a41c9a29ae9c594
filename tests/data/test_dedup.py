# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from codegemma.data import dedup, shingles


def sign(text: str) -> NDArray[np.uint32] | None:
    return dedup.signature(shingles.hash_words(text))


def document(rng: random.Random, size: int = 400) -> list[str]:
    return [f"w{rng.randrange(10**6)}" for _ in range(size)]


def edited(rng: random.Random, words: list[str], edits: int) -> list[str]:
    changed = list(words)
    for place in rng.sample(range(len(words)), edits):
        changed[place] = f"edit{place}"
    return changed


def jaccard(left: list[str], right: list[str]) -> float:
    """The similarity MinHash estimates, from the sets themselves."""
    a, b = (set(zip(*(w[i:] for i in range(5)), strict=False)) for w in (left, right))
    return len(a & b) / len(a | b)


def test_reindented_text_has_the_folded_hash_of_its_original_and_an_exact_one_of_its_own() -> None:
    spaced, tabbed = map(dedup.content_hash, ("if x:\n    y()\n", "if x:\n\ty()"))

    assert spaced.folded == tabbed.folded
    assert spaced.exact != tabbed.exact
    assert dedup.content_hash("a b").folded != dedup.content_hash("ab").folded


@pytest.mark.parametrize("edits", [2, 10, 30])
def test_signatures_estimate_the_similarity_of_word_runs(edits: int) -> None:
    rng = random.Random(edits)
    differences = []
    for _ in range(10):
        words = document(rng)
        other = edited(rng, words, edits)
        left, right = sign(" ".join(words)), sign(" ".join(other))
        assert left is not None
        differences.append(float(np.mean(left == right)) - jaccard(words, other))

    assert abs(float(np.mean(differences))) < 0.03
    assert float(np.max(np.abs(differences))) < 0.12


def test_unrelated_texts_share_next_to_nothing() -> None:
    rng = random.Random(0)
    left, right = (sign(" ".join(document(rng))) for _ in range(2))
    assert left is not None
    assert right is not None

    assert float(np.mean(left == right)) < 0.03


def test_texts_under_ten_words_have_no_signature() -> None:
    assert sign("a b c d e f g h i") is None
    assert sign("a b c d e f g h i j") is not None


def runs(words: list[str]) -> NDArray[np.uint64]:
    return dedup.runs(shingles.hash_words(" ".join(words)))


def copies(documents: list[list[str]], threshold: float = 0.7) -> list[dedup.Copy | None]:
    texts = [" ".join(words) for words in documents]
    return dedup.find_copies(
        [dedup.content_hash(text) for text in texts],
        [sign(text) for text in texts],
        threshold=threshold,
        similarity=lambda left, right: dedup.jaccard(runs(documents[left]), runs(documents[right])),
    )


def test_the_first_of_two_copies_stays() -> None:
    rng = random.Random(1)
    words = document(rng)

    found = copies([words, words, edited(rng, words, 4), document(rng), ["a"], ["a"]])

    expected = [None, ("exact_copy", 0), ("near_copy", 0), None, None, ("exact_copy", 4)]
    assert found == expected


def test_equal_copies_and_those_but_for_white_space_go_by_rules_of_their_own() -> None:
    """Asked of the one that stays: the last is byte by byte the second, which went."""
    texts = ["if x:\n    y()\n", "if x:\n\ty()\n", "if x:\n    y()\n", "if x:\n\ty()\n"]

    found = dedup.find_copies(
        [dedup.content_hash(text) for text in texts],
        [None] * 4,
        threshold=0.7,
        similarity=lambda left, right: 0.0,
    )

    assert found == [None, ("folded_copy", 0), ("exact_copy", 0), ("folded_copy", 0)]


def test_copies_do_not_chain() -> None:
    rng = random.Random(2)
    first = document(rng)
    second = edited(rng, first, 10)
    third = edited(rng, second, 20)
    assert jaccard(first, second) > 0.75
    assert jaccard(second, third) > 0.55
    assert jaccard(first, third) < 0.6

    assert copies([first, second, third]) == [None, ("near_copy", 0), None]


def test_near_copies_are_those_at_the_threshold_and_above_and_no_others() -> None:
    rng = random.Random(3)
    originals = [document(rng, 300) for _ in range(120)]
    others = [edited(rng, words, 8 + i % 10) for i, words in enumerate(originals)]
    alike = [jaccard(*pair) for pair in zip(originals, others, strict=True)]
    assert sum(0.65 < one < 0.7 for one in alike) > 10
    assert sum(0.7 <= one < 0.75 for one in alike) > 10

    found = copies([*originals, *others])

    assert found[:120] == [None] * 120
    assert all(copy is None or copy == ("near_copy", i) for i, copy in enumerate(found[120:]))
    told = {alike[i] for i, copy in enumerate(found[120:]) if copy}
    assert min(told) >= 0.7
    missed = [one for one in alike if one >= 0.7 and one not in told]
    assert len(missed) <= 1  # 99.5 % of those at the threshold share a band


def test_files_are_compared_run_by_run_only_where_their_signatures_leave_it_open() -> None:
    rng = random.Random(4)
    words = document(rng)
    texts = [" ".join(w) for w in (words, edited(rng, words, 2), edited(rng, words, 60))]

    def similarity(left: int, right: int) -> float:
        raise AssertionError((left, right))

    found = dedup.find_copies(
        [dedup.content_hash(text) for text in texts],
        [sign(text) for text in texts],
        threshold=0.7,
        similarity=similarity,
    )

    assert found == [None, ("near_copy", 0), None]


def test_what_many_files_share_costs_no_more_than_a_bound_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(5)
    frame = document(rng, 150)
    asked: list[tuple[int, int]] = []

    def similarity(left: int, right: int) -> float:
        asked.append((left, right))
        return 0.0

    monkeypatch.setattr(dedup, "_MAX_SHARING", 5)
    monkeypatch.setattr(dedup, "_MAX_COMPARED", 3)
    texts = [" ".join(frame + document(rng, 23)) for _ in range(60)]
    found = dedup.find_copies(
        [dedup.content_hash(text) for text in texts],
        [sign(text) for text in texts],
        threshold=0.8,
        similarity=similarity,
    )

    assert found == [None] * 60
    assert 60 < len(asked) <= 3 * 60


def test_similarity_is_the_share_of_runs_that_two_texts_have() -> None:
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]
    assert dedup.jaccard(runs(words), runs(words)) == 1.0
    assert dedup.jaccard(runs(words), runs([*words[:-1], "x"])) == 7 / 9
    assert dedup.jaccard(runs(words), runs(words[:9])) == 5 / 8


def test_signatures_are_the_same_on_every_machine() -> None:
    signature = sign("one two three four five six seven eight nine ten eleven")
    assert signature is not None

    assert signature.dtype == np.uint32
    assert signature.shape == (252,)
    assert signature[:2].tolist() == [960967462, 2035057121]


def test_bands_are_numbered_where_two_files_share_them() -> None:
    one, two, three = (np.arange(start, start + 252, dtype=np.uint32) for start in (0, 500, 900))
    two[6:12] = one[6:12]
    three[6:12] = one[6:12]
    three[18:24] = two[18:24]
    three[24:29] = two[24:29]  # five of the six of a band

    shared = dedup.shared_bands([one, two, three])

    assert shared[:, [1, 3]].tolist() == [[0, -1], [0, 1], [0, 1]]
    assert np.count_nonzero(shared >= 0) == 5
    assert dedup.shared_bands([]).shape == (0, 42)


def test_relatives_are_found_down_to_a_quarter_of_the_runs_and_none_is_invented() -> None:
    rng = random.Random(7)
    originals = [document(rng) for _ in range(40)]
    signatures = [sign(" ".join(words)) for words in originals]
    index = dedup.RelativeIndex([one for one in signatures if one is not None])
    told: dict[bool, list[float]] = {True: [], False: []}
    for words in originals:
        for changes in (10, 25, 40, 60, 120):
            other = edited(rng, words, changes)
            signature = sign(" ".join(other))
            assert signature is not None
            told[index.has_relative(signature)].append(jaccard(words, other))
    strangers = [sign(" ".join(document(rng))) for _ in range(40)]

    assert min(told[True]) > 0.15
    assert max(told[False]) < 0.35
    assert len(told[True]) > 40
    assert len(told[False]) > 40
    assert not any(index.has_relative(one) for one in strangers if one is not None)


def test_without_anything_kept_apart_there_are_no_relatives() -> None:
    signature = sign("one two three four five six seven eight nine ten eleven")
    assert signature is not None

    assert not dedup.RelativeIndex([]).has_relative(signature)
