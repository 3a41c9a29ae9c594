# SPDX-License-Identifier: Apache-2.0
"""The beginnings of training documents, and how often what is asked for stands in training text.

A document is what the model saw as one: a file of a prepared record, or a window of a long file.
Its span is its first tokens; copies are counted of the part of them that a model is to give back.
What leads to it need not be the same: the same licence follows many names of authors. Reads
prepared data; runs no model.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from codegemma.data.loader import ShardReader
from codegemma.data.shards import Part, RecordFile
from codegemma.data.shingles import hash_words, ngram_hashes, words
from codegemma.errors import DataError
from codegemma.text.tokenizer import Tokenizer

BUCKETS: Final = ((0, 0), (1, 1), (2, 3), (4, 15), (16, None))
"""Numbers of copies that are counted together, both ends included."""

_ANCHOR_WORDS: Final = 10
_LEAST_WORDS: Final = _ANCHOR_WORDS + 2
"""A text may begin and end within a word."""

_CHARS_PER_TOKEN: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The beginning of a document.

    Args:
        name: Part, record and file of the document, such as "train/81/0", as `inspect` counts.
        path: Its path in its repository.
        tokens: Its first ids.
        text: What those say of which copies are counted.
        num_copies: How often that stands in the training text, itself included.
    """

    name: str
    path: str
    tokens: tuple[int, ...]
    text: str
    num_copies: int


def read_spans(
    folder: Path,
    part: Part,
    *,
    tokenizer: Tokenizer,
    num_tokens: int,
    counted: tuple[int, int],
    most: int,
) -> list[Span]:
    """Draw documents, uniform over those that are long enough, and count their copies.

    The order is that of the documents' hashes: the first N are a sample too.

    Args:
        folder: Output folder of `codegemma prepare`.
        part: Whose documents.
        tokenizer: The one that the data was prepared with.
        num_tokens: Length of a span; shorter documents are left out.
        counted: First and one past the last of its tokens that copies are counted of; documents
            that have few words there are left out.
        most: Most documents.

    Raises:
        DataError: The folder is damaged, or the part holds no document of that length.
    """
    reader = ShardReader(folder, part)
    order = sorted(
        (hashlib.blake2b(f"{file.path}\n{file.text}".encode(), digest_size=8).digest(), *place)
        for place, file in _files(reader)
    )
    found: list[tuple[str, RecordFile, tuple[int, ...], str]] = []
    for _, record, index in order:
        if len(found) == most:
            break
        file = reader[record].files[index]
        tokens = tuple(tokenizer.encode(file.text[: _CHARS_PER_TOKEN * num_tokens])[:num_tokens])
        pieces = (tokens[: counted[0]], tokens[counted[0] : counted[1]], tokens[counted[1] :])
        before, text, behind = map(tokenizer.decode, pieces)
        # No character is broken, at either end.
        is_whole = len(tokens) == num_tokens and file.text.startswith(before + text + behind)
        if is_whole and len(words(text)) >= _LEAST_WORDS:
            found.append((f"{part}/{record}/{index}", file, tokens, text))
    if not found:
        raise DataError(f"{folder} has no {part} document of {num_tokens} tokens")
    counts = count_copies(ShardReader(folder, "train"), [text for *_, text in found])
    return [
        Span(name=name, path=file.path, tokens=tokens, text=text, num_copies=count)
        for (name, file, tokens, text), count in zip(found, counts, strict=True)
    ]


def count_copies(reader: ShardReader, texts: Sequence[str]) -> list[int]:
    """Count how often each text stands in the documents of a part, letter by letter.

    Args:
        reader: The part.
        texts: Of twelve words at least.
    """
    anchors: dict[int, list[int]] = {}
    for number, text in enumerate(texts):
        hashes = hash_words(text).hashes[1 : 1 + _ANCHOR_WORDS]  # the first may be half a word
        (anchor,) = ngram_hashes(hashes, n=_ANCHOR_WORDS).tolist()
        anchors.setdefault(anchor, []).append(number)
    wanted = np.sort(np.fromiter(anchors, np.uint64, len(anchors)))
    counts = [0] * len(texts)
    for _, file in _files(reader):
        grams = ngram_hashes(hash_words(file.text).hashes, n=_ANCHOR_WORDS)
        places = np.minimum(np.searchsorted(wanted, grams), len(wanted) - 1)
        for anchor in set(grams[wanted[places] == grams].tolist()):
            for number in anchors[anchor]:
                counts[number] += file.text.count(texts[number])
    return counts


def bucket(num_copies: int) -> str:
    """Name the bucket of a number of copies, such as "copies-2-3" or "copies-16+"."""
    for low, high in BUCKETS:
        if high is None:
            return f"copies-{low}+"
        if num_copies <= high:
            return f"copies-{low}" if low == high else f"copies-{low}-{high}"
    raise AssertionError("the last bucket has no end")


def _files(reader: ShardReader) -> Iterator[tuple[tuple[int, int], RecordFile]]:
    """Yield every document of a part with its record's number and its own in it."""
    for record in range(len(reader)):
        for index, file in enumerate(reader[record].files):
            yield (record, index), file
