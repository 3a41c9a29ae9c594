# SPDX-License-Identifier: Apache-2.0
"""Recognise a licence and decide whether code under it may be trained on.

Reads SPDX expressions, a package's metadata, the text of a licence file, or the tag at the head of
a source file; gives an SPDX expression, "" when none is recognised. It is no legal advice.

Source: a licence file holds for its folder and those below, as in The Stack v2, arXiv 2402.19173,
"License detection".
"""

import json
import re
import tomllib
from collections.abc import Collection, Mapping
from email.message import Message
from typing import Any, Final, cast

UNKNOWN: Final = "LicenseRef-unknown"
"""A licence text that is none of those known."""

METADATA_FILES: Final = ("package.json", "Cargo.toml", "pyproject.toml", "pom.xml", "composer.json")
"""Files in which a package declares its licence."""

# Of Blue Oak Council's permissive list and ScanCode's categories "Permissive" and "Public Domain",
# what occurs in packages.
_PERMISSIVE: Final = frozenset(
    [
        "0BSD",
        "AFL-2.1",
        "AFL-3.0",
        "Apache-1.1",
        "Apache-2.0",
        "Artistic-2.0",
        "BlueOak-1.0.0",
        "BSD-1-Clause",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD-3-Clause-LBNL",
        "BSD-4-Clause",
        "BSL-1.0",
        "bzip2-1.0.6",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-PDDC",
        "CC0-1.0",
        "CNRI-Python",
        "curl",
        "ECL-2.0",
        "EFL-2.0",
        "FSFAP",
        "FTL",
        "HPND",
        "ICU",
        "IJG",
        "Intel",
        "ISC",
        "libpng-2.0",
        "libtiff",
        "Linux-OpenIB",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MS-PL",
        "MulanPSL-2.0",
        "NCSA",
        "NTP",
        "OLDAP-2.8",
        "OML",
        "PostgreSQL",
        "PSF-2.0",
        "Python-2.0",
        "Python-2.0.1",
        "SGI-B-2.0",
        "Unicode-3.0",
        "Unicode-DFS-2016",
        "Unlicense",
        "UPL-1.0",
        "W3C",
        "WTFPL",
        "X11",
        "Xnet",
        "Zlib",
        "ZPL-2.0",
        "ZPL-2.1",
    ]
)

_PERMISSIVE_IDS: Final = {spdx.lower(): spdx for spdx in _PERMISSIVE}
"""Ids are the same in any case; many tables write them small."""

_OSI_APPROVED: Final = "License :: OSI Approved :: "
_CLASSIFIERS: Final = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
    "Zope Public License": "ZPL-2.1",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}

# Names people write instead of an SPDX id; the first that matches the whole field wins.
_NAMES: Final = (
    (r"(the )?mit( license)?( \(mit\))?", "MIT"),
    (
        r"(the )?apache([- ]software)?( license)?,?( ?-?version)? ?-?2(\.0)?( license)?",
        "Apache-2.0",
    ),
    (r"(the )?(new |modified |revised )?bsd( license)?", "BSD-3-Clause"),
    (r"(3-clause bsd|bsd[- ]3([- ]clause)?)( license)?|new bsd", "BSD-3-Clause"),
    (r"(2-clause bsd|bsd[- ]2([- ]clause)?|simplified bsd)( license)?", "BSD-2-Clause"),
    (r"(psf|psfl|python software foundation( license)?|psf license)", "PSF-2.0"),
    (r"isc( license)?( \(iscl\))?", "ISC"),
    (r"(the )?unlicense", "Unlicense"),
)

