# SPDX-License-Identifier: Apache-2.0
"""Which files are dropped for what was measured of them: thresholds per language, with a version.

Pure functions of stored signals, so that other thresholds need no text read and nothing measured
again. A recipe changes them (`DataRecipe.thresholds`); `apply` tells, from the rows that a data set
keeps, what it would drop by others. Most signals are those of StarCoder2 and OpenCoder.

Differs: a file needs 3 lines (OpenCoder: 10), may be nine tenths comments (0.8), a tenth lines that
say that code is missing (0.01), and 0.3 encoded data (StarCoder2: 0.5).

Source: StarCoder 2 and The Stack v2, arXiv 2402.19173, "Data preprocessing"; OpenCoder, arXiv
2411.04905, appendix on filtering rules.
"""

import dataclasses
import gzip
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from codegemma.data import languages
from codegemma.data.document import Genre
from codegemma.data.filters import Signals
from codegemma.errors import ConfigError, InputError

THRESHOLDS_VERSION: Final = 4
"""Raised with every change of a threshold here; in the manifest of a data set."""

Changes = Mapping[str, Mapping[str, int | float]]
"""By language, or "default" for all of them, the thresholds that are others than those here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Bounds of the signals for one language; beyond them a file is dropped.

    Args:
        min_bytes: Least size.
        min_lines: Least lines.
        max_lines: Most lines.
        max_line: Longest line in characters.
        max_mean_line: Longest mean line.
        min_alpha: Least share of letters.
        max_run: Longest base64 run.
        max_encoded: Most encoded data.
        max_digits: Most digits.
        max_repeated: Most repeated lines, in files of more than 20.
        max_replacement: Most decoding faults.
        max_hex: Most hexadecimal words.
        max_placeholder: Most lines that say that code is missing; one alone is no harm.
        max_comment: Most comment lines.
        max_error: Most bytes outside the grammar.
        max_cut_error: Most of them in a file that is cut into prefix, middle and suffix.
    """

    min_bytes: int = 100
    min_lines: int = 3
    max_lines: int = 100_000
    max_line: int = 1000
    max_mean_line: float = 100.0
    min_alpha: float = 0.25
    max_run: int = 1024
    max_encoded: float = 0.3
    max_digits: float = 0.2
    max_repeated: float = 0.7
    max_replacement: float = 0.01
    max_hex: float = 0.4
    max_placeholder: float = 0.1
    max_comment: float = 0.9
    max_error: float = 0.5
    max_cut_error: float = 0.2


DEFAULT: Final = Thresholds()
_BRACES: Final = replace(DEFAULT, max_repeated=0.8)  # a line with a brace alone is no repetition
THRESHOLDS: Final[Mapping[str, Thresholds]] = {
    "c": replace(_BRACES, max_digits=0.3),
    "cpp": replace(_BRACES, max_digits=0.3),
    "csharp": _BRACES,
    "go": _BRACES,
    "java": _BRACES,
    "kotlin": _BRACES,
    "rust": _BRACES,
    "javascript": _BRACES,
    "typescript": _BRACES,
    "tsx": _BRACES,
}
"""Where a language differs from `DEFAULT`."""

_ALL: Final = "default"
_LANGUAGES: Final = (_ALL, *languages.ALL, languages.OTHER)
_NAMES: Final = tuple(field.name for field in dataclasses.fields(Thresholds))
_SIGNALS: Final = tuple(field.name for field in dataclasses.fields(Signals))

_Holds = Callable[[Signals, Thresholds], bool]
_FAULTS: Final = "decoding_faults"
# Ordered: the first rule that holds is the reason of the drop.
_RULES: Final[Mapping[str, _Holds]] = {
    "too_short": lambda s, t: s.size_bytes < t.min_bytes or s.num_lines < t.min_lines,
    "too_many_lines": lambda s, t: s.num_lines > t.max_lines,
    "long_lines": lambda s, t: s.max_line > t.max_line or s.mean_line > t.max_mean_line,
    "few_letters": lambda s, t: s.alpha_fraction < t.min_alpha,
    "encoded_data": lambda s, t: s.max_encoded > t.max_run or s.encoded_fraction > t.max_encoded,
    "number_table": lambda s, t: s.digit_fraction > t.max_digits,
    "repeated_lines": lambda s, t: s.num_lines > 20 and s.repeated_line_fraction > t.max_repeated,
    _FAULTS: lambda s, t: s.replacement_fraction > t.max_replacement,
    "hexadecimal": lambda s, t: s.hex_fraction > t.max_hex,
    "placeholders": lambda s, t: s.placeholder_fraction > max(t.max_placeholder, 1.5 / s.num_lines),
    "comments": lambda s, t: s.comment_fraction > t.max_comment,
    "syntax_errors": lambda s, t: (s.error_fraction or 0.0) > t.max_error,
}


