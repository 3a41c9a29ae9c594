# SPDX-License-Identifier: Apache-2.0
"""How much memory is left, so that a model too large is refused before it is read.

Linux answers from /proc and the process's cgroup, Windows from its own call; elsewhere, and where
nothing answers, the amount is unknown and nothing is refused.
"""

import ctypes
import os
from pathlib import Path
from typing import Final

_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/proc/self/cgroup")
_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Return the bytes a process may still allocate without swapping; None when unknown."""
    if os.name == "nt":
        return _windows_available()
    amounts = [amount for amount in (_machine_available(), _cgroup_available()) if amount]
    return min(amounts, default=None)


def _machine_available() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _cgroup_available() -> int | None:
    """Return the least that this process's cgroups (version 2) leave; file pages can be taken."""
    try:
        relative = _CGROUP.read_text(encoding="utf-8").strip().rpartition("::")[2].lstrip("/")
    except OSError:
        return None
    folder = _CGROUP_ROOT / relative
    amounts: list[int] = []
    while folder.is_relative_to(_CGROUP_ROOT):
        try:
            limit = (folder / "memory.max").read_text(encoding="ascii").strip()
            used = int((folder / "memory.current").read_text(encoding="ascii"))
            lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
            stats = dict(line.split() for line in lines)
            pages = int(stats["active_file"]) + int(stats["inactive_file"])
            if limit != "max":
                amounts.append(max(0, int(limit) - used + pages))
        except (OSError, ValueError, KeyError):
            pass  # this level keeps no account
        folder = folder.parent
    return min(amounts, default=None)


def _windows_available() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available")),
            *((f"other{number}", ctypes.c_ulonglong) for number in range(5)),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    call = getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx  # noqa: B009
    return int(status.available) if call(ctypes.byref(status)) else None
