# SPDX-License-Identifier: Apache-2.0
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from codegemma.errors import ConfigError, DataError, InputError
from codegemma.evaluate.repository import Command, Repository, limits
from codegemma.evaluate.survey import survey
from codegemma.evaluate.tasks import repo
from codegemma.sandbox.run import Sandbox

ENDS = {"node": "process.exit(0);"}
"""What ends the tests early with the status of those that passed."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, repository_files) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed: apt-get install git")
    return repository_files.make_repository(tmp_path_factory.mktemp("git") / "shop")


@pytest.fixture(scope="module")
def checked(root: Path) -> Iterator[Repository]:
    command = Command.parse("python check.py", environment=None)
    with Repository(root, test=command) as repository:
        yield repository


@pytest.fixture(scope="module")
def box(checked: Repository) -> Iterator[Sandbox]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    with Sandbox(num_workers=2, binds=checked.binds) as box:
        yield box


def test_without_pytest_a_function_counts_if_the_tests_fail_without_its_body(
    checked: Repository, box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[int, int]] = []
    found = survey(
        checked,
        sandbox=box,
        file=tmp_path / "survey.json",
        max_functions=5,
        told=lambda done, total: told.append((done, total)),
    )

    assert [(one.path, one.name, one.tests) for one in found] == [("shop/cart.py", "total", ())]
    assert [span.kind for span in found[0].spans] == ["line", "block", "body"]
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert "the tests of shop print nothing" in caplog.text


@pytest.mark.usefixtures("box")  # git and bubblewrap are there
def test_functions_whose_code_changed_last_come_first(tmp_path: Path, repository_files) -> None:
    cart = (
        "from .money import add\n\n\n"
        "def first(a):\n    return add(a, 1)\n\n\n"
        "def second(a):\n    return add(a, 2)\n\n\n"
        "def third(a):\n    return add(a, 3)\n"
    )
    check = (
        "from shop.cart import first, second, third\n"
        "assert (first(1), second(1), third(1)) == (2, 3, 4)\n"
    )
    files = {"shop/__init__.py": "", "shop/money.py": "def add(a, b):\n    return a + b\n"}
    files |= {"shop/cart.py": cart, "check.py": check}
    root = repository_files.make_repository(tmp_path / "shop", files)
    changed = cart.replace("add(a, 2)", "add(2, a)")
    repository_files.commit(root, {"shop/cart.py": changed}, time="2090-01-01T00:00:00Z")
    test = Command.parse("python check.py", environment=None)

    with Repository(root, test=test) as repository, Sandbox(binds=repository.binds) as sandbox:
        all_of_them, newest = (
            survey(repository, sandbox=sandbox, file=tmp_path / f"{most}.json", max_functions=most)
            for most in (3, 1)
        )

    assert [one.name for one in all_of_them] == ["second", "first", "third"]
    assert [one.name for one in newest] == ["second"]
    assert all_of_them[0].changed > all_of_them[1].changed == all_of_them[2].changed


def test_what_was_found_is_kept_and_holds_for_that_commit_and_command_alone(
    root: Path, checked: Repository, box: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "survey.json"
    found = survey(checked, sandbox=box, file=file, max_functions=1)

    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"found": kept["found"] * 2}))
    assert survey(checked, sandbox=box, file=file, max_functions=2) == found * 2
    assert survey(checked, sandbox=box, file=file, max_functions=1) == found
    other = Command.parse("python check.py -x", environment=None)
    with (
        Repository(root, test=other) as repository,
        pytest.raises(ConfigError, match="test was"),
    ):
        survey(repository, sandbox=box, file=file, max_functions=1)
    file.write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        survey(checked, sandbox=box, file=file, max_functions=1)


def test_a_search_goes_on_where_it_was_when_more_is_asked_for(
    checked: Repository, box: Sandbox, tmp_path: Path
) -> None:
    once, twice, told = tmp_path / "once.json", tmp_path / "twice.json", []
    survey(checked, sandbox=box, file=once, max_functions=9)
    survey(checked, sandbox=box, file=twice, max_functions=1)

    survey(checked, sandbox=box, file=twice, max_functions=9, told=lambda *at: told.append(at))

    assert 0 < len(told) < 3  # those that were tried are not tried again
    kept = [json.loads(file.read_text()) for file in (once, twice)]
    assert [each["num_tried"] for each in kept] == [3, 3]
    assert [[one["name"] for one in each["found"]] for each in kept] == [["total"]] * 2
    assert [each["waiting"] for each in kept] == [[], []]


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("python gone.py", "can't open file .*gone.py.* ended with status 2$"),
        ("false", "the tests ended with status 1$"),
        ("gone -x", "gone cannot be run here: No such file or directory$"),
        ("true", None),
        (
            "pytest tests/test_needy.py",
            "ModuleNotFoundError: No module named 'shop.nowhere' .*ERROR",
        ),
    ],
)
def test_tests_that_do_not_pass_as_they_are_are_refused_with_what_they_said(
    test: str, words: str | None, box: Sandbox, tmp_path: Path, repository_files
) -> None:
    needy = {"tests/test_needy.py": "import shop.nowhere\n\n\ndef test_a():\n    pass\n"}
    root = repository_files.make_repository(tmp_path / "shop", repository_files.SHOP | needy)
    with (
        Repository(root, test=Command.parse(test, environment=None)) as repository,
        Sandbox(binds=repository.binds) as sandbox,
        pytest.raises(InputError) as refused,
    ):
        survey(repository, sandbox=sandbox, file=tmp_path / "survey.json", max_functions=1)

    message = str(refused.value)
    if words is None:  # they pass, and nothing makes them fail
        assert "cover no function" in message
        return
    assert re.search(
        f"the tests of shop do not pass in the sandbox as they are: ?.*{words}", message
    )
    assert not any(
        word in message for word in ("codegemma-answer", "verdict.py", "(pass)", "(fail)")
    )


@pytest.mark.parametrize(
    ("files", "tool", "test", "expected"),
    [
        ("JAVASCRIPT", "node", "node test/cart.test.js", ("src/cart.js", "total")),
        pytest.param(
            # The other function is only compiled: a body is taken out so that it still is.
            *("GO", "go", "go test ./...", ("cart.go", "Total")),
            marks=[pytest.mark.slow, pytest.mark.timeout(600)],
        ),
    ],
)
def test_functions_of_other_languages_count_if_the_tests_fail_without_their_body(
    files: str,
    tool: str,
    test: str,
    expected: tuple[str, str],
    repository_files,
    tmp_path: Path,
) -> None:
    for name, package in (
        ("git", "git"),
        ("bwrap", "bubblewrap"),
        (tool, {"go": "golang-go"}.get(tool, "nodejs")),
    ):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed: apt-get install {package}")
    root = repository_files.make_repository(tmp_path / "shop", getattr(repository_files, files))
    command = Command.parse(test, environment=None)
    with (
        Repository(root, test=command) as repository,
        Sandbox(num_workers=2, binds=repository.binds) as sandbox,
    ):
        file = tmp_path / "survey.json"
        found = survey(repository, sandbox=sandbox, file=file, max_functions=5)
        assert [(one.path, one.name) for one in found] == [expected]
        assert [span.kind for span in found[0].spans] == ["line", "block", "body"]

        task = repo.make_task(repository, sandbox=sandbox, out=tmp_path)
        problem = task.problems(Path())[-1]
        right = task.variants[0].check(problem, problem.solution or "")
        wrong = task.variants[0].check(problem, "return 0")
        ended = task.variants[0].check(problem, ENDS.get(tool, "return 0"))
        outcomes = [one.is_pass for one in sandbox.map([right, wrong, ended], limits(300.0))]
    assert outcomes == [True, False, False]
    assert problem.prompt.context  # the other file is shown


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_coverage_tells_which_tests_run_a_function(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("coverage", reason="coverage is not installed: pip install coverage")
    command = Command.parse("pytest -q tests", environment=None)
    with Repository(root, test=command) as repository, Sandbox(binds=repository.binds) as sandbox:
        found = survey(repository, sandbox=sandbox, file=tmp_path / "survey.json", max_functions=5)

    # test_red runs it too but fails; test_hollow does not notice that a body is gone.
    assert [(one.name, one.tests) for one in found] == [
        ("total", ("tests/test_cart.py::test_total",))
    ]
