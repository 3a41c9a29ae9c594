# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegemma.text.newlines import line_end_of, restore, to_lf


@pytest.mark.parametrize(
    ("text", "line_end"),
    [
        ("", "\n"),
        ("one line", "\n"),
        ("a\nb\r\n", "\n"),
        ("a\r\nb\r\nc\n", "\r\n"),
        ("a\rb\rc\n", "\r"),
        ("a\r\rb", "\r"),
    ],
)
def test_the_line_end_is_the_one_used_most(text: str, line_end: str):
    assert line_end_of(text) == line_end


def test_only_line_ends_change():
    assert to_lf("a\r\nb\rc\nd\r\r\n") == "a\nb\nc\nd\n\n"
    assert to_lf("a\x0cb\u2028c\u0085d\x0be") == "a\x0cb\u2028c\u0085d\x0be"


def test_what_is_inserted_gets_the_files_line_end():
    assert restore("a\nb\n", "\r\n") == "a\r\nb\r\n"
    assert restore("a\nb\n", "\n") == "a\nb\n"


@given(st.lists(st.text().map(to_lf)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_file_with_one_line_end_comes_back_as_it_was(lines: list[str], line_end: str):
    text = line_end.join(line.replace("\n", "") for line in lines)
    assert restore(to_lf(text), line_end_of(text)) == text
