# SPDX-License-Identifier: Apache-2.0
"""Read a git repository at its HEAD commit, bare or not, without checking anything out.

Blobs are taken from the object store, so that no hook, filter, attribute or link of the repository
has a say. It reads neither the working tree nor the network; missing objects are left out.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from codegemma.data.document import Blob, Location, Wanted
from codegemma.errors import InputError, PrerequisiteError

_TIMEOUT_S: Final = 600
_LINK: Final = "120000"
_SUBMODULE: Final = "160000"


def git_folder(folder: Path) -> Path | None:
    """Give the folder or file that git knows a repository by, None when the folder is none."""
    if (folder / ".git").exists():
        return folder / ".git"
    is_bare = (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    return folder if is_bare and (folder / "refs").is_dir() else None


def head(folder: Path) -> str:
    """Give the commit of HEAD, "" where none was made yet.

    Raises:
        InputError: HEAD names a commit that cannot be read, or git finds no repository there: the
            files that lie there may be anyone's.
        PrerequisiteError: git is not installed.
    """
    found = _ask(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if found.returncode == 0:
        return found.stdout.decode().strip()
    named = _ask(folder, "rev-parse", "--verify", "--quiet", "HEAD").stdout.decode().strip()
    branch = _ask(folder, "symbolic-ref", "-q", "HEAD").stdout.decode("utf-8", "replace").strip()
    if branch and not named and _ask(folder, "reflog", "exists", branch).returncode:
        return ""
    reason = _reason(found) or f"HEAD names {named or branch or 'nothing'}, which is not there"
    raise InputError(
        f"git cannot read the commit of {folder}: {reason}; mend it (`git fsck`), or take away "
        f"{git_folder(folder)} to read the files as they lie there"
    )


def remotes(folder: Path) -> list[str]:
    """Give the addresses of the repository's remotes; none of one that names none.

    Raises:
        PrerequisiteError: git is not installed.
    """
    try:
        listing = _run(folder, "config", "--local", "--list", "-z").decode("utf-8", "replace")
    except InputError:
        return []  # a repository without settings is one all the same
    settings = (entry.partition("\n") for entry in listing.split("\0"))
    return [url for key, _, url in settings if re.fullmatch(r"remote\..*\.url", key)]


def blobs(location: Location, *, wanted: Wanted, max_bytes: int) -> Iterator[Blob]:
    """Give the wanted files of the location's commit, in git's order.

    Raises:
        InputError: git failed.
    """
    folder = location.root
    listing = _run(folder, "ls-tree", "-r", "-z", "-l", "--full-tree", location.version)
    process = subprocess.Popen(
        _command(folder, "cat-file", "--batch"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    assert process.stdin
    assert process.stdout
    try:
        for entry in filter(None, listing.split(b"\0")):
            meta, _, name = entry.partition(b"\t")
            mode, _, digest, size = meta.decode("ascii", "replace").split()
            path = name.decode("utf-8", "surrogateescape")
            size_bytes = int(size) if size.isdigit() else 0
            if mode == _SUBMODULE:
                yield Blob(path=path, rule="submodule")
            elif not wanted(path):
                continue
            elif mode == _LINK:
                yield Blob(path=path, rule="symbolic_link")
            elif size_bytes > max_bytes:
                yield Blob(path=path, rule="too_large", size_bytes=size_bytes)
            else:
                process.stdin.write(digest.encode() + b"\n")
                process.stdin.flush()
                yield _answer(process.stdout, path, folder)
    finally:
        process.kill()
        process.communicate()


def _answer(pipe: IO[bytes], path: str, folder: Path) -> Blob:
    header = pipe.readline().split()
    if len(header) != 3:
        if not header:
            raise InputError(f"git stopped while reading {folder}; check it with `git fsck`")
        return Blob(path=path, rule="unreadable")
    size_bytes = int(header[2])
    data = pipe.read(size_bytes)
    pipe.read(1)
    return Blob(path=path, data=data, size_bytes=size_bytes)


def _run(folder: Path, *arguments: str) -> bytes:
    found = _ask(folder, *arguments)
    if found.returncode:
        raise InputError(f"git cannot read {folder}: {_reason(found)}; check it with `git fsck`")
    return found.stdout


def _ask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            _command(folder, *arguments),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=_environment(),
        )
    except FileNotFoundError as error:
        raise PrerequisiteError("reading git repositories needs the program git") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"git did not list {folder} within {_TIMEOUT_S} s") from error


def _reason(found: subprocess.CompletedProcess[bytes]) -> str:
    return found.stderr.decode(errors="replace").strip().partition("\n")[0]


def _command(folder: Path, *arguments: str) -> list[str]:
    """Name the repository outright, so that git looks for none above it, and bar all transport."""
    settings = ("protocol.allow=never", "core.fsmonitor=false", "core.hooksPath=/dev/null")
    flags = [word for setting in settings for word in ("-c", setting)]
    return ["git", *flags, "--git-dir", str(git_folder(folder) or folder), *arguments]


def _environment() -> dict[str, str]:
    """Leave out what would point git elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    fixed = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
    return kept | fixed | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_NO_REPLACE_OBJECTS": "1"}
