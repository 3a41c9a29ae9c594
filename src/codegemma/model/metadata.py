# SPDX-License-Identifier: Apache-2.0
"""What a model folder says of itself beyond its shape: `codegemma.json`.

Where the file is missing, as in a folder from the hub, the name of the folder tells what it can.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from codegemma.completion import Mode
from codegemma.errors import CheckpointError
from codegemma.kernels.formats import WeightFormat
from codegemma.model.folder import hub_cache_root, read_json_object

METADATA_NAME: Final = "codegemma.json"
GEMMA_LICENCE: Final = "gemma"
GEMMA_TERMS: Final = "ai.google.dev/gemma/terms"
_FORMAT: Final = 1
_LICENCE_MARKS: Final = {
    "README.md": re.compile(r"\A---\n(?:(?!---).*\n)*?license: *(?P<licence>[\w.\-]+)"),
    "NOTICE": re.compile(re.escape(GEMMA_TERMS) + r"(?P<licence>)"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What is known of a model.

    Args:
        name: Name of the model, such as "codegemma-2b".
        is_instruction: Whether it was tuned to follow instructions, and takes conversations.
        mode: Order of the infill prompt it is best at; None when it was not measured.
        licence: SPDX expression, or "gemma" for the Gemma Terms of Use; None when unknown.
        training: How it came about (recipe, data, seed, versions); JSON values.
        history: What was done to the files since, in order, one sentence each.
        weights: Format of quantised weights; None where they are floats.
    """

    name: str
    is_instruction: bool = False
    mode: Mode | None = None
    licence: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    weights: WeightFormat | None = None

    @property
    def raw(self) -> dict[str, Any]:
        """What `codegemma.json` holds."""
        return {
            "format": _FORMAT,
            "name": self.name,
            "is_instruction": self.is_instruction,
            "mode": self.mode,
            "licence": self.licence,
            "training": dict(self.training),
            "history": list(self.history),
            **({"weights": self.weights} if self.weights else {}),
        }


def read_metadata(folder: Path) -> Metadata:
    """Read what a model folder says of itself, or what its name does.

    Raises:
        CheckpointError: `codegemma.json` is there and is not valid.
    """
    if not (folder / METADATA_NAME).exists():
        return _from_name(folder)
    raw = read_json_object(folder, METADATA_NAME)
    return parse_metadata(raw, place=str(folder / METADATA_NAME))


def parse_metadata(raw: Mapping[str, Any], *, place: str) -> Metadata:
    """Read the content of `codegemma.json`, wherever it stood.

    Raises:
        CheckpointError: It is not valid.
    """
    if raw.get("format") != _FORMAT:
        raise CheckpointError(
            f"{place}: expected format {_FORMAT}, found {raw.get('format')!r}; a newer version "
            "may have written it"
        )
    match raw:
        case {
            "name": str(name),
            "is_instruction": bool(is_instruction),
            "mode": None | "psm" | "spm" | "spm2" as mode,
            "licence": None | str() as licence,
            "training": dict(training),
            "history": [*history],
        } if all(isinstance(line, str) for line in history):
            weights = raw.get("weights")
            if weights not in (None, "int8", "int4"):
                raise CheckpointError(
                    f"{place}: expected weights to be int8 or int4 where they are quantised, "
                    f"found {weights!r}; a newer version may have written it"
                )
            return Metadata(
                name=name,
                is_instruction=is_instruction,
                mode=mode,
                licence=licence,
                training=training,
                history=tuple(history),
                weights=weights,
            )
    modes = ", ".join(get_args(Mode)[1:])
    raise CheckpointError(
        f"{place}: expected name, is_instruction, mode (null, {modes}), licence, training and "
        f"history, found {str(raw)[:200]}"
    )


def _from_name(folder: Path) -> Metadata:
    real = folder.resolve()
    is_snapshot = hub_cache_root(real) is not None
    name = real.parents[1].name.rpartition("--")[2] if is_snapshot else real.name
    return Metadata(
        name=name,
        is_instruction=name.lower().endswith("-it"),
        licence=_read_licence(folder),
    )


def _read_licence(folder: Path) -> str | None:
    """Read the licence from the model card's first lines, or from the notice Gemma asks for."""
    for name, pattern in _LICENCE_MARKS.items():
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if match := pattern.search(text):
            return match["licence"].lower() if match["licence"] else GEMMA_LICENCE
    return None
