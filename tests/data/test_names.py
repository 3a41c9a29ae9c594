# SPDX-License-Identifier: Apache-2.0
import re

import pytest

from codegemma.data import names, redact
from codegemma.data.document import File
from codegemma.errors import ConfigError


class Tagger:
    """Knows two persons, wherever they are named."""

    version = "1"

    def tag(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer("Jane Doe|Ada", text)]


class Nowhere(Tagger):
    def tag(self, text: str) -> list[tuple[int, int]]:
        return [(3, 99)]


class Unnumbered:
    def tag(self, text: str) -> list[tuple[int, int]]:
        return []


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a.py", "# asked Ada\nAda = f'{Ada} of Ada'\n", "# asked *\nAda = f'{Ada} of *'\n"),
        ("a.py", '"""\u00e9 by Jane Doe."""\n', '"""\u00e9 by *."""\n'),
        ("A.java", 'class Ada { String s = "Ada"; }', 'class Ada { String s = "*"; }'),
        ("a.ts", "const Ada = `Ada ${Ada}` // Ada\n", "const Ada = `* ${Ada}` // *\n"),
        ("a.tsx", "const x = <Ada>Jane Doe</Ada>\n", "const x = <Ada>*</Ada>\n"),
        ("a.go", "package Ada // Ada\n", "package Ada // *\n"),
        ("a.cpp", "int Ada; /* Ada */\n", "int Ada; /* * */\n"),
        ("a.cs", 'class Ada { string s = $"Ada {Ada}"; }', 'class Ada { string s = $"* {Ada}"; }'),
        ("a.rs", "fn Ada() {} /// Ada\n", "fn Ada() {} /// *\n"),
        ("a.kt", 'val Ada = "Ada ${Ada}" // Ada\n', 'val Ada = "* ${Ada}" // *\n'),
        ("", "Ada met Jane Doe.\n", "* met *.\n"),
    ],
)  # fmt: skip
def test_names_are_taken_in_strings_comments_and_text_and_never_identifiers(
    path: str, text: str, expected: str
) -> None:
    spans = names.tagged(text, Tagger(), path=path)

    for start, end in reversed(spans):
        text = f"{text[:start]}*{text[end:]}"
    assert text == expected


def test_one_name_has_one_replacement_in_a_repository_found_by_whom_it_may_be() -> None:
    files = [
        File(path="a.py", text="# Author: Jane Doe\n# Ada and Jane Doe\nAda = 1\n"),
        File(path="b.py", text='"""Asked Ada, and jane@doe.org."""\n'),
    ]

    redacted, counts = redact.redact(files, tagger=Tagger())

    assert [file.text for file in redacted] == [
        "# Author: Author 1\n# Author 2 and Author 1\nAda = 1\n",
        '"""Asked Author 2, and user1@example.com."""\n',
    ]
    assert counts == {"name": 4, "email": 1}
    without, _ = redact.redact(files)
    assert without[1].text == '"""Asked Ada, and user1@example.com."""\n'


def test_a_place_outside_of_the_text_is_refused_with_the_name_of_the_tagger() -> None:
    with pytest.raises(ConfigError, match=r"tagger .*Nowhere 1 gave the place \(3, 99\) .* of 6 c"):
        names.tagged("x = 1\n", Nowhere(), path="a.py")


def test_what_is_plugged_in_is_told_from_others_by_its_class_and_version() -> None:
    assert names.identify(Tagger()).endswith("test_names.Tagger 1")
    with pytest.raises(ConfigError, match="Unnumbered needs a `version`"):
        names.identify(Unnumbered())


def test_what_workers_could_not_receive_is_refused() -> None:
    class Inside(Tagger):
        pass

    with pytest.raises(ConfigError, match=r"Inside cannot be sent to workers: .* top of a module"):
        names.identify(Inside())
