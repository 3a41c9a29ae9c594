# SPDX-License-Identifier: Apache-2.0
import builtins

import pytest

from codegemma.errors import PrerequisiteError
from codegemma.sandbox.seccomp import build_filter

_PROBE = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for number, arguments in {calls}:
    libc.syscall(number, *arguments)
    print(errno.errorcode[ctypes.get_errno()])
"""


def test_filter_is_byte_code_of_whole_instructions():
    code = build_filter()

    assert len(code) % 8 == 0
    assert len(code) > 8 * 40


def test_denied_calls_are_refused_and_clone3_is_said_not_to_exist(sandbox):
    from codegemma.sandbox.program import Program

    # x86-64: mount, unshare, ptrace, keyctl, bpf, io_uring_setup, clone3
    calls = [(165, ()), (272, (0,)), (101, ()), (250, ()), (321, ()), (425, ()), (435, ())]
    result = sandbox.run(Program(language="python", source=_PROBE.format(calls=calls)))

    assert result.stdout.split() == ["EPERM"] * 6 + ["ENOSYS"]


def test_a_box_with_the_machines_network_gets_no_sockets():
    assert len(build_filter(has_network=False)) > len(build_filter())


def test_missing_library_is_named_with_its_install_line(monkeypatch):
    real = builtins.__import__

    def without(name: str, *arguments: object, **keywords: object) -> object:
        if name == "pyseccomp":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(PrerequisiteError, match="libseccomp2"):
        build_filter()
