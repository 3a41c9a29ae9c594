# SPDX-License-Identifier: Apache-2.0
"""Fetch one large file of a hub repository, going on where an earlier attempt stopped.

The file lies under a hidden name until all of it is there and its sha256 is right; then it gets its
name in the hub's cache, where every program that uses the hub finds it.

Differs: the hub package begins a large file anew after every interrupt (version 2.4).
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import huggingface_hub
from filelock import FileLock, Timeout
from huggingface_hub import constants, errors
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from codegemma.errors import CheckpointError, RemoteError

TRANSPORT_ERRORS: Final = (
    # The HTTP package's root of errors; which package that is differs between the hub's versions.
    cast(type[Exception], errors.HfHubHTTPError.__bases__[0]),
    OSError,
)
"""What a lost connection raises; a file that cannot be written, too."""

_TIMEOUT_S: Final = 15.0
_MAX_FAILURES: Final = 5
_BUSY: Final = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a repository.

    Args:
        repository: The repository, such as "google/codegemma-2b".
        commit: Commit of the repository.
        name: Name of the file.
        size_bytes: Its size.
        sha256: Its digest in hexadecimal, for large files; None for small ones.
    """

    repository: str
    commit: str
    name: str
    size_bytes: int
    sha256: str | None

    @property
    def storage(self) -> Path:
        """Folder of the repository in the hub's cache."""
        return Path(constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}"

    @property
    def blob(self) -> Path:
        """Where a large file lies when it is whole."""
        return self.storage / "blobs" / str(self.sha256)

    @property
    def partial(self) -> Path:
        """Where a large file lies until then."""
        return self.storage / "blobs" / f"{self.sha256}.codegemma.incomplete"

    @property
    def kept_bytes(self) -> int:
        """How much of it is on this machine."""
        paths = [self.storage / "snapshots" / self.commit / self.name]
        if self.sha256 is not None:
            paths += [self.blob, self.partial]
        sizes = (path.stat().st_size for path in paths if path.is_file())
        return min(self.size_bytes, next(sizes, 0))


def fetch(file: HubFile, *, progress: Callable[[int], None]) -> None:
    """Fetch a large file into the hub's cache, unless it is there.

    Args:
        file: The file.
        progress: Told how many of its bytes are here.

    Raises:
        RemoteError: It arrives damaged or not at all.
        CheckpointError: Another process is fetching it.
        OSError: It cannot be written; or, as the hub's errors, the hub refuses.
    """
    if file.blob.exists():
        return
    lock_file = file.storage.parent / ".locks" / file.storage.name / f"{file.sha256}.lock"
    for folder in (file.blob.parent, lock_file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock_file, timeout=0):
            _fetch_pieces(file, progress=progress)
            with file.partial.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != file.sha256:
                file.partial.unlink()
                raise RemoteError(
                    f"{file.name} of {file.repository} arrived damaged: expected sha256 "
                    f"{file.sha256}, found {found}; pull again"
                )
            file.partial.replace(file.blob)
    except Timeout as error:
        raise CheckpointError(
            f"another process is fetching {file.name} of {file.repository}; wait for it"
        ) from error


def _fetch_pieces(file: HubFile, *, progress: Callable[[int], None]) -> None:
    """Append to the hidden file until it is whole; a broken connection is taken up again."""
    failures = 0
    kept = _size(file.partial)
    if kept > file.size_bytes:
        file.partial.unlink()
        kept = 0
    file.partial.touch()
    while kept < file.size_bytes:
        start = kept
        try:
            for kept in _request(file, start):
                progress(kept)
        except TRANSPORT_ERRORS as error:
            kept = _size(file.partial)
            failures = 0 if kept > start else failures + 1
            if failures == _MAX_FAILURES or not _may_pass(error):
                raise
            time.sleep(min(8.0, 0.25 * 2**failures))
        else:
            if kept < file.size_bytes and kept == start:
                raise RemoteError(f"the hub sent nothing of {file.name}; pull again later")


def _request(file: HubFile, start: int) -> Iterator[int]:
    """Ask once for a file from `start` on; yields how much of it is here as it comes in."""
    url = huggingface_hub.hf_hub_url(file.repository, file.name, revision=file.commit)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    session = huggingface_hub.get_session()
    with session.stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_S
    ) as response:
        hf_raise_for_status(response)
        position = start if response.status_code == 206 else 0  # 200 is the file from its start
        with file.partial.open("r+b") as out:
            out.truncate(position)
            out.seek(position)
            for data in response.iter_bytes():
                position += len(data)
                if position > file.size_bytes:
                    raise RemoteError(f"the hub sent more of {file.name} than it announced")
                out.write(data)
                yield position


def _may_pass(error: Exception) -> bool:
    """Whether a failure may be gone at the next attempt: a lost connection, a busy server."""
    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code in _BUSY
    return not (isinstance(error, OSError) and error.errno is not None)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
