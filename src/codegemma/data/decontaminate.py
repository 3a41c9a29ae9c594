# SPDX-License-Identifier: Apache-2.0
"""Find training files that contain text of an evaluation set: any common run of ten words.

Texts too short for that are looked for whole, white space left out; repositories that are
benchmarks are known by name.

Reads the strings of JSON and JSONL benchmark files (gzip or plain) or any strings a caller gives.
Word runs that say nothing about a benchmark (licence headers, number rows, phrases common to many
repositories) are not hits. Copies without the docstrings and comments are found; renamed or
translated ones are not.

Source: 10-gram filtering as DeepSeek-Coder, arXiv 2401.14196, section 2.4.
"""

import gzip
import hashlib
import json
import keyword
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from codegemma.data import shingles
from codegemma.data.shingles import Words
from codegemma.errors import InputError

NGRAM: Final = 10
_MIN_DISTINCT_WORDS: Final = 5
_PROGRAM: Final = ("prompt", "canonical_solution")
"""Fields that make up one program, docstring between signature and body."""
_COMMENT: Final = re.compile(r'"""[^"]*"""|\'\'\'[^\']*\'\'\'|#[^\n]*')
"""Docstrings and comments; each text is looked for without them, too."""
_C_COMMENT: Final = re.compile(r"//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/")
_MIN_SQUEEZED: Final = 40
"""Least bytes, white space left out, of a short text that is looked for whole."""
_FUNCTION: Final = re.compile(
    r"\s*(?:(?:import|from)\b[^\n]*\s+)*(?:def|func|function|fun|fn)\b.*\breturn\b", re.DOTALL
)
_MIN_FUNCTION_WORDS: Final = 3
"""A whole function may be shorter, down to `shingles.WINDOW` bytes, and say less."""
_IDIOM_WORDS: Final = """
    range len self __init__ int str list print enumerate sorted append
    const var let function new this void null string static public
    zero one two three four five six seven eight nine ten
"""
_IDIOMS: Final = frozenset([*map(str.lower, keyword.kwlist), *_IDIOM_WORDS.split()])
"""Runs of these and of single letters, such as two loops, are written again and again."""
_MARKS_PER_HASH: Final = 8
_MARKS_PER_SHORT: Final = 256  # what passes the marks is looked at one by one
_BATCH_CHARS: Final = 1 << 18

_REPOSITORIES: Final = frozenset(
    {
        "ai2-arc",
        "babelcode",
        "bigcode-evaluation-harness",
        "bigcodebench",
        "cceval",
        "code-contests",
        "codereval",
        "crosscodeeval",
        "cruxeval",
        "ds-1000",
        "evalplus",
        "grade-school-math",
        "human-eval",
        "human-eval-infilling",
        "humaneval",
        "humaneval-x",
        "humanevalpack",
        "livecodebench",
        "lm-eval",
        "lm-evaluation-harness",
        "mbpp",
        "multipl-e",
        "mxeval",
        "repobench",
        "safim",
        "swe-bench",
    }
)
"""Repositories and packages that hold evaluation sets, by the last part of their name."""

_SUFFIXES: Final = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkText:
    """One benchmark item: where it stands, such as `mbpp/mbpp.jsonl.gz#17`, and its text."""

    item: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A run of words that a training file shares with a benchmark item."""

    item: str
    words: str
    ngram: int


def read_benchmarks(paths: Sequence[Path]) -> Iterator[BenchmarkText]:
    """Read the strings of the JSON files in the given files or folders.

    Each is given as it is and, when it differs, without docstrings and comments.

    Raises:
        InputError: A path does not exist or a file is no JSON.
    """
    for name, file in _files(paths):
        yield from _read_file(file, name=name)


def fingerprint(paths: Sequence[Path]) -> str:
    """Hash the names and bytes of the benchmark files.

    Raises:
        InputError: A path does not exist.
    """
    digest = hashlib.sha256()
    for name, file in _files(paths):
        digest.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if not path.exists():
            raise InputError(f"benchmark path {path} does not exist")
        folder = path if path.is_dir() else path.parent
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.name.endswith(_SUFFIXES):
                yield file.relative_to(folder).as_posix(), file


def _read_file(file: Path, *, name: str) -> Iterator[BenchmarkText]:
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
        is_lines = ".jsonl" in file.name
        parts = text.split("\n") if is_lines else [text]
        rows: list[Any] = [json.loads(part) for part in parts if part]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"benchmark file {file} cannot be read: {error}") from error
    if not is_lines and rows and isinstance(rows[0], list):
        rows = cast("list[Any]", rows[0])
    seen: set[str] = set()
    for index, row in enumerate(rows):
        found: list[str] = []
        _collect(row, found)
        for string in found:
            if string in seen:
                continue
            seen.add(string)
            item = f"{name}#{index}"
            yield BenchmarkText(item=item, text=string)
            for bare in _without_comments(string):
                yield BenchmarkText(item=item, text=bare)


def _without_comments(text: str) -> Iterator[str]:
    """Give a text without comments, in Python's form and in C's, where it has some."""
    if "#" in text or '"""' in text or "'''" in text:
        bare = _COMMENT.sub(" ", text)
        if bare != text:
            yield bare
    if "//" in text or "/*" in text:
        bare = _C_COMMENT.sub(" ", text)
        if bare != text:
            yield bare


