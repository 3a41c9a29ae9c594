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
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from codegemma.data import shingles
from codegemma.errors import InputError

NGRAM: Final = 10
_MIN_DISTINCT_WORDS: Final = 5
_PROGRAM: Final = ("prompt", "canonical_solution")
"""Fields that make up one program, docstring between signature and body."""
_COMMENT: Final = re.compile(r'"""[^"]*"""|\'\'\'[^\']*\'\'\'|#[^\n]*')
"""Docstrings and comments; each text is looked for without them, too."""
_C_COMMENT: Final = re.compile(r"//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/")
_MIN_SQUEEZED: Final = shingles.WINDOW
"""Least bytes, white space left out, of a short text that is looked for whole."""

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
    for index, row in enumerate(rows):
        for string in _strings(row):
            item = f"{name}#{index}"
            yield BenchmarkText(item=item, text=string)
            for bare in (_COMMENT.sub(" ", string), _C_COMMENT.sub(" ", string)):
                if bare != string:
                    yield BenchmarkText(item=item, text=bare)


def _strings(value: Any) -> Iterator[str]:
    """Give all strings of a row; a prompt is given once more with the solution that ends it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        whole = [cast("dict[str, Any]", value).get(key) for key in _PROGRAM]
        if all(isinstance(part, str) for part in whole):
            yield "".join(cast("list[str]", whole))
        for inner in cast("dict[str, Any]", value).values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _strings(inner)


class BenchmarkIndex:
    """The word 10-grams of the benchmarks, as sorted hashes. Picklable, about 12 bytes a gram.

    Args:
        texts: The benchmark items.
    """

    def __init__(self, texts: Iterable[BenchmarkText]) -> None:
        self._items: list[str] = []
        self._short: dict[bytes, tuple[bytes, str]] = {}
        grams: list[NDArray[np.uint64]] = []
        owners: list[NDArray[np.int32]] = []
        seen: set[str] = set()
        for text in texts:
            if text.text in seen:
                continue
            seen.add(text.text)
            words = shingles.words(text.text)
            hashes = shingles.ngram_hashes(words, n=NGRAM)
            squeezed = b"".join(text.text.encode().split())
            if not len(hashes) and len(squeezed) >= _MIN_SQUEEZED and _is_telling(words):
                self._short.setdefault(squeezed[:_MIN_SQUEEZED], (squeezed, text.item))
            if len(hashes):
                if not self._items or self._items[-1] != text.item:
                    self._items.append(text.item)
                grams.append(hashes)
                owners.append(np.full(len(hashes), len(self._items) - 1, np.int32))
        self._marked = np.zeros(1 << 16, np.bool_)  # where a short text's window may begin
        for begin in self._short:
            self._marked[shingles.window_hashes(begin) >> np.uint64(48)] = True
        joined = np.concatenate(grams) if grams else np.zeros(0, np.uint64)
        self._grams, first = np.unique(joined, return_index=True)
        self._owners = np.concatenate(owners)[first] if owners else np.zeros(0, np.int32)

    def __len__(self) -> int:
        """Number of distinct 10-grams."""
        return len(self._grams)

    def hits(self, text: str) -> list[Hit]:
        """List the telling 10-grams that a file shares with the benchmarks, then short texts."""
        return [*self._long_hits(text), *self._short_hits(text)]

    def _short_hits(self, text: str) -> list[Hit]:
        if not self._short:
            return []
        squeezed = b"".join(text.encode().split())
        windows = shingles.window_hashes(squeezed)
        found: dict[str, Hit] = {}
        for place in np.flatnonzero(self._marked[windows >> np.uint64(48)]).tolist():
            needle, item = self._short.get(squeezed[place : place + _MIN_SQUEEZED], (b"", ""))
            if needle and squeezed.startswith(needle, place):
                number = int.from_bytes(hashlib.blake2b(needle, digest_size=7).digest(), "little")
                found[item] = Hit(item=item, words=needle.decode(), ngram=number)
        return list(found.values())

    def _long_hits(self, text: str) -> list[Hit]:
        words = shingles.words(text)
        grams = shingles.ngram_hashes(words, n=NGRAM)
        if not len(grams) or not len(self._grams):
            return []
        places = np.minimum(np.searchsorted(self._grams, grams), len(self._grams) - 1)
        found: list[Hit] = []
        for position in np.flatnonzero(self._grams[places] == grams).tolist():
            run = words[position : position + NGRAM]
            if _is_telling(run):
                owner = self._items[int(self._owners[places[position]])]
                found.append(Hit(item=owner, words=" ".join(run), ngram=int(grams[position])))
        return found


def is_benchmark_repository(name: str) -> bool:
    """Tell by the last part of its name whether a repository is an evaluation set."""
    last = re.sub(r"[-_.]+", "-", name.rpartition("/")[2].lower())
    return last.removesuffix("-main").removesuffix("-master") in _REPOSITORIES


def _is_telling(run: list[str]) -> bool:
    """Tell whether a run has five distinct words that are no numbers."""
    return len({word for word in run if not word[0].isdigit()}) >= _MIN_DISTINCT_WORDS


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
