# SPDX-License-Identifier: Apache-2.0
"""Folders on disk: the user's cache, paths that stay inside a folder, all-or-nothing writing.

Knows nothing of what the files mean. Works on any file system with an atomic rename.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from filelock import FileLock, Timeout

from codegemma.errors import CheckpointError

_MAX_JSON_BYTES: Final = 64 << 20


def cache_folder() -> Path:
    """Return the user's cache folder; it need not exist yet.

    `CODEGEMMA_CACHE` where set, else the platform's place for caches.
    """
    if given := os.environ.get("CODEGEMMA_CACHE"):
        return Path(given).expanduser()
    if os.name == "nt":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "codegemma"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "codegemma"


def hub_cache_root(folder: Path) -> Path | None:
    """Return the hub cache a snapshot folder lies in, None for any other folder.

    A snapshot is `ROOT/models--OWNER--NAME/snapshots/COMMIT`; its files are links into `ROOT`.
    """
    if folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--"):
        return folder.parents[2]
    return None


def hub_revision(folder: Path) -> str | None:
    """Name repository and commit of a snapshot folder, as "OWNER/NAME@COMMIT"; None for others."""
    if hub_cache_root(folder) is None:
        return None
    repository = folder.parents[1].name.removeprefix("models--").replace("--", "/", 1)
    return f"{repository}@{folder.name}"


def contained_file(folder: Path, name: str) -> Path:
    """Return the path of the file `name` in `folder`, and refuse one that leads out of it.

    Links are followed. In a snapshot of the hub's cache, links into that cache are accepted, since
    that is how the hub stores files.

    Raises:
        CheckpointError: `name` is absolute, climbs, or is a link out of the folder; or no file.
    """
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if not parts or name.startswith("/") or windows.drive or windows.root or ".." in windows.parts:
        raise CheckpointError(f"{folder}: refused the file name {name!r}, which leaves the folder")
    root = folder.resolve()
    path = folder / name
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: expected the file {name}, which is missing") from error
    if not real.is_relative_to(hub_cache_root(root) or root):
        raise CheckpointError(
            f"{path} is a link out of its folder, to {real}; put the file itself into the folder"
        )
    if not real.is_file():
        raise CheckpointError(f"{path}: expected a file, found something else")
    return path


def read_json_object(folder: Path, name: str) -> dict[str, Any]:
    """Read the JSON object in the file `name` of `folder`.

    Raises:
        CheckpointError: The file is missing, leaves the folder, or holds something else.
    """
    path = contained_file(folder, name)
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: expected a small JSON file, found {size_bytes} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


@contextlib.contextmanager
def atomic_folder(target: Path | str, *, replace: bool = False) -> Iterator[Path]:
    """Give a new folder to write into, which becomes `target` when the block ends without error.

    Until then nothing exists under the final name; an error or an interrupt removes what was
    written. A killed process leaves a hidden `.NAME.partial` beside the target, which the next
    write to the same target removes.

    Args:
        target: Final path. Missing parents are created.
        replace: Whether an existing target is replaced; otherwise only an empty folder is.

    Yields:
        The folder to write into, on the same file system as the target.

    Raises:
        CheckpointError: The target exists, another process is writing it, or the disk refuses.
    """
    target = Path(target).absolute()
    partial = target.with_name(f".{target.name}.partial")
    replaced = target.with_name(f".{target.name}.replaced")
    lock_file = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_file, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise CheckpointError(f"another process is writing {target}; wait for it") from error
    except OSError as error:
        raise CheckpointError(f"cannot write {target}: {error.strerror}") from error
    try:
        _remove_leftovers(target, partial=partial, replaced=replaced)
        if not replace and target.exists() and not _is_empty_folder(target):
            raise CheckpointError(f"{target} exists already; remove it or choose another name")
        partial.mkdir()
        yield partial
        _sync_tree(partial)
        if target.is_dir():
            target.rename(replaced)
        partial.rename(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise CheckpointError(f"cannot write {target}: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # what stays is removed by the next write
            _remove_leftovers(target, partial=partial, replaced=replaced)
        with contextlib.suppress(OSError):  # Windows keeps an open file's name
            lock_file.unlink()
        lock.release()


@contextlib.contextmanager
def atomic_file(target: Path | str) -> Iterator[Path]:
    """Give a path to write to, which becomes the file `target` when the block ends without error.

    An error or an interrupt leaves nothing; a killed process leaves a hidden `.NAME.partial`.

    Raises:
        CheckpointError: The target exists, or the disk refuses.
    """
    target = Path(target).absolute()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    if target.exists():
        raise CheckpointError(f"{target} exists already; remove it or choose another name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.rename(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise CheckpointError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # on a disk that refuses, what went before says so
            partial.unlink(missing_ok=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _remove_leftovers(target: Path, *, partial: Path, replaced: Path) -> None:
    """Clear what a write leaves; a target moved away but not yet replaced comes back."""
    if replaced.exists() and not target.exists():
        replaced.rename(target)
    for folder in (partial, replaced):
        if folder.exists():
            shutil.rmtree(folder)


def _sync_tree(folder: Path) -> None:
    """Make sure that every file of the folder is on the disk before its name is."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and rename is already durable
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
