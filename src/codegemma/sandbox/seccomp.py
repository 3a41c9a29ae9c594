# SPDX-License-Identifier: Apache-2.0
"""The system-call filter that every program in the sandbox runs under.

A deny list: what only a container manager, a debugger or an exploit needs, and every way to memory
that no process is seen to hold, which would escape the limit. Namespaces and limits do the
isolating; this closes the parts of the kernel that untrusted code has no business in.
Gives the filter as the kernel's byte code; applying it is the work of the inside server.
"""

import tempfile

from codegemma.errors import PrerequisiteError

# fmt: off
_DENIED = (
    "acct", "add_key", "bpf", "chroot", "delete_module", "fanotify_init", "finit_module",
    "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "memfd_create", "memfd_secret", "mount", "mount_setattr", "move_mount",
    "mq_open", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "name_to_handle_at",
    "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "personality", "pivot_root",
    "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "reboot",
    "request_key", "semctl", "semget", "semop", "semtimedop", "setns", "settimeofday", "shmat",
    "shmctl", "shmdt", "shmget", "swapoff", "swapon", "syslog", "umount2", "unshare",
    "userfaultfd", "vhangup",
)
# fmt: on
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag of clone(2)
_SHARED_ANONYMOUS = 0x01 | 0x20  # of mmap's flags
_EPERM, _ENOSYS, _AF_UNIX = 1, 38, 1
_SOL_SOCKET, _SOCKET_SIZES = 1, (7, 8, 32, 33)  # SO_SNDBUF, SO_RCVBUF, and both by force


def build_filter(*, is_alone: bool = True) -> bytes:
    """Compile the filter for this machine's architecture.

    Args:
        is_alone: Whether namespaces keep the program from the network, from sockets that are files
            and from other processes. Without them it may make no socket but pairs of its own, and
            set no limit but its own.

    Raises:
        PrerequisiteError: libseccomp or its Python binding is not installed.
    """
    try:
        import pyseccomp  # pyright: ignore[reportMissingTypeStubs]  # has none
    except (ImportError, RuntimeError) as error:
        raise PrerequisiteError(
            "the sandbox needs libseccomp: pip install 'codegemma[evaluate]' "
            "and Debian's package libseccomp2"
        ) from error
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in _DENIED:
        try:
            rules.add_rule(pyseccomp.ERRNO(_EPERM), name)
        except (ValueError, OSError):  # a call that this architecture does not have
            continue
    for bit in range(64):
        if flag := _NEW_NAMESPACES & (1 << bit):
            argument = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag)
            rules.add_rule(pyseccomp.ERRNO(_EPERM), "clone", argument)
    for option in _SOCKET_SIZES:  # as if the size asked for were the greatest there is
        sizes = (
            pyseccomp.Arg(1, pyseccomp.EQ, _SOL_SOCKET),
            pyseccomp.Arg(2, pyseccomp.EQ, option),
        )
        rules.add_rule(pyseccomp.ERRNO(0), "setsockopt", *sizes)
    shared = pyseccomp.Arg(3, pyseccomp.MASKED_EQ, _SHARED_ANONYMOUS, _SHARED_ANONYMOUS)
    rules.add_rule(pyseccomp.ERRNO(_EPERM), "mmap", shared)
    if not is_alone:
        rules.add_rule(pyseccomp.ERRNO(_EPERM), "socket")
        others = (("socketpair", _AF_UNIX), ("prlimit64", 0))
        for name, allowed in others:
            argument = pyseccomp.Arg(0, pyseccomp.NE, allowed)
            rules.add_rule(pyseccomp.ERRNO(_EPERM), name, argument)
    # clone3 hides its flags behind a pointer; libraries fall back to clone when it is not there.
    rules.add_rule(pyseccomp.ERRNO(_ENOSYS), "clone3")
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
