# SPDX-License-Identifier: Apache-2.0
"""Read repositories out of tar and zip archives without unpacking to disk.

An archive is read in one pass, and in another to find what is in it, the folders of one that holds
many repositories, too: they are read one after the other, as far as they lie one after the other.

Sizes that an archive states are not believed: a member is read up to its limit, and a whole archive
up to `expanded_limit`, which a bomb passes and source code does not. Nothing is ever written, so
paths that lead outside are only counted.
"""

import bz2
import gzip
import io
import lzma
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final

from codegemma.data.document import Blob, Location, Wanted
from codegemma.data.table import open_zstd
from codegemma.errors import InputError

_SUFFIX: Final = re.compile(
    r"\.(zip|whl|jar|crate|(tar(\.(gz|bz2|xz|zst))?)|tgz|tbz2?|txz|tzst)$", re.I
)
_OUTSIDE: Final = frozenset({"", ".", ".."})
_LEAST_LIMIT: Final = 256 << 20
_MAX_RATIO: Final = 60
_FAULTS: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)
_MEMBER_FAULTS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
)
"""Of one member; damage to the stream of a tar is met again behind it."""

_ZIP_NAMES: Final = (".zip", ".whl", ".jar")
_ZIP_STARTS: Final = (b"PK\x03\x04", b"PK\x05\x06")


class _OverLimit(Exception):  # noqa: N818  # a signal inside this module
    pass


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive this module reads."""
    return _SUFFIX.search(path.name) is not None


def stem(path: Path) -> str:
    """Give the name of an archive without what tells its format."""
    return _SUFFIX.sub("", path.name)


def expanded_limit(path: Path) -> int:
    """Most bytes an archive may expand to: 256 MiB, or 60 times its size if that is more."""
    return max(_LEAST_LIMIT, _MAX_RATIO * path.stat().st_size)


def locate(path: Path, *, each: bool) -> Iterator[Location]:
    """Give the archive as one repository, or each folder at its top as one, in their order.

    A single folder at the top is not part of the paths.

    Raises:
        InputError: It is damaged, or no archive.
    """
    firsts: dict[str, int] = {}
    lasts: dict[str, int] = {}
    has_files = is_cut = False
    number = -1
    try:
        for number, (name, _, _) in enumerate(_members(path)):
            top, slash, _ = name.removeprefix("./").partition("/")
            if slash:
                firsts.setdefault(top, number)
                lasts[top] = number + 1
            has_files = has_files or not slash
    except _OverLimit:
        is_cut = True  # what stands before the limit is read, and the rest counted
    except _FAULTS as error:
        raise InputError(f"archive {path} cannot be read: {error}; fetch it again") from error
    if each:
        tops = [top for top in firsts if top not in _OUTSIDE]
        # What stands between two folders, such as paths that lead outside, goes with the first.
        borders = [0, *(firsts[top] for top in tops[1:]), sys.maxsize if is_cut else number + 1]
        for top, begin, end in zip(tops, borders, borders[1:], strict=False):
            yield Location(
                name=top,
                version="",
                license="",
                root=path,
                kind="archive",
                member=top + "/",
                rows=(begin, max(end, lasts[top])),
            )
    elif firsts or has_files:
        member = next(iter(firsts)) + "/" if len(firsts) == 1 and not has_files else ""
        yield Location(
            name=stem(path), version="", license="", root=path, kind="archive", member=member
        )


def blobs(location: Location, *, wanted: Wanted, max_bytes: int) -> Iterator[Blob]:
    """Give the wanted members of the location's folder; of two with one path the first.

    Damage found on the way ends the reading; one blob with a rule tells of it.
    """
    seen: set[str] = set()
    try:
        for name, kind, member in _members_of(location):
            name = name.removeprefix("./")
            if ".." in name.split("/") or name.startswith("/"):
                yield Blob(path=name, rule="path_outside")
                continue
            if not name.startswith(location.member):
                continue
            path = name[len(location.member) :]
            if not wanted(path):
                continue
            if path in seen:
                yield Blob(path=path, rule="duplicate_path")
            elif kind:
                yield Blob(path=path, rule=kind)
            else:
                seen.add(path)
                yield _read(path, member, max_bytes)
    except _OverLimit:
        yield Blob(path="", rule="archive_over_limit")
    except _FAULTS:
        yield Blob(path="", rule="archive_damaged")


def _read(path: str, member: Any, max_bytes: int) -> Blob:
    """Read a member up to the limit, whatever size it states."""
    stated, open_member = member
    if stated > max_bytes:
        return Blob(path=path, rule="too_large", size_bytes=stated)
    try:
        with open_member() as file:
            data = file.read(max_bytes + 1)
    except _MEMBER_FAULTS:
        return Blob(path=path, rule="unreadable", size_bytes=stated)
    if len(data) > max_bytes:
        return Blob(path=path, rule="too_large", size_bytes=len(data))
    return Blob(path=path, data=data, size_bytes=len(data))


class _Pass:
    """A reading of an archive from its start to its end, which may stop and go on later.

    Args:
        path: The archive.
        key: What tells whether it changed.
    """

    def __init__(self, path: Path, key: tuple[Any, ...]) -> None:
        self.key = key
        self.members = _members(path)
        self.place = 0


@lru_cache(maxsize=1)
def _stopped() -> list[_Pass]:
    """Hold the pass that may go on: the folders of an archive are read in their order."""
    return []


def _members_of(location: Location) -> Iterator[tuple[str, str, Any]]:
    """Give the members of a location's part of an archive, and leave the pass for what follows."""
    if not location.rows:
        yield from _members(location.root)
        return
    first, end = location.rows
    found = location.root.stat()
    key = (location.root, found.st_mtime_ns, found.st_size)
    stopped = _stopped()
    at = stopped.pop() if stopped else None
    if at is None or at.key != key or at.place > first:
        at = _Pass(location.root, key)
    for member in at.members:
        at.place += 1
        if at.place > first:
            yield member
        if at.place >= end:
            stopped[:] = [at]
            return


