# SPDX-License-Identifier: Apache-2.0
"""The server inside the sandbox: one process per program, in namespaces of its own.

Runs as a script, by itself, with the standard library alone; the outside speaks to it in frames of
a 4-byte big-endian length and JSON. The chain for one program is

    server -> keeper (new user, mount and IPC namespace) -> program (new PID namespace, no rights)

The keeper holds the program to its limits and judges it; when the program's first process ends,
the kernel ends everything it left behind. Where the machine grants no namespaces, and only when
that was asked for, a Landlock domain over one folder stands in their place; the keeper then ends
what was left behind. A Python program shares its interpreter with the harness in `verdict.py`
that judges it.
"""

import base64
import builtins
import collections.abc
import contextlib
import ctypes
import functools
import json
import math
import os
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import typing

_NEW_NAMESPACES = 0x10000000 | 0x00020000 | 0x08000000  # user, mount, IPC
_NEW_PID = 0x20000000
_SET_DUMPABLE, _SET_SECCOMP, _SET_NO_NEW_PRIVS, _DROP_BOUNDING = 4, 22, 38, 24
_SET_CHILD_SUBREAPER = 36
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # of Landlock, on every architecture
_READ_FILES, _ALL_FILES = 0b1101, 0xFFFF  # execute, read a file, read a folder; everything
_ONE_FILE = 0b100_0000_0000_0110  # write, read, truncate: what a rule on one file may grant
_ALL_NETWORK, _ALL_SCOPES = 0b11, 0b11
_NOSUID_NODEV, _BIND = 2 | 4, 4096
_MAX_FILES = 1 << 16
_SOCKET_BYTES = 416 * 1024  # both buffers of a socket; the system-call filter keeps their size
_TCP_BYTES = 8 << 20  # more than that for one whose buffers the kernel lets grow
_FLOOD_FACTOR = 64  # output beyond so many times what is kept ends a program
# fmt: off
_PRELOADED = (
    "collections", "copy", "datetime", "functools", "hashlib", "heapq", "itertools", "json",
    "math", "operator", "random", "re", "string", "typing", "bisect", "statistics", "decimal",
    "fractions", "dataclasses", "traceback", "linecache",
)
# fmt: on

Frame = dict[str, typing.Any]
"""A JSON object: a request or an answer, or a part of one."""

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _set_dumpable(value: int) -> None:
    """0 closes this process's memory and files in /proc to programs of the same user."""
    _call("prctl", _SET_DUMPABLE, value, 0, 0, 0)


def read_exactly(descriptor: int, size: int) -> bytes:
    """Read `size` bytes; empty at the end of the stream."""
    pieces: list[bytes] = []
    while size:
        piece = os.read(descriptor, min(size, 1 << 20))
        if not piece:
            return b""
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def read_frame(descriptor: int) -> Frame | None:
    """Read one JSON frame; None at the end of the stream."""
    header = read_exactly(descriptor, 4)
    return json.loads(read_exactly(descriptor, struct.unpack(">I", header)[0])) if header else None


def write_frame(descriptor: int, message: Frame) -> None:
    """Write one JSON frame."""
    body = json.dumps(message).encode()
    view = memoryview(struct.pack(">I", len(body)) + body)
    while view:
        view = view[os.write(descriptor, view) :]


