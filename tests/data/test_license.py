# SPDX-License-Identifier: Apache-2.0
from email.message import Message

import pytest

from codegemma.data import license as licenses

GRANT = "Permission is hereby granted, free of charge,\n to any person obtaining a copy of this"


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
        ("All rights reserved.", ""),
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
