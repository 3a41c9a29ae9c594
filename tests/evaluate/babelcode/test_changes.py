# SPDX-License-Identifier: Apache-2.0

from codegemma.evaluate.babelcode.changes import CHANGES


def test_changes_are_few_and_each_changes_something():
    assert len(CHANGES) == 35
    assert all(
        change.name or change.parameters or change.text or change.tests
        for change in CHANGES.values()
    )


def test_written_out_sums_are_right():
    lines = str(CHANGES["53"].tests).splitlines()

    assert len(lines) == 20
    assert lines[0] == "assert candidate(0, 1) == 1"
    assert lines[-1] == "assert candidate(807, 52) == 859"


def test_refused_problems_have_no_changes():
    assert not {"25", "38", "50"} & set(CHANGES)