def _in_child(function: collections.abc.Callable[..., Frame], *arguments: object) -> Frame:
    """Call in a forked process and give its answer; an exception there is {"error": ...}."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            answer = function(*arguments)
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        write_frame(writer, answer)
        os._exit(0)
    os.close(writer)
    answer = read_frame(reader)
    os.close(reader)
    os.waitpid(child, 0)
    return answer or {"error": "the keeper died"}


def _enter_namespaces(file_bytes: int) -> None:
    user, group = os.getuid(), os.getgid()
    _set_dumpable(1)  # a process whose files in /proc are closed may not map its own user
    _call("unshare", _NEW_NAMESPACES)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - no pathlib at this level
            file.write(text)
    _set_dumpable(0)
    # What one program wrote, the next must not find; both folders share one file system's size.
    options = f"size={file_bytes},nr_inodes={_MAX_FILES},mode=777".encode()
    _call("mount", b"tmpfs", b"/dev/shm", b"tmpfs", _NOSUID_NODEV, options)
    os.umask(0)
    os.mkdir("/dev/shm/tmp", 0o777)  # noqa: PTH102
    os.mkdir("/dev/shm/shm", 0o777)  # noqa: PTH102
    os.umask(0o022)
    _call("mount", b"/dev/shm/tmp", b"/tmp", None, _BIND, None)
    _call("mount", b"/dev/shm/shm", b"/dev/shm", None, _BIND, None)
    os.chdir("/tmp")


def _restrict_files(folder: str, readable: list[str]) -> None:
    """Enter a Landlock domain: writes in one folder, reads in a few, no TCP, no signals outside."""
    rules = struct.pack("<QQQ", _ALL_FILES, _ALL_NETWORK, _ALL_SCOPES)
    ruleset = _libc.syscall(_CREATE_RULESET, rules, len(rules), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    grants = [(folder, _ALL_FILES), ("/dev/null", _ONE_FILE)]
    grants += [(path, _READ_FILES if os.path.isdir(path) else 0b100) for path in readable]  # noqa: PTH112
    for path, access in grants:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("<Qi", access, place)
        if _libc.syscall(_ADD_RULE, ruleset, 1, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
        os.close(place)
    if _libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def _give_up_rights(limits: Frame, box: Frame) -> None:
    """Set the limits, drop every capability and put the system-call filter in place."""
    os.setsid()
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NPROC: limits["max_processes"] + box["num_others"],
        resource.RLIMIT_CPU: limits.get("cpu_s") or int(limits["wall_s"]) + 2,
    }
    if limits["address_space_bytes"]:
        bounds[resource.RLIMIT_AS] = limits["address_space_bytes"]
    for kind, value in bounds.items():
        resource.setrlimit(kind, (value, value))
    for capability in range(64):
        if _libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0) != 0:
            break
    header = struct.pack("<II", 0x20080522, 0)
    _call("capset", header, bytes(24))
    _call("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if box["readable"] is not None:
        _restrict_files(os.getcwd(), box["readable"])  # noqa: PTH109

    class _Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    code = _Filter(len(box["seccomp_filter"]) // 8, box["seccomp_filter"])
    _call("prctl", _SET_SECCOMP, 2, ctypes.byref(code), 0, 0)


def _start_program(
    step: Frame, limits: Frame, box: Frame, secret: bytes, descriptors: tuple[int, ...]
) -> None:
    """The program's first process, number 1 of its PID namespace; never returns."""
    stdin, stdout, stderr, verdict = descriptors
    try:
        for source, target in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        os.closerange(3, verdict)
        os.closerange(verdict + 1, 1024)
        _give_up_rights(limits, box)
        if step.get("argv"):
            os.close(verdict)
            names = {name: _rooted(text) for name, text in step["environment"].items()}
            argv = [_rooted(text) for text in step["argv"]]
            os.execve(argv[0], argv, names)
        box["run_python"](step, secret, verdict)
    except BaseException as error:
        os.write(2, f"cannot start: {type(error).__name__}: {error}\n".encode())
    os._exit(120)


def _rooted(text: str) -> str:
    """Name a path in the program's folder, written as in /tmp, where the folder lies."""
    is_inside = text == "/tmp" or text.startswith("/tmp/")
    return os.getcwd() + text.removeprefix("/tmp") if is_inside else text  # noqa: PTH109


