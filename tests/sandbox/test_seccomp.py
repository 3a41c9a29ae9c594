# SPDX-License-Identifier: Apache-2.0
import builtins
import subprocess
import sys

import pyseccomp
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

    names = ["mount", "unshare", "ptrace", "keyctl", "bpf", "io_uring_setup", "memfd_create"]
    names += ["shmget", "shmat", "msgget", "semget", "mq_open", "clone3"]
    numbers = [pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) for name in names]
    calls = [(number, (0,)) for number in numbers]
    result = sandbox.run(Program(language="python", source=_PROBE.format(calls=calls)))

    assert min(numbers) >= 0
    assert result.stdout.split() == ["EPERM"] * 12 + ["ENOSYS"]


def test_memory_is_shared_only_by_files_whose_size_is_bounded(sandbox):
    from codegemma.sandbox.program import Program

    def run(arguments: str):
        source = (
            "import mmap\nopen('f', 'wb').write(bytes(4096))\nf = open('f', 'r+b')\n"
            f"mmap.mmap({arguments})"
        )
        return sandbox.run(Program(language="python", source=source))

    assert "Operation not permitted" in run("-1, 4096").stderr
    assert run("-1, 4096, flags=mmap.MAP_PRIVATE").is_pass
    assert run("f.fileno(), 0").is_pass


def test_a_program_that_is_not_alone_gets_no_socket_but_pairs_and_sets_its_own_limits():
    probe = (
        "import ctypes, os, resource, socket\n"
        "socket.socketpair()\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "for way in (lambda: socket.socket(socket.AF_UNIX), lambda: socket.socket(),\n"
        "    lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE)):\n"
        "    try: way()\n    except PermissionError: print('denied')\n"
    )

    assert _under(build_filter(is_alone=False), probe) == ["denied"] * 3
    assert _under(build_filter(), probe) == []


def test_buffers_of_sockets_keep_their_size_and_other_options_are_set():
    probe = (
        "import socket\none, _ = socket.socketpair()\n"
        "for name in ('SO_SNDBUF', 'SO_RCVBUF', 'SO_PASSCRED'):\n"
        "    kind = getattr(socket, name)\n"
        "    before = one.getsockopt(socket.SOL_SOCKET, kind)\n"
        "    one.setsockopt(socket.SOL_SOCKET, kind, 1)\n"
        "    print(one.getsockopt(socket.SOL_SOCKET, kind) == before)\n"
    )

    assert _under(build_filter(), probe) == ["True", "True", "False"]


def _under(code: bytes, source: str) -> list[str]:
    """Run Python in a process under a filter and give its lines."""
    start = (
        "import ctypes, sys\nlibc = ctypes.CDLL(None)\n"
        "class Filter(ctypes.Structure):\n"
        "    _fields_ = (('length', ctypes.c_ushort), ('code', ctypes.c_char_p))\n"
        f"code = {code!r}\n"
        "assert libc.prctl(38, 1, 0, 0, 0) == 0\n"
        "assert libc.prctl(22, 2, ctypes.byref(Filter(len(code) // 8, code)), 0, 0) == 0\n"
    )
    command = [sys.executable, "-I", "-c", start + source]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_missing_library_is_named_with_its_install_line(monkeypatch):
    real = builtins.__import__

    def without(name: str, *arguments: object, **keywords: object) -> object:
        if name == "pyseccomp":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(PrerequisiteError, match="libseccomp2"):
        build_filter()