# Sentences that mark a licence text. A mark of one that is not permissive, near the head of the
# text or (the first two) anywhere in it, decides before the others.
_CONDITIONS: Final = (
    ("commons clause", "LicenseRef-commons-clause"),
    ("shall be used for good, not evil", "JSON"),
)
_COPYLEFT_MARKS: Final = (
    ("business source license", "BUSL-1.1"),
    ("elastic license", "Elastic-2.0"),
    ("server side public license", "SSPL-1.0"),
    ("creative commons attribution-noncommercial", "CC-BY-NC-4.0"),
    ("creative commons attribution-sharealike", "CC-BY-SA-4.0"),
    ("attribution-noncommercial", "CC-BY-NC-4.0"),
    ("attribution-sharealike", "CC-BY-SA-4.0"),
    ("eclipse public license", "EPL-2.0"),
    ("common development and distribution license", "CDDL-1.0"),
    ("european union public licence", "EUPL-1.2"),
    ("common public license", "CPL-1.0"),
    ("gnu lesser general public license", "LGPL-2.1-or-later"),
    ("gnu affero general public license", "AGPL-3.0-or-later"),
    ("gnu general public license", "GPL-2.0-or-later"),
    ("mozilla public license", "MPL-2.0"),
)
# What all must stand in a text: its grant, and what would be another in a text that only begins so.
_MIT: Final = "permission is hereby granted, free of charge, to any person obtaining"
_BSD: Final = "redistribution and use in source and binary forms"
_BSD_TERMS: Final = "provided that the following conditions"
_MARKS: Final = (
    (("python software foundation license version 2",), "PSF-2.0"),
    (("apache license version 2.0",), "Apache-2.0"),
    (("apache software license, version 1.1",), "Apache-1.1"),
    (("boost software license - version 1.0",), "BSL-1.0"),
    ((_MIT, "without restriction"), "MIT"),
    ((_BSD, _BSD_TERMS, "neither the name"), "BSD-3-Clause"),
    ((_BSD, _BSD_TERMS), "BSD-2-Clause"),
    (
        ("permission to use, copy, modify, and/or distribute this software for any", "fee"),
        "ISC",
    ),
    (("permission to use, copy, modify, and distribute this software and its",), "HPND"),
    (
        ("permission to use, copy, modify, and distribute this software for any purpose",),
        "ISC",
    ),
    (("permission to use, copy, modify, and/or distribute this software",), "0BSD"),
    (("permission to use, copy, modify, and distribute this software",), "HPND"),
    (("do what the fuck you want to public license",), "WTFPL"),
    (("cc0 1.0 universal",), "CC0-1.0"),
    (("universal permissive license",), "UPL-1.0"),
    (("the origin of this software must not be misrepresented",), "Zlib"),
    (("academic free license",), "AFL-3.0"),
    (("artistic license 2.0",), "Artistic-2.0"),
    (("zope public license (zpl) version 2.1",), "ZPL-2.1"),
    (("blue oak model license",), "BlueOak-1.0.0"),
    (("microsoft public license",), "MS-PL"),
    (("mulan permissive software license",), "MulanPSL-2.0"),
    (
        ("this is free and unencumbered software released into the public domain",),
        "Unlicense",
    ),
)

NON_COMMERCIAL: Final = "LicenseRef-non-commercial"
PROPRIETARY: Final = "LicenseRef-proprietary"
_ANY_PURPOSE: Final = re.compile(
    r"non-? ?commercial(?:ly)?\W+(?:and/or|and|or)\W+(?:for )?commercial"
    r"|commercial(?:ly)?\W+(?:and/or|and|or|as well as)\W+(?:for )?non-? ?commercial"
)
"""Says that both are free, which most licences that speak of it say."""

_USES: Final = (
    r"(?:research|academic|education(?:al)?|evaluation|personal|private|internal|teaching)"
)
_RESTRICTED: Final = re.compile(
    r"(?<!occasionally and )non-? ?commercial"
    r"|not (?:be )?(?:used |sold |permitted )?for (?:any )?commercial|no commercial use"
    r"|commercial (?:use|usage|purposes?|exploitation)[a-z ]{0,20} (?:is|are) "
    r"(?:strictly )?(?:prohibited|forbidden|not)"
    rf"|{_USES}[a-z, /-]{{0,40}}(?:use|purposes?|users?) only"
    rf"|(?:only|solely|exclusively) for (?:your |own |the )?{_USES}[a-z, /-]{{0,40}}(?:use|purpose)"
)
"""Takes back for some uses what a grant gives."""

