# SPDX-License-Identifier: Apache-2.0
"""Run every attack under the identity this script was started with; print a JSON report.

Arguments: a home folder and a project to look for, and the kind of box.

For `test_attacks.py`, which starts it as nobody with the system's Python and a copy of the sandbox,
since the project's own files may lie where no other user can read them. Standard library alone.
"""

import json
import os
import socket
import sys
import tempfile

from attacks import ATTACKS, FORGERIES, fill

from codegemma.sandbox.program import MEBIBYTE, Limits, Program
from codegemma.sandbox.run import Sandbox

LIMITS = Limits(wall_s=1.0, memory_bytes=256 * MEBIBYTE, address_space_bytes=512 * MEBIBYTE)
CHECK = "def check(candidate):\n    assert candidate() == 42\ncheck(answer)"


def passed(sandbox: Sandbox, bait: dict[str, str]) -> list[str]:
    """Names of the attacks and forgeries that came through, and of the honest that did not."""
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
    found = []
    for name, program in programs.items():
        if sandbox.run(program, LIMITS).is_pass:
            found.append(name)
        if not sandbox.run(honest, LIMITS).is_pass:
            found.append(f"honest after {name}")
    return found


if __name__ == "__main__":
    os.environ["CODEGEMMA_TOKEN"] = "TOKEN"
    with (
        tempfile.NamedTemporaryFile("w") as secret,
        socket.create_server(("127.0.0.1", 0)) as server,
        Sandbox(isolation=sys.argv[3]) as boxes,
    ):
        secret.write("secret")
        secret.flush()
        lures = {
            "port": str(server.getsockname()[1]),
            "home": sys.argv[1],
            "project": sys.argv[2],
            "secret": secret.name,
        }
        report: dict[str, object] = {"user": os.getuid(), "count": len(ATTACKS) + len(FORGERIES)}
        report["backend"] = boxes.run(Program(language="python", source="")).backend
        json.dump(report | {"passed": passed(boxes, lures)}, sys.stdout)
