# SPDX-License-Identifier: Apache-2.0

import sys

import pytest

from codegemma.errors import PrerequisiteError
from codegemma.evaluate.personal import find_personal


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("# written by jane.doe+x@mail.university.edu in 2001", {"mail"}),
        ("connect('8.8.8.8', 53)", {"address"}),
        ("aws_key = 'AKIA" + "IOSFODNN7EXAMPLE'", {"AWS Access Key"}),
        ("password = 'hunter2xyz'\n# to bob@firm.io", {"Secret Keyword", "mail"}),
    ],
)
def test_kinds_are_named(text, kinds):
    assert find_personal(text) == kinds


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com",
        "host = '127.0.0.1'\nother = '192.168.0.7'\nversion = '1.2.3.4.5'\nx = '999.1.1.1'",
        "@decorator\ndef f(a: int) -> None: ...",
        "return self._compute(values)[0]",
        "digest = 'd41d8cd98f00b204e9800998ecf8427e'",
        "",
    ],
)
def test_what_is_nobodys_is_passed_over(text):
    assert find_personal(text) == set()


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "detect_secrets.core.scan", None)

    with pytest.raises(PrerequisiteError, match="detect-secrets: pip install"):
        find_personal("x")
