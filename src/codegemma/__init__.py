# SPDX-License-Identifier: Apache-2.0
"""The CodeGemma system: data, training, evaluation and serving of code completion models.

Example:
    import codegemma

    model = codegemma.load("nano")
    print(model.complete("def area(radius):", "").text)

Importing this package imports next to nothing; loading a model imports jax, unless it is remote.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codegemma.completion import (
        Completion,
        Delta,
        Loglikelihood,
        Prompt,
        Sampling,
        SourceFile,
        TokenLogprob,
        Turn,
    )
    from codegemma.errors import CodegemmaError
    from codegemma.generate.model import Model

__all__ = [
    "CodegemmaError",
    "Completion",
    "Delta",
    "Loglikelihood",
    "Model",
    "Prompt",
    "Sampling",
    "SourceFile",
    "TokenLogprob",
    "Turn",
    "load",
]


def load(name_or_path: str | Path, *, dtype: str | None = None) -> "Model":
    """Load a model.

    Args:
        name_or_path: A known name ("nano", "codegemma-2b", ...; see `codegemma models`), a model
            folder, or a server of OpenAI's completions: "remote:URL", "remote:URL#MODEL".
        dtype: "float32" or "bfloat16"; None takes what suits device and model.

    Raises:
        CodegemmaError: There is no such model, its files are refused, memory is short, or a server
            does not answer as it should.
    """
    from codegemma.generate.model import Model
    from codegemma.generate.named import open_named

    return Model(open_named(name_or_path, dtype=dtype))


def __getattr__(name: str) -> Any:
    """Import a public name from where it is defined when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = {"CodegemmaError": "errors", "Model": "generate.model"}.get(name, "completion")
    return getattr(importlib.import_module(f"codegemma.{home}"), name)
