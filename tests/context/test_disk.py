# SPDX-License-Identifier: Apache-2.0
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from codegemma.context import disk as disk_module
from codegemma.context.disk import Disk

Write = Callable[[Mapping[str, str]], Path]
TICK_NS = 20_000_000


def settle() -> None:
    """Let the clock of the file system go on."""
    time.sleep(3 * TICK_NS / 1e9)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders whose names are read, as they are."""
    folders: list[str] = []
    real = os.scandir

    def scandir(folder: str) -> Any:
        folders.append(folder)
        return real(folder)

    monkeypatch.setattr(disk_module.os, "scandir", scandir)
    return folders


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a folder for settled soon, so that a test need not wait."""
    monkeypatch.setattr(disk_module, "_SETTLED_NS", TICK_NS)
    monkeypatch.setattr(disk_module, "_MAX_TURNS", 1 << 30)


def test_source_files_come_with_time_and_size_those_nearest_to_the_root_first(
    tmp_path: Path, write: Write
) -> None:
    root = write({
        "b/deep/er.py": "12345",
        "b/one.go": "1",
        "a.py": "12",
        "notes.txt": "no",
        "c.pyc": "no",
        ".hidden/h.py": "no",
        "b/node_modules/m.js": "no",
    })  # fmt: skip
    os.utime(root / "a.py", ns=(1, 7_000_000_000))
    stamps, is_whole = Disk(root).look()

    assert is_whole
    assert [(path, size) for path, (_, size) in stamps.items()] == [
        ("a.py", 2),
        ("b/one.go", 1),
        ("b/deep/er.py", 5),
    ]
    assert stamps["a.py"] == (7_000_000_000, 2)


@pytest.mark.usefixtures("quick")
def test_names_are_read_again_in_those_folders_alone_where_some_came_or_went(
    write: Write, listed: list[str]
) -> None:
    root = write({"a/one.py": "", "a/two.py": "", "b/c/three.py": "", "four.py": ""})
    settle()
    disk = Disk(root)
    disk.look()
    listed.clear()

    assert [*disk.look()[0]] == ["four.py", "a/one.py", "a/two.py", "b/c/three.py"]
    assert listed == []
    write({"b/c/new.py": "", "a/one.py": "changed"})
    (root / "a/two.py").unlink()
    stamps, _ = disk.look()

    assert [*stamps] == ["four.py", "a/one.py", "b/c/new.py", "b/c/three.py"]
    assert stamps["a/one.py"][1] == 7
    assert sorted(folder.removeprefix(str(root)) for folder in listed) == ["/a/", "/b/c/"]


@pytest.mark.usefixtures("quick")
def test_folders_that_go_come_move_or_become_something_else_are_seen(write: Write) -> None:
    root = write({"a/one.py": "", "b/c/two.py": "", "d/three.py": "", "e.py": "", "f/six.py": ""})
    settle()
    disk = Disk(root)
    disk.look()
    settle()
    (root / "a").rename(root / "g")
    (root / "e.py").unlink()
    (root / "b/c/two.py").unlink()
    (root / "b/c").rmdir()
    write({"e.py/five.py": "", "b/c": "no longer a folder"})
    (root / "d").rename(root / "h")
    (root / "d").symlink_to(root / "h")
    (root / "f/six.py").unlink()
    (root / "f/six.py").symlink_to(root / "g/one.py")

    assert sorted(disk.look()[0]) == ["e.py/five.py", "g/one.py", "h/three.py"]


def test_a_folder_that_changes_twice_within_a_tick_of_its_clock_is_seen(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({"a.py": ""})
    now = time.time_ns()
    monkeypatch.setattr(disk_module, "_change", lambda folder: (now, now, 1, 1))
    disk = Disk(root)
    disk.look()
    write({"b.py": ""})

    assert sorted(disk.look()[0]) == ["a.py", "b.py"]


def test_where_folders_keep_no_times_new_files_are_seen_all_the_same_before_long(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({f"{number}/a.py": "" for number in range(40)})
    monkeypatch.setattr(disk_module, "_change", lambda folder: (0, 0, 1, 1))
    disk = Disk(root)
    disk.look()
    write({"39/b.py": "", "new.py": ""})
    seen = set[str]()
    for _ in range(16):
        seen |= disk.look()[0].keys()

    assert {"39/b.py", "new.py"} < seen


def test_files_beyond_a_number_are_not_looked_at_the_deepest_ones(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({"z.py": "", "a/c.py": "", "a/b.py": "", "a/d/e.py": ""})
    monkeypatch.setattr(disk_module, "MAX_FILES", 2)
    disk = Disk(root)

    for _ in range(2):
        stamps, is_whole = disk.look()
        assert [*stamps] == ["z.py", "a/b.py"]
        assert not is_whole


def test_large_files_links_and_pipes_are_not_looked_at(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({"small.py": "1", "large.py": "12345"})
    (root / "link.py").symlink_to(root / "small.py")
    os.mkfifo(root / "pipe.py")
    monkeypatch.setattr(disk_module, "MAX_FILE_BYTES", 4)

    assert [*Disk(root).look()[0]] == ["small.py"]


def test_a_folder_that_may_not_be_read_or_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert Disk(tmp_path / "gone").look() == ({}, True)
