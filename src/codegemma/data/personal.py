# SPDX-License-Identifier: Apache-2.0
"""Find personal data in source text: e-mail and public IP addresses, and names where a mark is.

Each kind is looked for where a cheap search finds its mark. Addresses of examples and machines,
versions and private ranges are none; what is found is replaced by `redact`.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["key", "email", "ip", "name", "data_uri"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A value to replace: its kind, and its place in characters (end exclusive)."""

    kind: Kind
    start: int
    end: int


_EMAIL: Final = re.compile(
    r"(?:(?<![\w.+%/@=\\-])|(?<=\\[nrt]))[A-Za-z0-9](?:[\w.+%-]{0,62}[A-Za-z0-9_])?@"
    r"(?P<host>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,6}(?P<tld>[A-Za-z]{2,12}))(?![\w@(-]|\.\w)"
)
_EMAIL_MARK: Final = re.compile(r"@(?<=\w@)[A-Za-z0-9][A-Za-z0-9-]{0,62}\.[A-Za-z0-9]")
"""In every text with an address; it begins with a letter that is searched for quickly."""
_TLDS_WORDS: Final = """
    com org net edu gov mil int info biz io dev app ai tech cloud xyz online de uk fr jp cn ru
    br it nl es se fi dk pl ch be au ca us eu cz gr hu ie il ir kr mx nz pt ro sg th tr tw ua za
    vn ph hk sk si hr lt lv ee lu bg rs kz by co tv cc me in at no id is ar cl my ae sa pk ng
    su fm tk gg sh to ly ge am az al ba mk mt cy uz kg mn lk np bd qa kw bh jo lb eg ma tn dz ke tz
    ug gh zw zm et pe ve uy ec cr gt hn sv ni cu pr jm im je li mc ws vc gi
"""
_TLDS: Final = frozenset(_TLDS_WORDS.split())
_SAFE_HOST: Final = re.compile(
    r"(.*\.)?(example\.\w+|test|invalid|localhost|domain\.com|email\.com|mail\.com|host\.com|foo\.com"
    r"|bar\.com|users\.noreply\.github\.com|company\.com)",
    re.IGNORECASE,
)
_SAFE_LOCAL: Final = frozenset({"git", "noreply", "no-reply", "user", "root", "hg", "svn"})
_IPV4: Final = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)")
_IPV6: Final = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6}(?![\w:])"
)
_IPV6_SHORT: Final = re.compile(
    r"(?<![\w:.])[23][0-9A-Fa-f]{3}::(?:[0-9A-Fa-f]{1,4}:){0,5}[0-9A-Fa-f]{1,4}(?![\w:])"
)
"""With zeros behind the first of its parts, which is that of a public address and no name."""
_IPV4_MARK: Final = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d")
_IPV6_MARK: Final = re.compile(r":[0-9A-Fa-f]{1,4}:")
_KNOWN_IPS_WORDS: Final = """
    8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 208.67.222.222 208.67.220.220 4.4.4.4 1.2.3.4
    2001:4860:4860::8888 2001:4860:4860::8844 2606:4700:4700::1111
"""
_KNOWN_IPS: Final = frozenset(_KNOWN_IPS_WORDS.split())
_AUTHOR: Final = re.compile(
    r"(?:@author:?|[\\@:]authors?:|__author__[ ]*=[ ]*[\"']|^[ \t#*/;-]{0,8}Authors?:)[ \t]*"
    r"(?P<v>[A-Z](?:[\w.-]|'(?=\w)){1,24}(?:[ ][A-Z](?:[\w.-]|'(?=\w)){0,24}){1,3})",
    re.MULTILINE,
)
_BEFORE_EMAIL: Final = re.compile(r"(?P<v>[A-Z][\w'.-]{1,24}(?: [A-Z][\w'.-]{0,24}){1,3}) [<(]\Z")


def find(text: str) -> Iterator[Finding]:
    """Give what is found, each kind in the order of the text; names and addresses may overlap."""
    yield from _emails(text)
    yield from _addresses(text)
    yield from _names(text)


def holds_personal_data(path: str) -> bool:
    """Tell whether a path names a person by e-mail address."""
    spaced = path.replace("/", " ")
    return "@" in path and any(
        True for text in (spaced, spaced.rpartition(".")[0]) for _ in _emails(text)
    )


def _emails(text: str) -> Iterator[Finding]:
    if not _EMAIL_MARK.search(text):
        return
    for match in _EMAIL.finditer(text):
        local = match[0].partition("@")[0]
        if match["tld"].lower() not in _TLDS or local.lower() in _SAFE_LOCAL:
            continue
        if _SAFE_HOST.fullmatch(match["host"]) or (len(local) < 2 and len(match["tld"]) < 3):
            continue
        yield Finding("email", *match.span())


def _addresses(text: str) -> Iterator[Finding]:
    for match in _IPV4.finditer(text) if _IPV4_MARK.search(text) else ():
        if _is_public(match[0]) and not _is_version(text, match):
            yield Finding("ip", *match.span())
    if _IPV6_MARK.search(text):
        for match in _IPV6.finditer(text):
            if match[0].count(":") >= 3 and _is_public(match[0]):
                yield Finding("ip", *match.span())
    for match in _IPV6_SHORT.finditer(text) if "::" in text else ():
        if _is_public(match[0]):
            yield Finding("ip", *match.span())


def _is_public(value: str) -> bool:
    if value in _KNOWN_IPS:
        return False
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _is_version(text: str, match: re.Match[str]) -> bool:
    """Tell whether four numbers are a version, an object identifier or the like."""
    if all(int(part) < 20 for part in match[0].split(".")):
        return True
    begin = text.rfind("\n", 0, match.start()) + 1
    before = text[max(begin, match.start() - 60) : match.start()].lower()
    return (
        re.search(r"version|\bv\s*$|section|release|assembly|oid|firefox|chrome|mozilla|/$", before)
        is not None
    )


def _names(text: str) -> Iterator[Finding]:
    if "uthor" in text:
        for match in _AUTHOR.finditer(text):
            yield Finding("name", *match.span("v"))
    if _EMAIL_MARK.search(text):
        for match in _EMAIL.finditer(text):
            begin = max(0, match.start() - 110)
            named = _BEFORE_EMAIL.search(text[begin : match.start()])
            if named:
                yield Finding("name", begin + named.start("v"), begin + named.end("v"))
