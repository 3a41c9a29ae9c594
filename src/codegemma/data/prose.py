# SPDX-License-Identifier: Apache-2.0
"""Rules that drop a document of natural language: its language, and datatrove's quality filters.

The filters are those of Gopher, C4 and FineWeb as datatrove has them, with FineWeb's settings; here
they decide and change no text. Words are told by a regular expression, since datatrove's own
splitter needs spaCy. Languages written without spaces between words are therefore not for these
filters.

Source: FineWeb, arXiv 2406.17557, section 3; Gopher, arXiv 2112.11446, table A1; C4, JMLR 21:140.
Unstated: how CodeGemma's web documents were filtered.
"""

import importlib
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final, cast

_HEAD_CHARS: Final = 4000
_WORD: Final = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]+")
_SENTENCE: Final = re.compile(r"[^.!?]+[.!?]*['\")\]]*")


def language(text: str) -> str:
    """Name the natural language of a text by its ISO 639-1 code, judged by its head."""
    langid: Any = importlib.import_module("py3langid")
    return langid.classify(text[:_HEAD_CHARS])[0]


def dropping_rule(text: str, *, found: str, languages: Collection[str]) -> str:
    """Give the name of the first rule that drops a document, "" when it stays.

    Args:
        text: Its text.
        found: Its language, as `language` gives.
        languages: Those that are taken.
    """
    if found not in languages:
        return "other_language"
    documents: Any = importlib.import_module("datatrove.data")
    for name, quality in _filters(is_english=found == "en"):
        outcome: Any = quality(documents.Document(text=text, id=""))
        if isinstance(outcome, tuple):
            _, reason = cast("tuple[bool, str]", outcome)
            return f"{name}: {reason.removeprefix('gopher_')}"
        if not outcome:
            return name
    return ""


@lru_cache
def _filters(*, is_english: bool) -> tuple[tuple[str, Any], ...]:
    """Make the filters; only English has a list of words that a text cannot do without."""
    filters: Any = importlib.import_module("datatrove.pipeline.filters")
    splitters: Any = importlib.import_module("datatrove.utils.word_tokenizers")

    methods = {"word_tokenize": _words, "sent_tokenize": _sentences, "span_tokenize": _spans}
    words: Any = type("Splitter", (splitters.WordTokenizer,), methods)()
    stop_words = {} if is_english else {"min_stop_words": 0}
    return (
        ("gopher", filters.GopherRepetitionFilter(language=words).filter),
        ("gopher", filters.GopherQualityFilter(language=words, **stop_words).filter),
        ("c4", filters.C4QualityFilter(filter_no_terminal_punct=False, language=words).filter),
        ("fineweb", filters.FineWebQualityFilter(language=words).filter),
    )


def _words(_: Any, text: str) -> list[str]:
    return _WORD.findall(text)


def _sentences(_: Any, text: str) -> list[str]:
    return [part for part in _SENTENCE.findall(text) if part.strip()]


def _spans(_: Any, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in _SENTENCE.finditer(text)]