def _descendants() -> set[int]:
    """Number of every living process that came of this one, orphans given to it included."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if state != b"Z":
                children.setdefault(int(parent), []).append(int(name))
    found: set[int] = set()
    left = children.get(os.getpid(), [])
    while left:
        number = left.pop()
        found.add(number)
        left += children.get(number, [])
    return found


def _resident_bytes() -> int:
    """Memory of the program's processes, beyond what all share by forking."""
    shared = _resident_pages(os.getpid())
    pages = sum(max(0, _resident_pages(number) - shared) for number in _descendants())
    return pages * resource.getpagesize()


def _socket_bytes() -> int:
    """Memory that the buffers of all sockets of this network may hold, sent or not yet taken."""
    used = 0
    for path, each in (("/proc/net/sockstat", "TCP:"), ("/proc/net/sockstat6", "TCP6:")):
        with contextlib.suppress(OSError):  # a machine without the newer protocol
            with open(path) as file:  # noqa: PTH123
                words = file.read().split()
            used += int(words[words.index(each) + 2]) * _TCP_BYTES
            if words[0] == "sockets:":
                used += int(words[2]) * _SOCKET_BYTES
    return used


def _resident_pages(process: int) -> int:
    """Resident pages of a process, 0 if it has ended."""
    try:
        with open(f"/proc/{process}/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1])
    except (OSError, IndexError):
        return 0


def _end_program() -> None:
    """End all processes of the program; with the first of a PID namespace the kernel does it."""
    deadline = time.monotonic() + 5.0
    while living := _descendants():
        for number in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise OSError("the program's processes would not end")


def _collect(
    process: int, pipes: dict[int, bytearray], limits: Frame, *, has_own_network: bool
) -> str:
    """Read the program's output until it ends; give why it was ended, "" if by itself."""
    ended = os.pidfd_open(process)
    poll = select.poll()
    for descriptor in (*pipes, ended):
        poll.register(descriptor, select.POLLIN)
    start = time.monotonic()
    deadline, next_look, reason = start + limits["wall_s"], start + 0.05, ""
    is_running, num_read = True, 0
    while is_running or pipes:
        now = time.monotonic()
        if is_running and now >= deadline:
            reason = reason or "timeout"
        if is_running and now >= next_look and not reason:
            next_look = now + 0.05
            held = _resident_bytes() + (_socket_bytes() if has_own_network else 0)
            if held > limits["memory_bytes"]:
                reason = "out_of_memory"
        if is_running and reason:
            _end_program()
        wait_s = max(min(deadline, next_look) - now, 0.001)
        for descriptor, _ in poll.poll(wait_s * 1000):
            if descriptor == ended:
                is_running = False
                poll.unregister(ended)
                _end_program()  # what it left behind
                continue
            piece = os.read(descriptor, 1 << 16)
            num_read += len(piece)
            if num_read > _FLOOD_FACTOR * limits["output_bytes"]:
                reason = reason or "flood"
            if piece:
                pipes[descriptor] += piece[: limits["output_bytes"] - len(pipes[descriptor])]
            else:
                poll.unregister(descriptor)
                os.close(descriptor)
                pipes.pop(descriptor)
    os.close(ended)
    return reason


def _input(data: bytes) -> int:
    """Give what a program reads it from: a pipe, which is read once, or a file if that is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        if not data or os.write(writer, data) == len(data):
            return reader
    except BlockingIOError:
        pass
    finally:
        os.close(writer)
    os.close(reader)
    file = os.memfd_create("stdin")
    os.write(file, data)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _keep_step(step: Frame, limits: Frame, box: Frame) -> Frame:
    """Run one step and judge it."""
    if box["readable"] is None:
        _call("unshare", _NEW_PID)
    else:
        _call("prctl", _SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    secret = base64.b16encode(os.urandom(16))
    stdin = _input(step.get("stdin", "").encode())
    (out, out_end), (err, err_end), (verdict, verdict_end) = os.pipe(), os.pipe(), os.pipe()
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        ends = (stdin, out_end, err_end, verdict_end)
        _start_program(step, limits, box, secret, ends)
    for descriptor in (stdin, out_end, err_end, verdict_end):
        os.close(descriptor)
    kept = {out: bytearray(), err: bytearray(), verdict: bytearray()}
    reason = _collect(process, dict(kept), limits, has_own_network=box["readable"] is None)
    reported = bytes(kept[verdict])
    _, raw_status, used = os.wait4(process, 0)
    status = os.waitstatus_to_exitcode(raw_status)
    stderr = kept[err].decode(errors="replace")
    if status == 120 and stderr.startswith("cannot start: "):
        return {"error": stderr.strip()}
    # The kernel ends what exceeds its time by clock ticks, of which a busy machine counts too many.
    used_fraction = (used.ru_utime + used.ru_stime) / (limits.get("cpu_s") or math.inf)
    if status == -signal.SIGKILL and used_fraction > 0.5:
        reason = reason or "timeout"
    if reported == b"memory" or (status and any(m in stderr for m in step["memory_marks"])):
        reason = reason or "out_of_memory"
    return {
        "reason": reason,
        "status": status,
        "is_finished": status == 0 and bool(step.get("argv") or reported == secret),
        "stdout": kept[out].decode(errors="replace"),
        "stderr": stderr,
        "used_fraction": used_fraction,
        "wall_s": time.monotonic() - start,
    }


def _keep(request: Frame, box: Frame) -> Frame:
    """Run the steps of one program, each after the success of the one before."""
    file_bytes = request["steps"][-1]["limits"]["file_bytes"]
    with contextlib.ExitStack() as stack:
        if box["readable"] is None:
            _enter_namespaces(file_bytes)
        else:
            os.chdir(stack.enter_context(tempfile.TemporaryDirectory()))
            box = {**box, "num_others": _num_tasks()}
        for name, text in request.get("files", {}).items():
            with open(name, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123
                file.write(text)
        return _run_steps(request, box)


def _run_steps(request: Frame, box: Frame) -> Frame:
    *earlier, last = request["steps"]
    for index, step in enumerate(earlier):
        answer = _in_child(_keep_step, step, step["limits"], box)
        if "error" in answer or answer["reason"] or not answer["is_finished"]:
            return {**answer, "step": index}
    for name in request.get("files", {}) if earlier else ():  # tests are no reading for the program
        os.remove(name)  # noqa: PTH107
    answer = _keep_step(last, last["limits"], box)
    return {**answer, "step": len(earlier)}


def _num_tasks() -> int:
    """Processes and threads of this user, which the kernel counts together."""
    count = 0
    for name in os.listdir("/proc"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():  # noqa: PTH116
                count += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208
    return count


def _load_harness() -> collections.abc.Callable[..., None]:
    """Give what runs Python programs, with builtins that no program changes by their name."""
    path = os.path.join(os.path.dirname(__file__), "verdict.py")  # noqa: PTH118, PTH120
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        code = compile(file.read(), path, "exec")
    names: dict[str, typing.Any] = {"__name__": "verdict", "__builtins__": dict(vars(builtins))}
    exec(code, names)
    return functools.partial(names["run_python"], library=names["Library"]())


def serve() -> None:
    """Answer requests until the other end closes; the first frame is the configuration."""
    requests, answers = os.dup(0), os.dup(1)
    os.set_inheritable(requests, False)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    configuration = read_frame(requests)
    if configuration is None:
        return
    box: Frame = {
        "seccomp_filter": base64.b64decode(configuration["seccomp_filter"]),
        "readable": configuration["readable"],
        "num_others": 0,
    }
    if os.getuid() == 0:
        identity = configuration["identity"]
        os.setgroups([])
        os.setresgid(identity, identity, identity)
        os.setresuid(identity, identity, identity)
    _set_dumpable(0)
    for name in _PRELOADED:
        __import__(name)
    box["run_python"] = _load_harness()
    write_frame(answers, {"ready": sys.version.split()[0]})
    while (request := read_frame(requests)) is not None:
        write_frame(answers, _in_child(_keep, request, box))


if __name__ == "__main__":
    serve()
