# SPDX-License-Identifier: Apache-2.0
import shutil
import typing

import pytest

from codegemma.errors import PrerequisiteError
from codegemma.sandbox import languages
from codegemma.sandbox.languages import TOOLCHAINS, find_toolchain
from codegemma.sandbox.program import Language, Limits, Program

_HELLO = {
    "cpp": '#include <iostream>\nint main() { std::cout << "LINE" << std::endl; }',
    "csharp": 'class P { static void Main() { System.Console.WriteLine("LINE"); } }',
    "go": 'package main\nimport "fmt"\nfunc main() { fmt.Println("LINE") }',
    "java": 'class Main { public static void main(String[] a) { System.out.println("LINE"); } }',
    "javascript": 'console.log("LINE")',
    "kotlin": 'println("LINE")',
    "rust": 'fn main() { println!("LINE"); }',
}


def test_every_language_has_its_tools_described():
    assert {*TOOLCHAINS, "python"} == set(typing.get_args(Language))


def test_missing_tool_is_named_with_its_packages(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    find_toolchain.cache_clear()

    with pytest.raises(PrerequisiteError, match=r"go programs need go: apt-get install golang-go"):
        find_toolchain("go")
    find_toolchain.cache_clear()


def test_packages_that_are_wanting_are_listed(monkeypatch):
    here = {"bwrap", "g++", "mcs", "mono", "go", "javac", "java", "node", "kotlinc"}
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in here else None)
    assert languages.missing_packages() == ["rustc"]
    here -= {"bwrap", "mcs"}
    assert languages.missing_packages() == [
        *("bubblewrap", "libseccomp2", "mono-mcs", "mono-runtime"),
        *("libmono-system-web-extensions4.0-cil", "rustc"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("language", TOOLCHAINS)
def test_right_wrong_and_broken_programs_are_told_apart(language, sandbox):
    try:
        find_toolchain(language)
    except PrerequisiteError as error:
        pytest.skip(str(error))
    line, limits = "TEST-7f3a...PASSED", Limits(wall_s=30.0)

    def outcome(text: str) -> str:
        program = Program(language=language, source=text, expected_lines=(line,))
        return sandbox.run(program, limits).outcome

    right = _HELLO[language].replace("LINE", line)
    assert outcome(right) == "pass"
    assert outcome(_HELLO[language].replace("LINE", "TEST-...PASSED")) == "fail"
    if TOOLCHAINS[language].compiler:
        assert outcome(right + "\n}{") == "compile_error"


@pytest.mark.slow
def test_rustups_command_is_looked_through():
    if shutil.which("rustc") is None:
        pytest.skip("rustc is not installed: apt-get install rustc")
    found = languages.find_toolchain("rust")

    assert found.compiler is not None
    assert found.compiler[0].endswith("/bin/rustc")
    assert ".cargo" not in found.compiler[0]
