# SPDX-License-Identifier: Apache-2.0
"""Run every attack under the identity this script was started with; print a JSON report.

Arguments: a project to look for, and the kind of box. The home folder is one of its own.

For `test_attacks.py`, which starts it as nobody with the system's Python and a copy of the sandbox,
since the project's own files may lie where no other user can read them.
"""

import dataclasses
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

from attacks import ATTACKS, FORGERIES, fill, processes_of

from codegemma.sandbox.program import MEBIBYTE, Limits, Program
from codegemma.sandbox.run import Sandbox

LIMITS = Limits(wall_s=1.0, memory_bytes=256 * MEBIBYTE, address_space_bytes=512 * MEBIBYTE)
UNHURRIED = dataclasses.replace(LIMITS, wall_s=20.0)
CHECK = "def check(candidate):\n    assert candidate() == 42\ncheck(answer)"


def attack(sandbox: Sandbox, bait: dict[str, str]) -> dict[str, list[str]]:
    """Names of what came through, of the honest that did not, and of what left something behind."""
    programs = {
        name: Program(language="python", source=fill(source, bait))
        for name, source in ATTACKS.items()
    }
    programs |= {
        name: Program(language="python", source=source, tests=CHECK, entry_point="answer")
        for name, source in FORGERIES.items()
    }
    honest = Program(
        language="python", source="def answer(): return 42", tests=CHECK, entry_point="answer"
    )
    sandbox.run(honest, UNHURRIED)
    before = what_there_is()
    passed: list[str] = []
    left: list[str] = []
    for name, program in programs.items():
        if sandbox.run(program, LIMITS).is_pass:
            passed.append(name)
        if more := what_there_is() - before:
            left.append(f"{name}: {sorted(more)}")
        if not sandbox.run(honest, UNHURRIED).is_pass:
            passed.append(f"honest after {name}")
    return {"passed": passed, "left": left}


def what_there_is() -> set[str]:
    """Processes, files, and parts of shared memory of this user, who is alone in being it."""
    user = os.getuid()
    found = {f"process {number}" for number in processes_of(user)}
    found |= {
        entry.path
        for entry in os.scandir(tempfile.gettempdir())
        if entry.stat(follow_symlinks=False).st_uid == user
    }
    for kind in ("shm", "msg", "sem"):
        lines = Path("/proc/sysvipc", kind).read_text().splitlines()
        column = lines[0].split().index("uid")
        found |= {f"{kind} {each}" for each in lines[1:] if each.split()[column] == str(user)}
    return found


if __name__ == "__main__":
    os.environ["CODEGEMMA_TOKEN"] = "TOKEN"
    with (
        tempfile.NamedTemporaryFile("w") as secret,
        tempfile.TemporaryDirectory() as own,
        tempfile.TemporaryDirectory(dir="/var/tmp") as home,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(f"{own}/listener", family=socket.AF_UNIX),
        Sandbox(isolation=sys.argv[2]) as boxes,
    ):
        secret.write("secret")
        secret.flush()
        os.environ["HOME"] = home
        key, kept = Path(home, ".key"), Path(home, "kept")
        for file in (key, kept):
            file.write_text("secret")
        lures = {
            "listener": f"{own}/listener",
            "port": str(server.getsockname()[1]),
            "home": home,
            "project": sys.argv[1],
            "secret": secret.name,
            "key": str(key),
            "kept": str(kept),
        }
        report: dict[str, object] = {"user": os.getuid(), "count": len(ATTACKS) + len(FORGERIES)}
        report["backend"] = boxes.run(Program(language="python", source="")).backend
        json.dump(report | attack(boxes, lures), sys.stdout)
