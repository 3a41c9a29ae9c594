# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path

import pytest

from codegemma.data import manifest, recipes
from codegemma.errors import DataError


def write(folder: Path, value: object) -> Path:
    (folder / "manifest.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_every_recipe_comes_back_from_a_manifest(tmp_path: Path) -> None:
    for recipe in (recipes.nano(), recipes.codegemma_2b()):
        values = dataclasses.asdict(recipe)
        write(tmp_path, {"format": 1, "settings": {"recipe": values}})

        assert manifest.read_recipe(tmp_path) == recipe


def test_a_recipe_with_unknown_fields_is_of_another_version(tmp_path: Path) -> None:
    values = dataclasses.asdict(recipes.nano()) | {"flavour": "new"}
    write(tmp_path, {"format": 1, "settings": {"recipe": values}})

    with pytest.raises(DataError, match=r"prepared by another version: .*flavour"):
        manifest.read_recipe(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 99}', "{}", b"\xff"])
def test_a_missing_damaged_or_foreign_manifest_is_refused(
    tmp_path: Path, content: str | bytes | None
) -> None:
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "manifest.json").write_bytes(data)

    with pytest.raises(DataError, match="prepare"):
        manifest.read_manifest(tmp_path)
