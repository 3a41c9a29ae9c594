# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from codegemma.errors import ConfigError
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.report.compare import compare_runs
from codegemma.evaluate.report.latency import compare_paces
from codegemma.evaluate.report.runs import read_runs
from codegemma.evaluate.repository import Command, Repository
from codegemma.evaluate.runner import run_task
from codegemma.evaluate.task import Problem, Task
from codegemma.evaluate.tasks import repo
from codegemma.sandbox.run import Sandbox


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, repository_files) -> Iterator[Repository]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed: apt-get install git")
    root = repository_files.make_repository(tmp_path_factory.mktemp("git") / "shop")
    command = Command.parse("python check.py", environment=None)
    with Repository(root, test=command) as repository:
        yield repository


@pytest.fixture(scope="module")
def box(repository: Repository) -> Iterator[Sandbox]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    with Sandbox(num_workers=2, binds=repository.binds) as box:
        yield box


@pytest.fixture
def task(repository: Repository, box: Sandbox, tmp_path: Path) -> Task:
    return repo.make_task(repository, sandbox=box, out=tmp_path)


def test_each_snippet_is_asked_for_alone_and_with_the_files_it_depends_on(task: Task) -> None:
    problems = task.problems(Path())

    assert (task.name, task.has_slow_programs) == ("repo:shop", True)
    assert [problem.group for problem in problems] == [
        "line, alone",
        "line, with context",
        "block, alone",
        "block, with context",
        "body, alone",
        "body, with context",
    ]
    assert {problem.cluster for problem in problems} == {"shop/cart.py::total"}
    for problem in problems:
        prompt = problem.prompt
        assert prompt.prefix + (problem.solution or "") + (prompt.suffix or "") == (
            "from .money import add, unused\n\n\n"
            "def total(prices):\n"
            "    found = 0\n"
            "    for price in prices:\n"
            "        found = add(found, price)\n"
            "        found = add(found, 0)\n"
            "    return found\n\n\n"
            "def untested():\n    return unused(1)\n\n\n"
            "def hollow():\n    add(1, 2)\n"
        )
        shown = [file.path for file in prompt.context]
        others = ["shop/money.py", "check.py", "tests/test_cart.py"]
        assert shown == (others if "with" in problem.group else [])


def test_right_completions_pass_and_empty_ones_fail(
    task: Task, box: Sandbox, fakes, tmp_path: Path
) -> None:
    wanted: dict[str, Problem] = {}
    for problem in task.problems(Path()):
        wanted[problem.prompt.prefix + "\0" + (problem.prompt.suffix or "")] = problem

    def answer(prompt, _):
        return wanted[prompt.prefix + "\0" + prompt.suffix].solution

    for text, value in ((answer, 1.0), ("", 0.0)):
        completer = fakes.ScriptedCompleter(text, name=f"m{value}")
        result = run_task(
            task,
            out=tmp_path / f"run{value}",
            model=completer.info.name,
            open_completer=lambda completer=completer: completer,
            sandbox=box,
        )
        metric = {name: found["value"] for name, found in result["metric"].items()}

        assert metric["exact-match"] == value
        assert metric["edit-similarity"] == value
        # Without one line the sum may still be right: it adds 0.
        assert metric["pass@1"] == value or value == 0.0
        assert result["group"]["body, alone"]["pass@1"]["value"] == value
        assert result["n"] == 6
        # A run that goes on draws and scores nothing again.
        before = (tmp_path / f"run{value}" / "repo.shop" / "scores.jsonl").read_bytes()
        run_task(
            task,
            out=tmp_path / f"run{value}",
            model=completer.info.name,
            open_completer=lambda: pytest.fail("drawn again"),
            sandbox=box,
        )
        assert (tmp_path / f"run{value}" / "repo.shop" / "scores.jsonl").read_bytes() == before
    assert json.loads((tmp_path / "repo.shop" / "survey.json").read_text())["found"]
    # Both models stand side by side in a report, which has no repository to look into.
    runs = read_runs([tmp_path / "run0.0", tmp_path / "run1.0"])
    pairs = {(pair.part, pair.metric): pair for pair in compare_runs(runs)}
    assert len(pairs) == 3 * 7
    assert pairs["body, alone", "pass@1"].comparison.difference == 1.0
    assert pairs["", "exact-match"].comparison.n_eff == 1.0
    assert [pace.part for pace in compare_paces(runs)] == list(result["group"])


def test_a_completion_of_a_line_is_cut_to_the_line_and_others_are_not(task: Task) -> None:
    by_group = {problem.group: problem for problem in task.problems(Path())}
    cut = task.variants[0].cut

    assert cut(by_group["line, alone"], "x = 1\ny = 2") == "x = 1"
    assert cut(by_group["body, alone"], "x = 1\n    y = 2") == "x = 1\n    y = 2"


def test_likeness_is_counted_in_characters(task: Task) -> None:
    problem = next(p for p in task.problems(Path()) if p.group == "body, alone")
    likeness = task.variants[2].check

    assert likeness(problem, (problem.solution or "") + "\n") == 1.0
    assert likeness(problem, "") == 0.0


def test_the_name_alone_is_refused_with_the_command_that_it_needs() -> None:
    with pytest.raises(ConfigError, match="repo:PATH is for `codegemma evaluate repo:PATH --test"):
        find_tasks("repo:shop")