def _members(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Give name, rule ("" for a plain file), and (stated size, how to open) of each member."""
    if _is_zip(path):
        yield from _zip_members(path)
    else:
        yield from _tar_members(path)


def _is_zip(path: Path) -> bool:
    """Tell by how a file begins; a tar ends like a zip where one is its last member.

    A program may stand before a zip that is named so.
    """
    with path.open("rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
    if head.startswith(_ZIP_STARTS):
        return True
    is_named = path.suffix.lower() in _ZIP_NAMES and head[257:262] != b"ustar"
    return is_named and zipfile.is_zipfile(path)


def _zip_members(path: Path) -> Iterator[tuple[str, str, Any]]:
    left = expanded_limit(path)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            is_link = (info.external_attr >> 28) == 0xA
            left -= min(info.file_size, info.compress_size * 1100 + 1024)
            if left < 0:
                raise _OverLimit
            name = info.filename
            yield name, "symbolic_link" if is_link else "", (info.file_size, _opener(archive, info))


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    return lambda: archive.open(info)


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than a number of bytes."""

    def __init__(self, file: Any, limit: int) -> None:
        self._file = file
        self._left = limit

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _OverLimit
        return data


class _Header(tarfile.TarInfo):
    """The header of a member, of which a damaged one is no end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Any:
        """Read a header; what `tarfile` takes for an end behind the first member is refused."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not buf.strip(b"\0"):
                raise
            raise tarfile.ReadError(str(error)) from error


def _tar_members(path: Path) -> Iterator[tuple[str, str, Any]]:
    with path.open("rb") as raw:
        bounded: Any = _Bounded(_expanded(raw, path), expanded_limit(path))
        with tarfile.open(
            fileobj=bounded, mode="r|", errors="surrogateescape", tarinfo=_Header
        ) as archive:
            for info in archive:
                setattr(archive, "members", [])  # noqa: B010  # else they pile up for the pass
                if info.isdir():
                    continue
                kind = "symbolic_link" if info.issym() or info.islnk() else "not_a_file"
                rule = "" if info.isfile() else kind
                yield info.name, rule, (info.size, _extractor(archive, info))


def _expanded(raw: IO[bytes], path: Path) -> Any:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return open_zstd(path)
    return lzma.LZMAFile(raw) if magic.startswith(b"\xfd7zXZ") else raw


def _extractor(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Any:
    return lambda: archive.extractfile(info) or io.BytesIO()
