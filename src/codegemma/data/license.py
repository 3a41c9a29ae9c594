# SPDX-License-Identifier: Apache-2.0
"""Recognise a licence and decide whether code under it may be trained on.

Reads SPDX expressions, the metadata of a Python distribution, or the text of a licence file; gives
an SPDX expression, "" when none is recognised. It is no legal advice, and reads no file headers.
"""

import re
from email.message import Message
from typing import Final

# Blue Oak Council's permissive list, as far as it occurs in Python packages.
PERMISSIVE: Final = frozenset(
    [
        "0BSD",
        "AFL-3.0",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD-3-Clause-LBNL",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "HPND",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "NCSA",
        "PSF-2.0",
        "Python-2.0",
        "Python-2.0.1",
        "Unlicense",
        "Zlib",
        "ZPL-2.1",
    ]
)

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
    (r"apache([- ]software)?( license)?,?( ?-?version)? ?-?2(\.0)?( license)?", "Apache-2.0"),
    (r"(the )?(new |modified |revised )?bsd( license)?", "BSD-3-Clause"),
    (r"(3-clause bsd|bsd[- ]3([- ]clause)?)( license)?|new bsd", "BSD-3-Clause"),
    (r"(2-clause bsd|bsd[- ]2([- ]clause)?|simplified bsd)( license)?", "BSD-2-Clause"),
    (r"(psf|psfl|python software foundation( license)?|psf license)", "PSF-2.0"),
    (r"isc( license)?( \(iscl\))?", "ISC"),
    (r"(the )?unlicense", "Unlicense"),
)

# Sentences that mark a licence text. A copyleft mark anywhere decides before the others.
_COPYLEFT_MARKS: Final = (
    ("gnu lesser general public license", "LGPL-2.1-or-later"),
    ("gnu affero general public license", "AGPL-3.0-or-later"),
    ("gnu general public license", "GPL-2.0-or-later"),
    ("mozilla public license", "MPL-2.0"),
)
_MARKS: Final = (
    ("python software foundation license version 2", "PSF-2.0"),
    ("apache license version 2.0", "Apache-2.0"),
    ("permission is hereby granted, free of charge, to any person obtaining", "MIT"),
    ("neither the name of", "BSD-3-Clause"),
    ("redistribution and use in source and binary forms", "BSD-2-Clause"),
    ("permission to use, copy, modify, and/or distribute this software for any", "ISC"),
    ("permission to use, copy, modify, and distribute this software and its", "HPND"),
    ("this is free and unencumbered software released into the public domain", "Unlicense"),
)


def recognize(text: str) -> str:
    """Give the SPDX id of a licence text or of a licence's common name, "" when unknown."""
    folded = re.sub(r"\s+", " ", text).strip().lower()
    for pattern, spdx in _NAMES:
        if re.fullmatch(pattern, folded):
            return spdx
    for mark, spdx in _COPYLEFT_MARKS:
        if mark in folded[:2000]:
            return spdx
    folded = folded.replace("apache license, version", "apache license version")
    for mark, spdx in _MARKS:
        if mark in folded:
            return spdx
    return ""


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
    return field if field in PERMISSIVE else recognize(field)


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
    value = tokens[position] in PERMISSIVE
    position += 1
    if position + 1 < len(tokens) and tokens[position].upper() == "WITH":
        position += 2
    return value, position
