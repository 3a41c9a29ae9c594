# SPDX-License-Identifier: Apache-2.0
"""Find the repositories in the sources a user names and read their source files.

Reads folders, git repositories (at HEAD, see `git`), tar and zip archives (`archive`), JSONL and
Parquet tables (`table`); a folder of installed Python packages gives one repository per
distribution and the standard library is one. Gives text normalised to LF, the licences found, and a
ledger of the files left out. It follows no symbolic links, runs nothing of a repository's, and
reads at most `max_bytes` of a file and `MAX_REPOSITORY_BYTES` of a repository.
"""

import codecs
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from codegemma.data import archive, git, license_files, personal, sources, table, texts
from codegemma.data import license as licenses
from codegemma.data.document import (
    Blob,
    File,
    Ledger,
    LineEnds,
    Location,
    Repository,
    Wanted,
    as_unicode,
)
from codegemma.data.languages import detect
from codegemma.errors import InputError

MAX_REPOSITORY_BYTES: Final = 2 << 30
"""Files beyond are left out, in the order of the source."""

_NEVER_SOURCES: Final = frozenset({".git", "__pycache__"})
"""Folders that need not be told of."""

_OF_THE_SOURCE: Final = frozenset(
    {
        "archive_damaged",
        "archive_over_limit",
        "linked_folder",
        "path_outside",
        "row_damaged",
        "submodule",
    }
)
"""Rules about more than one file, told whatever its name."""

_UNKNOWN_MEMBERS: Final = 100
"""Of the last folder of an archive that was not read to its end."""


def find_repositories(named: Sequence[Path], *, each: bool = False) -> list[Location]:
    """List the repositories in the given sources.

    A folder of installed packages (with `*.dist-info`) gives one repository per distribution; of
    two of one name the first stays. The Python standard library is one. Otherwise a git repository,
    bare or not, or a folder without repositories inside, is one repository; a folder with
    repositories inside, at any depth, gives those, and what lies beside them as one more. An
    archive is one, a table has one for every row or repository name; a folder of tables is these,
    and rows of files are grouped over all tables. Of two repositories with one name the second
    gets "~2" behind it.

    Args:
        named: Folders and files.
        each: Take every child folder and archive of a folder, and every folder at the top of an
            archive, as a repository.

    Raises:
        InputError: A source is of no such kind, is damaged, or nothing readable was found in it.
    """
    locations: dict[str, Location] = {}
    for found in sources.locate(named, each=each):
        if found and all(location.fault for location in found):
            raise InputError(found[0].fault)
        for location in found:
            location = _in_unicode(location)
            if location.kind == "distribution":
                locations.setdefault(location.name, location)
                continue
            other, count = location, 1
            while locations.setdefault(other.name, other) != other:
                count += 1
                aliases = (*location.aliases, location.name)
                other = replace(location, name=f"{location.name}~{count}", aliases=aliases)
    return list(locations.values())


def _in_unicode(location: Location) -> Location:
    """Give a location whose names can be written down, whatever its source called it."""
    return replace(
        location,
        name=as_unicode(location.name),
        version=as_unicode(location.version),
        license=as_unicode(location.license),
    )


