# SPDX-License-Identifier: Apache-2.0
"""The native library: where it is, which of its paths this processor takes, how XLA calls it.

`pip install` builds it where there is a C++ compiler (`cpp/CMakeLists.txt`). A path is what one
instruction set can do; the best one the processor has is taken, unless `CODEGEMMA_KERNEL` names
another, or "none". Portable C++ is not taken by itself: XLA is faster without the library than with
it (`benchmarks/bench_products.py`). Nothing is loaded at import, not even jax.
"""

import ctypes
import functools
import logging
import os
import sysconfig
from pathlib import Path
from typing import Final

from codegemma.errors import ConfigError

SETTING: Final = "CODEGEMMA_KERNEL"
"""Environment variable that names a path; "none" does without the library."""

MULTIPLY: Final = "codegemma_multiply"
"""The custom call of products, as XLA knows it."""

ATTEND: Final = "codegemma_attend"
"""The custom call of attention over a cache."""

_log = logging.getLogger(__name__)

_FILE_NAME: Final = "libcodegemma_kernels.so"
_NONE: Final = "none"
_PORTABLE: Final = "portable"
_WITHOUT: Final = (
    "everything works, but long contexts are slower to complete, and int8 and int4 weights several "
    "times slower"
)


@functools.cache
def _open_library() -> ctypes.CDLL | None:
    """Open the library; None where it was not built, or is not for this system."""
    # An editable installation leaves it among the installed packages, apart from its source.
    installed = Path(sysconfig.get_path("platlib")) / "codegemma" / "kernels"
    found = (folder / _FILE_NAME for folder in (Path(__file__).parent, installed))
    path = next((path for path in found if path.exists()), None)
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:  # built for another system, say
        _log.warning("the native kernels cannot be loaded: %s", error)
        return None
    library.codegemma_paths.restype = ctypes.c_char_p
    return library


@functools.cache
def _make_known(library: ctypes.CDLL) -> None:
    """Make the library's calls known to XLA."""
    import jax

    for name in (MULTIPLY, ATTEND) if can_attend() else (MULTIPLY,):
        target = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, target, platform="cpu")


def paths() -> tuple[str, ...]:
    """Names of the paths this processor can take, best first; empty without the library."""
    library = _open_library()
    return () if library is None else tuple(library.codegemma_paths().decode().split(","))


def can_attend() -> bool:
    """Whether the library has attention; one of an editable installation may be older than this."""
    return hasattr(_open_library(), ATTEND)


def choose_path() -> str | None:
    """Name the path that products take; None where XLA multiplies without the library.

    Raises:
        ConfigError: The environment names a path that this processor or installation lacks.
    """
    import jax

    library = _open_library()
    path = _path_on_cpu()
    if path is None or library is None or jax.default_backend() != "cpu":
        return None
    _make_known(library)
    return path


def describe() -> str:
    """Say in one line what a CPU computes with, and how to have it faster.

    Raises:
        ConfigError: As of `choose_path`.
    """
    path = _path_on_cpu()
    if path is not None:
        return f"native kernels for int8 and int4 weights and for attention: {path}"
    if is_declined():
        return f"no native kernels, as {SETTING}={_NONE} asks: {_WITHOUT}"
    if paths():
        return (
            "no native kernels for this processor, which has neither AVX2 nor NEON dot products: "
            f"{_WITHOUT}"
        )
    return (
        f"no native kernels: {_WITHOUT}; for them install a C++ compiler and CMake (Debian: g++ "
        "cmake), then codegemma again (make run does)"
    )


def is_declined() -> bool:
    """Whether the environment asks to do without."""
    return os.environ.get(SETTING) == _NONE


def _path_on_cpu() -> str | None:
    wanted = os.environ.get(SETTING, "")
    if is_declined():
        return None
    found = paths()
    if wanted and wanted not in found:
        raise ConfigError(
            f"{SETTING}={wanted}: expected {_NONE} or one of this machine's kernels "
            f"({', '.join(found) or 'there are none'})"
        )
    return wanted or next((path for path in found if path != _PORTABLE), None)
