# SPDX-License-Identifier: Apache-2.0

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from codegemma.errors import PrerequisiteError
from codegemma.sandbox.languages import TOOLCHAINS, Installed, find_toolchain
from codegemma.sandbox.prepared import prepare
from codegemma.sandbox.program import Language, Limits, Program
from codegemma.sandbox.run import Sandbox

LINE = "TEST-0...PASSED-5eed"
SOURCES = {
    "cpp": f'#include <bits/stdc++.h>\nint main() {{ std::cout << "{LINE}\\n"; }}',
    "java": (
        f'class Main {{ public static void main(String[] a) {{ System.out.println("{LINE}"); }} }}'
    ),
    "kotlin": f'println("{LINE}")',
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that boxes can be shown: their /tmp is their own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def _installed(language: Language, tool: str) -> Installed:
    tools = TOOLCHAINS[language]
    return Installed(
        toolchain=tools, compiler=(tool, "main.cpp"), runner=("main",), binds=(), version="1"
    )


def test_languages_that_start_fast_stay_as_they_are(folder):
    installed = _installed("go", "/usr/bin/go")

    assert prepare(installed, folder) is installed
    assert list(folder.iterdir()) == []


def test_folder_that_boxes_cannot_be_shown_is_not_used(tmp_path):
    installed = _installed("cpp", "/usr/bin/g++")

    assert prepare(installed, tmp_path) is installed
    assert list(tmp_path.iterdir()) == []


def test_tool_that_cannot_make_them_is_used_as_it_is(folder, caplog):
    installed = _installed("cpp", shutil.which("false") or "false")

    assert prepare(installed, folder) is installed
    assert "cpp starts as it is" in caplog.text
    assert list(folder.iterdir()) == []


def test_files_are_made_once_for_each_version(folder):
    tool = folder / "g++"
    tool.write_text("#!/bin/sh\ntouch all.h.gch made-$$\n")
    tool.chmod(0o755)

    first = prepare(_installed("cpp", str(tool)), folder)
    again = prepare(_installed("cpp", str(tool)), folder)

    assert first == again
    (made,) = first.binds
    assert first.library_compiler == (str(tool), "-include", f"{made}/all.h", "main.cpp")
    assert len(list(made.glob("made-*"))) == 1
    assert made.stat().st_mode & 0o777 == 0o755


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", SOURCES)
def test_prepared_tools_tell_right_wrong_and_broken_apart(language, folder):
    try:
        find_toolchain(language)
    except PrerequisiteError as error:
        pytest.skip(str(error))
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    source = SOURCES[language]
    with Sandbox(prepared=folder) as sandbox:

        def outcome(text: str) -> str:
            program = Program(language=language, source=text, expected_lines=(LINE,))
            return sandbox.run(program, Limits(wall_s=120.0)).outcome

        assert outcome(source) == "pass"
        assert outcome(source.replace("5eed", "dead")) == "fail"
        assert outcome(source + "\n}{") in ("compile_error", "fail")
    assert len(list(folder.iterdir())) == 1
