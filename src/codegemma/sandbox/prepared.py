# SPDX-License-Identifier: Apache-2.0
"""Files that make compilers start faster, made once from the installed tools and read in every box.

A precompiled header for C++ programs that begin by including the whole library; archives of loaded
classes for javac and for Kotlin's compiler, which is started without its script. They are made
outside the boxes from sources of our own, and boxes can only read them. Whatever cannot be made is
left out, with a line in the log: the tools then run as they are.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from codegemma.sandbox.languages import Installed

_LOG = logging.getLogger(__name__)
_BUILD_S = 300.0
_HEADER = "all.h"
_JAVAC_ARCHIVE = "javac.jsa"
_KOTLIN_ARCHIVE = "kotlin.jsa"
_WORD = "prepared"

_JAVA_SAMPLE = """\
import java.util.*;
import java.util.stream.*;
class Main {
    public static void main(String[] args) {
        Map<String, Integer> counts = new HashMap<>();
        for (String each : List.of("a", "b")) counts.merge(each, 1, Integer::sum);
        System.out.println(String.format("%s", counts.values().stream().map(x -> x + 1)
            .collect(Collectors.toList())));
    }
}
"""
_KOTLIN_SAMPLE = f"""\
fun each(x: ArrayList<Int>): Map<Int, String> {{
    try {{
        return x.filter {{ it > 0 }}.map {{ it to "${{it}}" }}.toMap()
    }} catch (e: Exception) {{
        return mapOf()
    }}
}}
println("{_WORD}${{each(arrayListOf(1)).size}}")
"""


def prepare(installed: Installed, folder: Path) -> Installed:
    """Give the tools of a language with what makes them start faster.

    Args:
        installed: The tools as found.
        folder: Where the files are kept; each set has a folder of its own in it, by its tools.

    Returns:
        The tools with other commands; the same tools where there is nothing to make, where it
        cannot be made, or where boxes could not be shown it, as under /tmp.
    """
    build = _BUILDERS.get(installed.toolchain.language)
    if build is None or folder.resolve().is_relative_to("/tmp"):
        return installed
    identity = [installed.version, *(installed.compiler or ()), *installed.runner, _KOTLIN_SAMPLE]
    key = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    target = folder.resolve() / f"{installed.toolchain.language}-{key}"
    try:
        return build(installed, target)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        _LOG.warning("%s starts as it is: %s", installed.toolchain.language, error)
        return installed


def _cpp(installed: Installed, target: Path) -> Installed:
    assert installed.compiler is not None
    compiler, *arguments = installed.compiler

    def make(folder: Path) -> None:
        (folder / _HEADER).write_text("#include <bits/stdc++.h>\n")
        _run([compiler, "-x", "c++-header", _HEADER, "-o", f"{_HEADER}.gch"], folder)

    _make_once(target, make)
    command = (compiler, "-include", str(target / _HEADER), *arguments)
    return replace(installed, library_compiler=command, binds=(*installed.binds, target))


def _java(installed: Installed, target: Path) -> Installed:
    assert installed.compiler is not None
    compiler, *arguments = installed.compiler

    def make(folder: Path) -> None:
        (folder / "Main.java").write_text(_JAVA_SAMPLE)
        archive = f"-J-XX:ArchiveClassesAtExit={folder / _JAVAC_ARCHIVE}"
        _run([compiler, archive, *arguments], folder)

    _make_once(target, make, needed=_JAVAC_ARCHIVE)
    archive = f"-J-XX:SharedArchiveFile={target / _JAVAC_ARCHIVE}"
    command = (compiler, "-J-Xlog:disable", archive, *arguments)
    return replace(installed, compiler=command, binds=(*installed.binds, target))


def _kotlin(installed: Installed, target: Path) -> Installed:
    script, *arguments = installed.runner
    home = Path(script).resolve().parents[1]
    names = ["compiler", "stdlib", "reflect", "script-runtime"]
    plugins = [f"scripting-{name}" for name in ("compiler", "impl", "common", "jvm")]
    jars = [home / "lib" / f"kotlin-{name}.jar" for name in [*names, *plugins]]
    jars += [home / "lib" / "annotations-13.0.jar", home / "lib" / "trove4j.jar"]
    tool = shutil.which("java", path="/usr/bin")
    if tool is None or not all(jar.exists() for jar in jars):
        raise ValueError(f"no java in /usr/bin, or not the library of {home} that is known")
    java = [tool, "-Xlog:disable", "-Xmx768m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    start = ["-cp", ":".join(map(str, jars)), "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    start += ["-kotlin-home", str(home)]
    start += [f"-Xplugin={','.join(str(jar) for jar in jars[len(names) : -2])}", *arguments]

    def make(folder: Path) -> None:
        (folder / installed.toolchain.file_name).write_text(_KOTLIN_SAMPLE)
        printed = _run(
            [*java, f"-XX:ArchiveClassesAtExit={folder / _KOTLIN_ARCHIVE}", *start], folder
        )
        if f"{_WORD}1" not in printed:
            raise ValueError(f"its compiler answers otherwise when started directly: {printed}")

    _make_once(target, make, needed=_KOTLIN_ARCHIVE)
    command = (*java, f"-XX:SharedArchiveFile={target / _KOTLIN_ARCHIVE}", *start)
    return replace(installed, runner=command, binds=(*installed.binds, target))


_BUILDERS: Final[dict[str, Callable[[Installed, Path], Installed]]] = {
    "cpp": _cpp,
    "java": _java,
    "kotlin": _kotlin,
}


def _make_once(target: Path, make: Callable[[Path], None], needed: str = _HEADER) -> None:
    """Make a folder beside its place and move it there, so that it is whole or absent."""
    if (target / needed).exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        made = Path(name, "made")
        made.mkdir()
        make(made)
        if not (made / needed).exists():
            raise ValueError(f"{needed} was not made")
        made.chmod(0o755)
        try:
            made.rename(target)
        except OSError:  # another process was faster
            if not (target / needed).exists():
                raise


def _run(command: Sequence[str], folder: Path) -> str:
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    if done.returncode != 0:
        raise ValueError(f"{command[0]} ended with {done.returncode}: {done.stderr[-300:]}")
    return done.stdout
