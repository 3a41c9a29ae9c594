# SPDX-License-Identifier: Apache-2.0
import shutil
import tempfile
import typing
from pathlib import Path

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


@pytest.fixture
def machine(monkeypatch):
    """A home folder outside /tmp, where boxes are shown nothing, and the means to put a tool."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        home = Path(name).resolve() / "home"
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))

        def put(folder: str, name: str, target: str = "") -> Path:
            path = home / folder / name
            path.parent.mkdir(parents=True)
            if target:
                path.symlink_to(target)
            else:
                path.write_text("#!/bin/sh\necho 1\n")
                path.chmod(0o755)
            monkeypatch.setenv("PATH", str(path.parent), prepend=":")
            return path

        find_toolchain.cache_clear()
        yield put
        find_toolchain.cache_clear()


@pytest.mark.parametrize("folder", ["bin", ".local/bin", ".cargo/bin"])
def test_tool_among_what_users_keep_is_refused(machine, folder):
    tool = machine(folder, "g++")

    with pytest.raises(PrerequisiteError, match=rf"g\+\+ lies in {tool.parent}, and programs must"):
        find_toolchain("cpp")


def test_tool_in_a_folder_of_its_own_is_shown_with_it(machine):
    tool = machine(".sdk/compiler-13/bin", "g++")

    found = find_toolchain("cpp")

    assert found.compiler is not None
    assert found.compiler[0] == str(tool)
    assert found.binds == (tool.parent.parent,)


def test_link_to_a_tool_is_followed(machine):
    tool = machine(".sdk/compiler-13/bin", "g++")
    machine("bin", "g++", str(tool))

    assert find_toolchain("cpp").binds == (tool.parent.parent,)


def test_bin_is_usr_bin(monkeypatch):
    if not Path("/bin").is_symlink() or not Path("/usr/bin/g++").exists():
        pytest.skip("/bin is a folder of its own here, or g++ is not installed")
    monkeypatch.setenv("PATH", "/bin")
    find_toolchain.cache_clear()

    found = find_toolchain("cpp")

    find_toolchain.cache_clear()
    assert found.compiler is not None
    assert (found.compiler[0], found.binds) == ("/usr/bin/g++", ())


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
@pytest.mark.parametrize(
    ("language", "source"),
    [
        (
            "cpp",
            '#include <cstdio>\n// LINE\nint main() { FILE* f = fopen("main.cpp", "r");'
            " char line[99]; while (fgets(line, 99, f)) puts(line + 3); }",
        ),
        (
            "java",
            "import java.nio.file.*;\nclass Main { /*\nLINE\n*/\n"
            "public static void main(String[] a) throws Exception {"
            ' System.out.println(Files.readString(Path.of("Main.java"))); } }',
        ),
    ],
)
def test_source_is_gone_when_the_program_runs(language, source, sandbox):
    try:
        find_toolchain(language)
    except PrerequisiteError as error:
        pytest.skip(str(error))
    line = "TEST-7f3a...PASSED"
    program = Program(
        language=language, source=source.replace("LINE", line), expected_lines=(line,)
    )

    assert sandbox.run(program, Limits(wall_s=30.0)).outcome == "fail"


@pytest.mark.slow
def test_rustups_command_is_looked_through():
    if shutil.which("rustc") is None:
        pytest.skip("rustc is not installed: apt-get install rustc")
    found = languages.find_toolchain("rust")

    assert found.compiler is not None
    assert found.compiler[0].endswith("/bin/rustc")
    assert ".cargo" not in found.compiler[0]


@pytest.mark.parametrize(
    ("source", "is_whole"),
    [
        ("#include <bits/stdc++.h>\nint main() {}", True),
        ("// by hand\n#include <tuple> \n\n# include <math.h>\n#include <bits/stdc++.h>\n", True),
        ("#define max 3\n#include <bits/stdc++.h>\n", False),
        ("#include <map>\nint a;\n#include <bits/stdc++.h>\n", False),
        ("/* a */ #include <bits/stdc++.h>\n", False),
        ('#include "mine.h"\n#include <bits/stdc++.h>\n', False),
        ("#include <iostream>\n", False),
    ],
)
def test_whole_library_is_read_ahead_only_where_nothing_can_tell(source, is_whole):
    installed = languages.Installed(
        toolchain=TOOLCHAINS["cpp"],
        compiler=("g++", "main.cpp"),
        runner=("main",),
        binds=(),
        version="1",
        library_compiler=("g++", "-include", "all.h", "main.cpp"),
    )

    command = installed.compiler_for(source)

    assert (command == installed.library_compiler) == is_whole


@pytest.mark.slow
def test_version_is_no_warning():
    try:
        version = find_toolchain("kotlin").version
    except PrerequisiteError as error:
        pytest.skip(str(error))

    assert version.startswith("info: kotlinc-jvm ")
