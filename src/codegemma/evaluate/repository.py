# SPDX-License-Identifier: Apache-2.0
"""A git repository under test: its last commit as a folder, and programs that run its tests.

Reads the commit alone, never the working tree, and writes nothing into it. A program copies the
folder into the box, puts one changed file in its place and runs the tests there. Of pytest's tests
only those known to have passed count; another command has to end with the line that it ends with on
the commit, numbers apart, so that a program that ends early does not pass.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Final

from codegemma.errors import ConfigError, InputError, PrerequisiteError
from codegemma.sandbox.languages import TOOLCHAINS
from codegemma.sandbox.program import MEBIBYTE, Limits, Program, RunResult

_MARK: Final = "codegemma-answer:"
_RUNNER: Final = Path(__file__).with_name("repository_tests.py.txt")
_MODULES: Final = "node_modules"
_NOT_REQUIRED: Final = "filter.lfs.required=false"
_PLACE: Final = Path("/var/tmp")  # not below /tmp, which in a box is the program's own
_TAIL_CHARS: Final = 600
_RULE: Final = re.compile(r"([-=_!*])\1{3,}")  # what pytest draws across the page
_PREFIX: Final = "codegemma-repository-"
# Options of pytest and of its common plugins whose value is the next word, and may be a path.
_TAKES_A_WORD: Final = frozenset(
    (
        *("-c", "-k", "-m", "-n", "-o", "-p", "-W", "--basetemp", "--config-file", "--confcutdir"),
        *("--cov", "--cov-config", "--cov-report", "--deselect", "--ds", "--html", "--ignore"),
        *("--ignore-glob", "--junit-xml", "--junitxml", "--log-file", "--override-ini"),
        *("--report-log", "--rootdir"),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """How a repository is tested.

    Args:
        words: The command.
        environment: Folder with the Python and the packages that it needs, or with the
            `node_modules` of a repository of JavaScript; read-only. Other tools are taken from
            /usr, or from its `bin`.
    """

    words: tuple[str, ...]
    environment: Path

    @classmethod
    def parse(cls, command: str, *, environment: Path | None) -> "Command":
        """Take a command line; None as environment is the one that this program runs in.

        Raises:
            ConfigError: The command is none, or the environment has no Python.
        """
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--test {command!r} is no command: {error}") from None
        if not words:
            raise ConfigError("--test needs a command, such as 'python -m pytest -q'")
        if PurePosixPath(words[0]).name in ("pytest", "py.test"):
            words = ["python", "-m", "pytest", *words[1:]]
        folder = (environment or Path(sys.prefix)).absolute()
        if not ((folder / "bin" / "python").exists() or (folder / _MODULES).is_dir()):
            raise ConfigError(
                f"--env {folder} has no bin/python and no {_MODULES}; name a virtual environment, "
                "or a folder that packages were installed in, with what the tests need"
            )
        return cls(words=tuple(words), environment=folder)

    @property
    def is_pytest(self) -> bool:
        """Whether single tests can be chosen, and each one's outcome is known."""
        return self.words[1:3] == ("-m", "pytest")

    @property
    def python(self) -> Path:
        """The interpreter behind the environment's, this program's own if it has none."""
        own = self.environment / "bin" / "python"
        return (own if own.exists() else Path(sys.prefix, "bin", "python")).resolve()

    @property
    def site_packages(self) -> list[Path]:
        """Where the environment's packages lie."""
        return sorted((self.environment / "lib").glob("python3*/site-packages"))

    @property
    def binds(self) -> tuple[Path, ...]:
        """What the box has to show for it."""
        settings = {Path(bind) for tools in TOOLCHAINS.values() for bind in tools.binds}
        known = sorted(path for path in settings if path.exists())
        return self.environment, self.python.parents[1], *known


