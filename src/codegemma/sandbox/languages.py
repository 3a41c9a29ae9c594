# SPDX-License-Identifier: Apache-2.0
"""How each language is compiled and run: one `Toolchain` per language.

Commands are found on this machine and shown to the box where they lie. A language whose tools are
missing is reported by name with the Debian packages that hold them; it is never a failure of the
program.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from codegemma.errors import PrerequisiteError
from codegemma.sandbox.box import holds_home
from codegemma.sandbox.program import Language

WHOLE_LIBRARY: Final = re.compile(
    r"\A(?:[ \t]*(?://[^\n]*)?\n|[ \t]*#[ \t]*include[ \t]*<[\w./+]+>[ \t]*\n)*?"
    r"[ \t]*#[ \t]*include[ \t]*<bits/stdc\+\+\.h>[ \t]*\n"
)
"""A C++ source that includes all of the standard library before it says anything else."""

_ASK_S = 300.0  # Kotlin's compiler takes a minute to say its version on a busy machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolchain:
    """The tools of one language.

    Args:
        language: Its language.
        file_name: What the source file is called.
        compiler: Command that compiles it, `{tool}` standing for the found path of the first word;
            None for languages that are run as they are.
        runner: Command that runs the outcome.
        packages: Debian packages that hold the tools.
        version: Command that prints the version.
        binds: Paths outside /usr that the tools need.
        memory_marks: What the runtime writes to stderr when memory runs out.
        reserves_address_space: Whether the runtime needs unbounded virtual memory.
        environment: Further variables the tools need.
    """

    language: Language
    file_name: str
    compiler: tuple[str, ...] | None
    runner: tuple[str, ...]
    packages: tuple[str, ...]
    version: tuple[str, ...]
    binds: tuple[str, ...] = ()
    memory_marks: tuple[str, ...] = ()
    reserves_address_space: bool = False
    environment: tuple[tuple[str, str], ...] = ()


TOOLCHAINS: Final[Mapping[Language, Toolchain]] = {
    tools.language: tools
    for tools in (
        Toolchain(
            language="cpp",
            file_name="main.cpp",
            compiler=("g++", "main.cpp", "-o", "main.exe"),
            runner=("/tmp/main.exe",),
            packages=("g++",),
            version=("g++", "--version"),
            memory_marks=("std::bad_alloc",),
        ),
        Toolchain(
            language="csharp",
            file_name="main.cs",
            compiler=(
                "mcs",
                "-r:System.Web.dll",
                "-r:System.Web.Extensions.dll",
                "-out:main.exe",
                "main.cs",
            ),
            runner=("mono", "/tmp/main.exe"),
            packages=("mono-mcs", "mono-runtime", "libmono-system-web-extensions4.0-cil"),
            version=("mono", "--version"),
            binds=("/etc/mono",),
            memory_marks=("OutOfMemoryException",),
            reserves_address_space=True,
        ),
        Toolchain(
            language="go",
            file_name="main.go",
            compiler=("go", "build", "-o", "main.exe", "main.go"),
            runner=("/tmp/main.exe",),
            packages=("golang-go",),
            version=("go", "version"),
            memory_marks=("out of memory",),
            reserves_address_space=True,
            environment=(("GO111MODULE", "off"), ("GOCACHE", "/tmp/.go"), ("GOFLAGS", "-p=2")),
        ),
        Toolchain(
            language="java",
            file_name="Main.java",
            compiler=(
                "javac",
                "-J-Xmx512m",
                "-J-XX:TieredStopAtLevel=1",
                "-J-XX:+UseSerialGC",
                "Main.java",
            ),
            runner=("java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "Main"),
            packages=("default-jdk-headless",),
            version=("java", "-version"),
            binds=("/etc/java-17-openjdk", "/etc/java-21-openjdk"),
            memory_marks=("OutOfMemoryError",),
            reserves_address_space=True,
        ),
        Toolchain(
            language="javascript",
            file_name="main.js",
            compiler=None,
            runner=("node", "--max-old-space-size=512", "main.js"),
            packages=("nodejs",),
            version=("node", "--version"),
            memory_marks=("heap out of memory",),
            reserves_address_space=True,
        ),
        Toolchain(
            language="kotlin",
            file_name="main.kts",
            compiler=None,
            runner=("kotlinc", "-script", "main.kts", "-no-reflect", "-nowarn"),
            packages=("kotlin",),
            version=("kotlinc", "-version"),
            binds=("/etc/java-17-openjdk", "/etc/java-21-openjdk"),
            memory_marks=("OutOfMemoryError",),
            reserves_address_space=True,
            environment=(("JAVA_OPTS", "-Xmx768m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"),),
        ),
        Toolchain(
            language="rust",
            file_name="main.rs",
            compiler=("rustc", "-o", "main.exe", "main.rs"),
            runner=("/tmp/main.exe",),
            packages=("rustc",),
            version=("rustc", "--version"),
            memory_marks=("memory allocation of",),
        ),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """A toolchain as found on this machine: absolute commands and what the box has to show.

    Args:
        toolchain: What it is.
        compiler: Command that compiles, None for languages that are run as they are.
        runner: Command that runs the outcome.
        binds: Paths that the box has to show.
        version: What the tool says of itself.
        library_compiler: Command that compiles a C++ source that begins by including the whole
            library; None where that is no different.
    """

    toolchain: Toolchain
    compiler: tuple[str, ...] | None
    runner: tuple[str, ...]
    binds: tuple[Path, ...]
    version: str
    library_compiler: tuple[str, ...] | None = None

    def compiler_for(self, source: str) -> tuple[str, ...] | None:
        """Give the command that compiles a source."""
        if self.library_compiler and WHOLE_LIBRARY.match(source):
            return self.library_compiler
        return self.compiler


@cache
def find_toolchain(language: Language) -> Installed:
    """Find the tools of a language other than Python on this machine.

    Raises:
        PrerequisiteError: A tool is missing; the message names the Debian packages.
    """
    tools = TOOLCHAINS[language]
    found = Installed(
        toolchain=tools,
        compiler=_locate(tools.compiler, tools) if tools.compiler else None,
        runner=_locate(tools.runner, tools),
        binds=(),
        version="",
    )
    sysroots = tuple(
        folder
        for command in (found.compiler, found.runner)
        if command and (folder := _outside_usr(Path(command[0])))
    )
    named = tuple(path for bind in tools.binds if (path := Path(bind)).exists())
    output = subprocess.run(
        _locate(tools.version, tools), capture_output=True, text=True, timeout=_ASK_S, check=False
    )
    words = (output.stdout or output.stderr).strip().splitlines()
    lines = [line for line in words if "warning:" not in line] or ["unknown"]
    return Installed(
        toolchain=tools,
        compiler=found.compiler,
        runner=found.runner,
        binds=(*named, *sysroots),
        version=lines[0],
    )


def missing_packages() -> list[str]:
    """Give the Debian packages of what programs of every language need and this machine lacks."""
    missing = [] if shutil.which("bwrap") else ["bubblewrap", "libseccomp2"]
    for tools in TOOLCHAINS.values():
        commands = (tools.compiler, tools.runner, tools.version)
        names = {command[0] for command in commands if command}
        if not all(shutil.which(name) for name in names if not name.startswith("/")):
            missing += tools.packages
    return missing


def _locate(command: tuple[str, ...], tools: Toolchain) -> tuple[str, ...]:
    """Put the absolute path of the tool first; paths inside the box stay as they are."""
    name, *arguments = command
    if name.startswith("/"):
        return command
    found = shutil.which(name)
    if found is None:
        raise PrerequisiteError(
            f"{tools.language} programs need {name}: apt-get install {' '.join(tools.packages)}"
        )
    if name == "rustc":  # rustup's command of that name only looks the real one up
        output = subprocess.run(
            [found, "--print", "sysroot"],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=False,
        )
        found = str(Path(output.stdout.strip(), "bin", "rustc"))
    return (str(_placed(Path(found), name)), *arguments)


def _placed(tool: Path, name: str) -> Path:
    """Give the path of a tool where the box can show it, without what else lies beside it.

    Raises:
        PrerequisiteError: Its folder holds more than the tool: a home folder, or what users keep.
    """
    inside = tool.parent.resolve() / tool.name  # /bin is /usr/bin
    if inside.is_relative_to("/usr") or inside.is_relative_to("/tmp"):
        return inside
    real = tool.resolve()
    if real.name == name:  # a link to where it is installed
        inside = real
    prefix = inside.parent.parent
    is_kept_by_user = prefix.name.startswith(".") and holds_home(prefix.parent)
    if not inside.is_relative_to("/usr") and (holds_home(prefix) or is_kept_by_user):
        raise PrerequisiteError(
            f"{name} lies in {tool.parent}, and programs must not read all of {prefix}: install it "
            "under /usr, or in a folder of its own"
        )
    return inside


def _outside_usr(tool: Path) -> Path | None:
    """Give the installation prefix of a tool that does not lie under /usr."""
    if tool.is_relative_to("/usr") or not tool.is_absolute() or tool.is_relative_to("/tmp"):
        return None
    return tool.parent.parent