_PROPRIETARY: Final = re.compile(
    r"confidential and proprietary|proprietary and confidential"
    r"|without an express license agreement"
    r"|unauthori[sz]ed (?:copying|use|reproduction|distribution|disclosure)[a-z, ]{0,80} "
    r"(?:is|are) (?:strictly )?prohibited"
)


def recognize(text: str) -> str:
    """Give the SPDX id of a licence text or of a licence's common name, "" when unknown.

    A text that grants what a permissive licence does but bars commercial use, or grants research,
    academic or personal use alone, gives `NON_COMMERCIAL`.
    """
    folded = re.sub(r"\s+", " ", text).strip().lower()
    for pattern, spdx in _NAMES:
        if re.fullmatch(pattern, folded):
            return spdx
    for mark, spdx in _CONDITIONS:
        if mark in folded:
            return spdx
    for mark, spdx in _COPYLEFT_MARKS:
        if mark in folded[:2000]:
            return spdx
    folded = folded.replace("apache license, version", "apache license version")
    found = _marked(folded)
    return NON_COMMERCIAL if found and _is_restricted(folded) else " AND ".join(sorted(found))


def _marked(folded: str) -> set[str]:
    """Give the licences whose marks a text bears; of those whose grant begins alike, the first."""
    found: set[str] = set()
    grants: set[int] = set()
    for marks, spdx in _MARKS:
        begin = folded.find(marks[0])
        if begin >= 0 and begin not in grants and all(mark in folded for mark in marks):
            grants.add(begin)
            found.add(spdx)
    return found


def _is_restricted(folded: str) -> bool:
    return _RESTRICTED.search(_ANY_PURPOSE.sub(" ", folded)) is not None


_HEAD_MARKS: Final = re.compile(
    r"public\W+licen[cs]e|\b[al]?gpl|\bmpl|distribution\W+licen|commercial|cc-by-nc|prohibited"
    r"|proprietary|express license",
    re.IGNORECASE,
)
_NOTICES: Final = (
    (r"(?:gnu )?(?:affero general public licen[cs]e|agpl(?:v?[0-9.]+)?\b)", "AGPL-3.0-or-later"),
    (
        r"(?:gnu )?(?:(?:lesser|library) general public licen[cs]e|lgpl(?:v?[0-9.]+)?\b)",
        "LGPL-2.1-or-later",
    ),
    (r"(?:gnu )?(?:general public licen[cs]e|gpl(?:v?[0-9.]+)?\b)", "GPL-2.0-or-later"),
    (r"mozilla public licen[cs]e|mpl(?:v?[0-9.]+)?\b", "MPL-2.0"),
    (r"eclipse public licen[cs]e", "EPL-2.0"),
    (r"common development and distribution licen[cs]e", "CDDL-1.0"),
    (r"server side public licen[cs]e", "SSPL-1.0"),
)
_GRANT: Final = (
    r"(?:terms (?:and conditions )?of|(?:licen[cs]ed|released|distributed|available) under"
    r"|subject to|as part of[a-z ,]{0,40} under|part of[a-z ,]{0,30}is under|governed by"
    r"|licen[cs]e ?:) "
    r"(?:the )?(?:terms (?:and conditions )?of )?(?:the )?(?:version [0-9.]+ of the )?"
)
_NOTICE: Final = tuple((re.compile(_GRANT + f"(?:{pattern})"), spdx) for pattern, spdx in _NOTICES)
_CHOICE: Final = re.compile(
    r"alternatively|\bdual|choice of|you may choose|either the"
    r"|\bor (?:\(at your option\) )?(?:the )?(?:mit|bsd|apache|isc|x11)\b"
)
_PERMISSIVE_WORDS: Final = re.compile(
    r"\b(?:mit|bsd|apache|isc|x11|zlib|boost)\b|permission is hereby granted"
    r"|redistribution and use"
)
_HEAD_RESTRICTED: Final = re.compile(
    r"(?:only|solely|exclusively) for [a-z, ]{0,40}non ?commercial"
    r"|non ?commercial[a-z, ]{0,40} only|not (?:be used )?for (?:any )?commercial (?:use|purpose)"
    r"|\bcc by nc\b"
    r"|attribution non ?commercial"
)


