# SPDX-License-Identifier: Apache-2.0
"""A box made by bubblewrap with the server of `inside.py` in it.

Started by root, the box keeps no user namespace: the server gives up root for an identity of its
own, under which the kernel counts its processes. Started by anyone else, the box is a user
namespace. Either way it sees /usr read-only, the interpreter, what was bound, and nothing of the
network, of home folders, of other processes or of the environment.
"""

import base64
import itertools
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codegemma.errors import ConfigError, PrerequisiteError, SandboxError
from codegemma.sandbox import inside
from codegemma.sandbox.seccomp import build_filter

NAME = "bubblewrap"
_SERVER = "/sandbox/inside.py"
_START_S = 20.0
_SLACK_S = 10.0
_FIRST_IDENTITY, _NUM_IDENTITIES = 61184, 256  # a range that Debian assigns to nobody
_identities = itertools.count(os.getpid())


def box_command(*, interpreter_folder: Path, binds: Sequence[Path] = ()) -> list[str]:
    """Give the command line that makes the box and starts the server in it.

    Args:
        interpreter_folder: Installation prefix of the Python that runs the server and programs.
        binds: Further paths to show, read-only, where they are.

    Raises:
        ConfigError: A bind lies under /tmp, which is the program's own.
        PrerequisiteError: bubblewrap is not installed.
    """
    for path in binds:
        if path.is_relative_to("/tmp"):
            raise ConfigError(f"a path that programs may read may not lie under /tmp: {path}")
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise PrerequisiteError("the sandbox needs bubblewrap: apt-get install bubblewrap")
    command = [bwrap, "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
    command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
    if os.getuid() == 0:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", str(_FIRST_IDENTITY), "--gid", str(_FIRST_IDENTITY)]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "lib32", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            command += ["--ro-bind", str(path), str(path)]
    for path in (Path("/etc/ld.so.cache"), Path("/etc/alternatives"), interpreter_folder, *binds):
        if path.exists() and not path.is_relative_to("/usr"):
            for parent in reversed(path.parents[:-1]):  # bubblewrap's own would be closed to others
                command += ["--dir", str(parent)]
            command += ["--ro-bind", str(path), str(path)]
    command += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]
    command += ["--chdir", "/tmp", "--dir", "/sandbox"]
    command += ["--ro-bind", str(Path(inside.__file__).resolve()), _SERVER]
    command += ["--remount-ro", "/", "--remount-ro", "/dev"]
    for name, value in inside_environment().items():
        command += ["--setenv", name, value]
    python = interpreter_folder / "bin" / f"python3.{sys.version_info.minor}"
    return [*command, "--", str(python), "-S", "-s", "-P", "-B", _SERVER]


def inside_environment() -> Mapping[str, str]:
    """Give every variable a program in the box can see."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
    }


class Box:
    """One running box; answers one request at a time.

    Args:
        binds: Further paths to show, read-only.

    Raises:
        PrerequisiteError: bubblewrap or libseccomp is missing.
        SandboxError: The box did not come up.
    """

    def __init__(self, *, binds: Sequence[Path] = ()) -> None:
        command = box_command(interpreter_folder=Path(sys.base_prefix), binds=binds)
        seccomp_filter = build_filter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        identity = _FIRST_IDENTITY + next(_identities) % _NUM_IDENTITIES
        configuration = {
            "seccomp_filter": base64.b64encode(seccomp_filter).decode(),
            "identity": identity,
        }
        answer = self._exchange(configuration, timeout_s=_START_S)
        self.python_version: str = answer["ready"]

    def request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run one program's steps and give the answer for the last one that ran.

        Raises:
            SandboxError: The box broke or could not isolate the program; it is closed then.
        """
        steps: Sequence[Mapping[str, Any]] = request["steps"]
        budget_s = sum(float(step["limits"]["wall_s"]) for step in steps) + _SLACK_S
        return self._exchange(request, timeout_s=budget_s)

    def close(self) -> None:
        """End the box and everything in it."""
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:
                stream.close()
        self._process.kill()
        self._process.wait()

    @property
    def is_open(self) -> bool:
        """Whether it can still answer."""
        return self._process.poll() is None

    def _exchange(self, message: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            inside.write_frame(self._process.stdin.fileno(), dict(message))
            answer = self._read_answer(self._process.stdout.fileno(), timeout_s=timeout_s)
        except (OSError, ValueError) as error:
            raise self._broken(str(error)) from error
        if answer is None:
            raise self._broken("it ended")
        if "error" in answer:
            raise self._broken(str(answer["error"]))
        return answer

    def _read_answer(self, descriptor: int, *, timeout_s: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + timeout_s
        ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise TimeoutError(f"no answer within {timeout_s:.0f} s")
        return inside.read_frame(descriptor)

    def _broken(self, reason: str) -> SandboxError:
        self._process.kill()
        words = b""
        if self._process.stderr:
            words = self._process.stderr.read() or b""
        self.close()
        tail = words.decode(errors="replace").strip().splitlines()[-1:]
        return SandboxError(f"the {NAME} sandbox broke: {'; '.join([reason, *tail])}")
