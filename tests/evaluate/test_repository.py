# SPDX-License-Identifier: Apache-2.0
import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from codegemma.errors import ConfigError, InputError
from codegemma.evaluate.repository import Command, Repository, answer_of, limits
from codegemma.sandbox.run import Sandbox


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


def test_the_commit_is_read_and_not_the_working_tree(root: Path, checked: Repository) -> None:
    (root / "new.py").write_text("x = 1\n")

    assert checked.name == "shop"
    assert len(checked.commit) == 40
    assert not (checked.folder / "new.py").exists()
    assert (checked.folder / "shop" / "cart.py").read_text() == (root / "shop/cart.py").read_text()
    assert len(set(checked.line_times("shop/cart.py"))) == 1
    assert len(checked.line_times("shop/cart.py")) == 17


def test_the_folder_is_gone_when_the_repository_is_closed(root: Path) -> None:
    with Repository(root, test=Command.parse("true", environment=None)) as repository:
        folder = repository.folder
        assert folder.is_dir()
    assert not folder.parent.exists()


def test_what_a_release_leaves_out_and_links_out_of_the_folder_are_of_the_commit(
    tmp_path: Path, repository_files
) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "away").symlink_to("/nowhere/at/all")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    ignored = {".gitattributes": "tests export-ignore\n"}
    repository_files.make_repository(root, {**repository_files.SHOP, **ignored})
    status = subprocess.run(["git", "-C", root, "status", "-s"], capture_output=True, check=True)

    with Repository(root, test=Command.parse("true", environment=None)) as repository:
        assert (repository.folder / "tests" / "test_cart.py").is_file()
        assert (repository.folder / "away").readlink() == Path("/nowhere/at/all")
        assert os.access(repository.folder / "run.sh", os.X_OK)
        assert not (repository.folder / ".git").exists()
    after = subprocess.run(["git", "-C", root, "status", "-s"], capture_output=True, check=True)
    assert after.stdout == status.stdout == b""


def test_a_copy_is_for_its_user_alone_and_that_of_a_killed_process_goes(root: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = Path("/var/tmp") / f"codegemma-repository-{ended.pid}-x"
    left.mkdir()

    with Repository(root, test=Command.parse("true", environment=None)) as repository:
        assert not left.exists()
        mode = repository.folder.parent.stat().st_mode & 0o777
        assert mode == (0o755 if os.geteuid() == 0 else 0o700)
        with Repository(root, test=repository.test):
            assert repository.folder.is_dir()


def test_what_is_no_repository_is_refused(tmp_path: Path) -> None:
    command = Command.parse("true", environment=None)
    with pytest.raises(InputError, match="is no git repository with a commit"):
        Repository(tmp_path, test=command)


def test_a_command_is_read_and_pytest_known() -> None:
    command = Command.parse("pytest -q 'tests/a b.py'", environment=None)

    assert command.words == ("python", "-m", "pytest", "-q", "tests/a b.py")
    assert command.is_pytest
    assert not Command.parse("make test", environment=None).is_pytest
    assert Path(sys.prefix).absolute() in command.binds


@pytest.mark.parametrize(
    ("words", "message"),
    [("", "--test needs a command"), ("python 'x", "is no command: No closing quotation")],
)
def test_what_is_no_command_is_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Command.parse(words, environment=None)


def test_an_environment_without_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no bin/python"):
        Command.parse("pytest", environment=tmp_path)


def test_tests_pass_on_the_commit_and_fail_with_a_file_made_wrong(
    checked: Repository, box: Sandbox
) -> None:
    bounds = limits(60.0)

    assert box.run(checked.program(), bounds).is_pass
    wrong = checked.program(changed=("shop/money.py", "def add(a, b):\n    return a\nunused = 1\n"))
    result = box.run(wrong, bounds)
    assert result.outcome == "fail"
    assert "AssertionError" in result.stderr
    assert result.stderr.endswith("\nthe tests ended with status 1\n")
    assert "SystemExit" not in result.stderr


def test_other_files_of_the_machine_are_out_of_reach(checked: Repository, box: Sandbox) -> None:
    text = (
        "import os, pathlib\n"
        f"for path in ({str(checked.folder / 'x')!r}, {str(checked.test.environment / 'x')!r}):\n"
        "    try:\n        open(path, 'w')\n        raise SystemExit('written')\n"
        "    except OSError:\n        pass\n"
        f"assert not pathlib.Path({str(checked.path)!r}).exists()\n"
        "assert 'HOME' in os.environ and os.environ['HOME'] == '/tmp'\n"
    )
    result = box.run(checked.program(changed=("check.py", text)), limits(60.0))

    assert result.is_pass, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("pytest -q tests", "-q"),
        ("pytest -c check.py tests shop -q", "-c check.py -q"),
        ("pytest --ignore tests/test_cart.py -q tests", "--ignore tests/test_cart.py -q"),
        ("pytest --deselect tests/test_cart.py::test_red --cov shop", None),
        (
            "pytest --rootdir . -p shop.money tests/test_cart.py::test_red",
            "--rootdir . -p shop.money",
        ),
        ("pytest -k shop --junitxml=check.py", None),
    ],
)
def test_single_tests_take_the_place_of_the_commands_own_and_of_no_options_value(
    command: str, kept: str | None, root: Path
) -> None:
    with Repository(root, test=Command.parse(command, environment=None)) as repository:
        program = repository.program(tests=["tests/test_cart.py::test_total"])

    (line,) = [line for line in program.source.split("\n") if line.startswith("SETTINGS = ")]
    words = json.loads(ast.literal_eval(line.removeprefix("SETTINGS = ")))["words"]
    expected = (kept or command.removeprefix("pytest ")).split()
    assert words == ["python", "-m", "pytest", *expected, "tests/test_cart.py::test_total"]


def test_an_answer_is_read_behind_other_output() -> None:
    assert answer_of('x\ncodegemma-answer:{"status": 0}\n') == {"status": 0}
    assert answer_of("nothing\n") is None


@pytest.mark.slow
def test_pytest_runs_the_chosen_tests_alone_and_none_passes_by_ending_early(root: Path) -> None:
    command = Command.parse("pytest -q tests", environment=None)
    tests = ["tests/test_cart.py::test_total"]
    early = ("shop/money.py", "import os\nos._exit(0)\n")
    with (
        Repository(root, test=command) as repository,
        Sandbox(num_workers=2, binds=repository.binds) as sandbox,
    ):
        chosen, all_of_them, ended = sandbox.map(
            [
                repository.program(tests=tests),
                repository.program(),
                repository.program(changed=early, tests=tests),
            ],
            limits(120.0),
        )
    assert chosen.is_pass, chosen.stdout + chosen.stderr
    assert all_of_them.outcome == "fail"  # test_red fails
    assert ended.outcome == "fail"
    assert "the tests came to no end" in ended.stderr
