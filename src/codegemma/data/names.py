# SPDX-License-Identifier: Apache-2.0
"""Names of persons that a tagger of the user's finds, and what tells one tagger from another.

None comes with the package: models that know names in text need more memory and time than all
stages together, and they err. `redact` replaces what a tagger finds like the names it finds itself.
"""

import pickle
import re
from collections.abc import Iterable
from typing import Any, Final, Protocol, runtime_checkable

import tree_sitter

from codegemma.errors import ConfigError
from codegemma.text import syntax

_PROSE: Final = re.compile("comment|string|text$")
_CODE_INSIDE: Final = re.compile("interpolation|substitution")
"""Of the names that grammars give to what they find."""


@runtime_checkable
class NameTagger(Protocol):
    """Finds names of persons; picklable, since it is sent to workers.

    Its class stands at the top of a module that workers can import, and its parts can be pickled.
    What is large, such as a model, is best loaded at the first call.
    """

    @property
    def version(self) -> str:
        """What changes whenever it may find something else: older results are not taken then."""
        ...

    def tag(self, text: str) -> Iterable[tuple[int, int]]:
        """Give the place of each name in characters, the end exclusive."""
        ...


def tagged(text: str, tagger: NameTagger, *, path: str) -> list[tuple[int, int]]:
    """Give what a tagger finds and what can be replaced: code that parses still does.

    Of code, names inside of strings and comments are; an identifier is none, whatever it says.

    Args:
        text: Of a file.
        tagger: Finds names.
        path: Tells the language.

    Raises:
        ConfigError: A place is none of the text.
    """
    found = sorted(set(tagger.tag(text)))
    for start, end in found:
        if not 0 <= start < end <= len(text):
            raise ConfigError(
                f"the tagger {identify(tagger)} gave the place ({start}, {end}) in a text of "
                f"{len(text)} characters; expected 0 <= start < end <= length"
            )
    language = syntax.language_of(path)
    if not found or language is None or not syntax.has_grammar(language):
        return found
    tree = syntax.parse_bytes(text.encode(), language)
    return [span for span in found if tree is None or _is_prose(tree.root_node, text, *span)]


def _is_prose(root: tree_sitter.Node, text: str, start: int, end: int) -> bool:
    """Tell whether a place lies in a string or a comment, and in no code inside of a string."""
    begin = len(text[:start].encode())
    node = root.descendant_for_byte_range(begin, begin + len(text[start:end].encode()))
    while node is not None:
        if _CODE_INSIDE.search(node.type):
            return False
        if _PROSE.search(node.type):
            return True
        node = node.parent
    return False


def identify(plugged: Any) -> str:
    """Tell a scanner or tagger from others, and from itself at another version.

    Raises:
        ConfigError: It has no version, or cannot be sent to workers.
    """
    kind = f"{type(plugged).__module__}.{type(plugged).__qualname__}"
    version = getattr(plugged, "version", None)
    if not isinstance(version, str):
        raise ConfigError(f"{kind} needs a `version`, a text that changes with what it finds")
    try:
        pickle.loads(pickle.dumps(plugged))
    except Exception as error:  # whatever its parts raise
        raise ConfigError(
            f"{kind} cannot be sent to workers: {error}; define its class at the top of a module "
            "and load what cannot be pickled at the first call"
        ) from error
    return f"{kind} {version}".rstrip()
