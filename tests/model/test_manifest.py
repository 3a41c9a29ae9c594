# SPDX-License-Identifier: Apache-2.0
import json
import os
import time

import pytest

from codegemma.errors import CheckpointError
from codegemma.model import manifest as manifests
from codegemma.model.manifest import (
    build_manifest,
    fingerprint,
    read_manifest,
    verify_manifest,
    write_manifest,
)

# sha256 of b"hello\n" and of b"", as sha256sum prints them.
HELLO = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def folder(tmp_path):
    """A folder of two files, last written an hour ago."""
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    (folder / "hello").write_bytes(b"hello\n")
    (folder / "below" / "empty").write_bytes(b"")
    (folder / ".hidden").write_bytes(b"x")
    for name in ("hello", "below/empty"):
        os.utime(folder / name, (time.time() - 3600,) * 2)
    return folder


def verify(folder):
    manifest = read_manifest(folder)
    assert manifest is not None
    hashed = []
    verify_manifest(folder, manifest, progress=lambda done, total: hashed.append((done, total)))
    return hashed


def test_a_manifest_lists_size_and_sha256_of_every_file(folder):
    write_manifest(folder)
    assert json.loads((folder / "manifest.json").read_text()) == {
        "format": 1,
        "files": {
            "below/empty": {"size_bytes": 0, "sha256": EMPTY},
            "hello": {"size_bytes": 6, "sha256": HELLO},
        },
    }
    found = read_manifest(folder)
    assert found is not None
    assert found == build_manifest(folder)


def test_a_folder_that_is_as_listed_passes_and_is_not_hashed_again(folder):
    write_manifest(folder, known={"hello": HELLO, "below/empty": EMPTY})
    assert verify(folder) == [(6, 6)]
    assert verify(folder) == []


def test_digests_are_taken_again_when_the_cache_is_gone_or_damaged(folder, cache):
    write_manifest(folder)
    [record] = (cache / "digests").iterdir()
    for text in ("{", "[]", '{"hello": 1}', '{"hello": {"stamp": 1}}'):
        record.write_text(text)
        assert verify(folder) == [(6, 6)]
    record.unlink()
    assert verify(folder) == [(6, 6)]


def test_a_cache_that_cannot_be_written_costs_only_time(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / "file"))
    write_manifest(folder)
    assert verify(folder) == verify(folder) == [(6, 6)]


def test_a_file_written_a_moment_ago_is_hashed_each_time(folder):
    (folder / "hello").write_bytes(b"hello\n")
    write_manifest(folder)
    assert verify(folder) == verify(folder) == [(6, 6)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hallo\n", f"hello: expected sha256 {HELLO}, found "),
        (b"hello", "hello: expected 6 bytes, found 5"),
    ],
)
def test_a_changed_file_is_refused(folder, data, message):
    write_manifest(folder)
    verify(folder)
    (folder / "hello").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        verify(folder)


def test_a_file_changed_within_its_time_stamp_is_refused_by_its_inode(folder):
    write_manifest(folder)
    verify(folder)
    stat = (folder / "hello").stat()
    (folder / "other").write_bytes(b"hallo\n")
    os.utime(folder / "other", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (folder / "other").replace(folder / "hello")
    with pytest.raises(CheckpointError, match="hello: expected sha256"):
        verify(folder)


def test_a_missing_file_is_refused(folder):
    write_manifest(folder)
    (folder / "hello").unlink()
    with pytest.raises(CheckpointError, match="expected the file hello, which is missing"):
        verify(folder)


def test_a_manifest_cannot_name_files_outside(folder):
    write_manifest(folder)
    text = (folder / "manifest.json").read_text().replace('"hello"', '"../model/hello"')
    (folder / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"'\.\./model/hello', which leaves the folder"):
        verify(folder)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"format": 2, "files": {}}, "expected format 1, found 2; a newer version"),
        ({"format": 1, "files": {}}, "lists no files"),
        ({"format": 1, "files": {"a": {"size_bytes": "1", "sha256": EMPTY}}}, "entry of a"),
        ({"format": 1, "files": {"a": EMPTY}}, "entry of a"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder, raw, message):
    (folder / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=rf"manifest\.json.*{message}"):
        read_manifest(folder)


def test_a_folder_without_a_manifest_has_none(folder):
    assert read_manifest(folder) is None


def test_links_of_a_hub_snapshot_are_digests(tmp_path):
    repository = tmp_path / "models--google--codegemma-2b"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / HELLO).write_bytes(b"hello\n")
    (repository / "blobs" / ("1" * 40)).write_bytes(b"small files go by their git hash")
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{HELLO}")
    (snapshot / "config.json").symlink_to("../../blobs/" + "1" * 40)
    manifest = read_manifest(snapshot)
    assert manifest is not None
    assert {name: digest.sha256 for name, digest in manifest.files.items()} == {
        "model.safetensors": HELLO
    }
    verify_manifest(snapshot, manifest)
    (repository / "blobs" / HELLO).write_bytes(b"hallo\n")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: expected sha256"):
        verify_manifest(snapshot, manifest)


def test_a_fingerprint_follows_what_matters(folder):
    (folder / "config.json").write_text("{}")
    first = fingerprint(folder)
    assert len(first) == 64
    (folder / "hello").write_text("a note")
    assert fingerprint(folder) == first
    (folder / "config.json").write_text("{ }")
    assert fingerprint(folder) != first


def test_the_fingerprint_of_a_folder_of_ours_is_the_sha256_of_its_manifest(folder):
    manifest = write_manifest(folder)
    (digest,) = {fingerprint(folder), manifest.sha256}
    assert manifests.hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() == digest
