# SPDX-License-Identifier: Apache-2.0
import ast

import bench_planted
from bench_planted import Find
from codegemma.data import decontaminate
from codegemma.data.decontaminate import BenchmarkText

PROGRAM = '''def close_pairs(numbers, threshold):
    """Find neighbours."""
    for left, first in enumerate(numbers):  # all of them
        if abs(first - numbers[left - 1]) < threshold:
            return True
    return False
'''


def test_disguises_keep_the_program_and_change_what_they_say() -> None:
    changed = {name.split()[0]: change for name, change in bench_planted.DISGUISES.items()}

    for change in changed.values():
        ast.parse(change(PROGRAM))
    bare = bench_planted.stripped(PROGRAM)
    assert "neighbours" not in bare
    assert bare.splitlines()[:2] == [
        "def close_pairs(numbers, threshold):",
        "    for left, first in enumerate(numbers):",
    ]
    assert bench_planted.stripped("def f():\n    'Nothing.'  # yet\n") == "def f():\n    pass"
    assert ast.dump(ast.parse(bare)) == ast.dump(ast.parse(bench_planted.stripped(bare)))
    assert bench_planted.reindented(PROGRAM).startswith("class Holder:\n\tdef close_pairs(")
    assert bench_planted.annotated("x = 1\ny = 2") == "x = 1  # step 0 of it\ny = 2  # step 1 of it"
    assert "threshold" not in bench_planted.renamed(PROGRAM)
    assert "enumerate" in bench_planted.renamed(PROGRAM)


def test_a_planted_text_drops_its_file_and_no_other() -> None:
    index = decontaminate.build_index([BenchmarkText(item="set#0", text=PROGRAM)])

    first, second = bench_planted.dropped(["x = 1\n" * 5, f"y = 2\n{PROGRAM}z = 3\n"], index)

    assert first == ""
    assert second.startswith("def close_pairs numbers threshold")


def test_secrets_are_counted_by_their_values_and_findings_by_whether_one_is_in_them() -> None:
    values = {"AKIA1234567890ABCDEF": "aws id", "hunter2hunter2": "url"}
    found = [Find("key", v, 0) for v in ("AKIA1234567890ABCDEF", "hunter2h", "0123456789")]

    assert bench_planted._recall(found, values) == 1
    assert bench_planted._true(found, values) == 2


def test_finds_are_parted_by_the_lines_that_were_planted_and_judged_by_what_was_read() -> None:
    text = "host = 'a'\nDB_PASSWORD = 'Xk29vQ!!pLw7'\nurl = 'amqp://guest:guest@localhost:5672'\n"

    finds = bench_planted.own_finds(text)

    assert finds == [Find("key", "Xk29vQ!!pLw7", 1), Find("key", "guest", 2)]
    inside, outside = bench_planted.apart([finds], [range(1, 2)])
    assert (inside, outside) == (finds[:1], finds[1:])
    assert [bench_planted.verdict(find) for find in finds] == [
        "",
        "usual login of a server in an example",
    ]
