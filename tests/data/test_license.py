# SPDX-License-Identifier: Apache-2.0
from email.message import Message

import pytest

from codegemma.data import license as licenses

GRANT = (
    "Permission is hereby granted, free of charge,\n to any person obtaining a copy of this "
    "software and\nassociated files, to deal in the Software without restriction, subject to"
)
BSD = (
    "Copyright (c) 2020, Somebody. All rights reserved.\n\nRedistribution and use in source and "
    "binary forms, with or without\nmodification, are permitted {} provided that the following "
    "conditions are met:\n\n1. Redistributions of source code must retain the above notice.\n"
)
ISC = (
    "Permission to use, copy, modify, and/or distribute this software for any purpose with or "
    "without fee is hereby granted{}"
)


def headers(*fields: tuple[str, str]) -> Message:
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


@pytest.mark.parametrize(
    ("expression", "is_permissive"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("Apache-2.0 OR BSD-2-Clause", True),
        ("GPL-2.0-only OR MIT", True),
        ("mit", True),
        ("apache-2.0 and bsd-3-clause", True),
        ("gpl-3.0", False),
        ("MPL-2.0 AND MIT", False),
        ("MIT AND (LGPL-2.1-only OR MPL-2.0)", False),
        ("MIT AND (LGPL-2.1-only OR ISC)", True),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("LicenseRef-unknown", False),
        ("", False),
        ("(MIT", False),
        ("MIT AND", False),
        ("MIT MIT", False),
    ],
)
def test_copyleft_and_unknown_licences_are_not_permissive(
    expression: str, is_permissive: bool
) -> None:
    assert licenses.is_permissive(expression) is is_permissive


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("MIT License", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("3-Clause BSD License", "BSD-3-Clause"),
        ("BSD 2-Clause License", "BSD-2-Clause"),
        ("Copyright me\n\n" + GRANT, "MIT"),
        ("    Apache License\n   Version 2.0, January 2004\n", "Apache-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\nVersion 3", "GPL-2.0-or-later"),
        (BSD.format(""), "BSD-2-Clause"),
        (BSD.format("") + "3. Neither the name of the copyright holder ...", "BSD-3-Clause"),
        (ISC.format("."), "ISC"),
        ("Apache License\nVersion 2.0, January 2004\n\nThis product bundles code under the\n"
         "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2", "Apache-2.0 AND PSF-2.0"),
        (GRANT + "\n\nParts:\n" + BSD.format(""), "BSD-2-Clause AND MIT"),
        (GRANT + " for commercial and non-commercial use alike.", "MIT"),
        ("Anyone is free to use it, for any purpose, commercial or non-commercial,\n"
         "This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("All rights reserved.", ""),
        ("Permission is hereby granted, free of charge, to any person obtaining a copy of the "
         "Font Software, to use and embed it", ""),
    ],
)  # fmt: skip
def test_licences_are_recognised_by_name_and_by_text(text: str, spdx: str) -> None:
    assert licenses.recognize(text) == spdx


def test_a_licence_expression_wins_over_classifiers() -> None:
    metadata = headers(
        ("License-Expression", "ISC"),
        ("Classifier", "License :: OSI Approved :: MIT License"),
    )

    assert licenses.from_metadata(metadata) == "ISC"


def test_several_classifiers_must_all_hold() -> None:
    metadata = headers(
        ("Classifier", "License :: DFSG approved"),
        ("Classifier", "License :: OSI Approved :: MIT License"),
        ("Classifier", "License :: OSI Approved :: Apache Software License"),
    )

    assert licenses.from_metadata(metadata) == "Apache-2.0 AND MIT"


def test_an_expression_in_the_free_field_wins_over_classifiers() -> None:
    metadata = headers(
        ("License", "MPL-2.0 AND MIT"), ("Classifier", "License :: OSI Approved :: MIT License")
    )

    assert licenses.from_metadata(metadata) == "MPL-2.0 AND MIT"


def test_an_unlisted_classifier_is_kept_as_a_name_of_its_own() -> None:
    metadata = headers(("Classifier", "License :: OSI Approved :: Motosoto License"))

    assert licenses.from_metadata(metadata) == "LicenseRef-Motosoto-License"


def test_metadata_without_a_licence_gives_none() -> None:
    assert licenses.from_metadata(headers(("Name", "x"))) == ""


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("# SPDX-License-Identifier: MIT\n", "MIT"),
        ("/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */", "(GPL-2.0 OR MIT)"),
        ("<!-- SPDX-License-Identifier: GPL-2.0 WITH x-exception -->", "GPL-2.0 WITH x-exception"),
        ("// SPDX-License-Identifier: MIT\n// SPDX-License-Identifier: ISC\n", "MIT AND ISC"),
        ("x = 1\n" * 1000 + "# SPDX-License-Identifier: MIT\n", ""),
        ("# SPDX-License-Identifier:\n", ""),
    ],
)  # fmt: skip
def test_the_tag_at_the_head_of_a_file_is_read(text: str, spdx: str) -> None:
    assert licenses.from_header(text) == spdx


