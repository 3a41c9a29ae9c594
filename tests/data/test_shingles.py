# SPDX-License-Identifier: Apache-2.0
import re

from hypothesis import given
from hypothesis import strategies as st

from codegemma.data import shingles


def grams(text: str, n: int) -> list[int]:
    return shingles.ngram_hashes(shingles.hash_words(text).hashes, n=n).tolist()


def test_words_are_runs_of_word_characters_in_lower_case() -> None:
    assert shingles.words("def Foo(x_1):\n\treturn -é") == ["def", "foo", "x_1", "return", "é"]


@given(st.text() | st.text(alphabet="ab_1 .\n\u00e9\u4e00\u2014\u0130\u00a0"))
def test_the_words_that_are_hashed_are_those_that_are_cut_out(text: str) -> None:
    words = shingles.hash_words(text)
    found = words.run(0, len(words.starts))
    first: dict[str, int] = {}

    assert found == re.findall(r"\w+", text.lower()) == shingles.words(text)
    assert len(words.hashes) == len(found)
    for word, number in zip(found, words.hashes.tolist(), strict=True):
        assert first.setdefault(word, number) == number
    assert len(set(first.values())) == len(first)


def test_there_is_one_hash_per_run_of_n_words() -> None:
    assert len(grams("a b c d e f", 5)) == 2
    assert len(grams("a b c d e f", 7)) == 0
    assert len(grams("", 1)) == 0


def test_equal_runs_hash_alike_wherever_they_stand() -> None:
    assert grams("x one two three", 3)[1] == grams("one, two: three y \u4e00", 3)[0]


def test_the_order_of_words_counts() -> None:
    assert grams("a b", 2) != grams("b a", 2)


def test_hashes_are_the_same_on_every_machine() -> None:
    assert grams("def main", 2) == [7817549011309608482]


def test_windows_hash_alike_where_their_bytes_are_alike() -> None:
    one = bytes(range(100))
    hashes = shingles.window_hashes(b"xyz" + one + b"!")

    assert len(hashes) == 104 - 24 + 1
    assert hashes[3:80].tolist() == shingles.window_hashes(one).tolist()
    assert len(set(hashes.tolist())) == len(hashes)
    assert len(shingles.window_hashes(one[:23])) == 0
    assert len(shingles.window_hashes(one[:24])) == 1
