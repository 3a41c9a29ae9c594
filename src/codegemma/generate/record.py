# SPDX-License-Identifier: Apache-2.0
"""What `verify` found out about a checkpoint, kept in the user's cache folder.

The file's name is the checkpoint's fingerprint, so a record never outlives the weights it is of.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from codegemma.completion import Mode
from codegemma.model.folder import cache_folder
from codegemma.model.manifest import fingerprint as take_fingerprint

_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A passed verification.

    Args:
        fingerprint: sha256 of the manifest, or of one made where there is none.
        mode: Infill order with the lowest middle NLL.
        nll: Mean negative log likelihood of a middle, nats a byte, by what was measured: the
            three orders, and their controls with shuffled sentinels.
    """

    fingerprint: str
    mode: Mode
    nll: dict[str, float]


def read_record(folder: Path, *, fingerprint: str | None) -> Record | None:
    """Read the record of a model folder; None without one, or when it cannot be read.

    Args:
        folder: The model folder.
        fingerprint: Its fingerprint, None where it has no manifest: then its files are hashed,
            but only if anything was ever verified.
    """
    if not _folder().is_dir():
        return None
    try:
        raw = json.loads(_file(fingerprint or take_fingerprint(folder)).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    match raw:
        case {
            "format": 1,
            "fingerprint": str(key),
            "mode": "psm" | "spm" | "spm2" as mode,
            "nll": dict(nll),
        }:
            return Record(fingerprint=key, mode=mode, nll=nll)
    return None


def write_record(record: Record) -> Path:
    """Write a record, replacing an older one, and give its file."""
    path = _file(record.fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    text = json.dumps({"format": _FORMAT, **asdict(record)}, indent=1)
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def _folder() -> Path:
    return cache_folder() / "verify"


def _file(fingerprint: str) -> Path:
    return _folder() / f"{fingerprint}.json"