def from_notice(text: str) -> str:
    """Give what the words at the head of a source file say of its licence, "" for nothing telling.

    Looks for what takes a file out of a permissive folder: a grant under a copyleft licence, a use
    that is barred, a mark of secrecy. A head that leaves a choice between licences tells nothing.

    Example:
        ... under the terms of the GNU General Public License ... -> GPL-2.0-or-later
        ... dual licensed under the MIT or GPL licenses ...       -> ""
    """
    head = text[:_TAG_CHARS]
    if not _HEAD_MARKS.search(head):
        return ""
    folded = re.sub(r"[\s#*/;!%\"'|<>-]+", " ", head).lower()
    has_choice = _CHOICE.search(folded) and _PERMISSIVE_WORDS.search(folded)
    if not has_choice:
        for pattern, spdx in _NOTICE:
            if pattern.search(folded):
                return spdx
    if _PROPRIETARY.search(folded):
        return PROPRIETARY
    return NON_COMMERCIAL if _HEAD_RESTRICTED.search(_ANY_PURPOSE.sub(" ", folded)) else ""


def from_metadata(metadata: Message) -> str:
    """Read the licence of a distribution from its METADATA headers.

    `License-Expression` decides, then the classifiers (all of them must hold), then the free
    `License` field.
    """
    expression = str(metadata.get("License-Expression") or "").strip()
    if expression:
        return expression
    field = str(metadata.get("License") or "").strip()
    if re.fullmatch(r"[\w.+-]+( (AND|OR|WITH) [\w.+-]+)+", field):
        return field
    names = [
        str(value).removeprefix(_OSI_APPROVED)
        for value in metadata.get_all("Classifier") or []
        if str(value).startswith(_OSI_APPROVED)
    ]
    if names:
        return " AND ".join(
            sorted(
                {_CLASSIFIERS.get(name, f"LicenseRef-{name.replace(' ', '-')}") for name in names}
            )
        )
    return _PERMISSIVE_IDS.get(field.lower()) or recognize(field)


_TAG: Final = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+() -]*[\w.+)])")
_TAG_CHARS: Final = 4000
_POM_NAME: Final = re.compile(r"<license>.*?<name>([^<]+)</name>", re.DOTALL)


def from_header(text: str) -> str:
    """Read the SPDX tag at the head of a source file, "" when there is none."""
    head = text[:_TAG_CHARS]
    if "SPDX-License-Identifier" not in head:
        return ""
    found = dict.fromkeys(map(expression_of, _TAG.findall(head)))
    return " AND ".join(f"({tag})" if " OR " in tag and len(found) > 1 else tag for tag in found)


