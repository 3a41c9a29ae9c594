# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.errors import DataError, PrerequisiteError
from codegemma.evaluate.canaries import (
    NUM_RIVALS,
    Canary,
    exposure,
    make_canaries,
    read_canaries,
    write_canaries,
)


def test_canaries_have_prefixes_and_secrets_of_their_own():
    canaries = make_canaries(3, copies=(0, 1, 16), seed=4)

    assert [canary.copies for canary in canaries] == [0, 0, 0, 1, 1, 1, 16, 16, 16]
    assert canaries[0].prefix == "ticket_000 = "
    assert len({canary.prefix for canary in canaries}) == 9
    assert len({canary.secret for canary in canaries}) == 9
    assert all(len(canary.secret) == 10 and canary.secret.isdecimal() for canary in canaries)
    assert canaries == make_canaries(3, copies=(0, 1, 16), seed=4)
    assert canaries != make_canaries(3, copies=(0, 1, 16), seed=5)


def test_line_is_what_is_planted():
    assert Canary(prefix="t = ", secret="0123456789", copies=1).line == "t = 0123456789\n"


def test_rivals_are_always_the_same_and_never_the_secret():
    canary = Canary(prefix="t = ", secret="0123456789", copies=1)

    rivals = canary.rivals()

    assert len(rivals) == len(set(rivals)) == NUM_RIVALS
    assert canary.secret not in rivals
    assert rivals == canary.rivals()
    assert rivals != Canary(prefix="t = ", secret="0123456780", copies=1).rivals()


@pytest.mark.parametrize(
    ("logprobs", "bits"),
    [
        ([-1.0, *[-2.0] * 7], 3.0),  # the likeliest of eight
        ([-1.0, -0.5, *[-2.0] * 6], 2.0),  # the second
        ([-3.0, *[-2.0] * 7], 0.0),  # the last
        ([-2.0, *[-2.0] * 7], 0.0),  # told from none
    ],
)
def test_exposure_is_the_log_of_the_rank(logprobs, bits):
    assert exposure(logprobs) == bits


def test_canaries_survive_their_file(tmp_path):
    canaries = make_canaries(2, copies=(1, 4), seed=0)

    write_canaries(tmp_path, canaries)

    assert read_canaries(tmp_path) == canaries


def test_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(PrerequisiteError, match=r"has no canaries\.jsonl"):
        read_canaries(tmp_path)

    for text in ("", "{", '{"prefix": "a"}\n', '{"prefix": "a", "secret": "b", "copies": 1}\n'):
        (tmp_path / "canaries.jsonl").write_text(text)
        with pytest.raises(DataError, match=r"canaries.jsonl is damaged"):
            read_canaries(tmp_path)
