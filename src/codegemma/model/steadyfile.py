# SPDX-License-Identifier: Apache-2.0
"""A file that is opened again and again, and refused once it is no longer the same.

A model's header, its values and its digest are read at different times; a file that is replaced or
rewritten between two of them would make a model of two. What is in the file is not known here.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from codegemma.errors import CheckpointError


class Signature(NamedTuple):
    """What tells a changed file from the one that was looked at before."""

    size_bytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "Signature":
        """Take the signature from a file's status."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


class SteadyFile:
    """A file as it was when this was made. Thread-safe.

    Args:
        path: The file.

    Attributes:
        signature: What it was like.

    Raises:
        CheckpointError: It cannot be looked at.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.signature = Signature.of(self.path.stat())
        except OSError as error:
            raise self._unreadable(error) from error

    @contextmanager
    def reading(self, offset: int = 0, *, buffering: int = 0) -> Generator[Any]:
        """Open it at a byte; what is read is good once this has ended without an error.

        Args:
            offset: Where to begin.
            buffering: As of `open`; 0 suits reading much at a time, -1 many small parts.

        Raises:
            CheckpointError: It was changed before or meanwhile, or cannot be read.
        """
        try:
            with self.path.open("rb", buffering=buffering) as file:
                self._check(os.fstat(file.fileno()))
                file.seek(offset)
                yield file
                self._check(os.fstat(file.fileno()))
        except OSError as error:
            raise self._unreadable(error) from error

    def check_unchanged(self) -> None:
        """Refuse a file that is no longer the one that was looked at.

        Raises:
            CheckpointError: It was changed, replaced or removed.
        """
        try:
            self._check(self.path.stat())
        except OSError as error:
            raise CheckpointError(f"{self.path} was removed while it was read") from error

    def _check(self, stat: os.stat_result) -> None:
        if Signature.of(stat) != self.signature:
            raise CheckpointError(f"{self.path} was changed while it was read; load it again")

    def _unreadable(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"cannot read {self.path}: {error.strerror}")
