# SPDX-License-Identifier: Apache-2.0
import json

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

    assert first.counts() == {
        "binary": {"files": 1, "bytes": 1},
        "long_lines": {"files": 2, "bytes": 15},
    }


def test_ledgers_keep_languages_and_samples_whatever_the_order() -> None:
    ledgers = [Ledger() for _ in range(20)]
    for number, ledger in enumerate(ledgers):
        ledger.add("binary", 1, language="go" if number % 2 else "c", sample=f"r/{number}.x")
    forward, backward = Ledger(), Ledger()

    forward.merge(ledgers)
    backward.merge(reversed(ledgers))

    assert forward == backward
    assert forward.languages == {"binary": {"c": [10, 10], "go": [10, 10]}}
    assert len(forward.samples["binary"]) == 5
    assert Ledger.from_json(json.loads(json.dumps(forward.as_json()))) == forward