class Repository:
    """The last commit of a git repository, as a folder that a box can show.

    Close it, or leave its `with` block, and the folder is gone.

    Args:
        path: The repository.
        test: How it is tested.

    Raises:
        InputError: It is no git repository, or has no commit.
        PrerequisiteError: git is not installed.
    """

    def __init__(self, path: Path, *, test: Command) -> None:
        self.path = path.absolute()
        self.name = self.path.name
        self.test = test
        if shutil.which("git") is None:
            raise PrerequisiteError("a repository is read with git: apt-get install git")
        self.commit = self._git("rev-parse", "HEAD").decode().strip()
        _clear_leftovers()
        self._folder = tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=_PLACE)
        self.folder = Path(self._folder.name) / "repository"
        self.folder.mkdir()
        self._check_out()
        if os.geteuid() == 0:  # programs run as another user
            for folder in (self.folder.parent, self.folder):
                folder.chmod(0o755)

    def __enter__(self) -> "Repository":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    @property
    def binds(self) -> tuple[Path, ...]:
        """What a sandbox has to show for its programs to run."""
        return (self.folder.parent, *self.test.binds)

    def _check_out(self) -> None:
        """Write the files of the commit as git does, by an index of their own.

        Not as `git archive` does, which leaves out what is not meant for a release, such as tests.
        """
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._git("read-tree", "HEAD", environment=index)
            # A large file stays the pointer that the commit holds: nothing is fetched.
            kept = [f"filter.lfs.{name}=" for name in ("smudge", "process")]
            settings = [word for value in (*kept, _NOT_REQUIRED) for word in ("-c", value)]
            words = (*settings, f"--work-tree={self.folder}", "checkout-index", "--all")
            self._git(*words, environment=index)

    def line_times(self, path: str) -> list[int]:
        """Give the time at which each line of a file was last changed, in seconds since 1970."""
        blame = self._git("blame", "--line-porcelain", "HEAD", "--", path).decode(
            "utf-8", "replace"
        )
        return [
            int(line.split()[1]) for line in blame.split("\n") if line.startswith("committer-time ")
        ]

    def program(
        self,
        *,
        changed: tuple[str, str] | None = None,
        tests: Sequence[str] = (),
        ending: str = "",
        with_coverage: bool = False,
    ) -> Program:
        """Build the program that runs the tests on the commit with one file changed.

        Args:
            changed: Path and text of the file, None to run it as it is.
            tests: The only tests to run, by pytest's names; all of the command without any.
            ending: Last line that a command of unknown outcomes has to print, its numbers masked,
                as `answer_of` told of an earlier program; "" for any.
            with_coverage: Whether to answer which test runs which lines.
        """
        settings: dict[str, Any] = {
            "folder": str(self.folder),
            "changed": changed,
            "words": self._words(tests),
            "tests": list(tests),
            "is_pytest": self.test.is_pytest,
            "ending": ending,
            "python": str(self.test.python),
            "site_packages": list(map(str, self.test.site_packages)),
            "scripts": str(self.test.environment / "bin"),
            "modules": str(self.test.environment / _MODULES),
            "with_coverage": with_coverage,
            "mark": _MARK,
        }
        head = f"SETTINGS = {json.dumps(settings)!r}\n"
        return Program(language="python", source=head + _RUNNER.read_text(encoding="utf-8"))

    def _words(self, tests: Sequence[str]) -> list[str]:
        """Give the command, its own files left out where single tests are asked for."""
        words = list(self.test.words)
        if not tests:
            return words
        kept = words[:3] + [
            word
            for before, word in pairwise(words[2:])
            if before in _TAKES_A_WORD or not (self.folder / word.split("::")[0]).exists()
        ]
        return [*kept, *tests]

    def _git(self, *arguments: str, environment: Mapping[str, str] | None = None) -> bytes:
        run = subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, **(environment or {})},
        )
        if run.returncode:
            words = run.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
            raise InputError(f"{self.path} is no git repository with a commit: {words}")
        return run.stdout


def _clear_leftovers() -> None:
    """Remove the folders of processes that were killed before they could."""
    for folder in _PLACE.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


def words_of(result: RunResult) -> str:
    """Give in one line the end of what the tests of a `Repository.program` printed."""
    printed = result.stderr or "\n".join(
        line for line in result.stdout.split("\n") if not line.startswith(_MARK)
    )
    return " ".join(_RULE.sub(" ", printed).split())[-_TAIL_CHARS:]


def answer_of(stdout: str) -> dict[str, Any] | None:
    """Read what a program of `Repository.program` answered, None if it came to no answer."""
    line = next((line for line in stdout.split("\n") if line.startswith(_MARK)), None)
    return None if line is None else json.loads(line.removeprefix(_MARK))


def limits(wall_s: float) -> Limits:
    """Give the bounds of a run of tests."""
    return Limits(
        wall_s=wall_s,
        memory_bytes=4096 * MEBIBYTE,
        address_space_bytes=None,
        output_bytes=64 * MEBIBYTE,
        file_bytes=1024 * MEBIBYTE,
        max_processes=256,
    )