def read_repository(
    location: Location,
    *,
    extensions: Sequence[str],
    max_bytes: int,
    languages: Sequence[str] = (),
) -> tuple[Repository, Ledger]:
    """Read the files with the given extensions, and what the repository says of its licence.

    Of any genre but code, all documents of the location are read, and nothing else is looked at.

    Args:
        location: Where to read.
        extensions: Such as `(".py",)`; other files are not read and not counted.
        max_bytes: Larger files are left out unread.
        languages: When given, files whose name has no dot are read, too, and of all files those
            stay that are in one of these languages by `languages.detect`.

    Returns:
        The repository, and a ledger of what was left out and why, by the language that a name
        tells; of skipped folders (hidden, of installed packages, of a cache) it counts the folders.

    Raises:
        InputError: git or a table cannot be read, or the location has a fault.
    """
    if location.fault:
        raise InputError(location.fault)
    ledger = Ledger()
    skipped = set[str]()
    files: list[File] = []
    stated: defaultdict[str, set[str]] = defaultdict(set)
    total = 0
    ends = tuple(extensions)
    is_code = location.genre == "code"

    def is_wanted(path: str) -> bool:
        if not is_code:
            return True
        folder = sources.skipped_folder(path)
        if folder:
            skipped.add(folder)
            return False
        is_source = path.endswith((*ends, "/")) or (
            languages and "." not in path.rpartition("/")[2]
        )
        return bool(is_source or license_files.states_license(path))

    for blob in _blobs(location, wanted=is_wanted, max_bytes=max_bytes):
        if is_code and license_files.states_license(blob.path):
            stated[blob.path.rpartition("/")[0]] |= license_files.read_statement(blob)
            continue
        text, rule, line_ends = decode(blob.data) if not blob.rule else Decoded("", blob.rule)
        rule = rule or _fault_of_path(blob.path)
        is_asked = is_code and languages and blob.rule not in _OF_THE_SOURCE
        if is_asked and detect(blob.path, text) not in languages:
            if not blob.path.endswith(ends):
                continue  # a name without a dot that is no source
            rule = rule or "other_language"
        total += 0 if rule else blob.size_bytes
        if not rule and total > MAX_REPOSITORY_BYTES:
            rule = "repository_over_limit"
        if rule:
            _count(ledger, rule, blob, name=location.name if is_code else "")
            continue
        files.append(File(path=blob.path, text=text, line_ends=line_ends))
        if blob.license:
            stated[blob.path].add(as_unicode(blob.license))
    _count_folders(ledger, skipped, name=location.name)
    settled = licenses.settle(license_files.spread(stated), declared=location.license)
    repository = Repository(
        name=location.name,
        version=location.version,
        license=settled.get("", location.license),
        files=tuple(sorted(files, key=lambda file: file.path)),
        licenses=tuple(sorted(settled.items())),
        genre=location.genre,
    )
    return repository, ledger


def _blobs(location: Location, *, wanted: Wanted, max_bytes: int) -> Iterator[Blob]:
    readers = {
        "git": git.blobs,
        "archive": archive.blobs,
        "table": table.blobs,
        "rows": texts.blobs,
    }
    reader = readers.get(location.kind, _folder_blobs)
    return reader(location, wanted=wanted, max_bytes=max_bytes)


def _folder_blobs(location: Location, *, wanted: Wanted, max_bytes: int) -> Iterator[Blob]:
    paths = location.paths if location.paths is not None else tuple(sources.walk(location.root))
    return (
        _read_file(location.root / path, path, max_bytes=max_bytes)
        for path in paths
        if wanted(path)
    )


def _count(ledger: Ledger, rule: str, blob: Blob, *, name: str) -> None:
    """Count a file left out; of code (with a name) by language and with its path, if it is fit."""
    is_shown = name and blob.path and not _fault_of_path(blob.path)
    is_shown = is_shown and not personal.holds_personal_data(blob.path)
    ledger.add(
        rule,
        blob.size_bytes,
        language=detect(blob.path, "") if name and not blob.path.endswith("/") else "",
        sample=f"{name}/{blob.path}" if is_shown else "",
    )


def _count_folders(ledger: Ledger, folders: Collection[str], *, name: str) -> None:
    for folder in sorted(folders):
        if folder.rpartition("/")[2] not in _NEVER_SOURCES:
            _count(ledger, "skipped_folder", Blob(path=folder + "/"), name=name)


def _fault_of_path(path: str) -> str:
    if any(ord(letter) < 32 or letter == "\x7f" for letter in path):
        return "path_with_control_character"
    return "path_not_unicode" if any("\ud800" <= letter <= "\udfff" for letter in path) else ""


