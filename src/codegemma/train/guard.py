# SPDX-License-Identifier: Apache-2.0
"""What keeps a run from harm: one process a folder, and signals that wait for the step to end."""

import logging
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from codegemma.errors import ConfigError

logger = logging.getLogger(__name__)


@contextmanager
def locked(out: Path) -> Generator[None]:
    """Keep a second process out of a folder, which is made when missing.

    Raises:
        ConfigError: Another process holds it, or it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {out}: {error.strerror}") from error
    lock = FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"another process is training in {out}; wait for it or stop it"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def interrupts() -> Generator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a flag; a second one acts at once.

    Outside of the main thread, where signals never arrive, nothing is changed.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set
        return
    previous: dict[int, Any] = {
        int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def note(number: int, frame: object) -> None:
        del frame
        flag.set()
        signal.signal(number, previous[number])
        logger.warning("stopping after the step under way; once more stops at once, and loses it")

    for number in previous:
        signal.signal(number, note)
    try:
        yield flag.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
