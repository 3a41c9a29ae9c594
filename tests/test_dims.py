# SPDX-License-Identifier: Apache-2.0
from codegemma.dims import LETTERS


def test_the_letters_are_those_of_the_design() -> None:
    assert "".join(LETTERS) == "BTSDFNKGHVL"


def test_no_two_letters_mean_the_same() -> None:
    assert len(set(LETTERS.values())) == len(LETTERS)
