# SPDX-License-Identifier: Apache-2.0
"""A weaker box for machines that grant no namespaces: a Landlock domain for each program.

A program may write in a folder of its own, read the system's programs and the names of processes,
make no socket but pairs of its own, and signal nothing but itself. Unlike in a bubblewrap box it
sees other processes and how many there are, the bound on its files holds for each file and not for
all together, what its sockets hold does not count as memory, and a program that wants what lies
elsewhere under its own user's eyes is held by Landlock alone. It is never chosen by itself.
"""

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from codegemma.errors import PrerequisiteError
from codegemma.sandbox import inside
from codegemma.sandbox.box import ENVIRONMENT, Box, check_readable, python_command
from codegemma.sandbox.seccomp import build_filter

NAME = "landlock"
_CREATE_RULESET, _GIVE_VERSION = 444, 1
_FIRST_VERSION = 6  # the first that keeps signals inside
# fmt: off
_READABLE = (
    "/usr", "/bin", "/lib", "/lib64", "/lib32", "/sbin", "/etc/ld.so.cache", "/etc/alternatives",
    "/proc", "/dev/urandom",
)
# fmt: on


def landlock_version() -> int:
    """Version of Landlock that the kernel offers, 0 for none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, libc.syscall(_CREATE_RULESET, None, 0, _GIVE_VERSION))


def open_box(binds: Sequence[Path] = ()) -> Box:
    """Start a box.

    Args:
        binds: Further paths that programs may read.

    Raises:
        ConfigError: A bind holds a home folder.
        PrerequisiteError: The kernel's Landlock is too old, or libseccomp is missing.
        SandboxError: The box did not come up.
    """
    if landlock_version() < _FIRST_VERSION:
        raise PrerequisiteError(
            "the weaker sandbox needs Landlock version 6, which Linux has from 6.12 on; "
            f"this kernel's is {landlock_version()}"
        )
    prefix = Path(sys.base_prefix)
    check_readable([prefix, *binds])
    if os.getuid() == 0 and not _is_open_to_all(prefix):
        raise PrerequisiteError(
            "started by root, the weaker sandbox gives up that identity and then cannot read "
            f"Python in {prefix}; start it as a normal user"
        )
    readable = [path for name in _READABLE if (path := Path(name)).exists()]
    return Box(
        NAME,
        python_command(prefix, str(Path(inside.__file__).resolve())),
        seccomp_filter=build_filter(is_alone=False),
        readable=[*readable, prefix, *binds],
        environment=ENVIRONMENT,
    )


def _is_open_to_all(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))
