# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codegemma.errors import CheckpointError
from codegemma.model.folder import (
    atomic_folder,
    cache_folder,
    contained_file,
    hub_revision,
    read_json_object,
)

WRITER = """
import sys, time
from codegemma.model.folder import atomic_folder
with atomic_folder(sys.argv[1]) as folder:
    (folder / "first").write_text("whole")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_the_cache_lies_where_the_environment_says(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("CODEGEMMA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/codegemma")


def test_a_file_of_the_folder_is_found(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_text("x")
    assert contained_file(tmp_path, "below/file") == tmp_path / "below" / "file"


@pytest.mark.parametrize(
    "name", ["../outside", "below/../../outside", "/etc/passwd", "C:\\x", "..\\outside", "", "."]
)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside").write_text("x")
    with pytest.raises(CheckpointError, match=r"leaves the folder|expected a file"):
        contained_file(folder, name)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside").write_text("x")
    (folder / "inside").symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match="inside is a link out of its folder"):
        contained_file(folder, "inside")


def test_the_links_of_the_hubs_cache_are_followed(tmp_path):
    snapshot = tmp_path / "models--google--codegemma-2b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blob = tmp_path / "models--google--codegemma-2b" / "blobs" / "123"
    blob.parent.mkdir()
    blob.write_text("x")
    (snapshot / "config.json").symlink_to("../../blobs/123")
    assert contained_file(snapshot, "config.json").read_text() == "x"
    (snapshot / "other").symlink_to("/etc/passwd")
    with pytest.raises(CheckpointError, match="link out of its folder"):
        contained_file(snapshot, "other")


def test_a_snapshot_of_the_hub_is_named_by_repository_and_commit(tmp_path):
    snapshot = tmp_path / "models--google--codegemma-2b" / "snapshots" / "abc"

    assert hub_revision(snapshot) == "google/codegemma-2b@abc"
    assert hub_revision(tmp_path / "my-model") is None


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"expected the file config\.json, which is missing"):
        contained_file(tmp_path, "config.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected a JSON object, found list"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"config\.json.*{message}"):
        read_json_object(tmp_path, "config.json")


def test_a_written_folder_appears_whole(tmp_path):
    target = tmp_path / "new" / "folder"
    with atomic_folder(target) as folder:
        (folder / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


def test_an_error_while_writing_leaves_nothing(tmp_path):
    def write() -> None:
        with atomic_folder(tmp_path / "folder") as folder:
            (folder / "file").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").write_text("x")
    with (
        pytest.raises(CheckpointError, match="folder exists already"),
        atomic_folder(tmp_path / "folder"),
    ):
        pass
    assert (tmp_path / "folder" / "precious").read_text() == "x"


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "folder").mkdir()
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "folder" / "file").read_text() == "x"


def test_a_replaced_folder_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "folder"
    for text in ("old", "new"):
        with atomic_folder(target, replace=True) as folder:
            (folder / "file").write_text(text)
            if text == "new":
                assert (target / "file").read_text() == "old"
    assert (target / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_moved_away_by_a_killed_replacement_comes_back(tmp_path):
    (tmp_path / ".folder.replaced").mkdir()
    (tmp_path / ".folder.replaced" / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "folder", replace=True):
        raise ZeroDivisionError
    assert (tmp_path / "folder" / "file").read_text() == "old"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("is_moved", [False, True], ids=["before", "after"])
def test_a_replacement_that_fails_between_its_two_renames_leaves_the_old_folder(
    tmp_path, monkeypatch, error, is_moved
):
    target = tmp_path / "folder"
    with atomic_folder(target) as folder:
        (folder / "file").write_text("old")
    rename = Path.rename

    def fail(path, to):
        # Raised by the rename of the new folder, or just behind that of the old one.
        if path.name == (".folder.partial", "folder")[is_moved]:
            if is_moved:
                rename(path, to)
            raise error
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fail)
    with (
        pytest.raises((CheckpointError, KeyboardInterrupt)),
        atomic_folder(target, replace=True) as folder,
    ):
        (folder / "file").write_text("new")
    assert (target / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_comes_back_is_not_replaced_unasked(tmp_path):
    (tmp_path / ".folder.replaced").mkdir()
    (tmp_path / ".folder.replaced" / "file").write_text("old")
    with (
        pytest.raises(CheckpointError, match="folder exists already"),
        atomic_folder(tmp_path / "folder"),
    ):
        pass
    assert (tmp_path / "folder" / "file").read_text() == "old"


def test_two_writers_of_one_folder_do_not_meet(tmp_path):
    with (
        atomic_folder(tmp_path / "folder"),
        pytest.raises(CheckpointError, match="another process is writing"),
        atomic_folder(tmp_path / "folder"),
    ):
        pass
    assert (tmp_path / "folder").is_dir()


def test_a_full_disk_is_one_clear_error(tmp_path):
    with (
        pytest.raises(CheckpointError, match=r"cannot write .*folder: .*No space left on device"),
        atomic_folder(tmp_path / "folder"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path, number):
    target = tmp_path / "folder"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == "writing\n"
        writer.send_signal(number)
        writer.wait(timeout=20)
    assert not target.exists()
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []
    start = time.monotonic()
    with atomic_folder(target) as folder:
        assert list(folder.iterdir()) == []
        (folder / "second").write_text("whole")
    assert time.monotonic() - start < 10
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
