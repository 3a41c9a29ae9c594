# SPDX-License-Identifier: Apache-2.0
import pytest
from filelock import FileLock
from huggingface_hub import errors

from codegemma.errors import CheckpointError, RemoteError
from codegemma.model import download
from codegemma.model.download import HubFile, fetch


@pytest.fixture
def file(hub, monkeypatch):
    """The large file of the hub; a retry waits for nothing."""
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    name = "model.safetensors"
    return HubFile(
        repository="google/codegemma-2b",
        commit="main",
        name=name,
        size_bytes=len(hub.files[name]),
        sha256=hub.digests[name],
    )


def ranges(hub):
    return [seen.range for seen in hub.requests if seen.path.startswith("/cdn/")]


def get(file):
    seen = []
    fetch(file, progress=seen.append)
    assert seen == sorted(seen)
    return file.blob.read_bytes()


def test_a_file_gets_its_name_when_it_is_whole(hub, file):
    assert file.kept_bytes == 0
    assert get(file) == hub.files[file.name]
    assert not file.partial.exists()
    assert file.kept_bytes == file.size_bytes
    assert get(file) == hub.files[file.name]
    assert ranges(hub) == [""]


def test_a_broken_connection_is_taken_up_again(hub, file):
    hub.cut_after = [40_000, 10_000]
    assert get(file) == hub.files[file.name]
    assert ranges(hub) == ["", "bytes=40000-", "bytes=50000-"]


def test_a_connection_that_breaks_at_once_is_given_up_after_some_attempts(hub, file):
    hub.cut_after = [1000] + [0] * 20
    with pytest.raises(download.TRANSPORT_ERRORS):
        get(file)
    assert ranges(hub) == [""] + ["bytes=1000-"] * 5
    assert file.kept_bytes == 1000


def test_a_server_that_ignores_the_range_is_read_from_the_start(hub, file):
    hub.ignores_range = True
    hub.cut_after = [40_000]
    seen = []
    fetch(file, progress=seen.append)
    assert file.blob.read_bytes() == hub.files[file.name]


def test_a_busy_server_is_asked_again(hub, file, monkeypatch):
    hub.status = 503
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        hub.status = 0 if len(waits) == 2 else 503

    monkeypatch.setattr(download.time, "sleep", sleep)
    assert get(file) == hub.files[file.name]
    assert waits == [0.5, 1.0]


def test_a_refusal_is_not_asked_again(hub, file):
    hub.token = "hf_secret"
    with pytest.raises(errors.GatedRepoError):
        get(file)
    assert len(hub.requests) == 1


def test_a_damaged_file_is_thrown_away(hub, file):
    hub.files[file.name] = hub.files[file.name][:-1] + b"\x00"
    with pytest.raises(
        RemoteError, match=r"model\.safetensors of google/codegemma-2b arrived damag"
    ):
        get(file)
    assert not file.blob.exists()
    assert not file.partial.exists()


def test_a_leftover_longer_than_the_file_is_thrown_away(hub, file):
    file.partial.parent.mkdir(parents=True)
    file.partial.write_bytes(bytes(file.size_bytes + 1))
    assert get(file) == hub.files[file.name]


def test_more_bytes_than_announced_are_refused(hub, file):
    hub.files[file.name] += b"more"
    with pytest.raises(RemoteError, match=r"sent more of model\.safetensors than it announced"):
        get(file)


def test_two_processes_do_not_fetch_one_file(hub, file):
    lock_file = file.storage.parent / ".locks" / file.storage.name / f"{file.sha256}.lock"
    lock_file.parent.mkdir(parents=True)
    with (
        FileLock(lock_file),
        pytest.raises(CheckpointError, match=r"another process is fetching model\.safetensors"),
    ):
        get(file)
    assert hub.requests == []
