# SPDX-License-Identifier: Apache-2.0
"""What a user names to be kept out: who asked to be removed, and lists of unsafe content.

Reads text files, one entry a line, "#" for remarks. No list comes with the package: such lists are
given out by those who keep them. A hit is counted under the name of its list; neither text nor
entry is kept. Without a list nothing is looked for, and the report says so.

Example of a removal list, in any case:
    owner/name          a repository, as a table, its git remote or its metadata names it
    owner/*             all of an owner's
    name                a folder, archive or distribution of this name
    name/path/*         files of a repository
Example of a list of unsafe content:
    term:some words     words side by side, in any case
    sha256:9f86d0...    a file with line ends LF, in UTF-8
    url:host.tld/path   an address that begins so, or any below the host; at any port, or at that
                        named as in host.tld:8080
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from codegemma.data import shingles
from codegemma.data.document import Location
from codegemma.errors import InputError

MAX_UNSAFE_FILES: Final = 3
"""A repository with more hits is dropped whole."""

_URL: Final = re.compile(r"https?://([\w.-]{1,255})(:\d{1,5})?(/[^\s\"'`<>]*)?", re.IGNORECASE)
_MAX_URL_PATH: Final = 2048
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


@runtime_checkable
class UnsafeScanner(Protocol):
    """Looks for unsafe content; picklable, since it is sent to workers.

    Its class stands at the top of a module that workers can import, and its parts can be pickled.
    """

    @property
    def version(self) -> str:
        """What changes whenever it may find something else: older results are not taken then."""
        ...

    def scan(self, text: str) -> str:
        """Give the name under which a file is dropped, "" when nothing was found."""
        ...


@dataclass(frozen=True, slots=True)
class Scanners:
    """Several scanners as one: what the first of them finds counts."""

    parts: tuple[UnsafeScanner, ...]

    @property
    def version(self) -> str:
        """The versions of all of them."""
        return " ".join(part.version for part in self.parts)

    def scan(self, text: str) -> str:
        """Give what the first scanner that finds something says, "" when none does."""
        return next(filter(None, (part.scan(text) for part in self.parts)), "")


@dataclass(frozen=True, kw_only=True, slots=True)
class ListScanner:
    """Looks for the terms, hashes and addresses of lists.

    Args:
        terms: Name of the list by words of a term, by the first of them.
        hashes: Name of the list by sha256 in hexadecimal.
        urls: Name of the list by beginning of the path, by host.
        version: Hash of the lists, see `fingerprint`.
    """

    terms: dict[str, dict[tuple[str, ...], str]]
    hashes: dict[str, str]
    urls: dict[str, dict[str, str]]
    version: str = ""

    def scan(self, text: str) -> str:
        """Give "LIST: term", "LIST: sha256" or "LIST: url" for the first hit, "" for none."""
        if self.hashes:
            name = self.hashes.get(hashlib.sha256(text.encode()).hexdigest())
            if name:
                return f"{name}: sha256"
        return self._term(text) or self._url(text)

    def _term(self, text: str) -> str:
        if not self.terms:
            return ""
        words = shingles.words(text)
        for place, word in enumerate(words):
            for term, name in self.terms.get(word, {}).items():
                if term == tuple(words[place : place + len(term)]):
                    return f"{name}: term"
        return ""

    def _url(self, text: str) -> str:
        for match in _URL.finditer(text) if self.urls else ():
            labels = match[1].lower().strip(".").split(".")
            hosts = [".".join(labels[place:]) for place in range(len(labels))]
            for host in (*(host + match[2] for host in hosts if match[2]), *hosts):
                below = self.urls.get(host, {})
                path = (match[3] or "/")[:_MAX_URL_PATH]
                for end in range(1, len(path) + 1) if below else ():
                    if path[:end] in below:
                        return f"{below[path[:end]]}: url"
        return ""


def read_unsafe_lists(paths: Sequence[Path]) -> ListScanner:
    """Read lists of unsafe content.

    Raises:
        InputError: A list cannot be read, or a line is no entry; the line is named, not shown.
    """
    scanner = ListScanner(terms={}, hashes={}, urls={}, version=" ".join(fingerprint(paths)))
    for path in paths:
        for number, line in _entries(path):
            kind, _, value = line.partition(":")
            value = value.strip()
            words = tuple(shingles.words(value))
            if kind == "term" and words:
                scanner.terms.setdefault(words[0], {})[words] = path.name
            elif kind == "sha256" and _SHA256.fullmatch(value):
                scanner.hashes[value.lower()] = path.name
            elif kind == "url" and value:
                host, slash, rest = re.sub(r"\Ahttps?://", "", value).partition("/")
                scanner.urls.setdefault(host.lower(), {})[slash + rest or "/"] = path.name
            else:
                raise InputError(
                    f"line {number} of {path} is no entry: expected term:WORDS, sha256:64 "
                    "hexadecimal digits, or url:HOST/PATH"
                )
    return scanner


@dataclass(frozen=True, kw_only=True, slots=True)
class Removals:
    """Repositories and files whose owners asked to be left out, as patterns with "*".

    Args:
        patterns: Case is of no account; only "*" has a meaning.
        places: Where each pattern stands, such as "list.txt:3"; () when they are of no list.
        aliases: Other names of the repository that is asked about.
    """

    patterns: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def covers(self, name: str, path: str = "") -> bool:
        """Tell whether a repository, or a file of it, is to be left out."""
        return bool(self.entry(name, path))

    def entry(self, name: str, path: str = "") -> str:
        """Give the pattern that covers a repository or a file of it, "" for none."""
        if not self.patterns:
            return ""
        plain, wild = _compiled(self.patterns)
        for alias in (name, *self.aliases):
            full = f"{alias}/{path}".removesuffix("/").casefold()
            parts = full.split("/")
            folders = ["/".join(parts[:end]) for end in range(1, len(parts))]
            for key in (alias.casefold(), full, *(f"{folder}/*" for folder in folders)):
                if key in plain:
                    return plain[key]
            for pattern, compiled in wild:
                if compiled.fullmatch(alias.casefold()) or compiled.fullmatch(full):
                    return pattern
        return ""

    def apply(self, locations: Iterable[Location]) -> tuple[list[Location], set[str]]:
        """Give the repositories that are to be read, and the patterns that cover the others."""
        kept: list[Location] = []
        matched: set[str] = set()
        for location in locations:
            found = replace(self, aliases=location.aliases).entry(location.name)
            if found:
                matched.add(found)
            else:
                kept.append(location)
        return kept, matched

    def unused(self, matched: Collection[str]) -> list[str]:
        """Give the places of the patterns that are none of those that covered something."""
        pairs = zip(self.patterns, self.places, strict=True)
        return [place for pattern, place in pairs if pattern not in matched]


@lru_cache(maxsize=4)
def _compiled(
    patterns: tuple[str, ...],
) -> tuple[dict[str, str], tuple[tuple[str, re.Pattern[str]], ...]]:
    """Tell the patterns that are looked up from those that must be tried one by one."""
    plain: dict[str, str] = {}
    wild: list[tuple[str, re.Pattern[str]]] = []
    for pattern in patterns:
        folded = pattern.casefold()
        if "*" in folded.removesuffix("/*"):
            wild.append((pattern, re.compile(re.escape(folded).replace(r"\*", ".*"), re.DOTALL)))
        else:
            plain[folded] = pattern
    return plain, tuple(wild)


def read_removals(paths: Sequence[Path]) -> Removals:
    """Read removal lists.

    Raises:
        InputError: A list cannot be read.
    """
    places: dict[str, str] = {}
    for path in paths:
        for number, line in _entries(path):
            places.setdefault(line, f"{path.name}:{number}")
    patterns = sorted(places)
    return Removals(patterns=tuple(patterns), places=tuple(places[key] for key in patterns))


def fingerprint(paths: Sequence[Path]) -> list[str]:
    """Give name and sha256 of each list, for the manifest.

    Raises:
        InputError: One cannot be read.
    """
    found: list[str] = []
    for path in paths:
        data = "\n".join(line for _, line in _entries(path))
        found.append(f"{path.name} {hashlib.sha256(data.encode()).hexdigest()}")
    return found


def _entries(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"list {path} cannot be read: {reason}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield number, entry
