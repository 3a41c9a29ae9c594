# SPDX-License-Identifier: Apache-2.0
from collections import Counter

from codegemma.data.shards import Record, RecordFile
from heldout_lines import Line, draw_lines, find_copied, find_known, parses, read_files, without


def record(*windows: tuple[str, str, str]) -> Record:
    """One record of (path, origin, text)."""
    files = tuple(
        RecordFile(path=path, text=text, suffix_starts=(), origin=origin)
        for path, origin, text in windows
    )
    return Record(files=files, max_tokens=100)


def line(middle: str) -> Line:
    return Line(file=0, path="a.py", prefix="", middle=middle, suffix="")


def test_windows_become_files_again_up_to_a_gap() -> None:
    records = [
        record(("a.py", "r@1:3", "three\n"), ("b.py", "r@1:1", "one\n")),
        record(("a.py", "r@1:1", "one\ntwo\n"), ("b.py", "r@1:3", "three\n")),
    ]

    assert read_files(records) == [("a.py", "one\ntwo\nthree\n"), ("b.py", "one\n")]


def test_drawn_lines_are_no_blanks_and_no_comments_and_two_a_file_at_most() -> None:
    text = "# note\n\nx = 1\n    # note\n  y = 2\nz = 3"
    records = [record((f"{i}.py", "r:1", text)) for i in range(5)]

    lines = draw_lines(records, num_lines=100)

    assert {line.middle for line in lines} <= {"x = 1\n", "  y = 2\n", "z = 3"}
    assert set(Counter(line.file for line in lines).values()) == {2}
    assert len(lines) == 10
    assert all(line.prefix + line.middle + line.suffix == text for line in lines)


def test_the_seed_decides_and_fewer_lines_are_the_first_of_more() -> None:
    records = [record((f"{i}.py", "r:1", f"a{i} = 1\nb{i} = 2\nc{i} = 3\n")) for i in range(9)]

    assert draw_lines(records, num_lines=4) == draw_lines(records, num_lines=9)[:4]
    assert draw_lines(records, num_lines=9) != draw_lines(records, num_lines=9, seed=1)


def test_a_line_is_known_when_it_stands_in_the_records_at_any_indentation() -> None:
    records = [record(("a.py", "r:1", "if x:\n        return  1\n"))]

    assert find_known(records, [line("  return  1\n"), line("return 1\n")]) == [True, False]


def test_a_package_whose_lines_are_in_the_training_text_is_left_out() -> None:
    own = [f"    value_{number} = compute_the_value({number})\n" for number in range(10)]
    short = "import os\n" * 90
    held = [
        record(("core.py", "click@8:1", "".join(own[:5]) + short)),
        record(("more.py", "click@8:91", "".join(own[5:]))),
        record(("rest.py", "rich@1:1", own[9].replace("value", "other") + own[0])),
    ]
    train = [record(("_click/core.py", "typer@1:1", "".join(own[:3]) + short))]

    assert find_copied(train, held[:2]) == {"click@8": 0.3}
    assert find_copied(train, held) == {"click@8": 0.3, "rich@1": 0.5}
    assert find_copied([record(("a.py", "typer@1:1", own[0] + own[1] + short))], held[:2]) == {}
    assert without(held, {"click@8"}) == held[2:]


def test_first_lines_are_compared_without_trailing_blanks() -> None:
    assert line("    x = 1  \n").is_matched_by("    x = 1\nmore")
    assert not line("    x = 1\n").is_matched_by("x = 1\n")
    assert not line("x = 1\n").is_matched_by("\nx = 1")


def test_a_file_parses_or_not() -> None:
    assert parses("x = 1\n")
    assert not parses("x = = 1\n")
    assert not parses("x = '\0'")
