# SPDX-License-Identifier: Apache-2.0
"""Find the repositories in the sources a user names and read their source files.

Reads folders, git repositories (at HEAD, see `git`), tar and zip archives (`archive`), JSONL and
Parquet tables (`table`); a folder of installed Python packages gives one repository per
distribution and the standard library is one. Gives text normalised to LF, the licences found, and a
ledger of the files left out. It follows no symbolic links, runs nothing of a repository's, and
reads at most `max_bytes` of a file and `MAX_REPOSITORY_BYTES` of a repository.
"""

import codecs
import csv
import email.parser
import os
import platform
import re
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from codegemma.data import archive, git, license_files, personal, table, texts
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

_SKIPPED_FOLDERS: Final = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "lib-dynload", "_bundled"}
)
_NEVER_SOURCES: Final = frozenset({".git", "__pycache__"})
"""Folders that need not be told of."""

_OF_THE_SOURCE: Final = frozenset(
    {"archive_damaged", "archive_over_limit", "path_outside", "row_damaged", "submodule"}
)
"""Rules about more than one file, told whatever its name."""

_FORGE: Final = re.compile(
    r"https?://(www\.)?(github\.com|gitlab\.com|bitbucket\.org|codeberg\.org)/"
)
_OWNED: Final = re.compile(r"(?:[a-z+]+://[^/]+/|[^/:]+:)/*([^?#]+?)(?:\.git)?/*")
"""An address of a repository, as a URL or in the short form of ssh."""
_UNKNOWN_MEMBERS: Final = 100
"""Of the last folder of an archive that was not read to its end."""


def find_repositories(sources: Sequence[Path], *, each: bool = False) -> list[Location]:
    """List the repositories in the given sources.

    A folder of installed packages (with `*.dist-info`) gives one repository per distribution; of
    two of one name the first stays. The Python standard library is one. Otherwise a git repository,
    bare or not, or a folder without repositories inside, is one repository; a folder with
    repositories inside gives those. An archive is one, a table has one for every row or
    repository name. Of two repositories with one name the second gets "~2" behind it.

    Args:
        sources: Folders and files.
        each: Take every child folder and archive of a folder, and every folder at the top of an
            archive, as a repository.

    Raises:
        InputError: A source is of no such kind, is damaged, or nothing readable was found in it.
    """
    locations: dict[str, Location] = {}
    for source in sources:
        found = list(_locate(source, each=each))
        if not found:
            raise InputError(f"no repository was found in {source}")
        if all(location.fault for location in found):
            raise InputError(found[0].fault)
        for location in found:
            location = _in_unicode(location)
            if location.paths is not None:
                locations.setdefault(location.name, location)
                continue
            named, count = location, 1
            while locations.setdefault(named.name, named) != named:
                count += 1
                aliases = (*location.aliases, location.name)
                named = replace(location, name=f"{location.name}~{count}", aliases=aliases)
    return list(locations.values())


def _in_unicode(location: Location) -> Location:
    """Give a location whose names can be written down, whatever its source called it."""
    return replace(
        location,
        name=as_unicode(location.name),
        version=as_unicode(location.version),
        license=as_unicode(location.license),
    )


def _locate(source: Path, *, each: bool) -> Iterator[Location]:
    if source.is_file() and archive.is_archive(source):
        yield from archive.locate(source, each=each)
    elif source.is_file() and table.is_table(source):
        yield from table.locate(source)
    elif not source.is_dir():
        raise InputError(
            f"{source} is not a folder, an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz, "
            f".tar.zst) or a table ({', '.join(table.SUFFIXES)}); name one that holds source files"
        )
    else:
        yield from _locate_in_folder(source, each=each)


def _locate_in_folder(source: Path, *, each: bool) -> Iterator[Location]:
    dist_infos = sorted(source.glob("*.dist-info"))
    children = [child for child in sorted(source.iterdir()) if not child.is_symlink()]
    if dist_infos:
        yield from filter(None, map(_distribution, dist_infos))
    elif (source / "os.py").is_file() and (source / "sysconfig.py").is_file():
        yield _standard_library(source)
    elif each:
        for child in children:
            if child.is_dir() or archive.is_archive(child):
                yield from _parts(child)
    elif git.git_folder(source) is None and any(
        child.is_dir() and git.git_folder(child) for child in children
    ):
        for child in filter(git.git_folder, children):
            yield from _parts(child)
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
        aliases=_aliases(_project_urls(headers)),
    )


def _project_urls(headers: Message) -> Iterator[str]:
    """Give the addresses of the source code that a distribution's metadata names."""
    labelled = [str(value).partition(",")[::2] for value in headers.get_all("Project-URL") or []]
    labelled.append(("home", str(headers.get("Home-page") or "")))
    for label, url in labelled:
        if re.search("home|source|repo|code|git", label.lower()) and _FORGE.match(url.strip()):
            yield "/".join(url.strip().split("/")[:5])


def _aliases(urls: Iterable[str]) -> tuple[str, ...]:
    """Give the names `owner/name` that addresses of repositories tell."""
    found = [match[1] for match in map(_OWNED.fullmatch, urls) if match]
    tails = ["/".join(path.split("/")[-2:]) for path in found]
    return tuple(as_unicode(name) for name in dict.fromkeys([*found, *tails]) if "/" in name)


