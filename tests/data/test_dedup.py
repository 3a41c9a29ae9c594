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


def test_reindented_text_is_an_exact_copy() -> None:
    assert dedup.content_hash("if x:\n    y()\n") == dedup.content_hash("if x:\n\ty()")
    assert dedup.content_hash("a b") != dedup.content_hash("ab")


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


def add(index: dedup.CopyIndex, key: str, words: list[str]) -> tuple[str, str] | None:
    text = " ".join(words)
    return index.add(key, dedup.content_hash(text), sign(text))


def test_the_first_of_two_copies_stays() -> None:
    rng = random.Random(1)
    words = document(rng)
    index = dedup.CopyIndex(threshold=0.7)

    assert add(index, "first", words) is None
    assert add(index, "second", words) == ("exact_copy", "first")
    assert add(index, "third", edited(rng, words, 4)) == ("near_copy", "first")
    assert add(index, "fourth", document(rng)) is None


def test_copies_do_not_chain() -> None:
    rng = random.Random(2)
    first = document(rng)
    second = edited(rng, first, 10)
    third = edited(rng, second, 20)
    assert jaccard(first, second) > 0.75
    assert jaccard(second, third) > 0.55
    assert jaccard(first, third) < 0.6
    index = dedup.CopyIndex(threshold=0.7)
    add(index, "first", first)

    assert add(index, "second", second) == ("near_copy", "first")
    assert add(index, "third", third) is None


def test_planted_near_copies_are_found_and_none_is_invented() -> None:
    rng = random.Random(3)
    index = dedup.CopyIndex(threshold=0.7)
    originals = [document(rng) for _ in range(60)]
    assert [add(index, str(i), words) for i, words in enumerate(originals)] == [None] * 60

    near = [add(index, f"near{i}", edited(rng, words, 4)) for i, words in enumerate(originals)]
    far = [add(index, f"far{i}", edited(rng, words, 120)) for i, words in enumerate(originals)]

    assert near == [("near_copy", str(i)) for i in range(60)]
    assert far == [None] * 60


def test_signatures_are_the_same_on_every_machine() -> None:
    signature = sign("one two three four five six seven eight nine ten eleven")
    assert signature is not None

    assert signature.dtype == np.uint32
    assert signature.shape == (250,)
    assert signature[:2].tolist() == [960967462, 2035057121]


def test_bands_that_nobody_shares_change_no_answer_and_are_not_remembered() -> None:
    rng = random.Random(3)
    originals = [document(rng) for _ in range(30)]
    texts = [*originals, *(edited(rng, words, 4) for words in originals[:10])]
    signatures = [sign(" ".join(words)) for words in texts]
    signed = [signature for signature in signatures if signature is not None]
    shared = dedup.shared_bands(signed)
    plain, thrifty = dedup.CopyIndex(threshold=0.7), dedup.CopyIndex(threshold=0.7)

    for number, signature in enumerate(signed):
        digest = str(number).encode()
        expected = plain.add(f"{number}", digest, signature)
        assert thrifty.add(f"{number}", digest, signature, shared=shared[number]) == expected
        assert expected == (None if number < 30 else ("near_copy", f"{number - 30}"))
    assert len(thrifty._signatures) == 10
    assert dedup.shared_bands([]).shape == (0, 25)


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
