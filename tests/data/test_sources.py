# SPDX-License-Identifier: Apache-2.0
import subprocess
import zipfile
from pathlib import Path

import pytest

from codegemma.data import read, sources
from codegemma.data.document import Location

LIMITS = {"extensions": (".py",), "max_bytes": 1000}


def write(path: Path, text: str = "x = 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def commit(folder: Path, *, bare: Path | None = None) -> None:
    """Make a git repository of a folder with one file; one more file is not committed."""
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    write(folder / "a.py", f"x = '{folder.name}'\n")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    write(folder / "dirty.py")
    if bare:
        subprocess.run(["git", "clone", "-q", "--bare", str(folder), str(bare)], check=True)


def listed(found: list[Location]) -> list[tuple[str, str, list[str]]]:
    """Give name, kind and files of repositories."""
    read_ones = [read.read_repository(at, **LIMITS)[0] for at in found]
    return [
        (at.name, at.kind, [file.path for file in one.files])
        for at, one in zip(found, read_ones, strict=True)
    ]


def test_repositories_are_found_at_any_depth_and_what_lies_beside_them_is_one_more(
    tmp_path: Path,
) -> None:
    root = tmp_path / "src"
    commit(root / "one" / "tool")
    commit(root / "two" / "team" / "tool", bare=root / "two" / "lib.git")
    for path in ("top.py", "one/plain/b.py", ".cache/c.py", "one/tool/sub/untracked.py"):
        write(root / path)
    (root / "link").symlink_to(tmp_path, target_is_directory=True)

    found = read.find_repositories([root])

    assert listed(found) == [
        ("tool", "git", ["a.py"]),
        ("lib", "git", ["a.py"]),
        ("tool~2", "git", ["a.py"]),
        ("src", "folder", ["one/plain/b.py", "top.py"]),
    ]
    _, ledger = read.read_repository(found[3], **LIMITS)
    assert ledger.rows == {"skipped_folder": [1, 0], "linked_folder": [1, 0]}


def test_each_takes_no_hidden_children_and_leaves_a_repository_whole(tmp_path: Path) -> None:
    commit(tmp_path / "repo")
    write(tmp_path / "repo" / "pkg" / "b.py")
    write(tmp_path / ".venv" / "c.py")
    write(tmp_path / "node_modules" / "d.py")

    assert listed(read.find_repositories([tmp_path / "repo"], each=True)) == [
        ("repo", "git", ["a.py"])
    ]
    assert listed(read.find_repositories([tmp_path], each=True)) == [("repo", "git", ["a.py"])]


def test_each_looks_into_children_that_hold_repositories_and_loses_no_file(tmp_path: Path) -> None:
    root = tmp_path / "src"
    commit(root / "org" / "repo")
    for path in ("org/notes.py", "plain/b.py", "top.py"):
        write(root / path)
    write(root / "rows.jsonl", '{"repo": "o/r", "path": "r.py", "content": "r"}\n')
    with zipfile.ZipFile(root / "packed.zip", "w") as out:
        out.writestr("packed/z.py", "z\n")
    (root / "link").symlink_to(tmp_path, target_is_directory=True)

    found = read.find_repositories([root], each=True)

    assert listed(found) == [
        ("repo", "git", ["a.py"]),
        ("org", "folder", ["notes.py"]),
        ("packed", "archive", ["z.py"]),
        ("plain", "folder", ["b.py"]),
        ("o/r", "table", ["r.py"]),
        ("src", "folder", ["top.py"]),
    ]
    assert read.read_repository(found[-1], **LIMITS)[1].rows == {"linked_folder": [1, 0]}


@pytest.mark.parametrize(("beside", "files"), [("a.py", ["a.py"]), ("b.tar.gz", [])])
def test_a_folder_with_more_than_its_tables_is_a_repository(
    beside: str, files: list[str], tmp_path: Path
) -> None:
    write(tmp_path / "mine" / "rows.jsonl", '{"repo": "r", "path": "r.py", "content": "r"}\n')
    write(tmp_path / "mine" / beside)

    (found,) = read.find_repositories([tmp_path / "mine"])

    assert listed([found]) == [("mine", "folder", files)]


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("a/b.py", ""),
        (".tox/x/b.py", ".tox"),
        ("a/node_modules/b/c.js", "a/node_modules"),
        ("a/.hidden.py", ""),
    ],
)
def test_folders_that_hold_no_sources_are_known_by_name(path: str, folder: str) -> None:
    assert sources.skipped_folder(path) == folder


def test_a_table_of_no_repositories_among_the_children_has_a_fault_of_its_own(
    tmp_path: Path,
) -> None:
    write(tmp_path / "evaluation.jsonl", '{"text": "x"}\n')
    write(tmp_path / "mine" / "a.py")

    found = read.find_repositories([tmp_path], each=True)

    assert [(at.name, at.is_part, "names no repository" in at.fault) for at in found] == [
        ("evaluation.jsonl", True, True),
        ("mine", True, False),
    ]


def test_what_is_not_looked_into_stands_among_the_files(tmp_path: Path) -> None:
    for path in ("b.py", "a/c.py", ".git/config", "a/__pycache__/d.py"):
        write(tmp_path / path)
    (tmp_path / "a" / "link").symlink_to(tmp_path, target_is_directory=True)

    assert sources.walk(tmp_path) == [".git/_", "a/__pycache__/_", "a/c.py", "a/link/", "b.py"]
