# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from codegemma.train.memory import keep_freed_memory
assert keep_freed_memory() is {advised}
buffer = bytearray(64 << 20)
del buffer
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
buffer = bytearray(64 << 20)
buffer[:: 4096] = bytes(len(buffer[:: 4096]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="advises glibc alone")
def test_a_buffer_asked_for_again_takes_no_new_pages() -> None:
    command = [sys.executable, "-c", PROGRAM.format(advised=True)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert int(done.stdout) < 1000


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from codegemma.train.memory import keep_freed_memory

    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False
