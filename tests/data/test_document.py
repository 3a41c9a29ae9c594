# SPDX-License-Identifier: Apache-2.0
from codegemma.data.document import File, Ledger, Repository


def test_sizes_are_counted_in_utf8_bytes() -> None:
    assert File(path="a.py", text="é\n").size_bytes == 3


def test_an_origin_names_the_version_where_there_is_one() -> None:
    assert Repository(name="rich", version="15.0.0").origin == "rich@15.0.0"
    assert Repository(name="mine").origin == "mine"


def test_ledgers_add_up_by_rule() -> None:
    first, second = Ledger(), Ledger()
    first.add("long_lines", 10)
    second.add("long_lines", 5)
    second.add("binary", 1)

    first.merge([second])

    assert first.as_json() == {
        "binary": {"files": 1, "bytes": 1},
        "long_lines": {"files": 2, "bytes": 15},
    }
