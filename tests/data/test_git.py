# SPDX-License-Identifier: Apache-2.0
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from codegemma.data import git, read
from codegemma.data.document import Location, Repository
from codegemma.errors import InputError

LIMITS = {"extensions": (".py",), "max_bytes": 1000}


def run(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "pkg").mkdir(parents=True)
    run(folder, "init", "-q")
    (folder / "pkg" / "a.py").write_bytes(b"x = 1\r\n")
    (folder / "large.py").write_bytes(b"#" * 1001)
    (folder / "nul.py").write_bytes(b"\0")
    (folder / "caf\u00e9.py").write_text("y = 2\n", encoding="utf-8")
    (folder / "LICENSE").write_text("MIT License", encoding="utf-8")
    (folder / "link.py").symlink_to("/etc/passwd")
    run(folder, "add", ".")
    run(folder, "commit", "-q", "-m", "x")
    run(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    run(folder, "commit", "-q", "-m", "y")
    return folder


def read_one(folder: Path) -> tuple[Repository, dict[str, list[int]]]:
    (location,) = read.find_repositories([folder])
    repository, ledger = read.read_repository(location, **LIMITS)
    return repository, ledger.rows


def test_files_are_those_of_the_commit_not_of_the_working_tree(repository: Path) -> None:
    head = run(repository, "rev-parse", "HEAD")
    (repository / "pkg" / "a.py").write_text("changed = True\n", encoding="utf-8")
    (repository / "new.py").write_text("new = True\n", encoding="utf-8")

    found, dropped = read_one(repository)

    assert (found.name, found.version, found.license) == ("mine", head, "MIT")
    assert [(file.path, file.text) for file in found.files] == [
        ("caf\u00e9.py", "y = 2\n"),
        ("pkg/a.py", "x = 1\n"),
    ]
    assert dropped == {
        "binary": [1, 1],
        "submodule": [1, 0],
        "symbolic_link": [1, 0],
        "too_large": [1, 1001],
    }


def test_a_bare_repository_reads_like_its_working_twin(repository: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare" / "mine.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(repository), str(bare)], check=True)

    assert read_one(bare) == read_one(repository)
    assert [at.name for at in read.find_repositories([tmp_path / "bare"])] == ["mine"]


def test_a_repository_without_a_commit_is_read_as_a_folder(tmp_path: Path) -> None:
    run(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")

    found, _ = read_one(tmp_path)

    assert (found.version, [file.path for file in found.files]) == ("", ["a.py"])


def lose_commit(folder: Path) -> None:
    digest = run(folder, "rev-parse", "HEAD")
    (folder / ".git" / "objects" / digest[:2] / digest[2:]).unlink()


def spoil_commit(folder: Path) -> None:
    digest = run(folder, "rev-parse", "HEAD")
    path = folder / ".git" / "objects" / digest[:2] / digest[2:]
    path.chmod(0o644)
    path.write_bytes(b"no zlib")


def lose_detached(folder: Path) -> None:
    run(folder, "checkout", "-q", "--detach")
    lose_commit(folder)


def empty_branch(folder: Path) -> None:
    (folder / ".git" / run(folder, "symbolic-ref", "HEAD")).write_bytes(b"")


def lose_branch(folder: Path) -> None:
    (folder / ".git" / run(folder, "symbolic-ref", "HEAD")).unlink()


def lose_head(folder: Path) -> None:
    (folder / ".git" / "HEAD").unlink()


def spoil_settings(folder: Path) -> None:
    (folder / ".git" / "config").write_text("[core", encoding="utf-8")


def dangle(folder: Path) -> None:
    (folder / ".git").rename(folder / "git")
    (folder / ".git").write_text("gitdir: nowhere\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lose_commit, "HEAD names [0-9a-f]{40}, which is not there"),
        (spoil_commit, "inflate"),
        (lose_detached, "HEAD names [0-9a-f]{40}, which is not there"),
        (empty_branch, "HEAD names nothing, which is not there"),
        (lose_branch, "HEAD names refs/heads/[a-z]+, which is not there"),
        (lose_head, "not a git repository"),
        (spoil_settings, "bad config line"),
        (dangle, "not a git repository"),
    ],
)
def test_a_repository_without_its_commit_is_refused_not_read_as_a_folder(
    damage: Callable[[Path], None], reason: str, repository: Path
) -> None:
    damage(repository)

    with pytest.raises(InputError, match=f"(?s)commit of .*mine: .*{reason}.*take away") as caught:
        read.find_repositories([repository])

    assert "\n" not in str(caught.value)


def test_a_broken_git_folder_does_not_lead_to_the_repository_above(repository: Path) -> None:
    (repository / "pkg" / ".git").mkdir()

    with pytest.raises(InputError, match=r"commit of .*pkg: .*not a git repository"):
        read.find_repositories([repository / "pkg"])


def test_programs_that_a_repository_names_are_not_run(repository: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for setting in ("core.fsmonitor", "core.pager", "diff.external", "filter.x.smudge"):
        run(repository, "config", setting, f"touch {trap}")
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n", encoding="utf-8")
    hook.chmod(0o755)

    read_one(repository)

    assert not trap.exists()


def test_a_missing_object_is_left_out_and_counted(repository: Path) -> None:
    digest = run(repository, "rev-parse", "HEAD:pkg/a.py")
    (repository / ".git" / "objects" / digest[:2] / digest[2:]).unlink()

    found, dropped = read_one(repository)

    assert [file.path for file in found.files] == ["caf\u00e9.py"]
    assert dropped["unreadable"] == [1, 0]


def test_an_unknown_commit_is_an_error_that_names_the_folder(repository: Path) -> None:
    location = Location(name="x", version="1" * 40, license="", root=repository, kind="git")

    with pytest.raises(InputError, match=r"git cannot read .*mine: .*git fsck"):
        list(git.blobs(location, wanted=lambda path: True, max_bytes=10))


@pytest.mark.parametrize(
    ("url", "aliases"),
    [
        ("https://github.com/Torvalds/linux.git", ("Torvalds/linux",)),
        ("git@github.com:torvalds/linux", ("torvalds/linux",)),
        ("ssh://git@host.org:22/group/sub/name.git/", ("group/sub/name", "sub/name")),
        ("/srv/git/linux.git", ()),
        ("https://host.org/linux", ()),
    ],
)
def test_a_clone_is_known_by_its_owner_too(
    url: str, aliases: tuple[str, ...], repository: Path
) -> None:
    run(repository, "remote", "add", "origin", url)

    (location,) = read.find_repositories([repository])

    assert (location.name, location.aliases) == ("mine", aliases)
