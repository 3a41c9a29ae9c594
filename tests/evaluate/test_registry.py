# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.errors import ConfigError
from codegemma.evaluate import registry
from codegemma.evaluate.task import Variant


# A repository needs a command beside its name: tests/evaluate/tasks/test_repo.py.
@pytest.mark.parametrize("name", [name for name in registry.MODULES if name != "repo"])
def test_every_name_gives_tasks_that_go_by_it(name):
    tasks = registry.find_tasks(name)

    assert tasks
    assert all(task.name.split(":")[0] == name for task in tasks)
    assert all(task.files and isinstance(task.raw, Variant) for task in tasks)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("humanevall", "did you mean humaneval"),
        ("humaneval-infiling-single", "did you mean humaneval-infilling-single"),
        ("mpbb", "did you mean mbpp"),
        ("", "there are humaneval, "),
        ("something else", "there are humaneval, "),
    ],
)
def test_misspelt_task_is_refused_with_what_is_near(name, expected):
    with pytest.raises(ConfigError, match=expected) as refusal:
        registry.find_tasks(name)

    assert f"there is no task {name!r}" in str(refusal.value)


def test_argument_that_a_task_does_not_take_is_refused_with_those_it_takes():
    with pytest.raises(ConfigError, match=r"it takes humaneval:stripped, humaneval:chat"):
        registry.find_tasks("humaneval:strip")
    with pytest.raises(ConfigError, match=r"humaneval-infilling-single takes no '' .*none"):
        registry.find_tasks("humaneval-infilling-single:")
    with pytest.raises(ConfigError, match=r"it takes mbpp:lf, mbpp:0-shot"):
        registry.find_tasks("mbpp:5-shot")
