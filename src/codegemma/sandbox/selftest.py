# SPDX-License-Identifier: Apache-2.0
"""Attacks that a box must contain before any untrusted program may run in it.

Each is a small Python program with the verdict and the words that a sound box gives. One that goes
otherwise means that this machine does not isolate: nothing is run then.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from codegemma.errors import SandboxError
from codegemma.sandbox.box import ENVIRONMENT
from codegemma.sandbox.program import MEBIBYTE, Limits, Outcome, Program, RunResult

# In a sound box each ends by itself: the time is for machines that are busy with other work.
_LIMITS: Final = Limits(
    wall_s=30.0, memory_bytes=256 * MEBIBYTE, address_space_bytes=512 * MEBIBYTE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """An attack and what becomes of it in a sound box.

    Args:
        name: What it tries.
        source: The program.
        outcome: Its verdict.
        words: Found in stdout, or in stderr.
        limits: Its bounds.
    """

    name: str
    source: str
    outcome: Outcome
    words: str = ""
    limits: Limits = _LIMITS


CANARIES: Final = (
    Canary(name="an honest program passes", source="print(6 * 7)", outcome="pass", words="42"),
    Canary(
        name="leaving before the tests is no pass",
        source="import os\nos._exit(0)",
        outcome="fail",
    ),
    Canary(
        name="the network is out of reach",
        source="import socket\nsocket.create_connection(('192.0.2.1', 9), timeout=1)",
        outcome="fail",
        words="unreachable",
    ),
    Canary(
        name="sockets that are files are out of reach",
        source="import socket\nsocket.socket(socket.AF_UNIX).connect('/var/tmp/listener')",
        outcome="fail",
        words="No such file",
    ),
    Canary(
        name="no memory is held out of sight",
        source=(
            "import mmap, os\nways = (lambda: os.memfd_create('x'), lambda: mmap.mmap(-1, 4096))\n"
            "for hold in ways:\n"
            "    try:\n        hold()\n        break\n    except PermissionError as error:\n"
            "        print(error)\nelse:\n    raise SystemExit\n"
        ),
        outcome="fail",
        words="Operation not permitted",
    ),
    Canary(
        name="nothing outside the box can be written",
        source="open('/usr/written', 'w')",
        outcome="fail",
        words="Read-only file system",
    ),
    Canary(
        name="other processes cannot be seen or ended",
        source="import os\nprint(os.getpid(), os.getppid())\nos.kill(-1, 9)",
        outcome="fail",
        words="1 0",
    ),
    Canary(
        name="the environment of this process is out of reach",
        source=(
            f"import os\nknown = {[*ENVIRONMENT, 'LC_CTYPE', 'PWD']}\n"
            "print(sorted(set(os.environ) - set(known)))\n"
            "assert set(os.environ) <= set(known)"
        ),
        outcome="pass",
        words="[]",
    ),
    Canary(
        name="memory ends at the limit",
        source="hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 24))",
        outcome="out_of_memory",
    ),
    Canary(
        name="processes end at the limit",
        source=(
            "import os, time\n"
            "for count in range(1000):\n"
            "    if os.fork() == 0:\n"
            "        time.sleep(9)\n"
            "        os._exit(0)\n"
        ),
        outcome="fail",
        words="Resource temporarily unavailable",
    ),
    Canary(
        name="no namespace can be made inside",
        source=(
            "import ctypes, os\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "assert libc.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())\n"
        ),
        outcome="fail",
        words="Operation not permitted",
    ),
    Canary(
        name="time ends at the limit",
        source="while True:\n    pass",
        outcome="timeout",
        limits=Limits(wall_s=0.3),
    ),
)


def _restated(name: str, words: str, source: str | None = None) -> Canary:
    """One of CANARIES with other words, and perhaps another attack, for a weaker box."""
    canary = next(canary for canary in CANARIES if canary.name == name)
    return replace(canary, words=words, source=source or canary.source)


_DENIED: Final = "Operation not permitted"
_IN_A_DOMAIN: Final = {
    canary.name: canary
    for canary in (
        _restated("the network is out of reach", _DENIED),
        _restated("sockets that are files are out of reach", _DENIED),
        _restated("nothing outside the box can be written", "Permission denied"),
        _restated(
            "other processes cannot be seen or ended",
            _DENIED,
            "import os\nos.kill(os.getppid(), 0)",
        ),
    )
}


def canaries(isolation: str) -> list[Canary]:
    """Give the attacks for one kind of box, one of them on a file of this user's home folder."""
    restated = _IN_A_DOMAIN if isolation == "landlock" else {}
    return [*(restated.get(canary.name, canary) for canary in CANARIES), _at_home()]


def _at_home() -> Canary:
    home = Path(os.environ.get("HOME") or "/root")
    if home.resolve().is_relative_to("/usr"):  # which programs may read, as their tools lie there
        home = Path("/root")
    try:
        files = sorted(str(path) for path in home.iterdir() if path.is_file())
    except OSError:
        files = []
    return Canary(
        name="the home folder cannot be read",
        source=f"try:\n    open({(files or [str(home / '.profile')])[0]!r}, 'rb')\n"
        "except OSError:\n    raise SystemExit('out of reach')\n",
        outcome="fail",
        words="out of reach",
    )


def self_test(run: Callable[[Program, Limits], RunResult], isolation: str) -> None:
    """Run every canary.

    Args:
        run: Runs a program in a box.
        isolation: Kind of the box.

    Raises:
        SandboxError: One was not contained; the message names it.
    """
    for canary in canaries(isolation):
        result = run(Program(language="python", source=canary.source), canary.limits)
        if result.outcome != canary.outcome or canary.words not in result.stdout + result.stderr:
            raise SandboxError(
                f"this machine does not isolate: the check that {canary.name} ended in "
                f"{result.outcome!r}, not {canary.outcome!r}; nothing was run"
            )
