# SPDX-License-Identifier: Apache-2.0
"""A running box: the process with the server of `inside.py` in it, and the frames it answers.

How a box isolates is the work of `bubblewrap.py` and `landlock.py`, which give its command line.
"""

import base64
import itertools
import os
import pwd
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from codegemma.errors import ConfigError, SandboxError
from codegemma.sandbox import inside

ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "OPENSSL_CONF": "/dev/null",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
}
"""Every variable a program in a box can see; /tmp stands for the program's own folder."""

FIRST_IDENTITY: Final = 61184
"""First of the user numbers that boxes started by root take; Debian gives them to nobody."""

_NUM_IDENTITIES = 256
_START_S = 20.0
_SLACK_S = 10.0
_identities = itertools.count(os.getpid())


def python_command(interpreter_folder: Path, server: str) -> list[str]:
    """Give the command that runs the server with the Python of an installation prefix."""
    python = interpreter_folder / "bin" / f"python3.{sys.version_info.minor}"
    return [str(python), "-S", "-s", "-P", "-B", server]


def holds_home(path: Path) -> bool:
    """Whether a folder is a home folder of this machine or has one in it; /usr counts as none."""
    folder = path.resolve()
    homes = {Path(os.environ.get("HOME", "/")), *(Path(user.pw_dir) for user in pwd.getpwall())}
    return not folder.is_relative_to("/usr") and any(
        home.resolve().is_relative_to(folder) for home in homes if home != Path("/")
    )


def check_readable(paths: Iterable[Path]) -> None:
    """Refuse to show programs what their limits promise to hide.

    Raises:
        ConfigError: A path is a home folder or has one in it.
    """
    for path in paths:
        if holds_home(path):
            raise ConfigError(
                f"programs may not read {path}: it is a home folder or has one in it; "
                "what they need has to lie in a folder of its own"
            )


class Box:
    """One running box; answers one request at a time.

    Args:
        name: Of the isolation, for messages.
        command: Starts the server of `inside.py`.
        seccomp_filter: What every program in it runs under.
        readable: Paths that programs may read, for a box without namespaces; None for one with.
        environment: Variables of the server.

    Raises:
        SandboxError: The box did not come up.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        seccomp_filter: bytes,
        readable: Sequence[Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        configuration = {
            "seccomp_filter": base64.b64encode(seccomp_filter).decode(),
            "identity": FIRST_IDENTITY + next(_identities) % _NUM_IDENTITIES,
            "readable": None if readable is None else [str(path) for path in readable],
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

    def end(self) -> None:
        """End everything in the box while another thread waits for its answer, which fails then."""
        self._process.kill()

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
        return SandboxError(f"the {self._name} sandbox broke: {'; '.join([reason, *tail])}")
