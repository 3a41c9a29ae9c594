# SPDX-License-Identifier: Apache-2.0
"""Tell which files of a repository state a licence, and what they state.

A licence file holds for its folder; a folder `LICENSES` of texts named by their SPDX ids, as REUSE
has it, for the one it lies in, unless something else states that one's licence. What source files
and metadata say of themselves is `license`'s.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from codegemma.data import license as licenses
from codegemma.data.document import Blob
from codegemma.data.languages import EXTENSIONS

_PLAIN: Final = re.compile(r"(licen[cs]e|copying|unlicense)s?\d*([.-].*)?", re.IGNORECASE)
_LIKELY: Final = re.compile(
    r"(.*[-_.])?(licen[cs]es?|copying|unlicense|copyright)\d*([-_.].*)?", re.IGNORECASE
)
"""Names that others have, too: such a file states something where its text is a known licence."""

_NO_TEXT: Final = (
    *EXTENSIONS,
    *(".json", ".toml", ".yml", ".yaml", ".xml", ".csv", ".css", ".png", ".svg", ".sh", ".lock"),
)
_REUSE: Final = re.compile(r"(?:.*/)?LICENSES/(?P<id>[A-Za-z0-9][\w.+-]*)\.txt")
_REUSE_FOLDER: Final = re.compile(r"(?:(?P<parent>.*)/)?LICENSES")
_EXCEPTION: Final = ("-exception", "-note")
_MAX_BYTES: Final = 200_000


def states_license(path: str) -> bool:
    """Tell by its path whether a file states a licence, or may."""
    name = path.rpartition("/")[2]
    if name in licenses.METADATA_FILES:
        return True
    is_text = not name.lower().endswith(_NO_TEXT)
    return is_text and bool(_LIKELY.fullmatch(name) or _REUSE.fullmatch(path))


def read_statement(blob: Blob) -> set[str]:
    """Give what a file states, of the folder it lies in: SPDX expressions, all of which hold.

    A text of no known licence gives `license.UNKNOWN` where its name leaves no doubt; a file left
    out states nothing.
    """
    if blob.rule:
        return set()
    name = blob.path.rpartition("/")[2]
    text = blob.data[:_MAX_BYTES].decode("utf-8", errors="replace")
    if name in licenses.METADATA_FILES:
        return {licenses.from_package(name, text)} - {""}
    reuse = _REUSE.fullmatch(blob.path)
    if reuse and not _LIKELY.fullmatch(name):
        return set() if reuse["id"].endswith(_EXCEPTION) else {licenses.spdx_of(reuse["id"])}
    is_script = text.startswith("#!")
    found = "" if is_script else licenses.recognize(text)
    return {found or licenses.UNKNOWN} if found or _PLAIN.fullmatch(name) else set()


def spread(stated: Mapping[str, Collection[str]]) -> dict[str, Collection[str]]:
    """Let what a folder `LICENSES` lists hold for the folder above, where nothing else does.

    Args:
        stated: Expressions by folder, "" for the root.
    """
    found = dict(stated)
    for folder, expressions in stated.items():
        reuse = _REUSE_FOLDER.fullmatch(folder)
        if reuse and not stated.get(reuse["parent"] or ""):
            found[reuse["parent"] or ""] = expressions
    return found
