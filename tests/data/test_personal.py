# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.data import personal


def values(text: str, kind: str) -> list[str]:
    return [text[f.start : f.end] for f in personal.find(text) if f.kind == kind]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# mail jane.doe+x@mail.uni-a.de now", ["jane.doe+x@mail.uni-a.de"]),
        ("Jane <jane@doe.co.uk>.", ["jane@doe.co.uk"]),
        ("'me@example.com', 'a@test', 'b@x.invalid'", []),
        ("git@github.com:a/b.git", []),
        ("y = x@w.T + a@b.mean(0)", []),
        ("icon@2x.png", []),
        ("'lodash@4.17.21'", []),
        ("@app.route('/')", []),
        ("https://user@host.com/x", []),
        ("a = 'john.doe@firma.su'", ["john.doe@firma.su"]),
        ("<jane@corp.tk>, <ann@corp.fm>", ["jane@corp.tk", "ann@corp.fm"]),
        ("y = x@w.to", []),
    ],
)
def test_addresses_of_people_are_told_from_what_looks_alike(text: str, found: list[str]) -> None:
    assert values(text, "email") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host = '52.95.110.1'", ["52.95.110.1"]),
        ("'192.168.0.1', '10.1.2.3', '127.0.0.1', '0.0.0.0', '8.8.8.8'", []),
        ("version = '52.95.110.1'", []),
        ("Chrome/52.95.110.1", []),
        ("oid 1.3.6.1.4.1.311", []),
        ("// Section: 20.15.4.3 [meta.unary.prop]", []),
        ("'1.2.10.3'", []),
        ("'300.95.110.1'", []),
        ("listen('2a00:1450:4001:81b::200e')", ["2a00:1450:4001:81b::200e"]),
        ("listen('2a00::1')", ["2a00::1"]),
        ("listen('[2606:4700::6810:84e5]:80')", ["2606:4700::6810:84e5"]),
        ("'fe80::1', '2001:db8::7', 'a::b', 'std::vector'", []),
        ("'2001::1', 'beef::cafe', 'x2a00::1', '2a00::a::b', '2001:4860:4860::8888'", []),
        ("'00:1b:44:11:3a:b7'", []),
    ],
)
def test_public_addresses_are_told_from_versions(text: str, found: list[str]) -> None:
    assert values(text, "ip") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" * @author Jane Doe\n", ["Jane Doe"]),
        ("__author__ = 'Jane M. Doe'\n", ["Jane M. Doe"]),
        ("# Written by Jane Doe <jane@doe.org>\n", ["Jane Doe"]),
        ("# Copyright 2020 Jane Doe\n", []),
        ("author = get_author(Book, Name)\n", []),
    ],
)
def test_names_are_found_where_a_mark_tells_them(text: str, found: list[str]) -> None:
    assert values(text, "name") == found


def test_a_path_that_names_a_person_is_told() -> None:
    assert personal.holds_personal_data("home/jane@doe.org/a.py")
    assert personal.holds_personal_data("home/jane@doe.org.py")
    assert not personal.holds_personal_data("icons/logo@2x.py")