def endings(locations: Iterable[Location]) -> Counter[str]:
    """Count the files of sources by how their names end, such as ".ts"; folders skipped are not."""
    found: Counter[str] = Counter()

    def note(path: str) -> bool:
        if not (sources.skipped_folder(path) or path.endswith("/")):
            found[PurePosixPath(path).suffix or PurePosixPath(path).name] += 1
        return False

    for location in locations:
        for _ in _blobs(location, wanted=note, max_bytes=0):
            pass
    return found


def sizes_bytes(locations: Sequence[Location], *, extensions: Sequence[str]) -> list[int]:
    """Estimate how much there is to read of each, for a progress bar and to share out work.

    Of tables, or of an archive with a repository in each folder, each has a share by the number
    of its rows or members.
    """
    parts = [_num_parts(at) for at in locations]
    whole: Counter[Path] = Counter()
    for counts in parts:
        whole.update(counts)
    return [
        sum(path.stat().st_size * count // whole[path] for path, count in counts.items())
        if counts
        else _size_bytes(at, extensions)
        for at, counts in zip(locations, parts, strict=True)
    ]


def _num_parts(location: Location) -> dict[Path, int]:
    """Count the rows or members a location has of files with others, none of one of its own."""
    if not location.root.is_file() or not location.rows:
        return {}
    if location.kind == "archive":
        begin, end = location.rows
        return {location.root: min(end, begin + _UNKNOWN_MEMBERS) - begin}
    return {path: len(rows) for path, rows in ((location.root, location.rows), *location.also)}


def _size_bytes(location: Location, extensions: Sequence[str]) -> int:
    if location.fault:
        return 0
    if location.kind == "archive":
        return location.root.stat().st_size
    if location.kind == "git":
        folder = git.git_folder(location.root) or location.root
        return sum(file.stat().st_size for file in folder.glob("objects/*/*"))
    paths = location.paths if location.paths is not None else tuple(sources.walk(location.root))
    total = 0
    for path in paths:
        is_counted = location.genre != "code" or path.endswith(tuple(extensions))
        if is_counted and (location.root / path).is_file():
            total += (location.root / path).stat().st_size
    return total


def _read_file(path: Path, name: str, *, max_bytes: int) -> Blob:
    try:
        if path.is_symlink():
            is_folder = name.endswith("/")
            return Blob(path=name, rule="linked_folder" if is_folder else "symbolic_link")
        if not path.is_file():
            return Blob(path=name, rule="not_a_file")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            return Blob(path=name, rule="too_large", size_bytes=path.stat().st_size)
    except (OSError, ValueError):
        return Blob(path=name, rule="unreadable")
    return Blob(path=name, data=data, size_bytes=len(data))


class Decoded(NamedTuple):
    """A source file as text.

    Args:
        text: Lines ended by LF.
        rule: What leaves the file out: "" (nothing), "binary" (a NUL), "not_unicode", or
            "lfs_pointer".
        line_ends: How the lines ended.
    """

    text: str
    rule: str = ""
    line_ends: LineEnds = "lf"


def decode(data: bytes) -> Decoded:
    """Decode a source file and end its lines by LF. UTF-16 needs a byte order mark."""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        else:
            text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Decoded("", "binary" if b"\0" in data else "not_unicode")
    if "\0" in text:
        return Decoded("", "binary")
    if text.startswith("version https://git-lfs.github.com/spec/"):
        return Decoded("", "lfs_pointer")
    if "\r" not in text:
        return Decoded(text)
    pairs = text.count("\r\n")
    found: tuple[tuple[LineEnds, int], ...] = (
        ("lf", text.count("\n") - pairs),
        ("crlf", pairs),
        ("cr", text.count("\r") - pairs),
    )
    kinds: list[LineEnds] = [kind for kind, count in found if count]
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Decoded(text, line_ends=kinds[0] if len(kinds) == 1 else "mixed")
