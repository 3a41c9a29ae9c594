# SPDX-License-Identifier: Apache-2.0
"""`manifest.json` of a data set: what it was made of, by which settings, and what came out.

`pipeline` writes it last, so that a folder without one holds no data set; `loader` reads it.
"""

import json
from pathlib import Path
from typing import Any, Final, cast

from codegemma.data.recipes import DataRecipe
from codegemma.errors import DataError

FORMAT: Final = 1
"""Version of the manifest and of the records."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a prepared data set.

    Raises:
        DataError: It is missing, damaged or of another format.
    """
    path = Path(folder) / "manifest.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{folder} holds no manifest.json; prepare data there with `codegemma prepare`"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}; prepare again") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} is damaged: expected an object; prepare again")
    manifest = cast("dict[str, Any]", values)
    if manifest.get("format") != FORMAT:
        raise DataError(f"{path} is not of data format {FORMAT}; prepare again")
    return manifest


def read_recipe(folder: Path) -> DataRecipe:
    """Read the recipe a data set was prepared with.

    Raises:
        DataError: The manifest is missing, damaged, or of another version.
    """
    values: dict[str, Any] = read_manifest(folder)["settings"]["recipe"]
    lists = {name: tuple(cast("list[Any]", v)) for name, v in values.items() if type(v) is list}
    fields: dict[str, Any] = values | lists
    try:
        return DataRecipe(**fields)
    except TypeError as error:
        raise DataError(f"{folder} was prepared by another version: {error}") from error