def _collect(value: Any, found: list[str]) -> None:
    """Collect all strings of a row; a prompt once more with the solution that ends it."""
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, dict):
        row = cast("dict[str, Any]", value)
        whole = [row.get(key) for key in _PROGRAM]
        if all(isinstance(part, str) for part in whole):
            found.append("".join(cast("list[str]", whole)))
        for inner in row.values():
            _collect(inner, found)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            _collect(inner, found)


class BenchmarkIndex:
    """The word 10-grams of the benchmarks, as sorted hashes. Picklable, about 12 bytes a gram.

    Args:
        grams: Their hashes, sorted, none twice.
        owners: Of each, the place of its benchmark item in `items`.
        items: Benchmark items.
        short: Texts too short for a 10-gram, white space left out, and the item of each.
    """

    def __init__(
        self,
        grams: NDArray[np.uint64],
        owners: NDArray[np.int32],
        *,
        items: Sequence[str],
        short: Sequence[tuple[str, str]],
    ) -> None:
        self.grams = grams
        self.owners = owners
        self.items = list(items)
        self.short = list(short)
        self._prepare()

    def __len__(self) -> int:
        """Number of distinct 10-grams."""
        return len(self.grams)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made from the rest."""
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make it again."""
        self.__dict__.update(state)
        self._prepare()

    def _prepare(self) -> None:
        """Mark by their first bits the hashes that may be found, so that most are passed over."""
        bits = (_MARKS_PER_HASH * max(1, len(self.grams))).bit_length()
        self._shift = np.uint64(64 - bits)
        self._may_be_gram = np.zeros(1 << bits, np.bool_)
        self._may_be_gram[self.grams >> self._shift] = True
        self._short: dict[bytes, list[tuple[bytes, str]]] = {}
        for text, item in self.short:
            data = text.encode()
            self._short.setdefault(data[: shingles.WINDOW], []).append((data, item))
        bits = (_MARKS_PER_SHORT * max(1, len(self._short))).bit_length()
        self._short_shift = np.uint64(64 - bits)
        self._may_be_short = np.zeros(1 << bits, np.bool_)
        for begin in self._short:
            self._may_be_short[shingles.window_hashes(begin) >> self._short_shift] = True

    def hits(self, text: str, words: Words) -> list[Hit]:
        """List the telling 10-grams that a file shares with the benchmarks, then short texts.

        Args:
            text: Of the file.
            words: Its words.
        """
        return [*self._long_hits(words), *self._short_hits(text)]

    def _short_hits(self, text: str) -> list[Hit]:
        if not self._short:
            return []
        squeezed = b"".join(text.encode().split())
        windows = shingles.window_hashes(squeezed)
        found: dict[str, Hit] = {}
        for place in np.flatnonzero(self._may_be_short[windows >> self._short_shift]).tolist():
            begin = squeezed[place : place + shingles.WINDOW]
            for needle, item in self._short.get(begin, ()):
                if squeezed.startswith(needle, place):
                    digest = hashlib.blake2b(needle, digest_size=7).digest()
                    number = int.from_bytes(digest, "little")
                    found[item] = Hit(item=item, words=needle.decode(), ngram=number)
        return list(found.values())

    def _long_hits(self, words: Words) -> list[Hit]:
        grams = shingles.ngram_hashes(words.hashes, n=NGRAM)
        positions = np.flatnonzero(self._may_be_gram[grams >> self._shift])
        if not len(positions) or not len(self.grams):
            return []
        grams = grams[positions]
        places = np.minimum(np.searchsorted(self.grams, grams), len(self.grams) - 1)
        is_found = self.grams[places] == grams
        rows = zip(positions[is_found], self.owners[places[is_found]], grams[is_found], strict=True)
        found: list[Hit] = []
        for position, owner, gram in rows:
            run = words.run(int(position), NGRAM)
            if _is_telling(run):
                item = self.items[int(owner)]
                found.append(Hit(item=item, words=" ".join(run), ngram=int(gram)))
        return found


