# SPDX-License-Identifier: Apache-2.0
import ctypes
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import jaxlib
import pytest

from codegemma.errors import ConfigError
from codegemma.kernels import native

SOURCES = Path(native.__file__).parent / "cpp"
TEST = Path(__file__).parent / "paths_test.cpp"
PRODUCTS = Path(__file__).parents[1] / "golden" / "products.bin"
BUILD = "import sys; from scikit_build_core.build import build_wheel; build_wheel(sys.argv[1])"


def test_the_best_path_is_taken_and_every_processor_has_one():
    if not native.paths():
        pytest.skip("no native kernels: apt-get install g++ cmake, then make setup")
    assert native.paths()[-1] == "portable"
    assert native.choose_path() == native.paths()[0]
    assert native.describe() == (
        f"native kernels for int8 and int4 weights and for attention: {native.paths()[0]}"
    )


def test_portable_code_is_taken_only_when_asked_for(monkeypatch):
    monkeypatch.setattr(native, "paths", lambda: ("portable",))
    assert native.choose_path() is None
    assert native.describe().startswith("no native kernels for this processor, which has neither")
    monkeypatch.setenv("CODEGEMMA_KERNEL", "portable")
    assert native.describe().endswith("weights and for attention: portable")


def test_the_environment_names_another_path(monkeypatch):
    monkeypatch.setenv("CODEGEMMA_KERNEL", "none")
    assert native.choose_path() is None
    assert native.describe() == (
        "no native kernels, as CODEGEMMA_KERNEL=none asks: everything works, but long contexts are "
        "slower to complete, and int8 and int4 weights several times slower"
    )
    monkeypatch.setenv("CODEGEMMA_KERNEL", "mmx")
    with pytest.raises(ConfigError, match=r"CODEGEMMA_KERNEL=mmx: expected none or one of"):
        native.choose_path()


def test_without_the_library_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(native, "_FILE_NAME", "absent.so")
    native._open_library.cache_clear()
    try:
        assert native.paths() == ()
        assert native.choose_path() is None
        assert "install a C++ compiler and CMake" in native.describe()
    finally:
        native._open_library.cache_clear()


def test_a_library_of_another_system_is_told_and_done_without(monkeypatch, tmp_path, caplog):
    (tmp_path / "other.so").write_bytes(b"\x7fELF of another system")
    monkeypatch.setattr(native, "_FILE_NAME", str(tmp_path / "other.so"))
    native._open_library.cache_clear()
    try:
        assert native.choose_path() is None
        assert "the native kernels cannot be loaded: " in caplog.text
    finally:
        native._open_library.cache_clear()


def test_a_processor_of_another_kind_gives_the_recorded_products(tmp_path):
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("no ARM: apt-get install g++-aarch64-linux-gnu qemu-user")
    program = tmp_path / "paths_test"
    command = [compiler, "-std=c++17", "-O1", "-static", "-march=armv8.2-a+dotprod", f"-I{SOURCES}"]
    files = [SOURCES / "portable.cpp", SOURCES / "neon.cpp", TEST]
    subprocess.run([*command, "-DCODEGEMMA_NEON", *files, "-o", program], check=True)
    found = subprocess.run(
        [emulator, "-cpu", "max", program, PRODUCTS], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stdout
    assert "portable: right" in found.stdout
    assert "neon: right" in found.stdout
    headers = Path(jaxlib.__file__).parent / "include"
    calls = [SOURCES / "kernels.cpp", SOURCES / "attention.cpp"]
    command = [compiler, "-std=c++17", "-fsyntax-only", "-DCODEGEMMA_NEON", f"-I{headers}"]
    subprocess.run([*command, *calls], check=True)
    # A processor without dot products is told apart, not left to an illegal instruction.
    old = subprocess.run(
        [emulator, "-cpu", "cortex-a53", program, PRODUCTS], capture_output=True, text=True
    )
    assert (old.returncode, "neon: not supported here" in old.stdout) == (1, True)


@pytest.mark.slow
def test_clang_builds_every_path_and_gives_the_recorded_products(tmp_path):
    compiler = shutil.which("clang++")
    if compiler is None:
        pytest.skip("no Clang: apt-get install clang")
    build = [f"-S{SOURCES}", f"-B{tmp_path}", f"-DPython_EXECUTABLE={sys.executable}"]
    subprocess.run(["cmake", *build, f"-DCMAKE_CXX_COMPILER={compiler}"], check=True)
    subprocess.run(["cmake", "--build", tmp_path], check=True)
    library = ctypes.CDLL(str(tmp_path / "libcodegemma_kernels.so"))
    library.codegemma_paths.restype = ctypes.c_char_p
    assert tuple(library.codegemma_paths().decode().split(",")) == native.paths()
    program = tmp_path / "paths_test"
    named = [f"-DCODEGEMMA_{path.upper()}" for path in native.paths() if path != "portable"]
    objects = sorted((tmp_path / "CMakeFiles" / "codegemma_kernels.dir").glob("*.o"))
    command = [compiler, "-std=c++17", "-O1", f"-I{SOURCES}", *named, TEST, *objects]
    subprocess.run([*command, "-o", program], check=True)
    found = subprocess.run([program, PRODUCTS], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout
    assert all(f"{path}: right" in found.stdout for path in native.paths())


def without_compiler(command, *, tmp_path, **environment):
    """Run Python where PATH has CMake and nothing that compiles C++."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("cmake", "ninja", "make", "uname"):
        found = shutil.which(name)
        if found and not (tools / name).exists():
            (tools / name).symlink_to(found)
    absent = str(tools / "c++")
    kept = {"PATH": str(tools), "CXX": absent, "CC": absent, "HOME": str(tmp_path), **environment}
    return subprocess.run(
        [sys.executable, *command],
        cwd=Path(__file__).parents[2],
        env=kept,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
def test_a_machine_without_a_compiler_installs_says_so_and_completes(tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("no CMake: apt-get install cmake")
    built = without_compiler(["-c", BUILD, str(tmp_path)], tmp_path=tmp_path)
    assert built.returncode == 0, built.stderr
    said = built.stdout + built.stderr
    assert "No C++ compiler: installing without the native kernels." in said
    (wheel,) = tmp_path.glob("codegemma-*.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert list(installed.rglob("*.so")) == []

    def codegemma(*words):
        # Without `site` no editable installation gets in front of what was just installed.
        found = without_compiler(
            ["-S", "-m", "codegemma", *words],
            tmp_path=tmp_path,
            PYTHONPATH=os.pathsep.join([str(installed), *site.getsitepackages()]),
            CODEGEMMA_CACHE=str(tmp_path / "cache"),
        )
        assert found.returncode == 0, found.stderr
        return found

    notice = "no native kernels: everything works, but long contexts are slower to complete, and"
    assert notice in codegemma("models").stdout
    quantised = str(tmp_path / "int8")
    codegemma("convert", "nano", quantised, "--to", "native", "--quantize", "int8")
    code = tmp_path / "app.py"
    code.write_text("def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return \n")
    for model, is_told in (("nano", True), ("nano", False), (quantised, True)):
        ran = codegemma("complete", f"{code}:6:12", "--model", model, "--max-tokens", "4", "--json")
        assert '"completions"' in ran.stdout
        assert (notice in ran.stderr) == is_told  # of float weights once
