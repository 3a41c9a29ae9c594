# SPDX-License-Identifier: Apache-2.0
"""Tasks by name. A name may carry an argument after a colon, as in `humaneval:chat`.

Each name belongs to one module of `evaluate/tasks/`, imported when it is asked for, whose
`make(name, argument)` gives one task or several.
"""

import difflib
import importlib
from collections.abc import Mapping
from typing import Final, cast

from codegemma.errors import ConfigError
from codegemma.evaluate.task import Task

MODULES: Final[Mapping[str, str]] = {
    "humaneval": "humaneval",
    "humaneval-infilling-single": "infilling",
    "humaneval-infilling-multi": "infilling",
    "humaneval-infilling-random": "infilling",
    "humaneval-infilling-random-light": "infilling",
    "mbpp": "mbpp",
    "bc-humaneval": "babelcode",
    "bc-mbpp": "babelcode",
    "boolq": "language",
    "piqa": "language",
    "triviaqa": "language",
    "arc-challenge": "language",
    "hellaswag": "language",
    "mmlu": "language",
    "winogrande": "language",
    "gsm8k": "language",
    "math": "language",
    "memorization": "memorization",
    "repo": "repo",
}
"""The module of each name."""


def find_tasks(name: str) -> tuple[Task, ...]:
    """Give the tasks that a name stands for; most stand for one.

    Raises:
        ConfigError: There is no such task, or it takes no such argument.
    """
    stem, colon, argument = name.partition(":")
    if stem not in MODULES:
        near = difflib.get_close_matches(stem, MODULES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(MODULES)}"
        raise ConfigError(f"there is no task {stem!r}: {hint}")
    module = importlib.import_module(f"codegemma.evaluate.tasks.{MODULES[stem]}")
    return cast("tuple[Task, ...]", module.make(stem, argument if colon else None))


def refuse_argument(name: str, argument: str, known: tuple[str, ...]) -> ConfigError:
    """Make the error for an argument that a task does not take."""
    hint = f"it takes {', '.join(f'{name}:{word}' for word in known)}" if known else "it takes none"
    return ConfigError(f"{name} takes no {argument!r} after the colon; {hint}")