def build_index(texts: Iterable[BenchmarkText]) -> BenchmarkIndex:
    """Index benchmark items; a 10-gram of several is the first one's."""
    items: dict[str, int] = {}
    short: dict[str, str] = {}
    grams: list[NDArray[np.uint64]] = []
    owners: list[NDArray[np.int32]] = []
    for batch in _batches(texts):
        words, counts = _hash_together([text.text for text in batch])
        numbers = np.array([items.setdefault(text.item, len(items)) for text in batch], np.int32)
        text_of_word = np.repeat(np.arange(len(batch)), counts)
        hashes = shingles.ngram_hashes(words.hashes, n=NGRAM)
        last = text_of_word[NGRAM - 1 :]
        inside = text_of_word[: len(last)] == last
        found, first = np.unique(hashes[inside], return_index=True)
        grams.append(found)
        owners.append(numbers[last[inside][first]])
        for place in np.flatnonzero(counts < 2 * NGRAM).tolist():
            text = batch[place]
            squeezed = "".join(text.text.split())
            if _is_looked_for(text.text, size=len(squeezed.encode())):
                short.setdefault(squeezed, text.item)
    joined = np.concatenate([np.zeros(0, np.uint64), *grams])
    found, first = np.unique(joined, return_index=True)
    owned = np.concatenate([np.zeros(0, np.int32), *owners])[first]
    return BenchmarkIndex(found, owned, items=list(items), short=list(short.items()))


def _is_looked_for(text: str, *, size: int) -> bool:
    """Tell whether a text is looked for whole: one without ten words, or a function of few."""
    words = shingles.words(text)
    if len(words) < NGRAM and size >= _MIN_SQUEEZED and _is_telling(words):
        return True
    is_function = size >= shingles.WINDOW and _FUNCTION.match(text) is not None
    return is_function and _num_distinct(words) >= _MIN_FUNCTION_WORDS


def _batches(texts: Iterable[BenchmarkText]) -> Iterator[list[BenchmarkText]]:
    """Group texts, the same one only once, to about a megabyte."""
    seen: set[str] = set()
    batch: list[BenchmarkText] = []
    size = 0
    for text in texts:
        if text.text not in seen:
            seen.add(text.text)
            batch.append(text)
            size += len(text.text)
        if size > _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _hash_together(texts: Sequence[str]) -> tuple[Words, NDArray[np.int64]]:
    """Hash the words of several texts; give how many each has, too."""
    lowered = [text.lower() for text in texts]
    words = shingles.hash_words("\n".join(lowered))
    ends = np.cumsum([len(text) + 1 for text in lowered])
    counts = np.diff(np.searchsorted(words.starts, ends), prepend=0)
    return words, counts


def is_benchmark_repository(name: str) -> bool:
    """Tell by the last part of its name whether a repository is an evaluation set."""
    last = re.sub(r"[-_.]+", "-", name.rpartition("/")[2].lower())
    return last.removesuffix("-main").removesuffix("-master") in _REPOSITORIES


def _is_telling(run: list[str]) -> bool:
    """Tell whether a run has five distinct words that are no numbers, and one that is no idiom."""
    is_own = any(len(word) > 1 and word not in _IDIOMS and not word[0].isdigit() for word in run)
    return is_own and _num_distinct(run) >= _MIN_DISTINCT_WORDS


def _num_distinct(words: Iterable[str]) -> int:
    return len({word for word in words if not word[0].isdigit()})


def common_ngrams(
    hits_by_repository: Iterable[Iterable[Hit]], *, max_repositories: int
) -> set[int]:
    """Give the 10-grams that occur in more repositories than a copy of a benchmark would.

    Licence headers and idioms occur in many; such runs are no sign of contamination.
    """
    counts: dict[int, int] = {}
    for hits in hits_by_repository:
        for ngram in {hit.ngram for hit in hits}:
            counts[ngram] = counts.get(ngram, 0) + 1
    return {ngram for ngram, count in counts.items() if count > max_repositories}