def _stays_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _standard_library(source: Path) -> Location:
    is_running = source.resolve() == Path(sysconfig.get_path("stdlib")).resolve()
    version = platform.python_version() if is_running else source.name.removeprefix("python")
    return Location(name="cpython", version=version, license="PSF-2.0", root=source)


def _folder(source: Path) -> Location:
    """Give a folder as it lies there, or at its commit where git knows one."""
    commit = git.head(source) if git.git_folder(source) else ""
    name = source.resolve().name.removesuffix(".git")
    kind = "git" if commit else "folder"
    aliases = _aliases(git.remotes(source)) if commit else ()
    return Location(name=name, version=commit, license="", root=source, kind=kind, aliases=aliases)


def _parts(child: Path) -> list[Location]:
    """Give one of the repositories in a folder, with its fault where it cannot be read."""
    try:
        found = [_folder(child)] if child.is_dir() else list(archive.locate(child, each=False))
    except InputError as error:
        name = archive.stem(child) if child.is_file() else child.name.removesuffix(".git")
        found = [Location(name=name, version="", license="", root=child, fault=str(error))]
    return [replace(location, is_part=True) for location in found]


def _license_of_files(root: Path, paths: Sequence[str]) -> str:
    found: set[str] = set()
    for path in paths:
        if license_files.states_license(path) and (root / path).is_file():
            blob = Blob(path=path, data=(root / path).read_bytes())
            found |= license_files.read_statement(blob)
    return " AND ".join(sorted(found))


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
        folder = _skipped_folder(path)
        if folder:
            skipped.add(folder)
            return False
        is_source = path.endswith(ends) or (languages and "." not in path.rpartition("/")[2])
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
    paths = location.paths if location.paths is not None else tuple(_walk(location.root))
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


def _skipped_folder(path: str) -> str:
    """Give the outermost folder of a path that is not looked into, "" for none."""
    folders = path.split("/")[:-1]
    for depth, name in enumerate(folders, start=1):
        if _is_skipped(name):
            return "/".join(folders[:depth])
    return ""


def _is_skipped(name: str) -> bool:
    is_hidden = name.startswith(".") and name not in (".", "..")
    return is_hidden or name in _SKIPPED_FOLDERS


def _fault_of_path(path: str) -> str:
    if any(ord(letter) < 32 or letter == "\x7f" for letter in path):
        return "path_with_control_character"
    return "path_not_unicode" if any("\ud800" <= letter <= "\udfff" for letter in path) else ""


def endings(locations: Iterable[Location]) -> Counter[str]:
    """Count the files of sources by how their names end, such as ".ts"; folders skipped are not."""
    found: Counter[str] = Counter()

    def note(path: str) -> bool:
        if not _skipped_folder(path):
            found[PurePosixPath(path).suffix or PurePosixPath(path).name] += 1
        return False

    for location in locations:
        for _ in _blobs(location, wanted=note, max_bytes=0):
            pass
    return found


def sizes_bytes(locations: Sequence[Location], *, extensions: Sequence[str]) -> list[int]:
    """Estimate how much there is to read of each, for a progress bar and to share out work.

    Of a table, or of an archive with a repository in each folder, each has a share by the number
    of its rows or members.
    """
    parts = [_num_parts(at) for at in locations]
    whole: Counter[Path] = Counter()
    for at, count in zip(locations, parts, strict=True):
        whole[at.root] += count
    return [
        at.root.stat().st_size * count // whole[at.root] if count else _size_bytes(at, extensions)
        for at, count in zip(locations, parts, strict=True)
    ]


def _num_parts(location: Location) -> int:
    """Count the rows or members that a location has of a file with others, 0 for one of its own."""
    if not location.root.is_file():
        return 0
    if location.kind == "archive" and location.rows:
        begin, end = location.rows
        return min(end, begin + _UNKNOWN_MEMBERS) - begin
    return len(location.rows)


def _size_bytes(location: Location, extensions: Sequence[str]) -> int:
    if location.fault:
        return 0
    if location.kind == "archive":
        return location.root.stat().st_size
    if location.kind == "git":
        folder = git.git_folder(location.root) or location.root
        return sum(file.stat().st_size for file in folder.glob("objects/*/*"))
    paths = location.paths if location.paths is not None else tuple(_walk(location.root))
    total = 0
    for path in paths:
        is_counted = location.genre != "code" or path.endswith(tuple(extensions))
        if is_counted and (location.root / path).is_file():
            total += (location.root / path).stat().st_size
    return total


def _walk(root: Path) -> list[str]:
    paths: list[str] = []
    for folder, names, file_names in os.walk(root, followlinks=False):
        inside = Path(folder).relative_to(root)
        paths.extend((inside / name).as_posix() for name in file_names)
        # One name stands for all that is in a folder that is not looked into.
        paths.extend((inside / name / "_").as_posix() for name in names if _is_skipped(name))
        names[:] = [name for name in names if not _is_skipped(name)]
    return sorted(paths)


def _read_file(path: Path, name: str, *, max_bytes: int) -> Blob:
    try:
        if path.is_symlink():
            return Blob(path=name, rule="symbolic_link")
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
