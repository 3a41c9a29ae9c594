# SPDX-License-Identifier: Apache-2.0
"""Identity of the code that decides what a data set holds, so that results of two are never mixed.

It is a hash of the source of `data` and `text` and of the versions of the packages they decide
with. It changes more often than it must, and costs then what a run without older results costs.
"""

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_FOLDERS: Final = ("data", "text")
_PACKAGES: Final = (
    "codegemma",
    "datatrove",
    "detect-secrets",
    "numpy",
    "py3langid",
    "sentencepiece",
    "tokenizers",
    "tree-sitter",
    "tree-sitter-c",
    "tree-sitter-c-sharp",
    "tree-sitter-cpp",
    "tree-sitter-go",
    "tree-sitter-java",
    "tree-sitter-javascript",
    "tree-sitter-kotlin",
    "tree-sitter-python",
    "tree-sitter-rust",
    "tree-sitter-typescript",
)


@lru_cache(maxsize=1)
def rules_version() -> str:
    """Give the identity of the code that runs here, in hexadecimal."""
    return of_folder(Path(__file__).parents[1])


def of_folder(package: Path) -> str:
    """Give the identity of the code of a package folder, with the installed packages beside it."""
    digest = hashlib.sha256()
    for name in _FOLDERS:
        for file in sorted((package / name).rglob("*.py")):
            source = hashlib.sha256(file.read_bytes()).digest()
            digest.update(file.relative_to(package).as_posix().encode() + b"\0" + source)
    for name in _PACKAGES:
        digest.update(f"{name} {_installed(name)}\n".encode())
    return digest.hexdigest()[:16]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
