# SPDX-License-Identifier: Apache-2.0
"""A completer by the name that a user gives it: a model in this process, or `remote:URL`.

The one place that tells the two apart. A remote one is opened without jax.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from codegemma.completion import Completer
from codegemma.errors import ConfigError
from codegemma.generate.remote import SCHEME, Remote
from codegemma.generate.trimmed import Trimmed

Progress = Callable[[int, int], None]


def open_named(
    name_or_path: str | Path, *, dtype: Any = None, progress: Progress | None = None
) -> Completer:
    """Open a completer whose infills are trimmed to what fits the code around the cursor.

    Args:
        name_or_path: Name of a model, its folder, or `remote:URL`, `remote:URL#MODEL`,
            `remote:URL#MODEL,fim=TEMPLATE`.
        dtype: As for `load_completer`; None for a remote one.
        progress: Told the bytes of weights made so far and in all, from several threads.

    Raises:
        CodegemmaError: There is no such model, or the server does not answer as it should.
    """
    if is_remote(name_or_path):
        return Trimmed(_open_remote(str(name_or_path), dtype))
    from codegemma.generate.load import load_completer

    return load_completer(name_or_path, dtype=dtype, progress=progress)


def open_raw(
    name_or_path: str | Path, *, dtype: Any = None, progress: Progress | None = None
) -> Completer:
    """Open a completer for measuring, as `open_named` does: what it draws is left as it is.

    Raises:
        CodegemmaError: There is no such model, or the server does not answer as it should.
    """
    if is_remote(name_or_path):
        return _open_remote(str(name_or_path), dtype)
    from codegemma.generate.load import load_engine

    return load_engine(name_or_path, dtype=dtype, progress=progress)


def is_remote(name_or_path: str | Path) -> bool:
    """Say whether a name is that of a server."""
    return isinstance(name_or_path, str) and name_or_path.startswith(SCHEME)


def _open_remote(name: str, dtype: Any) -> Remote:
    if dtype is not None:
        raise ConfigError(f"the dtype of {name} is its server's affair; leave dtype out")
    return Remote(name)
