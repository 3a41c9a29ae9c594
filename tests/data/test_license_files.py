# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from codegemma.data import license_files, read
from codegemma.data.document import Blob, Repository

GPL = "GNU GENERAL PUBLIC LICENSE\nVersion 3"


@pytest.mark.parametrize(
    "name",
    [
        *("LICENSE", "LICENCE.txt", "license.md", "LICENSE-MIT", "LICENSE.APACHE2", "UNLICENSE"),
        *("COPYING", "COPYING.LESSER", "COPYING3", "LICENSE2", "LICENSE_MIT", "LICENSE_GPL.txt"),
        *("MIT-LICENSE", "MIT-LICENSE.txt", "GPL-LICENSE.txt", "COPYRIGHT", "LICENSES"),
        *("package.json", "Cargo.toml", "LICENSES/GPL-3.0-or-later.txt", "a/LICENSES/MIT.txt"),
    ],
)
def test_licence_files_are_known_by_their_names(name: str) -> None:
    assert license_files.states_license(name)
    assert license_files.states_license(f"sub/{name}")


@pytest.mark.parametrize(
    "name",
    [
        *("license.py", "copyright.js", "data/license.py", "check_license.go", "licenses.json"),
        *("README", "licensing.txt", "relicense.txt", "LICENSES.d/MIT.txt", "docs/MIT.txt"),
    ],
)
def test_sources_and_others_are_no_licence_files(name: str) -> None:
    assert not license_files.states_license(name)


@pytest.mark.parametrize(
    ("path", "text", "stated"),
    [
        ("LICENSE", "Ask me.", {"LicenseRef-unknown"}),
        ("COPYING3", GPL, {"GPL-2.0-or-later"}),
        ("GPL-LICENSE.txt", GPL, {"GPL-2.0-or-later"}),
        ("MIT-LICENSE", "Ask me.", set()),
        ("MIT-LICENSE", "MIT License", {"MIT"}),
        ("COPYRIGHT", "Copyright 2020 Jane", set()),
        ("bin/check-license", f"#!/bin/sh\n# {GPL}", set()),
        ("package.json", '{"license": "isc"}', {"ISC"}),
        ("LICENSES/GPL-3.0-or-later.txt", "", {"GPL-3.0-or-later"}),
        ("LICENSES/mit.txt", "", {"MIT"}),
        ("LICENSES/Linux-syscall-note.txt", "", set()),
    ],
)
def test_a_name_others_have_states_what_its_text_is_known_for(
    path: str, text: str, stated: set[str]
) -> None:
    assert license_files.read_statement(Blob(path=path, data=text.encode())) == stated


def read_one(folder: Path, files: dict[str, str]) -> Repository:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (location,) = read.find_repositories([folder])
    return read.read_repository(location, extensions=(".py",), max_bytes=1000)[0]


def test_a_second_licence_of_an_odd_name_holds_beside_the_first(tmp_path: Path) -> None:
    files = {"package.json": '{"license": "MIT"}', "GPL-LICENSE.txt": GPL}

    assert read_one(tmp_path, files).license == "GPL-2.0-or-later AND MIT"


def test_a_folder_of_licences_holds_where_nothing_else_is_stated(tmp_path: Path) -> None:
    listed = {"LICENSES/MIT.txt": "", "LICENSES/CC0-1.0.txt": "", "a/LICENSES/GPL-3.0-only.txt": ""}

    assert read_one(tmp_path / "x", listed).licenses == (
        ("", "CC0-1.0 AND MIT"),
        ("LICENSES", "CC0-1.0 AND MIT"),
        ("a", "GPL-3.0-only"),
        ("a/LICENSES", "GPL-3.0-only"),
    )
    assert read_one(tmp_path / "y", listed | {"LICENSE": "MIT License"}).license == "MIT"


def test_a_source_file_named_after_licences_is_read_as_one(tmp_path: Path) -> None:
    found = read_one(tmp_path, {"data/license.py": f"GPL = '''{GPL}'''\n"})

    assert [file.path for file in found.files] == ["data/license.py"]
    assert found.licenses == ()
