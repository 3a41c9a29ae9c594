# SPDX-License-Identifier: Apache-2.0
import io
from pathlib import Path

import pytest

from codegemma.cli.cursor import (
    Cursor,
    Place,
    offset_of,
    parse_place,
    read_cursor,
    repository_path,
)
from codegemma.errors import InputError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("app.py:3:5", ("app.py", 3, 5)),
        ("src/my app.py:10:1", ("src/my app.py", 10, 1)),
        ("C:\\code\\app.py:3:5", ("C:\\code\\app.py", 3, 5)),
        ("C:/code/app.py:3:5", ("C:/code/app.py", 3, 5)),
        ("odd:1:2:3:4", ("odd:1:2", 3, 4)),
        ("-:1:1", ("-", 1, 1)),
    ],
)
def test_the_position_stands_at_the_end(text, place):
    assert parse_place(text) == Place(file=place[0], line=place[1], column=place[2])


@pytest.mark.parametrize(
    "text", ["app.py", "app.py:3", "app.py:3:", "app.py:a:1", ":3:5", "", "a:-1:2"]
)
def test_a_place_without_a_position_is_refused(text):
    with pytest.raises(InputError, match="expected FILE:LINE:COL"):
        parse_place(text)


def test_an_absurd_position_is_refused_before_it_is_read():
    with pytest.raises(InputError, match="is in no file"):
        parse_place("app.py:" + "9" * 5000 + ":1")


@pytest.mark.parametrize(
    ("line", "column", "offset"), [(1, 1, 0), (1, 4, 3), (2, 1, 4), (2, 2, 5), (2, 3, 6), (3, 1, 7)]
)
def test_lines_and_columns_count_from_1_and_one_past_the_end_is_the_end(line, column, offset):
    assert offset_of("abc\nüß\n", line=line, column=column) == offset


@pytest.mark.parametrize(
    ("line", "column", "words"),
    [
        (0, 1, "lines 1 to 3, not 0"),
        (4, 1, "lines 1 to 3, not 4"),
        (1, 0, "columns 1 to 4, not 0"),
        (1, 5, "columns 1 to 4, not 5"),
        (3, 2, "columns 1 to 1, not 2"),
    ],
)
def test_a_position_outside_the_text_is_refused_with_what_there_is(line, column, words):
    with pytest.raises(InputError, match=words):
        offset_of("abc\nde\n", line=line, column=column)


def test_columns_count_characters_not_bytes_or_utf16_units(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("x = '\U0001f600é' + y\n", encoding="utf-8")
    cursor = read_cursor(Place(file=str(file), line=1, column=9), path="a.py")
    assert cursor.prefix == "x = '\U0001f600é'"
    assert cursor.suffix == " + y\n"


def test_line_ends_and_the_byte_order_mark_stay_outside(tmp_path):
    file = tmp_path / "a.py"
    file.write_bytes(b"\xef\xbb\xbfab\r\ncd\r\n")
    cursor = read_cursor(Place(file=str(file), line=2, column=2), path="a.py")
    assert cursor == Cursor(prefix="ab\nc", suffix="d\n", path="a.py", line_end="\r\n")
    assert read_cursor(Place(file=str(file), line=1, column=1), path="a.py").prefix == ""


def test_a_form_feed_or_a_unicode_separator_ends_no_line(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("a\fb\u2028c\x85d\ne\n", encoding="utf-8")
    cursor = read_cursor(Place(file=str(file), line=2, column=1), path="a.py")
    assert cursor.suffix == "e\n"


def test_an_empty_file_has_one_position(tmp_path):
    file = tmp_path / "a.py"
    file.touch()
    cursor = read_cursor(Place(file=str(file), line=1, column=1), path="a.py")
    assert (cursor.prefix, cursor.suffix, cursor.line_end) == ("", "", "\n")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x7fELF\0\0", "is a binary file"),
        ("x = 1\n".encode("utf-16"), "is a binary file, or text that is not UTF-8"),
        (b"caf\xe9 = 1\n", "is not UTF-8 at byte 3"),
    ],
)
def test_a_file_that_is_no_utf8_text_is_refused(tmp_path, data, words):
    file = tmp_path / "a.py"
    file.write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_cursor(Place(file=str(file), line=1, column=1))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*missing\.py"):
        read_cursor(Place(file=str(tmp_path / "missing.py"), line=1, column=1))
    with pytest.raises(InputError, match="cannot read"):
        read_cursor(Place(file=str(tmp_path), line=1, column=1))


def test_standard_input_has_no_path_of_its_own(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\n")))
    assert read_cursor(Place(file="-", line=1, column=2)).path is None
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\n")))
    assert read_cursor(Place(file="-", line=1, column=2), path="x.py").path == "x.py"


def test_the_path_is_relative_to_the_nearest_repository(tmp_path, monkeypatch):
    inner = tmp_path / "repo" / "vendored"
    (inner / "src").mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir()
    (inner / ".git").write_text("gitdir: ../.git/modules/vendored\n")
    file = inner / "src" / "app.py"
    file.touch()
    assert repository_path(file) == "src/app.py"
    monkeypatch.chdir(inner / "src")
    assert repository_path(Path("app.py")) == "src/app.py"
    assert repository_path(tmp_path / "repo" / "setup.py") == "setup.py"


def test_outside_a_repository_the_path_is_relative_to_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "here" / "src").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert repository_path(Path("src/app.py")) == "src/app.py"
    assert repository_path(tmp_path / "elsewhere" / "app.py") == "app.py"
