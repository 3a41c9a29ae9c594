# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from codegemma.context.root import find_root


def test_the_nearest_folder_under_git_is_the_root_before_any_project_file(tmp_path: Path) -> None:
    (tmp_path / "a" / ".git").mkdir(parents=True)
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "a" / "b" / "package.json").touch()

    assert find_root(tmp_path / "a" / "b" / "c" / "new.js") == tmp_path / "a"


def test_without_git_a_project_file_marks_the_root(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "go.mod").touch()

    assert find_root(tmp_path / "b" / "c" / "main.go") == tmp_path / "b"
    assert find_root(tmp_path / "main.go") is None


def test_a_worktree_whose_git_is_a_file_is_a_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    monkeypatch.chdir(tmp_path)

    assert find_root(Path("a.py")) == tmp_path
