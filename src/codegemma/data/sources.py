# SPDX-License-Identifier: Apache-2.0
"""Find what a user's sources hold: repositories, installed packages, archives and tables.

Looks at names and metadata alone; `read` reads what is found. It enters no symbolic link, and none
of the folders that hold no sources of their own: hidden ones, installed packages, caches.
"""

import csv
import email.parser
import os
import platform
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Final

from codegemma.data import archive, git, license_files, table
from codegemma.data import license as licenses
from codegemma.data.document import Blob, Location, as_unicode
from codegemma.data.languages import EXTENSIONS
from codegemma.errors import InputError

_SKIPPED_FOLDERS: Final = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "lib-dynload", "_bundled"}
)
_FORGE: Final = re.compile(
    r"https?://(www\.)?(github\.com|gitlab\.com|bitbucket\.org|codeberg\.org)/"
)
_OWNED: Final = re.compile(r"(?:[a-z+]+://[^/]+/|[^/:]+:)/*([^?#]+?)(?:\.git)?/*")
"""An address of a repository, as a URL or in the short form of ssh."""


def locate(sources: Sequence[Path], *, each: bool) -> Iterator[list[Location]]:
    """Give what each source holds, of tables at last and together: they may share repositories.

    Raises:
        InputError: A source is of no known kind, is damaged, or nothing was found in it.
    """
    tables: list[Path] = []
    for source in sources:
        mine = _tables(source)
        tables += mine
        found = [] if mine else list(_locate(source, each=each))
        if not (found or mine):
            raise InputError(f"no repository was found in {source}")
        yield found
    found = list(table.locate(dict.fromkeys(tables)))
    if tables and not found:
        raise InputError(f"no repository was found in {', '.join(map(str, tables))}")
    yield found


def _tables(source: Path) -> list[Path]:
    """Give a table, or those of a folder that holds no archives and no sources that are read."""
    if source.is_file() and table.is_table(source):
        return [source]
    if not source.is_dir() or git.git_folder(source):
        return []
    found: list[Path] = []
    for path in _paths(source):
        if path.endswith(EXTENSIONS) or archive.is_archive(source / path):
            return []
        if table.is_table(source / path):
            found.append(source / path)
    return sorted(found)


def _locate(source: Path, *, each: bool) -> Iterator[Location]:
    if source.is_file() and archive.is_archive(source):
        yield from archive.locate(source, each=each)
    elif not source.is_dir():
        raise InputError(
            f"{source} is not a folder, an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz, "
            f".tar.zst) or a table ({', '.join(table.SUFFIXES)}); name one that holds source files"
        )
    elif dist_infos := sorted(source.glob("*.dist-info")):
        yield from filter(None, map(_distribution, dist_infos))
    elif (source / "os.py").is_file() and (source / "sysconfig.py").is_file():
        yield _standard_library(source)
    elif each and git.git_folder(source) is None:
        yield from _children(source)
    else:
        yield from _unfold(source) or [_folder(source)]


def _children(source: Path) -> Iterator[Location]:
    """Give each child of a folder, and the files beside as one more repository."""
    beside: list[str] = []
    for child in sorted(source.iterdir()):
        if child.is_symlink() or not (child.is_dir() or _is_read_alone(child)):
            beside.append(child.name + ("/" if child.is_dir() else ""))
        elif child.is_file() or not is_skipped(child.name):
            yield from _unfold(child) or _parts(child)
    yield from _beside(source, beside)


def _is_read_alone(path: Path) -> bool:
    return path.is_file() and (archive.is_archive(path) or table.is_table(path))


def _unfold(folder: Path) -> list[Location]:
    """Give the git repositories in a folder that is none, at any depth, and what lies beside them.

    None where there are none: then the folder is one.
    """
    if not folder.is_dir() or git.git_folder(folder):
        return []
    repositories: list[Path] = []
    beside = sorted(_paths(folder, apart=repositories))
    if not repositories:
        return []
    found = [part for repository in sorted(repositories) for part in _parts(repository)]
    return [*found, *_beside(folder, beside)]


def _beside(folder: Path, paths: Sequence[str]) -> list[Location]:
    """Give what lies in a folder beside repositories as one more, if there are sources."""
    if not any(path.endswith((*EXTENSIONS, "/")) for path in paths):
        return []
    name = folder.resolve().name
    return [
        Location(name=name, version="", license="", root=folder, paths=tuple(paths), is_part=True)
    ]


def walk(root: Path) -> list[str]:
    """Give the files below a folder, sorted.

    A folder that is not looked into stands there with a name that stands for all in it, and a
    symbolic link to a folder with a "/" behind it.
    """
    return sorted(_paths(root))


def _paths(root: Path, *, apart: list[Path] | None = None) -> Iterator[str]:
    """Give what `walk` sorts; of git repositories inside nothing, where a list takes them."""
    for folder, names, file_names in os.walk(root, followlinks=False):
        here = Path(folder)
        inside = here.relative_to(root)
        if apart is not None and here != root and git.git_folder(here):
            apart.append(here)
            names.clear()
            continue
        yield from ((inside / name).as_posix() for name in file_names)
        links = {name for name in names if (here / name).is_symlink()}
        for name in names:
            if name in links or is_skipped(name):
                yield (inside / name).as_posix() + ("/" if name in links else "/_")
        names[:] = [name for name in names if name not in links and not is_skipped(name)]


def skipped_folder(path: str) -> str:
    """Give the outermost folder of a path that is not looked into, "" for none."""
    folders = path.split("/")[:-1]
    for depth, name in enumerate(folders, start=1):
        if is_skipped(name):
            return "/".join(folders[:depth])
    return ""


def is_skipped(name: str) -> bool:
    """Tell by its name whether a folder is not looked into."""
    is_hidden = name.startswith(".") and name not in (".", "..")
    return is_hidden or name in _SKIPPED_FOLDERS


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
        kind="distribution",
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
    """Give those of a child of a folder, with its fault where it cannot be read."""
    try:
        if child.is_dir():
            found = [_folder(child)]
        else:
            is_table = table.is_table(child)
            found = list(table.locate([child]) if is_table else archive.locate(child, each=False))
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
