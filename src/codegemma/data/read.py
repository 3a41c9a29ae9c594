# SPDX-License-Identifier: Apache-2.0
"""Find the repositories in the folders a user names and read their source files.

Reads folders only; a folder of installed Python packages gives one repository per distribution and
the standard library is one. Gives text normalised to LF, and a ledger of the files left out.
It follows no symbolic links, runs nothing and reads at most `max_bytes` of a file.
"""

import codecs
import csv
import email.parser
import os
import platform
import re
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from codegemma.data import license as licenses
from codegemma.data.document import File, Ledger, Repository
from codegemma.errors import InputError

_SKIPPED_FOLDERS: Final = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "lib-dynload", "_bundled"}
)
_LICENSE_FILE: Final = re.compile(r"(licen[cs]e|copying|unlicense)([.-].*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """Where a repository lies.

    Args:
        name: As in the manifest.
        version: Release or commit, "" when unknown.
        license: SPDX expression, "" when unknown.
        root: Folder that `paths` are relative to.
        paths: Its files, sorted, with "/" separators; None: every file below root.
    """

    name: str
    version: str
    license: str
    root: Path
    paths: tuple[str, ...] | None = None


def find_repositories(sources: Sequence[Path], *, each: bool = False) -> list[Location]:
    """List the repositories in the given folders; of two with one name the first stays.

    A folder of installed packages (with `*.dist-info`) gives one repository per distribution. The
    Python standard library is one. Otherwise a folder with `.git`, or one without repositories
    inside, is one repository; a folder with repositories inside gives those.

    Args:
        sources: Folders.
        each: Take every child folder of an ordinary source as a repository.

    Raises:
        InputError: A source is no folder, or nothing was found in it.
    """
    locations: dict[str, Location] = {}
    for source in sources:
        if not source.is_dir():
            raise InputError(f"{source} is not a folder; name a folder that holds source files")
        found = list(_locate(source, each=each))
        if not found:
            raise InputError(f"no repository was found in {source}")
        for location in found:
            locations.setdefault(location.name, location)
    return list(locations.values())


def _locate(source: Path, *, each: bool) -> Iterator[Location]:
    dist_infos = sorted(source.glob("*.dist-info"))
    if dist_infos:
        yield from filter(None, map(_distribution, dist_infos))
    elif (source / "os.py").is_file() and (source / "sysconfig.py").is_file():
        yield _standard_library(source)
    elif each or (not (source / ".git").exists() and any(source.glob("*/.git"))):
        children = sorted(child for child in source.iterdir() if child.is_dir())
        for child in children:
            if not child.is_symlink() and (each or (child / ".git").exists()):
                yield _folder(child)
    else:
        yield _folder(source)


def _distribution(dist_info: Path) -> Location | None:
    """Read a distribution's name, version, licence and file list; None for one without files."""
    try:
        with (dist_info / "METADATA").open(encoding="utf-8", errors="replace") as file:
            headers = email.parser.HeaderParser().parse(file)
        with (dist_info / "RECORD").open(encoding="utf-8", newline="") as file:
            paths = [row[0] for row in csv.reader(file) if row]
    except OSError:
        return None  # an interrupted or foreign installation: it names no files to read
    expression = licenses.from_metadata(headers)
    if not expression:
        expression = _license_of_files(dist_info.parent, [p for p in paths if ".dist-info/" in p])
    inside = [p for p in paths if _stays_inside(p) and ".dist-info/" not in p]
    return Location(
        name=re.sub(r"[-_.]+", "-", str(headers["Name"])).lower(),
        version=str(headers["Version"]),
        license=expression,
        root=dist_info.parent,
        paths=tuple(sorted(inside)),
    )


def _stays_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _standard_library(source: Path) -> Location:
    is_running = source.resolve() == Path(sysconfig.get_path("stdlib")).resolve()
    version = platform.python_version() if is_running else source.name.removeprefix("python")
    return Location(name="cpython", version=version, license="PSF-2.0", root=source)


def _folder(source: Path) -> Location:
    names = [path.name for path in sorted(source.iterdir()) if path.is_file()]
    return Location(
        name=source.resolve().name,
        version=_commit(source),
        license=_license_of_files(source, names),
        root=source,
    )


def _commit(source: Path) -> str:
    if not (source / ".git").exists():
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", str(source), "rev-parse", "HEAD"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()[:40] if found.returncode == 0 else ""


def _license_of_files(root: Path, paths: Sequence[str]) -> str:
    found: set[str] = set()
    for path in paths:
        if _LICENSE_FILE.fullmatch(PurePosixPath(path).name) and (root / path).is_file():
            text = (root / path).read_bytes()[:200_000].decode("utf-8", errors="replace")
            found.add(licenses.recognize(text) or "LicenseRef-unknown")
    return " AND ".join(sorted(found))


def read_repository(
    location: Location, *, extensions: Sequence[str], max_bytes: int
) -> tuple[Repository, Ledger]:
    """Read the files with the given extensions.

    Args:
        location: Where to read.
        extensions: Such as `(".py",)`; other files are not read and not counted.
        max_bytes: Larger files are left out unread.

    Returns:
        The repository, and a ledger of what was left out and why.
    """
    ledger = Ledger()
    files: list[File] = []
    paths = location.paths if location.paths is not None else tuple(_walk(location.root))
    for path in paths:
        if not path.endswith(tuple(extensions)):
            continue
        text, rule, size_bytes = _read_file(location.root / path, max_bytes=max_bytes)
        if not rule and any(ord(letter) < 32 or letter == "\x7f" for letter in path):
            rule = "path_with_control_character"
        if rule:
            ledger.add(rule, size_bytes)
        else:
            files.append(File(path=path, text=text))
    repository = Repository(
        name=location.name, version=location.version, license=location.license, files=tuple(files)
    )
    return repository, ledger


def size_bytes(location: Location, *, extensions: Sequence[str]) -> int:
    """Add up the sizes of the files that would be read, for a progress bar."""
    paths = location.paths if location.paths is not None else tuple(_walk(location.root))
    total = 0
    for path in paths:
        if path.endswith(tuple(extensions)) and (location.root / path).is_file():
            total += (location.root / path).stat().st_size
    return total


def _walk(root: Path) -> list[str]:
    paths: list[str] = []
    for folder, names, file_names in os.walk(root, followlinks=False):
        names[:] = [n for n in names if n not in _SKIPPED_FOLDERS and not n.startswith(".")]
        inside = Path(folder).relative_to(root)
        paths.extend((inside / name).as_posix() for name in file_names)
    return sorted(paths)


def _read_file(path: Path, *, max_bytes: int) -> tuple[str, str, int]:
    """Give text, the rule that leaves the file out ("" if none), and its size."""
    try:
        if path.is_symlink():
            return "", "symbolic_link", 0
        if not path.is_file():
            return "", "not_a_file", 0
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError):
        return "", "unreadable", 0
    if len(data) > max_bytes:
        return "", "too_large", path.stat().st_size
    text, rule = decode(data)
    return text, rule, len(data)


def decode(data: bytes) -> tuple[str, str]:
    """Decode a source file and normalise its line ends to LF.

    Returns:
        The text, and the rule that leaves the file out: "" (none), "binary" (a NUL),
        "not_unicode", or "lfs_pointer". UTF-16 is read when it has a byte order mark.
    """
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        else:
            text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "", "binary" if b"\0" in data else "not_unicode"
    if "\0" in text:
        return "", "binary"
    if text.startswith("version https://git-lfs.github.com/spec/"):
        return "", "lfs_pointer"
    return text.replace("\r\n", "\n").replace("\r", "\n"), ""
