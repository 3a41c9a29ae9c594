# SPDX-License-Identifier: Apache-2.0
from codegemma.data import shingles


def test_words_are_runs_of_word_characters_in_lower_case() -> None:
    assert shingles.words("def Foo(x_1):\n\treturn -é") == ["def", "foo", "x_1", "return", "é"]


def test_there_is_one_hash_per_run_of_n_words() -> None:
    words = shingles.words("a b c d e f")

    assert len(shingles.ngram_hashes(words, n=5)) == 2
    assert len(shingles.ngram_hashes(words, n=7)) == 0


def test_equal_runs_hash_alike_wherever_they_stand() -> None:
    left = shingles.ngram_hashes(["x", "one", "two", "three"], n=3)
    right = shingles.ngram_hashes(["one", "two", "three", "y"], n=3)

    assert left[1] == right[0]


def test_the_order_of_words_counts() -> None:
    assert shingles.ngram_hashes(["a", "b"], n=2)[0] != shingles.ngram_hashes(["b", "a"], n=2)[0]


def test_hashes_are_the_same_on_every_machine() -> None:
    assert shingles.ngram_hashes(["def", "main"], n=2).tolist() == [8570206639086097032]


def test_windows_hash_alike_where_their_bytes_are_alike() -> None:
    one = bytes(range(100))
    hashes = shingles.window_hashes(b"xyz" + one + b"!")

    assert len(hashes) == 104 - 40 + 1
    assert hashes[3:64].tolist() == shingles.window_hashes(one).tolist()
    assert len(set(hashes.tolist())) == len(hashes)
    assert len(shingles.window_hashes(one[:39])) == 0
    assert len(shingles.window_hashes(one[:40])) == 1
