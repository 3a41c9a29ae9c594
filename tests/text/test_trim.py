# SPDX-License-Identifier: Apache-2.0
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.text import budget
from codegemma.text.trim import BLOCK_RULES, DEFAULT_RULES, LINE_RULES, Trimmed, trim

CURSOR = "\u25ae"
CASES = tomllib.loads((Path(__file__).parents[1] / "golden" / "trim.toml").read_text("utf-8"))
ALL = {rule.__name__: rule for rule in (*DEFAULT_RULES, *LINE_RULES, *BLOCK_RULES)}


@pytest.mark.parametrize("case", CASES["case"])
def test_a_rule_keeps_what_is_drawn(case: dict[str, Any]):
    prefix, found, suffix = case["file"].partition(CURSOR)
    assert found
    rule = ALL[case["rule"]]
    assert rule(case["completion"], prefix=prefix, suffix=suffix) == case["kept"]


def test_every_rule_is_drawn_cutting_and_keeping():
    cutting = {case["rule"] for case in CASES["case"] if case["kept"] != case["completion"]}
    keeping = {case["rule"] for case in CASES["case"] if case["kept"] == case["completion"]}
    assert cutting == keeping == set(ALL)


def test_the_rules_stand_in_this_order():
    names = [rule.__name__ for rule in DEFAULT_RULES]
    assert names == [
        "sentinel",
        "file_separator",
        "repetition",
        "suffix_overlap",
        "closing_brackets",
        "trailing_blanks",
    ]
    assert [rule.__name__ for rule in LINE_RULES] == ["single_line", *names]
    assert [rule.__name__ for rule in BLOCK_RULES] == ["block", *names]


def test_each_rule_works_on_what_the_one_before_left_and_the_result_names_them():
    result = trim("1, f(2))\n<|fim_middle|>rest", prefix="g(", suffix=")\n")
    assert result == Trimmed("1, f(2))\n", "sentinel")
    result = trim("1, f(2))<|fim_middle|>rest", prefix="g(", suffix=")\n")
    assert result == Trimmed("1, f(2)", "sentinel+closing_brackets")
    assert trim("1", prefix="x = ", suffix="\n") == Trimmed("1", None)


def test_left_to_right_has_no_suffix_to_repeat():
    assert trim("x = 1  ", prefix="", suffix=None) == Trimmed("x = 1", "trailing_blanks")


def test_a_suffix_with_a_nul_is_repeated_like_any_other():
    assert trim("total\0 = total\0", prefix="", suffix="total\0 = total\0").text == ""


def test_no_rules_change_nothing():
    assert trim("a<|fim_prefix|>", prefix="", suffix="", rules=()) == Trimmed(
        "a<|fim_prefix|>", None
    )


PARTS = ("x", " ", "\n", "    ", ")", "(", "]", "[", "<|file_separator|>", "ab\n", "é", "0, ")
drawn = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)


@given(drawn, drawn, drawn)
@settings(max_examples=200, deadline=None)
def test_a_rule_gives_a_head_of_the_completion_and_twice_is_once(
    text: str, prefix: str, suffix: str
):
    for name, rule in ALL.items():
        kept = rule(text, prefix=prefix, suffix=suffix)
        assert text.startswith(kept), name
        if name in ("sentinel", "trailing_blanks", "block", "single_line"):
            assert rule(kept, prefix=prefix, suffix=suffix) == kept, name


def test_correct_completions_of_this_project_stay_as_they_are():
    source = Path(str(budget.__file__)).read_text("utf-8")
    lines = source.split("\n")
    for row in range(len(lines) - 3):
        middle = "\n".join(lines[row : row + 3]) + "\n"
        prefix = "".join(f"{line}\n" for line in lines[:row])
        suffix = "\n".join(lines[row + 3 :])
        assert prefix + middle + suffix == source
        assert trim(middle, prefix=prefix, suffix=suffix).text == middle


def test_time_is_linear_in_a_long_completion():
    start = time.process_time()
    for text in ("(" * 200_000, "x = 1\n" * 50_000, "<|fim" * 50_000, ")" * 200_000):
        trim(text, prefix=text, suffix=text)
        trim(text, prefix="f(", suffix=")\n", rules=BLOCK_RULES)
    assert time.process_time() - start < 10
