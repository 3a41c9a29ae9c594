# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest

from codegemma.data import rules


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name in ("data/filters.py", "text/syntax.py", "serve/app.py", "data/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("LIMIT = 1\n", encoding="utf-8")
    return tmp_path


def test_the_code_that_runs_has_one_identity() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", rules.rules_version())
    assert rules.rules_version() == rules.of_folder(Path(rules.__file__).parents[1])


@pytest.mark.parametrize("name", ["data/filters.py", "text/syntax.py", "data/new.py"])
def test_any_change_of_a_rule_changes_it(name: str, package: Path) -> None:
    before = rules.of_folder(package)
    (package / name).write_text("LIMIT = 2\n", encoding="utf-8")

    assert rules.of_folder(package) != before


@pytest.mark.parametrize("name", ["serve/app.py", "data/notes.txt"])
def test_what_decides_nothing_does_not_change_it(name: str, package: Path) -> None:
    before = rules.of_folder(package)
    (package / name).write_text("LIMIT = 2\n", encoding="utf-8")

    assert rules.of_folder(package) == before


def test_another_version_of_a_package_that_decides_changes_it(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rules.of_folder(package)
    monkeypatch.setattr(rules, "version", lambda name: "0.0")

    assert rules.of_folder(package) != before
