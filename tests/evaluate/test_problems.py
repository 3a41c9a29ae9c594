# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.completion import Prompt, SourceFile
from codegemma.errors import DataError
from codegemma.evaluate.problems import FILE, read_problems, write_problems
from codegemma.evaluate.task import Problem

PROBLEMS = [
    Problem(
        task_id="a.py::f/line/with context",
        prompt=Prompt(
            prefix="def f():\n    ",
            suffix="\n",
            path="a.py",
            context=(SourceFile(path="b.py", text="x = 1\n"),),
        ),
        solution="return x",
        cluster="a.py::f",
        group="line, with context",
    ),
    Problem(task_id="other", prompt=Prompt(prefix="x")),
]


def test_problems_are_read_as_they_were_written(tmp_path):
    write_problems(tmp_path, PROBLEMS)

    found = read_problems(tmp_path)

    assert found == {problem.task_id: problem for problem in PROBLEMS}
    assert list(found) == ["a.py::f/line/with context", "other"]


def test_a_folder_without_the_file_has_none_and_a_damaged_one_is_told(tmp_path):
    assert read_problems(tmp_path) is None
    (tmp_path / FILE).write_text('{"format": 1, "problems": [{"task_id": "a"}]}')
    with pytest.raises(DataError, match=r"problems.json is damaged: KeyError\('prompt'\)"):
        read_problems(tmp_path)
