# SPDX-License-Identifier: Apache-2.0
"""What sets one language apart: names of types, spelling of values, words of its community.

Everything here is data or a function of values and types; the texts of whole programs are in
`templates`, and `languages.py` holds the eight.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, Literal, cast

from codegemma.evaluate.babelcode.naming import Convention
from codegemma.evaluate.babelcode.schema import Type
from codegemma.sandbox.program import Language as SandboxLanguage

Style = Literal["block", "method", "lines", "quotes"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """One language.

    In the patterns, `{}` stands for what lies inside: the element, then for maps the key first.

    Args:
        key: As the sandbox and the command line spell it.
        name: As BabelCode spells it.
        spoken: What stands for "python" in a text.
        convention: How functions are named.
        words: What to say for the words of other languages, such as `vector` for `list`.
        style: How documentation is written: a block comment, the same within a class, lines that
            all begin alike, or a string in triple quotes.
        comment: How a comment begins, and for "lines" each line of documentation.
        leaves: Names of the leaf types.
        list_type: Pattern of a list's type.
        map_type: Pattern of a map's type.
        parameter: Pattern of a parameter, with `{type}` and `{name}`.
        list_value: Pattern of a list's value, with `{type}`, `{element}` and `{items}`.
        inner_list_value: The same for a list within a list; None if it is no different.
        map_value: Pattern of a map's value, with `{type}` and `{items}`.
        entry_value: Pattern of one entry, with `{key}` and `{value}`.
        suffixes: What follows the values of a leaf type.
        escapes: Characters of strings that need a backslash besides the usual ones.
        truths: Words for false and true.
        separator: What stands between the arguments of a call in a test.
        equal: Expression that compares `actual` with `expected`.
        close: The same for floating-point numbers, with `{tolerance}`.
        stops: Strings that end a completion.
        closers: What is missing after a stop string was cut off, () if nothing is.
    """

    key: SandboxLanguage
    name: str
    spoken: str
    convention: Convention
    words: tuple[tuple[str, tuple[str, ...]], ...]
    style: Style = "block"
    comment: str = "//"
    leaves: Mapping[str, str] = field(default_factory=dict[str, str])
    list_type: str = ""
    map_type: str = ""
    parameter: str = "{name}"
    list_value: str = "[{items}]"
    inner_list_value: str | None = None
    map_value: str = "{{{items}}}"
    entry_value: str = "{key}: {value}"
    suffixes: Mapping[str, str] = field(default_factory=dict[str, str])
    escapes: str = ""
    truths: tuple[str, str] = ("false", "true")
    separator: str = ", "
    equal: str
    close: str
    stops: tuple[str, ...]
    closers: tuple[str, ...] = ()

    def type_name(self, kind: Type) -> str:
        """Spell a type; "" in a language that declares none."""
        if kind.element is None:
            return self.leaves.get(kind.kind, "")
        element = self.type_name(kind.element)
        if kind.key is None:
            return self.list_type.format(element)
        return self.map_type.format(self.type_name(kind.key), element)

    def literal(self, kind: Type, value: Any, *, is_inner: bool = False) -> str:
        """Spell a value of a type.

        Args:
            kind: Its type.
            value: As JSON holds it; keys of maps are strings there, and None is an empty value.
            is_inner: Whether it is an element of a list.
        """
        if kind.element is None:
            return self._leaf(kind.kind, value)
        if kind.key is None:
            items = [self.literal(kind.element, item, is_inner=True) for item in value or ()]
            pattern = self.inner_list_value if is_inner else None
            return (pattern or self.list_value).format(
                type=self.type_name(kind),
                element=self.type_name(kind.element),
                items=", ".join(items),
            )
        entries = [
            self.entry_value.format(
                key=self._leaf(kind.key.kind, key), value=self.literal(kind.element, item)
            )
            for key, item in cast("dict[str, Any]", value or {}).items()
        ]
        return self.map_value.format(type=self.type_name(kind), items=", ".join(entries))

    def _leaf(self, kind: str, value: Any) -> str:
        if kind in ("string", "character"):
            quote = '"' if kind == "string" else "'"
            text = self._escaped(value or "", quote)
        elif kind == "boolean":
            text = self.truths[bool(value)]
        elif kind in ("float", "double") and isinstance(value, int):
            text = str(float(value))
        else:
            text = str(value)  # "None" where a number is missing: no program can pass then
        return text + self.suffixes.get(kind, "")

    def _escaped(self, text: str, quote: str) -> str:
        inside = repr(text)[1:-1].replace("\\'", "'").replace(quote, f"\\{quote}")
        for character in self.escapes:
            inside = inside.replace(character, f"\\{character}")
        return f"{quote}{inside}{quote}"

    def section(self, name: str, marks: Mapping[str, str]) -> str:
        """Fill one section of the language's template.

        Args:
            name: Of the section.
            marks: What each `<<mark>>` of it stands for; what is filled in is not looked at again.

        Raises:
            KeyError: The section has another mark.
        """
        pieces = _sections(self.key)[name]
        return "".join(
            marks[each] if odd else each for odd, each in zip(cycle((False, True)), pieces)
        )


@cache
def _sections(key: str) -> Mapping[str, list[str]]:
    """Read a template's sections, each cut at its marks: text and names of marks in turn."""
    path = Path(__file__).parent / "templates" / f"{key}.txt"
    _, *parts = re.split(r"(?m)^\[\[(\w+)\]\]\n", path.read_text(encoding="utf-8"))
    return {
        name: re.split(r"<<(\w+)>>", text.removesuffix("\n"))
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
