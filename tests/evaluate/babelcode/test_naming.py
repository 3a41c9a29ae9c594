# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.evaluate.babelcode.naming import rename


@pytest.mark.parametrize(
    ("name", "snake", "camel", "pascal"),
    [
        ("is_not_prime", "is_not_prime", "isNotPrime", "IsNotPrime"),
        ("remove_Occ", "remove_occ", "removeOcc", "RemoveOcc"),
        (
            "differ_At_One_Bit_Pos",
            "differ_at_one_bit_pos",
            "differAtOneBitPos",
            "DifferAtOneBitPos",
        ),
        ("minSubArraySum", "min_sub_array_sum", "minSubArraySum", "MinSubArraySum"),
        ("string_to_md5", "string_to_md5", "stringToMd5", "StringToMd5"),
        ("_sum", "_sum", "sum", "Sum"),
        ("bf", "bf", "bf", "Bf"),
    ],
)
def test_names_follow_the_habit_of_the_language(name, snake, camel, pascal):
    assert (rename(name, "snake"), rename(name, "camel"), rename(name, "pascal")) == (
        snake,
        camel,
        pascal,
    )
