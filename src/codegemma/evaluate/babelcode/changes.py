# SPDX-License-Identifier: Apache-2.0
"""What BabelCode changed in HumanEval by hand, as edits of HumanEval's own texts.

Where a test computed its values, was random, compared with a tolerance, or mixed types, BabelCode
wrote the values out or asked for strings; a few functions got a name that no language has taken.

Source: google-research/babelcode (Apache-2.0), data/dataset_fixes and data/raw_datasets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Edits = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is different in one problem.

    Args:
        name: New name of the function.
        parameters: New parameters, with annotations.
        text: Replacements in the question's text.
        tests: Replacements in the tests, or assertions about `candidate` in their place.
    """

    name: str | None = None
    parameters: str | None = None
    text: Edits = ()
    tests: Edits | str = ()


_FIND_ZERO = """\
assert candidate([8, -8, -2, -7]) == 0.6516731880255975
assert candidate([4, 5, 10, 2, -4, -7, 5, -10]) == 1.0661071219365112
assert candidate([3, 9, -10, 4, -2, -3, 8, -7]) == -0.2540514511056244
assert candidate([-10, -10, -10, 10, 7, -10]) == -1.0662385823088698
assert candidate([-4, 3, -10, 6, -3, 4, 5, 7]) == 0.8680390336085111
assert candidate([1, -3, -3, 4]) == -0.7345008749980479
assert candidate([-10, 3, 7, 10, -7, -5]) == -2.1723359568277374
assert candidate([-7, 1, 6, 3, 6, -4]) == -0.8657208206714131
assert candidate([-1, 8, 5, 6, 2, 8]) == 0.1154504572623409
assert candidate([5, -3]) == 1.6666666666278616
"""
_SORT_THIRD = """\
assert candidate([1, 2, 3]) == [1, 2, 3]
assert candidate([5, 6, 3, 4, 8, 9, 2]) == [2, 6, 3, 4, 8, 9, 5]
assert candidate([5, 3, -5, 2, -3, 3, 9, 0, 123, 1, -10]) == [1, 3, -5, 2, -3, 3, 5, 0, 123, 9, -10]
assert candidate([5, 8, -12, 4, 23, 2, 3, 11, 12, -10]) == [-10, 8, -12, 3, 23, 2, 4, 11, 12, 5]
assert candidate([5, 8, 3, 4, 6, 9, 2]) == [2, 8, 3, 4, 6, 9, 5]
assert candidate([5, 6, 9, 4, 8, 3, 2]) == [2, 6, 9, 4, 8, 3, 5]
assert candidate([5, 6, 3, 4, 8, 9, 2, 1]) == [2, 6, 3, 4, 8, 9, 5, 1]
"""
_SUMS = """\
0 1, 1 0, 2 3, 5 7, 7 5, 137 864, 582 959, 867 665, 821 273, 782 191, 64 578, 261 782, 120 79,
507 863, 779 843, 460 320, 483 964, 667 324, 388 257, 807 52"""
_EXTREMES = """\
assert candidate([2, 4, 1, 3, 5, 7]) == ['', '1']
assert candidate([2, 4, 1, 3, 5, 7, 0]) == ['', '1']
assert candidate([1, 3, 2, 4, 5, 6, -2]) == ['-2', '1']
assert candidate([4, 5, 3, 6, 2, 7, -7]) == ['-7', '2']
assert candidate([7, 3, 8, 4, 9, 2, 5, -9]) == ['-9', '2']
assert candidate([]) == ['', '']
assert candidate([0]) == ['', '']
assert candidate([-1, -3, -5, -6]) == ['-1', '']
assert candidate([-1, -3, -5, -6, 0]) == ['-1', '']
assert candidate([-6, -4, -4, -3, 1]) == ['-3', '1']
assert candidate([-6, -4, -4, -3, -100, 1]) == ['-3', '1']
"""
_NUMBERS_AS_TEXT = """\
assert candidate('1', '2') == '2'
assert candidate('1', '2.5') == '2.5'
assert candidate('2', '3') == '3'
assert candidate('5', '6') == '6'
assert candidate('1', '2,3') == '2,3'
assert candidate('5,1', '6') == '6'
assert candidate('1', '2') == '2'
assert candidate('1', '1') == ''
"""


