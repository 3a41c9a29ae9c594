# SPDX-License-Identifier: Apache-2.0
"""The folder a data set is made in: who may write there, and how the set becomes whole.

Everything is made in `OUT/.partial` and moved when it is done, the manifest last: without a
manifest there is no data set. What a folder held before is never replaced.
"""

import errno
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from codegemma.data import manifest as manifests
from codegemma.data.rules import rules_version
from codegemma.errors import ConfigError, InputError
from codegemma.text.tokenizer import FILE_NAMES

PARTIAL: Final = ".partial"
MANIFEST: Final = "manifest.json"
_MOVED: Final = ("shards", *FILE_NAMES, "signals.jsonl.gz", "report.json", MANIFEST)
_MADE: Final = (*_MOVED, "report.html", "rows")


@contextmanager
def claimed(out: Path) -> Generator[Path]:
    """Keep other runs out of a folder, and give the folder inside in which the set is made.

    Raises:
        ConfigError: Another run holds it, or it has files of others where a set would lie.
        InputError: It is a file, cannot be made, or its disk is full.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder")
    partial = out / PARTIAL
    refuse_foreign(out)
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {partial}: {error.strerror}") from error
    with locked(out):
        partial.mkdir(exist_ok=True)  # gone where another run came to its end just now
        yield partial


@contextmanager
def locked(out: Path) -> Generator[None]:
    """Keep other runs from writing into a folder that is there.

    Raises:
        ConfigError: Another run holds it.
        InputError: Its disk is full.
    """
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
            # While it is held: whoever opened it before finds it gone and takes a new one.
            (out / ".lock").unlink(missing_ok=True)
    except Timeout as error:
        raise ConfigError(f"another run is preparing data in {out}; wait for it") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"the disk of {out} is full; make room and run the same command again: it goes on "
            "where it stopped"
        ) from error


def refuse_foreign(out: Path) -> None:
    """Refuse a folder that has files where a data set would lie and that no run of ours began.

    Raises:
        ConfigError: It has; the message names them.
    """
    if (out / PARTIAL).is_dir() or (out / MANIFEST).exists():
        return
    found = [name for name in _MADE if (out / name).exists() or (out / name).is_symlink()]
    if found:
        raise ConfigError(
            f"{out} already has {', '.join(found)}, which no run of `codegemma prepare` made; "
            "name a new or empty folder"
        )


def finished(
    out: Path, identity: dict[str, Any], inputs: Iterable[tuple[str, str]]
) -> dict[str, Any] | None:
    """Give the manifest of a finished data set made of the same, None when there is none.

    Args:
        out: Folder of the data set.
        identity: The settings.
        inputs: Of each repository its name and the hash of what is read of it now, also of those
            that their licence kept out.

    Raises:
        ConfigError: There is one of other settings, sources or rules.
    """
    if not (out / MANIFEST).exists():
        return None
    manifest = manifests.read_manifest(out)
    if manifest["settings"] != identity:
        raise ConfigError(
            f"{out} holds data prepared with other settings or sources; "
            "choose another folder or delete it"
        )
    if manifest["versions"]["rules"] != rules_version():
        raise ConfigError(
            f"{out} holds data prepared by other versions of codegemma or its libraries, which "
            "can be trained on; to prepare it anew, choose another folder or delete it"
        )
    made_of = manifest.get("inputs", {})
    for name, digest in inputs:
        if made_of.get(name) != digest:
            raise ConfigError(
                f"{out} holds data prepared before {name} changed; "
                "choose another folder or delete it"
            )
    return manifest


def publish(partial: Path, out: Path) -> None:
    """Move finished files to their place, the manifest last: without it there is no data set."""
    if (out / "shards").exists():
        shutil.rmtree(out / "shards")  # moved there by a run that was stopped before its end
    for name in _MOVED:
        if (partial / name).exists():
            (partial / name).replace(out / name)
    shutil.rmtree(partial)
