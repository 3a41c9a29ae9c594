# SPDX-License-Identifier: Apache-2.0
"""A box made by bubblewrap with the server of `inside.py` in it.

Started by root, the box keeps no user namespace: the server gives up root for an identity of its
own, under which the kernel counts its processes. Started by anyone else, the box is a user
namespace. Either way it sees /usr read-only, the interpreter, what was bound, and nothing of the
network, of home folders, of other processes or of the environment.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from codegemma.errors import ConfigError, PrerequisiteError
from codegemma.sandbox import inside
from codegemma.sandbox.box import (
    ENVIRONMENT,
    FIRST_IDENTITY,
    Box,
    check_readable,
    python_command,
)
from codegemma.sandbox.seccomp import build_filter

NAME = "bubblewrap"
_SERVER = "/sandbox/inside.py"


def box_command(*, interpreter_folder: Path, binds: Sequence[Path] = ()) -> list[str]:
    """Give the command line that makes the box and starts the server in it.

    Args:
        interpreter_folder: Installation prefix of the Python that runs the server and programs.
        binds: Further paths to show, read-only, where they are.

    Raises:
        ConfigError: A bind lies under /tmp, which is the program's own, or holds a home folder.
        PrerequisiteError: bubblewrap is not installed.
    """
    for path in binds:
        if path.is_relative_to("/tmp"):
            raise ConfigError(f"a path that programs may read may not lie under /tmp: {path}")
    check_readable([interpreter_folder, *binds])
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise PrerequisiteError("the sandbox needs bubblewrap: apt-get install bubblewrap")
    command = [bwrap, "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
    command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
    if os.getuid() == 0:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", str(FIRST_IDENTITY), "--gid", str(FIRST_IDENTITY)]
    command += _shown(interpreter_folder, *binds)
    # Memory that is shared by mapping /dev/zero would escape the limit.
    command += ["--proc", "/proc", "--dev", "/dev", "--dev-bind", "/dev/null", "/dev/zero"]
    command += ["--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/tmp", "--dir", "/sandbox"]
    for path in (server := Path(inside.__file__).resolve(), server.with_name("verdict.py")):
        command += ["--ro-bind", str(path), f"/sandbox/{path.name}"]
    command += ["--remount-ro", "/", "--remount-ro", "/dev"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    return [*command, "--", *python_command(interpreter_folder, _SERVER)]


def _shown(*paths: Path) -> list[str]:
    """Give the words that show the system's programs and further paths, read-only."""
    command = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "lib32", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            command += ["--ro-bind", str(path), str(path)]
    for path in (Path("/etc/ld.so.cache"), Path("/etc/alternatives"), *paths):
        if path.exists() and not path.is_relative_to("/usr"):
            for parent in reversed(path.parents[:-1]):  # bubblewrap's own would be closed to others
                command += ["--dir", str(parent)]
            command += ["--ro-bind", str(path), str(path)]
    return command


def open_box(binds: Sequence[Path] = ()) -> Box:
    """Start a box.

    Args:
        binds: Further paths to show, read-only.

    Raises:
        PrerequisiteError: bubblewrap or libseccomp is missing.
        SandboxError: The box did not come up.
    """
    command = box_command(interpreter_folder=Path(sys.base_prefix), binds=binds)
    return Box(NAME, command, seccomp_filter=build_filter())
