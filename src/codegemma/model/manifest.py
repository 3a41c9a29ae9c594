# SPDX-License-Identifier: Apache-2.0
"""The manifest of a model folder: size and sha256 of every file, and their verification.

A folder of ours holds `manifest.json`; in a snapshot of the hub's cache the links name the sha256
of the large files, which serves the same end. Hashing gigabytes takes seconds, so a digest is
remembered in the user's cache with size, time stamp and inode of its file, and computed again when
any of them differs.

It guards against damage and mix-ups, not against someone who can write to the folder and its
manifest.

Source: flipped bits are restored silently by safetensors and by orbax (safety sheet, B1).
"""

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from codegemma.errors import CheckpointError
from codegemma.model.folder import cache_folder, contained_file, hub_cache_root, read_json_object
from codegemma.model.steadyfile import SteadyFile

MANIFEST_NAME: Final = "manifest.json"
_FORMAT: Final = 1
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CONTENT: Final = ("*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer.*")
_READ_BYTES: Final = 1 << 20
# A file written to within the time stamp's own resolution could change again unnoticed.
_SETTLED_S: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDigest:
    """Size and sha256 (hexadecimal) of a file; the size is None where it is not recorded."""

    size_bytes: int | None
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Digests of a folder's files by name, in the order of the names."""

    files: Mapping[str, FileDigest]

    @property
    def text(self) -> str:
        """What `manifest.json` holds."""
        files = {
            name: {"size_bytes": digest.size_bytes, "sha256": digest.sha256}
            for name, digest in sorted(self.files.items())
        }
        return json.dumps({"format": _FORMAT, "files": files}, indent=1) + "\n"

    @property
    def sha256(self) -> str:
        """Fingerprint of the whole folder, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """Read what is recorded of the files of a folder; None when nothing is.

    Raises:
        CheckpointError: `manifest.json` is there and is not one.
    """
    if not (folder / MANIFEST_NAME).exists():
        return _read_hub_links(folder)
    raw = read_json_object(folder, MANIFEST_NAME)
    place = folder / MANIFEST_NAME
    if raw.get("format") != _FORMAT:
        raise CheckpointError(
            f"{place}: expected format {_FORMAT}, found {raw.get('format')!r}; a newer version "
            "may have written it"
        )
    files: dict[str, FileDigest] = {}
    entries = raw.get("files")
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        match entry:
            case {"size_bytes": int(size_bytes), "sha256": str(sha256)}:
                files[name] = FileDigest(size_bytes=size_bytes, sha256=sha256)
            case _:
                raise CheckpointError(f"{place}: the entry of {name} is not valid")
    if not files:
        raise CheckpointError(f"{place} lists no files")
    return Manifest(files=files)


def build_manifest(folder: Path, *, known: Mapping[str, str] | None = None) -> Manifest:
    """Take the digests of the files in a folder, `manifest.json` aside.

    Args:
        folder: The folder; files below its folders count too, hidden ones do not.
        known: sha256 of files whose digest is known already, by name.
    """
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = sorted(
        path.as_posix()
        for path in paths
        if path.name != MANIFEST_NAME and not any(part.startswith(".") for part in path.parts)
    )
    return _take_digests(folder, names, known=known or {})


def write_manifest(folder: Path, *, known: Mapping[str, str] | None = None) -> Manifest:
    """Write the manifest of a folder, as the last of its files."""
    manifest = build_manifest(folder, known=known)
    (folder / MANIFEST_NAME).write_text(manifest.text, encoding="utf-8")
    return manifest


def verify_manifest(
    folder: Path, manifest: Manifest, *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Check that the files of a folder are those its manifest lists.

    Args:
        folder: The folder.
        manifest: What was recorded of it.
        progress: Told the bytes hashed so far and in all, from several threads.

    Raises:
        CheckpointError: A file is missing, or of another size or digest.
    """
    for name, digest in manifest.files.items():
        size_bytes = contained_file(folder, name).stat().st_size
        if digest.size_bytes is not None and size_bytes != digest.size_bytes:
            raise CheckpointError(
                f"{folder / name}: expected {digest.size_bytes} bytes, found {size_bytes}; the "
                "file is damaged or was changed"
            )
    found = _hash_files(folder, list(manifest.files), progress=progress)
    for name, digest in manifest.files.items():
        if found[name] != digest.sha256:
            raise CheckpointError(
                f"{folder / name}: expected sha256 {digest.sha256}, found {found[name]}; the file "
                "is damaged or was changed"
            )


def fingerprint(folder: Path) -> str:
    """Return the sha256 that names a model folder's content.

    It is that of the manifest, or of one made of the files that matter where there is none; of a
    GGUF file, that of a manifest of it alone.
    """
    if folder.is_file():
        return _take_digests(folder.parent, [folder.name], known={}).sha256
    if (folder / MANIFEST_NAME).exists() and (manifest := read_manifest(folder)) is not None:
        return manifest.sha256
    names = sorted(path.name for pattern in _CONTENT for path in folder.glob(pattern))
    return _take_digests(folder, names, known={}).sha256


def _take_digests(folder: Path, names: list[str], *, known: Mapping[str, str]) -> Manifest:
    hashed = _hash_files(folder, [name for name in names if name not in known])
    return Manifest(
        files={
            name: FileDigest(
                size_bytes=(folder / name).stat().st_size, sha256=known.get(name) or hashed[name]
            )
            for name in names
        }
    )


def _read_hub_links(folder: Path) -> Manifest | None:
    """Take digests from the links of a hub snapshot: large files are stored by their sha256."""
    if hub_cache_root(folder.resolve()) is None:
        return None
    files: dict[str, FileDigest] = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            target = path.readlink()
            if target.parent.name == "blobs" and _SHA256.fullmatch(target.name):
                files[path.name] = FileDigest(size_bytes=None, sha256=target.name)
    return Manifest(files=files) if files else None


def _hash_files(
    folder: Path, names: list[str], *, progress: Callable[[int, int], None] | None = None
) -> dict[str, str]:
    """Return the sha256 of files, from the user's cache where it was taken before."""
    record = _read_record(folder)
    found: dict[str, str] = {}
    files: dict[str, SteadyFile] = {}
    for name in names:
        file = SteadyFile(folder / name)
        match record.get(name):
            case {"stamp": list(kept), "sha256": str(sha256)} if kept == list(file.signature):
                found[name] = sha256
            case _:
                files[name] = file
    if not files:
        return found
    total = sum(file.signature.size_bytes for file in files.values())
    counts = dict.fromkeys(files, 0)
    is_stopped = threading.Event()

    def hash_one(name: str) -> str:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_READ_BYTES))
        with files[name].reading() as file:
            while (count := file.readinto(buffer)) and not is_stopped.is_set():
                digest.update(buffer[:count])
                counts[name] += count
                if progress:
                    progress(sum(counts.values()), total)
        return digest.hexdigest()

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        try:
            results = dict(zip(files, pool.map(hash_one, files), strict=True))
        finally:
            is_stopped.set()
    settled_ns = time.time_ns() - int(_SETTLED_S * 1e9)
    for name, sha256 in results.items():
        signature = files[name].signature
        if signature.mtime_ns < settled_ns:
            record[name] = {"stamp": signature, "sha256": sha256}
    _write_record(folder, record)
    return found | results


def _record_file(folder: Path) -> Path:
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return cache_folder() / "digests" / f"{key[:32]}.json"


def _read_record(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(_record_file(folder).read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    return {}


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    """Keep digests for the next start; a cache that cannot be written only costs time."""
    path = _record_file(folder)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(path)