@pytest.mark.parametrize(
    ("name", "text", "spdx"),
    [
        ("package.json", '{"license": "(MIT OR CC0-1.0)"}', "(MIT OR CC0-1.0)"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}', "GPL-2.0 OR MIT"),
        ("package.json", '{"license": "SEE LICENSE IN EULA.md"}', "LicenseRef-unknown"),
        ("package.json", '{"license": "UNLICENSED"}', "UNLICENSED"),
        ("package.json", '{"name": "x"}', ""),
        ("package.json", "{", ""),
        ("package.json", "[1]", ""),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {text = "BSD-3-Clause"}\n', "BSD-3-Clause"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}\n', ""),
        (
            "pom.xml",
            "<licenses><license>\n<name>The Apache Software License, Version 2.0</name></license>",
            "Apache-2.0",
        ),
        ("composer.json", '{"license": ["LGPL-2.1-only", "MIT"]}', "LGPL-2.1-only OR MIT"),
    ],
)
def test_the_metadata_of_packages_is_read(name: str, text: str, spdx: str) -> None:
    assert licenses.from_package(name, text) == spdx


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ('"Commons Clause" License Condition v1.0\n' + GRANT, "LicenseRef-commons-clause"),
        (GRANT + "\nThe Software shall be used for Good, not Evil.", "JSON"),
        ("Business Source License 1.1", "BUSL-1.1"),
        ("Eclipse Public License - v 2.0", "EPL-2.0"),
        ("Creative Commons Attribution-ShareAlike 4.0", "CC-BY-SA-4.0"),
        ("Boost Software License - Version 1.0", "BSL-1.0"),
        (BSD.format("for non-commercial purposes only"), licenses.NON_COMMERCIAL),
        (GRANT + " the following: for NON-COMMERCIAL purposes only.", licenses.NON_COMMERCIAL),
        (ISC.format(", for academic research purposes only."), licenses.NON_COMMERCIAL),
        (ISC.format(". It may not be used for commercial gain."), licenses.NON_COMMERCIAL),
        (ISC.format(" solely for your personal use."), licenses.NON_COMMERCIAL),
        (ISC.format(". Commercial use is strictly prohibited."), licenses.NON_COMMERCIAL),
        ("Everyone is permitted: GNU LESSER GENERAL PUBLIC LICENSE", "LGPL-2.1-or-later"),
    ],
)
def test_variants_that_take_something_back_are_not_taken_for_permissive(
    text: str, spdx: str
) -> None:
    assert licenses.recognize(text) == spdx


def test_the_nearest_statement_about_a_file_holds() -> None:
    known = {"": "MIT", "a/b": "ISC", "a/b/c.py": "GPL-2.0"}

    assert licenses.of_file("x.py", "", licenses=known) == "MIT"
    assert licenses.of_file("a/x.py", "", licenses=known) == "MIT"
    assert licenses.of_file("a/b/d/x.py", "", licenses=known) == "ISC"
    assert licenses.of_file("a/b/c.py", "", licenses=known) == "GPL-2.0"
    assert licenses.of_file("a/b/c.py", "# SPDX-License-Identifier: 0BSD", licenses=known) == "0BSD"
    assert licenses.of_file("x.py", "", licenses={}) == ""


def test_all_that_is_found_in_a_folder_holds_at_once() -> None:
    stated = {
        "": {"MIT", "Apache-2.0 OR ISC"},
        "a": {licenses.UNKNOWN, "MIT"},
        "b": {licenses.UNKNOWN},
    }

    assert licenses.settle(stated, declared="") == {
        "": "(Apache-2.0 OR ISC) AND MIT",
        "a": "MIT",
        "b": licenses.UNKNOWN,
    }
    assert licenses.settle({"b": {licenses.UNKNOWN}}, declared="ISC") == {"": "ISC"}


GPL = "/*\n * You can redistribute this program\n * under the terms of the {}\n */\n"
CHOICE = "{}\n * Alternatively, under the terms of the GNU {}"
MPL = "// This Source Code Form is subject to the terms of the Mozilla Public\n// License, v. 2.0."


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        (GPL.format("GNU General\n * Public License as published"), "GPL-2.0-or-later"),
        (GPL.format("GNU Lesser General Public License"), "LGPL-2.1-or-later"),
        (GPL.format("GNU Affero General Public License"), "AGPL-3.0-or-later"),
        ("# Licensed under the GPLv3.\n", "GPL-2.0-or-later"),
        (MPL, "MPL-2.0"),
        ("\"\"\"Released under the LGPL.\"\"\"", "LGPL-2.1-or-later"),
        ("/* CONFIDENTIAL AND PROPRIETARY. Do not copy. */", licenses.PROPRIETARY),
        ("# Free for non-commercial use only.\n", licenses.NON_COMMERCIAL),
        ("# Free for commercial and non-commercial use.\n", ""),
        ("/*! Dual licensed under the MIT or GPL Version 2 licenses. */", ""),
        (GPL.format(CHOICE.format("MIT license.", "General Public License")), ""),
        (GPL.format(CHOICE.format("Mozilla Public License", "GPL")), "GPL-2.0-or-later"),
        ("NAMES = ['GNU General Public License', 'Mozilla Public License']\n", ""),
        ("# tells the GPL from other licences\n", ""),
        ("x = 1\n" * 1000 + GPL.format("GNU General Public License"), ""),
    ],
)  # fmt: skip
def test_a_notice_at_the_head_of_a_file_takes_it_out_of_a_permissive_folder(
    text: str, spdx: str
) -> None:
    assert licenses.from_notice(text) == spdx
    assert licenses.of_file("a.py", text, licenses={"": "MIT"}) == (spdx or "MIT")
