# SPDX-License-Identifier: Apache-2.0
"""The native library: where it is, which of its paths this processor takes, how XLA calls it.

`pip install` builds it where there is a C++ compiler (`cpp/CMakeLists.txt`). A path is what one
instruction set can do; the best one the processor has is taken, unless `CODEGEMMA_KERNEL` names
another, or "none". Nothing is loaded at import.
"""

import ctypes
import functools
import os
import sysconfig
from pathlib import Path
from typing import Final

import jax

from codegemma.errors import ConfigError

SETTING: Final = "CODEGEMMA_KERNEL"
"""Environment variable that names a path; "none" does without the library."""

MULTIPLY: Final = "codegemma_multiply"
"""The custom call of products, as XLA knows it."""

_FILE_NAME: Final = "libcodegemma_kernels.so"
_NONE: Final = "none"


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """Load the library and make its calls known to XLA; None where it was not built."""
    # An editable installation leaves it among the installed packages, apart from its source.
    installed = Path(sysconfig.get_path("platlib")) / "codegemma" / "kernels"
    found = (folder / _FILE_NAME for folder in (Path(__file__).parent, installed))
    path = next((path for path in found if path.exists()), None)
    if path is None:
        return None
    library = ctypes.CDLL(str(path))
    library.codegemma_paths.restype = ctypes.c_char_p
    target = jax.ffi.pycapsule(library.codegemma_multiply)
    jax.ffi.register_ffi_target(MULTIPLY, target, platform="cpu")
    return library


def paths() -> tuple[str, ...]:
    """Names of the paths this processor can take, best first; empty without the library."""
    library = load_library()
    return () if library is None else tuple(library.codegemma_paths().decode().split(","))


def choose_path() -> str | None:
    """Name the path that products take; None where XLA multiplies without the library.

    Raises:
        ConfigError: The environment names a path that this processor or installation lacks.
    """
    wanted = os.environ.get(SETTING, "")
    if wanted == _NONE or jax.default_backend() != "cpu":
        return None
    found = paths()
    if wanted and wanted not in found:
        raise ConfigError(
            f"{SETTING}={wanted}: expected {_NONE} or one of this machine's kernels "
            f"({', '.join(found) or 'there are none'})"
        )
    return wanted or next(iter(found), None)


def describe() -> str:
    """Say in one line what multiplies quantised weights here, and how to have it faster."""
    path = choose_path()
    if path is not None:
        return f"native kernels for int8 and int4 weights: {path}"
    if jax.default_backend() != "cpu":
        return f"int8 and int4 weights are multiplied by XLA on the {jax.default_backend()}"
    if os.environ.get(SETTING) == _NONE:
        return f"no native kernels, as {SETTING}={_NONE} asks: XLA multiplies int8 and int4 weights"
    return (
        "no native kernels: int8 and int4 weights work, several times slower; install a C++ "
        "compiler and CMake (Debian: g++ cmake), then codegemma again"
    )
