# SPDX-License-Identifier: Apache-2.0
"""How untrusted text and figures are written into a page or a card.

Prompts, completions and error streams may hold anything. Characters that nobody sees, or that turn
the reading direction, are spelled out; what HTML or Markdown would read as markup is escaped.
"""

import html
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

_KEPT: Final = "\n\t"
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKUP: Final = re.compile(r"([\\`*_\[\]|<>&~$@]|:(?=//)|(?<=www)\.)")


def visible(text: str) -> str:
    r"""Spell out what cannot be seen: controls, marks of direction, half characters.

    Line feeds and tabs stay; a line end of two characters becomes one.

    Example:
        >>> visible("a\x00b")
        'a<U+0000>b'
    """
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        f"<U+{ord(letter):04X}>"
        if letter not in _KEPT and unicodedata.category(letter) in _UNSEEN
        else letter
        for letter in text
    )


def as_html(text: object) -> str:
    """Escape text for an element or a quoted attribute."""
    return html.escape(visible(str(text)), quote=True)


def as_markdown(text: object) -> str:
    """Escape text for one cell of a table or one stretch of a paragraph."""
    line = " ".join(visible(str(text)).split())
    return _MARKUP.sub(r"\\\1", line).replace("\\<", "&lt;").replace("\\>", "&gt;")


def number(value: float, unit: str) -> str:
    """Write a figure: a fraction in per cent, any other number with its unit."""
    if unit == "fraction":
        return f"{100 * value:.1f} %"
    return f"{value:,.4g} {unit}".strip()


def unit_of(metric: Mapping[str, Any]) -> str:
    """Name a metric's unit; a figure beyond [0, 1] that names none has none."""
    return str(metric.get("unit", "fraction" if 0 <= metric["value"] <= 1 else ""))


def interval(metric: Mapping[str, Any], unit: str) -> str:
    """Write the interval of a metric."""
    low, high = (number(float(metric[end]), unit).removesuffix(" %") for end in ("low", "high"))
    return f"{low} to {high}"


def count(metric: Mapping[str, Any]) -> str:
    """Write n, and the effective n where it is another."""
    n, n_eff = int(metric["n"]), float(metric["n_eff"])
    return f"{n:,}" if round(n_eff) == n else f"{n:,}, worth {n_eff:,.0f}"


def p_value(value: float) -> str:
    """Write a p, the very small ones by their bound."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