def from_package(name: str, text: str) -> str:
    """Read the licence that a package's metadata declares, "" when it does not or is damaged.

    Args:
        name: File name, one of `METADATA_FILES`.
        text: Its content.
    """
    try:
        if name == "pom.xml":
            return " OR ".join(sorted({spdx_of(found) for found in _POM_NAME.findall(text)}))
        if name.endswith(".toml"):
            values: dict[str, Any] = tomllib.loads(text)
            values = values.get("package") or values.get("project") or {}
        else:
            values = json.loads(text)
        declared = values.get("license", values.get("licenses", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""
    parts = cast("list[Any]", declared) if isinstance(declared, list) else [declared]
    names: list[str] = []
    for part in parts:
        if isinstance(part, dict):
            fields = cast("dict[str, Any]", part)
            part = fields.get("type") or fields.get("text") or ""
        if isinstance(part, str) and part.strip():
            names.append(spdx_of(part))
    return " OR ".join(sorted(set(names)))


def spdx_of(name: str) -> str:
    """Give the SPDX expression of a declared name, which may be one already."""
    name = name.strip().replace("/", " OR ") if len(name) < 60 else name.strip()
    if _EXPRESSION.fullmatch(name):
        return recognize(name) or _WORD.sub(_as_written, name)
    return recognize(name) or UNKNOWN


_EXPRESSION: Final = re.compile(
    r"\(*[A-Z0-9][\w.+-]*[\w+]\)*( (AND|OR|WITH) \(*[\w.+-]+\)*)*", re.IGNORECASE
)
_WORD: Final = re.compile(r"[\w.+-]+")


def _as_written(match: re.Match[str]) -> str:
    """Give a word of an expression as SPDX writes it."""
    word = match[0]
    joins = word.upper() in ("AND", "OR", "WITH")
    return word.upper() if joins else _PERMISSIVE_IDS.get(word.lower(), word)


def expression_of(words: str) -> str:
    """Give what is written of a licence as SPDX has it, in its own words where that is unclear."""
    found = spdx_of(words)
    return words.strip() if found == UNKNOWN else found


def settle(stated: Mapping[str, Collection[str]], *, declared: str) -> dict[str, str]:
    """Decide what holds in each folder from all that was found there; "" is the root.

    All of it holds at once. A text that is none of those known counts only where nothing known is
    found beside it, and never against what the repository's metadata declares.
    """
    settled: dict[str, str] = {}
    for place, found in stated.items():
        known = {name for name in found if name != UNKNOWN}
        if known:
            joined = sorted(f"({n})" if " OR " in n and len(known) > 1 else n for n in known)
            settled[place] = " AND ".join(joined)
        elif found and not declared:
            settled[place] = UNKNOWN
    if declared:
        settled[""] = declared
    return settled


def of_file(path: str, text: str, *, licenses: Mapping[str, str]) -> str:
    """Give the licence of a file: its own tag or notice, its own entry, or the nearest folder's.

    Args:
        path: Inside the repository.
        text: Its content.
        licenses: As `settle` gives.

    Returns:
        An SPDX expression, "" when nothing is known.
    """
    stated = from_header(text) or from_notice(text)
    if stated:
        return stated
    place = path
    while place:
        if place in licenses:
            return licenses[place]
        place = place.rpartition("/")[0]
    return licenses.get("", "")


def is_permissive(expression: str) -> bool:
    """Tell whether an SPDX expression allows training without copyleft duties.

    Every part of an AND must be permissive, one part of an OR suffices; an exception (WITH) does
    not make a copyleft licence permissive. An empty or unknown expression is not permissive.

    Example:
        MIT AND BSD-3-Clause  -> True
        MPL-2.0 AND MIT       -> False
        GPL-2.0 OR MIT        -> True
    """
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    if not tokens:
        return False
    try:
        value, position = _either(tokens, 0)
    except IndexError:
        return False
    return value and position == len(tokens)


def _either(tokens: list[str], position: int) -> tuple[bool, int]:
    value, position = _both(tokens, position)
    while position < len(tokens) and tokens[position].upper() == "OR":
        other, position = _both(tokens, position + 1)
        value = value or other
    return value, position


def _both(tokens: list[str], position: int) -> tuple[bool, int]:
    value, position = _one(tokens, position)
    while position < len(tokens) and tokens[position].upper() == "AND":
        other, position = _one(tokens, position + 1)
        value = value and other
    return value, position


def _one(tokens: list[str], position: int) -> tuple[bool, int]:
    if tokens[position] == "(":
        value, position = _either(tokens, position + 1)
        return value and tokens[position] == ")", position + 1
    value = tokens[position].lower() in _PERMISSIVE_IDS
    position += 1
    if position + 1 < len(tokens) and tokens[position].upper() == "WITH":
        position += 2
    return value, position