def _sums() -> str:
    pairs = [pair.split() for pair in _SUMS.replace("\n", " ").split(",")]
    return "\n".join(f"assert candidate({a}, {b}) == {int(a) + int(b)}" for a, b in pairs)


CHANGES: Final[Mapping[str, Change]] = {
    "2": Change(
        tests="assert candidate(3.5) == 0.5\nassert candidate(1.45022) == 0.45022\n"
        "assert candidate(123.0001) == 0.0001"
    ),
    "4": Change(
        tests="assert candidate([2.0, 4.0]) == 1.0\nassert candidate([1.0, 2.0, 3.0, 4.0]) == 1.0\n"
        "assert candidate([1.0, 2.0, 3.0, 4.0, 5.0]) == 1.2"
    ),
    "8": Change(
        text=(("a tuple", "a list"), ("(0, 1)", "[0, 1]"), ("(10, 24)", "[10, 24]")),
        tests=(("3 + 5 + 7, 3 * 5 * 7", "15, 105"),),
    ),
    "12": Change(
        text=(
            ("Return None", "Return an empty string"),
            ("\n\n>>>", '\n""\n>>>'),
            ('cc"\n', 'cc"'),
        ),
        tests=(("== None", "== ''"),),
    ),
    "16": Change(tests=(("'abcde' + 'cade' + 'CADE'", "'abcdecadeCADE'"),)),
    "20": Change(text=(("(2.0, 2.2)", "[2.0, 2.2]"), ("(2.0, 2.0)", "[2.0, 2.0]"))),
    "22": Change(
        parameters="values: List[str]",
        text=(
            ("any python values only for integers", "strings only for integers."),
            ('["a", 3.14, 5]', '["a", "3.14", "5"]'),
            ('[1, 2, 3, "abc", {}, []]', '["1", "2", "3", "abc", "{}", "[]"]'),
        ),
        tests=(
            ("[4, {}, [], 23.2, 9, 'adasd']", "['4', '{}', '[]', '23.2', '9', 'adasd']"),
            ("[3, 'c', 3, 3, 'a', 'b']", "['3', 'c', '3', '3', 'a', 'b']"),
        ),
    ),
    "23": Change(
        name="get_string_length",
        parameters="s: str",
        text=(("strlen", "get_string_length"), ("\n3\n", "\n3")),
    ),
    "31": Change(tests=(("5 * 17", "85"), ("11 * 7", "77"), ("13441 * 19", "255379"))),
    "32": Change(tests=_FIND_ZERO),
    "33": Change(tests=_SORT_THIRD),
    "37": Change(tests=(("tuple(", "("),)),
    "53": Change(tests=_sums()),
    "72": Change(tests=(("is True", "== True"), ("is False", "== False"))),
    "75": Change(
        tests=(
            ("3 * 5 * 7", "105"),
            ("3 * 6 * 7", "126"),
            ("9 * 9 * 9", "729"),
            ("11 * 9 * 9", "891"),
            ("11 * 13 * 7", "1001"),
        )
    ),
    "78": Change(tests=(("candidate([])", "candidate('')"),)),
    "87": Change(
        text=(
            ("list of tuples, [(x1, y1), (x2, y2) ...]", "list of lists, [[x1, y1], [x2, y2] ...]"),
            (
                "[(0, 0), (1, 4), (1, 0), (2, 5), (2, 0)]",
                "[[0, 0], [1, 4], [1, 0], [2, 5], [2, 0]]",
            ),
            ("[(2, 2)]", "[[2, 2]]"),
        )
    ),
    "90": Change(
        text=(
            ("of the list.\n", "of the list as a string.\n"),
            ("Return None", "Return an empty string"),
            ("== 2", "== '2'"),
            ("== None", "== ''"),
        ),
        tests=(
            ("== 2", "== '2'"),
            ("== None", "== ''"),
            ("== 1\n", "== '1'\n"),
            ("0**0", "1"),
            ("== -35", "== '-35'"),
        ),
    ),
    "92": Change(tests=(("candidate(3.0,4,7)==False", "True"),)),
    "95": Change(tests=((" 5:", ' "5":'),)),
    "103": Change(
        text=(
            ("to binary.", "to binary represented as a string."),
            ("return -1.", 'return "-1".'),
            ("=> -1", '=> "-1"'),
        ),
        tests=(("== -1", "== '-1'"),),
    ),
    "107": Change(
        text=(("return a tuple", "return a list"), ("(1, 2)", "[1, 2]"), ("(4, 6)", "[4, 6]"))
    ),
    "108": Change(tests=(("1**0", "1"),)),
    "112": Change(
        text=(
            (
                "a tuple containing the result string and True/False for the check.",
                'a two element list containing the result string and "True" if the check passed, '
                'otherwise "False".',
            ),
        ),
        tests=((",False)", ",'False')"), (",True)", ",'True')"), (", True)", ", 'True')")),
    ),
    "120": Change(name="k_maximum_elements"),
    "121": Change(
        name="sum_odd_in_even_position",
        text=(("solution(", "sum_odd_in_even_position("), ("==>0\n", "==>0")),
    ),
    "125": Change(
        text=(("➞", "=="), ("== 3", '== ["3"]')),
        tests=(
            ("== 3", "== ['3']"),
            ("== 2", "== ['2']"),
            ("== 1", "== ['1']"),
            ("== 0", "== ['0']"),
        ),
    ),
    "128": Change(
        text=(("Note: return None for empty arr.\n\n", ""), (">>> prod_signs([]) == None\n", "")),
        tests=(("candidate([]) == None", "True"),),
    ),
    "136": Change(
        text=(
            ("a tuple (a, b)", "a list [a, b]"),
            ("as None.", "as an empty string."),
            ("(None, 1)", "['', '1']"),
            ("(None, None)", "['', '']"),
        ),
        tests=_EXTREMES,
    ),
    "137": Change(
        text=(
            ("integers, floats, or strings", "strings"),
            ("Return None", "Return an empty string"),
            ("(1, 2.5) ➞ 2.5", '("1", "2.5") == "2.5"'),
            ('(1, "2,3") ➞', '("1", "2,3") =='),
            ('"6") ➞', '"6") =='),
            ('("1", 1) ➞ None', '("1", "1") == ""'),
        ),
        tests=_NUMBERS_AS_TEXT,
    ),
    "148": Change(
        text=(
            ("return a tuple", "return a list"),
            ("an empty tuple", "an empty list"),
            ('("Saturn", "Uranus")', '["Saturn", "Uranus"]'),
            ('("Venus")', '["Venus"]'),
            (
                '("Venus", "Earth", "Mars", "Jupiter", "Saturn")',
                '["Venus", "Earth", "Mars", "Jupiter", "Saturn"]',
            ),
        )
    ),
    "151": Change(tests=(("(lst) == odd_sum", "([-9, -7, -5, -3, -1, 1, 3, 5, 7, 9]) == 165"),)),
    "152": Change(name="compare_guess", text=(("compare(", "compare_guess("), ("0,6]\n", "0,6]"))),
    "155": Change(
        text=(("return a tuple", "return a list"), ("(1, 1)", "[1, 1]"), ("(1, 2)", "[1, 2]"))
    ),
    "162": Change(
        text=(("return None.\n", "return an empty string."),), tests=(("== None", "== ''"),)
    ),
}
"""By the number of the HumanEval problem."""
