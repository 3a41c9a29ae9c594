# SPDX-License-Identifier: Apache-2.0
"""Find the repository that a file belongs to."""

from pathlib import Path
from typing import Final

PROJECT_FILES: Final = (
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "package.json",
    "go.mod",
    "Cargo.toml",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "CMakeLists.txt",
)


def find_root(file: Path) -> Path | None:
    """Give the nearest folder above with `.git`, else the nearest with a project file, else None.

    The file itself need not exist.
    """
    folders = file.absolute().parents
    for names in ((".git",), PROJECT_FILES):
        for folder in folders:
            if any((folder / name).exists() for name in names):
                return folder
    return None