def of_language(language: str, changes: Changes) -> Thresholds:
    """Give the thresholds of a language; its own changes go before those of all."""
    changed: dict[str, Any] = {**changes.get(_ALL, {}), **changes.get(language, {})}
    return replace(THRESHOLDS.get(language, DEFAULT), **changed)


def dropping_rule(
    signals: Signals, *, language: str, genre: Genre = "code", changes: Changes
) -> str:
    """Give the name of the first rule that drops a file, "" when it stays.

    Of mathematics and conversations only faults of decoding are asked, of texts nothing: `prose`
    judges those.

    Args:
        signals: As `filters.measure` gives.
        language: Whose thresholds hold.
        genre: What the file is.
        changes: Thresholds that are others than those here.
    """
    if genre == "text":
        return ""
    names = _RULES if genre == "code" else (_FAULTS,)
    thresholds = of_language(language, changes)
    return next((name for name in names if _RULES[name](signals, thresholds)), "")


def is_broken(signals: Signals, *, language: str, changes: Changes) -> bool:
    """Tell whether a file that stays has too many syntax errors to be cut."""
    return (signals.error_fraction or 0.0) > of_language(language, changes).max_cut_error


class Verdict(NamedTuple):
    """A file that a data set kept signals of, and what other thresholds say of it.

    Args:
        repository: Its name.
        path: Inside it.
        before: The rule that dropped it, "" where it passed.
        now: The rule that would.
    """

    repository: str
    path: str
    before: str
    now: str


def apply(rows: Iterable[Mapping[str, Any]], changes: Changes) -> Iterator[Verdict]:
    """Tell what other thresholds would drop, and by which rule, as a run with them does.

    What other rules than thresholds dropped stays dropped by them.

    Args:
        rows: As `read_rows` gives.
        changes: As of a recipe.

    Raises:
        ConfigError: There is no such language or threshold.
    """
    if found := faults(changes):
        raise ConfigError("; ".join(found))
    for row in rows:
        rule = row["rule"]
        if not rule or rule in _RULES:
            signals = Signals(**{name: row[name] for name in _SIGNALS})
            now = dropping_rule(
                signals, language=row["language"], genre=row["genre"], changes=changes
            )
        else:
            now = rule
        yield Verdict(row["repository"], row["path"], rule, now)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Read the `signals.jsonl.gz` of a data set, a file's row at a time.

    Raises:
        InputError: It is none, or was cut short.
    """
    try:
        with gzip.open(path) as file:
            for line in file:
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} holds no signals of a data set: {error}") from error


def read_changes(path: Path) -> dict[str, dict[str, int | float]]:
    """Read thresholds from a file: an object of languages, each an object of numbers.

    Raises:
        ConfigError: There is no such language or threshold, or one is no number.
        InputError: The file cannot be read or is no JSON.
    """
    try:
        given: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no thresholds in JSON: {error}") from error
    if found := faults(given):
        raise ConfigError(f"{path}: {'; '.join(found)}")
    return cast("dict[str, dict[str, int | float]]", given)


def faults(changes: object) -> list[str]:
    """List what is wrong with changed thresholds."""
    if not isinstance(changes, Mapping):
        return ['expected thresholds by language, such as {"python": {"max_line": 2000}}']
    found: list[str] = []
    for language, values in cast("Mapping[object, object]", changes).items():
        if language not in _LANGUAGES:
            found.append(f"thresholds know {', '.join(_LANGUAGES)}, not {language!r}")
        if not isinstance(values, Mapping):
            found.append(f"thresholds of {language} must be an object, not {values!r}")
            continue
        for name, value in cast("Mapping[object, object]", values).items():
            if name not in _NAMES:
                found.append(f"there is no threshold {name!r}; there are {', '.join(_NAMES)}")
            elif type(value) not in (int, float) or not 0 <= cast("float", value) < math.inf:
                found.append(f"threshold {name} of {language} must be 0 or more, not {value!r}")
    return found
