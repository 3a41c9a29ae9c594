# SPDX-License-Identifier: Apache-2.0

import dataclasses
import gzip
import json

import pytest

from codegemma.errors import DataError, InputError
from codegemma.evaluate.babelcode.humaneval import documentation, from_human_eval, read_human_eval
from codegemma.evaluate.babelcode.schema import from_row

ROW = {
    "task_id": "HumanEval/999",
    "prompt": "def add(a: int, b: int) -> int:\n    ''' Add.\n      >>> add(1, 2)\n    '''\n",
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    import math\n    assert candidate(1, 2) == 3\n",
}


def test_row_becomes_a_question():
    question = from_human_eval(ROW)

    assert (question.number, question.name) == ("999", "add")
    assert question.text == "Add.\n>>> add(1, 2)\n"
    assert [(case.arguments, case.expected) for case in question.cases] == [((1, 2), 3)]
    assert question.solution == ROW["prompt"] + ROW["canonical_solution"]


def test_documentation_moves_to_the_margin_and_examples_to_double_quotes():
    prompt = (
        'def g(x):\n    """Not this."""\n\ndef f(x):\n    """\n'
        "      It's a word.\n    >>> f('a')\n    ['b']\n\n      'c' stays\n    \"\"\"\n"
    )

    assert documentation(prompt, "f") == '\nIt\'s a word.\n>>> f("a")\n["b"]\n\n\'c\' stays\n'


def test_function_without_documentation_is_refused():
    with pytest.raises(InputError, match="f has no documentation"):
        documentation("def f(x):\n    pass\n", "f")


def test_another_edition_of_a_changed_problem_is_an_error():
    with pytest.raises(DataError, match="HumanEval/8 has no 'a tuple': not the edition"):
        from_human_eval(ROW | {"task_id": "HumanEval/8"})


def test_questions_are_those_that_babelcode_made(questions, published_questions):
    ours = questions["human_eval"]
    theirs = [from_row(row) for row in published_questions["human_eval"]]

    assert list(ours) == [question.number for question in theirs]
    assert len(ours) == 161
    assert {str(n) for n in range(164)} - set(ours) == {"25", "38", "50"}
    for question in theirs:
        published = dataclasses.replace(question, solution="")
        assert dataclasses.replace(ours[question.number], solution="") == published


def test_damaged_row_does_not_pass_for_a_refused_one(tmp_path):
    (tmp_path / "human-eval").mkdir()
    path = tmp_path / "human-eval" / "HumanEval.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(ROW).encode() + b"\n{"))

    with pytest.raises(DataError, match="is damaged"):
        read_human_eval(tmp_path)
