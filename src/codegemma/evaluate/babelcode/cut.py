# SPDX-License-Identifier: Apache-2.0
"""Where a drawn function ends, in each language: two rules, both named in every result.

`stop` cuts at the stop strings that BabelCode publishes; where such a string is a closing brace,
the brace is put back, and for C# and Java that of the class too. `function` ends where the body
does, whatever follows. Both close what a text cut off at its length left open, so that the closing
braces are counted, outside strings and comments.

Unstated: how CodeGemma's BabelCode completions were cut.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from codegemma.evaluate.babelcode.language import Language
from codegemma.text import trim

_COMMENT = r"//[^\n]*|/\*.*?(?:\*/|\Z)"
_STRING = r'"(?:\\.|[^"\\n])*"?'
_SINGLE = r"'(?:\\.|[^'\\n])*'?"
_LETTER = r"'(?:\\[^\n']+|\\'|[^'\\n])'"
_BACKTICK = r"`(?:\\.|[^`\\])*`?"
_SKIPPED: Final[Mapping[str, str]] = {
    "cpp": f"{_COMMENT}|{_STRING}|{_LETTER}",
    "csharp": rf'{_COMMENT}|@"(?:""|[^"])*"?|{_STRING}|{_LETTER}',
    "go": rf"{_COMMENT}|`[^`]*`?|{_STRING}|{_LETTER}",
    "java": rf"{_COMMENT}|{_STRING}|{_LETTER}",
    "javascript": rf"{_COMMENT}|{_STRING}|{_SINGLE}|{_BACKTICK}",
    "kotlin": rf'{_COMMENT}|""".*?(?:"""|\Z)|{_STRING}|{_LETTER}',
    "rust": rf"{_COMMENT}|{_STRING}|{_LETTER}",
}


def at_stop(text: str, language: Language) -> str:
    r"""Cut at the first stop string, and close what it closed.

    Examples:
        at_stop(" return a; }", cpp)              " return a; }"
        at_stop("\n    return a;\n}\nint", cpp)    "\n    return a;\n}"
    """
    ends = [at for stop in language.stops if (at := text.find(stop)) >= 0]
    return _closed(text[: min(ends, default=len(text))], language)


def at_function_end(text: str, language: Language, *, prompt: str) -> str:
    """Cut where the function's body ends, and close the class around it.

    Args:
        text: What was drawn.
        language: Its language.
        prompt: What it goes on from.
    """
    if language.key == "python":
        return trim.block(text, prefix=prompt, suffix="")
    start = _open_before(language)
    for end, depth in _braces(text, language):
        if depth < start:
            return _closed(text[:end], language)
    return _closed(text, language, is_any=True)


def _closed(text: str, language: Language, *, is_any: bool = False) -> str:
    """Add the closing braces that are missing, where a stop string may have taken them."""
    closers = language.closers or (("\n}",) if is_any else ())
    *_, depth = _open_before(language), *(depth for _, depth in _braces(text, language))
    missing = max(0, min(depth, len(closers)))
    return text + "".join(closers[len(closers) - missing :])


def _open_before(language: Language) -> int:
    """How many braces are open where the prompt ends."""
    return {"method": 2, "quotes": 0}.get(language.style, 1)


def _braces(text: str, language: Language) -> Iterator[tuple[int, int]]:
    """Give, for each brace of the code, where it ends and how many are open then."""
    if language.key not in _SKIPPED:
        return
    depth = _open_before(language)
    for found in re.finditer(rf"{_SKIPPED[language.key]}|[{{}}]", text, re.DOTALL):
        if found[0] in "{}":
            depth += 1 if found[0] == "{" else -1
            yield found.end(), depth
