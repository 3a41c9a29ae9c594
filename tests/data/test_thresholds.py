# SPDX-License-Identifier: Apache-2.0
import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from codegemma.data import filters, thresholds
from codegemma.data.document import Genre
from codegemma.data.filters import Signals
from codegemma.errors import ConfigError, InputError

FINE = Signals(
    size_bytes=4000,
    num_lines=100,
    max_line=90,
    mean_line=39.0,
    alpha_fraction=0.6,
    digit_fraction=0.02,
    encoded_fraction=0.0,
    max_encoded=0,
    repeated_line_fraction=0.2,
    replacement_fraction=0.0,
    error_fraction=0.0,
)
CHANGES = {"default": {"max_line": 50}, "go": {"max_line": 95, "max_cut_error": 0.4}}


def rule(language: str = "python", genre: Genre = "code", **signals: int | float) -> str:
    found = dataclasses.replace(FINE, **signals)
    return thresholds.dropping_rule(found, language=language, genre=genre, changes={})


@pytest.mark.parametrize(
    ("name", "at", "beyond"),
    [
        ("too_short", {"size_bytes": 100}, {"size_bytes": 99}),
        ("too_short", {"num_lines": 3}, {"num_lines": 2}),
        ("too_many_lines", {"num_lines": 100_000}, {"num_lines": 100_001}),
        ("long_lines", {"max_line": 1000}, {"max_line": 1001}),
        ("long_lines", {"mean_line": 100.0}, {"mean_line": 100.1}),
        ("few_letters", {"alpha_fraction": 0.25}, {"alpha_fraction": 0.24999}),
        ("encoded_data", {"max_encoded": 1024}, {"max_encoded": 1025}),
        ("encoded_data", {"encoded_fraction": 0.3}, {"encoded_fraction": 0.30001}),
        ("number_table", {"digit_fraction": 0.2}, {"digit_fraction": 0.20001}),
        ("repeated_lines", {"repeated_line_fraction": 0.7}, {"repeated_line_fraction": 0.70001}),
        ("decoding_faults", {"replacement_fraction": 0.01}, {"replacement_fraction": 0.01001}),
        ("hexadecimal", {"hex_fraction": 0.4}, {"hex_fraction": 0.40001}),
        ("placeholders", {"placeholder_fraction": 0.1}, {"placeholder_fraction": 0.10001}),
        ("comments", {"comment_fraction": 0.9}, {"comment_fraction": 0.90001}),
        ("syntax_errors", {"error_fraction": 0.5}, {"error_fraction": 0.50001}),
    ],
)
def test_a_rule_drops_beyond_its_threshold_and_not_at_it(
    name: str, at: dict[str, int | float], beyond: dict[str, int | float]
) -> None:
    assert rule(**at) == ""
    assert rule(**beyond) == name


def test_thresholds_are_those_of_the_language() -> None:
    assert rule("python", digit_fraction=0.25) == "number_table"
    assert rule("c", digit_fraction=0.25) == ""
    assert rule("python", repeated_line_fraction=0.75) == "repeated_lines"
    assert rule("rust", repeated_line_fraction=0.75) == ""


def test_of_mathematics_and_conversations_only_decoding_is_asked_and_of_texts_nothing() -> None:
    faulty = {"replacement_fraction": 0.5, "max_line": 9000}

    assert rule("math", "math", max_line=9000) == ""
    assert rule("math", "math", **faulty) == rule("chat", "chat", **faulty) == "decoding_faults"
    assert rule("en", "text", **faulty) == ""


def test_changes_of_a_language_go_before_those_of_all() -> None:
    assert thresholds.of_language("python", {}).max_line == 1000
    assert thresholds.of_language("python", CHANGES).max_line == 50
    assert thresholds.of_language("go", CHANGES).max_line == 95
    assert thresholds.of_language("c", CHANGES).max_digits == 0.3  # as it was
    shaky = dataclasses.replace(FINE, error_fraction=0.3)
    assert thresholds.is_broken(shaky, language="python", changes=CHANGES)
    assert not thresholds.is_broken(shaky, language="go", changes=CHANGES)


def row(path: str, rule: str, **values: object) -> dict[str, object]:
    start = {"repository": "r", "genre": "code", "path": path, "language": "python", "rule": rule}
    return start | dataclasses.asdict(FINE) | values


def test_stored_signals_tell_what_other_thresholds_drop() -> None:
    rows = [
        row("kept.py", "", max_line=40),
        row("long.py", ""),
        row("long.go", "", language="go"),
        row("short.py", "too_short", size_bytes=20, max_line=9),
        row("made_pb2.py", "generated"),
        row("doc", "gopher: few_words", genre="text", language="en"),
    ]

    found = [(at.path, at.before, at.now) for at in thresholds.apply(rows, CHANGES)]

    assert found == [
        ("kept.py", "", ""),
        ("long.py", "", "long_lines"),
        ("long.go", "", ""),
        ("short.py", "too_short", "too_short"),
        ("made_pb2.py", "generated", "generated"),
        ("doc", "gopher: few_words", "gopher: few_words"),
    ]
    eased = {"python": {"min_bytes": 10}}
    assert [at.now for at in thresholds.apply(rows[3:4], eased)] == [""]


def test_rows_are_read_as_they_were_written_and_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    signals = filters.measure("a = 1\n" * 7, language="python")
    written = row("a.py", "too_short", **dataclasses.asdict(signals))
    data = gzip.compress(json.dumps(written).encode() + b"\n")
    (tmp_path / "whole").write_bytes(data)
    (tmp_path / "cut").write_bytes(data[:-9])

    assert list(thresholds.read_rows(tmp_path / "whole")) == [written]
    with pytest.raises(InputError, match=r"cut holds no signals of a data set: "):
        list(thresholds.read_rows(tmp_path / "cut"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", r'expected thresholds by language, such as \{"python": \{"max_line": 2000\}\}'),
        ('{"cobol": {}}', "know default, python, .*, other, not 'cobol'"),
        ('{"go": 3}', "thresholds of go must be an object, not 3"),
        (
            '{"go": {"max_lin": 3}}',
            "no threshold 'max_lin'; there are min_bytes, .*, max_cut_error",
        ),
        ('{"go": {"max_line": true}}', "max_line of go must be 0 or more, not True"),
        ('{"go": {"max_line": NaN}}', "max_line of go must be 0 or more, not nan"),
        ('{"go": {"max_line": -5}}', "max_line of go must be 0 or more, not -5"),
    ],
)
def test_what_are_no_thresholds_is_refused_by_name(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=words):
        thresholds.read_changes(path)


def test_thresholds_that_are_not_there_are_refused_before_a_row_is_read() -> None:
    with pytest.raises(ConfigError, match=r"thresholds know .* not 'cobol'"):
        list(thresholds.apply([{}], {"cobol": {}}))


def test_thresholds_are_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(CHANGES), encoding="utf-8")

    assert thresholds.read_changes(path) == CHANGES
    with pytest.raises(InputError, match="missing holds no thresholds in JSON: "):
        thresholds.read_changes(tmp_path / "missing")
