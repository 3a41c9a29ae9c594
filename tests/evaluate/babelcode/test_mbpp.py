# SPDX-License-Identifier: Apache-2.0

import dataclasses
import json

import pytest

from codegemma.errors import DataError, InputError, PrerequisiteError
from codegemma.evaluate.babelcode.mbpp import from_mbpp, read_mbpp
from codegemma.evaluate.babelcode.schema import from_row

ROW = {
    "task_id": 999,
    "prompt": "Write a python function to add.",
    "code": "def add(a, b):\r\n  return a + b",
    "test_list": ["assert add(1, 2) == 3", "assert not add(0, 0)"],
}


def test_row_becomes_a_question():
    question = from_mbpp(ROW | {"test_list": ROW["test_list"][:1]})

    assert (question.number, question.name, str(question.returns)) == ("999", "add", "integer")
    assert question.text == "Write a python function to add."
    assert question.solution == "def add(a, b):\n  return a + b"


@pytest.mark.parametrize("test", ["assert add(1, 2)", "assert set(add(1, 2)) == 3", "add(1, 2)"])
def test_first_test_names_the_function_by_comparing_its_result(test):
    with pytest.raises(InputError):
        from_mbpp(ROW | {"test_list": [test]})


def test_questions_are_those_that_babelcode_made(questions, published_questions, published_prompts):
    ours = questions["sanitized_mbpp"]
    kept = {row["qid"] for row in published_prompts["sanitized_mbpp"]}
    rows = [row for row in published_questions["sanitized_mbpp"] if row["qid"] in kept]

    assert list(ours) == [row["qid"] for row in rows]
    assert len(ours) == 342
    for row in rows:
        published = dataclasses.replace(from_row(row), solution="")
        assert dataclasses.replace(ours[row["qid"]], solution="") == published


@pytest.mark.parametrize("text", ["", "{}", '[{"task_id": 1}', "\x1f\x8b"])
def test_damaged_file_is_named(tmp_path, text):
    (tmp_path / "mbpp").mkdir()
    (tmp_path / "mbpp" / "sanitized-mbpp.json").write_text(text)

    with pytest.raises(DataError, match=r"sanitized-mbpp\.json is damaged"):
        read_mbpp(tmp_path)


def test_missing_file_is_named_with_its_source(tmp_path):
    with pytest.raises(PrerequisiteError, match=r"github\.com/google-research/google-research"):
        read_mbpp(tmp_path)


def test_plain_file_is_read_in_the_order_of_its_numbers(tmp_path):
    (tmp_path / "mbpp").mkdir()
    rows = [ROW | {"task_id": number, "test_list": ROW["test_list"][:1]} for number in (20, 3)]
    (tmp_path / "mbpp" / "sanitized-mbpp.json").write_text(json.dumps(rows))

    assert [question.number for question in read_mbpp(tmp_path)] == ["3", "20"]
