# SPDX-License-Identifier: Apache-2.0
"""The stages between reading and packing, each a pure function of repositories and a recipe.

A stage gives what stays and a ledger of what does not. `pipeline` runs them, in processes where a
stage looks at one repository alone.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from codegemma.data import decontaminate, dedup, filters, languages, prose, redact, shingles
from codegemma.data import license as licenses
from codegemma.data.decontaminate import BenchmarkIndex, Hit
from codegemma.data.document import File, Genre, Ledger, Repository
from codegemma.data.filters import Signals
from codegemma.data.pairing import is_test
from codegemma.data.recipes import DataRecipe
from codegemma.data.safety import MAX_UNSAFE_FILES, Removals, UnsafeScanner

_STAGES: Final = ("removed", "license", "filter", "unsafe", "contamination")
_MIN_REPOSITORY_FILES: Final = 5
_COPY_FRACTION: Final = 0.8
_MIN_RELATIVES: Final = 3
_MAX_REPLACEMENT: Final = filters.DEFAULT.max_replacement
_MAX_OWNERS: Final = 50
"""A file in more repositories than this says nothing about which is whose copy."""

_NO_REMOVALS: Final = Removals()
SIGNATURE_SIZE: Final = dedup.NUM_BANDS * dedup.NUM_ROWS


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A file that passed the filters, as the later stages see it.

    Args:
        path: Inside its repository.
        size_bytes: UTF-8 length.
        language: "other" when none of those known; of a text its natural language, of other
            documents their genre.
        digest: `dedup.content_hash`.
        signature: `dedup.signature`.
        hits: Runs of words shared with the benchmarks.
    """

    path: str
    size_bytes: int
    language: str
    digest: bytes
    signature: NDArray[np.uint32] | None
    hits: tuple[Hit, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """A repository after the stages that look at one repository alone.

    Args:
        repository: With the files that passed; without any where they are only listed.
        files: What is known of them, in the same order.
        input_hash: `content_hash` of what was read, before filters.
        input: What was read, by language (the rule is "read").
        ledgers: What was dropped by "read", "removed", "license", "filter" and "unsafe".
        is_barred: Whether the licence of every file that it was asked of keeps it out.
        signals: Of each file that a licence and the scanner let in: path, language, the rule that
            drops it or "", and what was measured; empty where only the outcome was read back.
        redacted: How many values of each kind were replaced.
    """

    repository: Repository
    files: tuple[Measured, ...]
    input_hash: str
    input: Ledger
    ledgers: dict[str, Ledger]
    is_barred: bool = False
    signals: tuple[tuple[str, str, str, Signals], ...] = ()
    redacted: dict[str, int] = field(default_factory=dict[str, int])


def content_hash(repository: Repository) -> str:
    """Hash the paths and texts of a repository, not its name or version."""
    digest = hashlib.sha256()
    for file in repository.files:
        data = file.text.encode()
        digest.update(f"{file.path}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def inspect(
    repository: Repository,
    *,
    recipe: DataRecipe,
    benchmarks: BenchmarkIndex,
    input_hash: str,
    ledger: Ledger,
    removals: Removals = _NO_REMOVALS,
    scanner: UnsafeScanner | None = None,
) -> Inspected:
    """Drop files by removal, licence, rule and list, redact, and measure what is compared later.

    Args:
        repository: As read.
        recipe: Which licences are taken.
        benchmarks: Evaluation texts to look for.
        input_hash: Its `content_hash`.
        ledger: What was left out when it was read.
        removals: Files whose owners asked to be left out.
        scanner: Looks for unsafe content; None looks for none.
    """
    ledgers = {stage: Ledger() for stage in _STAGES} | {"read": ledger}
    is_benchmark = decontaminate.is_benchmark_repository(repository.name)
    read = Ledger()
    kept: list[File] = []
    measured: list[tuple[str, str, str, Signals]] = []
    told: dict[str, str] = {}
    num_licensed = 0
    for file in repository.files:
        language = told[file.path] = language_of(file, genre=repository.genre)
        read.add("read", file.size_bytes, language=language)
        stage, rule = _unnamed_rule(file, removals, name=repository.name)
        if rule:
            ledgers[stage].add(rule, file.size_bytes, language=language)
            continue
        where = f"{repository.name}/{file.path}"
        license = refused_license(file, repository, recipe=recipe)
        if license is not None:
            rule = f"license: {license or 'unknown'}"
            ledgers["license"].add(rule, file.size_bytes, language=language, sample=where)
            continue
        num_licensed += 1
        if is_benchmark:
            ledgers["contamination"].add(
                "benchmark repository", file.size_bytes, language=language, sample=where
            )
            continue
        signals = filters.measure(file.text, language=language)
        rule = _dropping_rule(
            file, signals, language=language, genre=repository.genre, recipe=recipe
        )
        measured.append((file.path, language, rule, signals))
        if rule:
            ledgers["filter"].add(rule, file.size_bytes, language=language, sample=where)
        else:
            kept.append(file)
    kept = _safe(kept, scanner, ledgers["unsafe"], told=told)
    digests = [dedup.content_hash(file.text) for file in kept]  # of copies before they are redacted
    redacted: Counter[str] = Counter()
    if recipe.redact:
        kept, redacted = redact.redact(kept)
    return Inspected(
        repository=with_files(repository, kept),
        files=tuple(
            measure(
                file,
                digest=digest,
                benchmarks=benchmarks,
                language=told[file.path],
                genre=repository.genre,
            )
            for file, digest in zip(kept, digests, strict=True)
        ),
        input_hash=input_hash,
        input=read,
        ledgers=ledgers,
        is_barred=bool(ledgers["license"].rows) and not num_licensed,
        signals=_signals_of(measured, kept),
        redacted=dict(sorted(redacted.items())),
    )


def _unnamed_rule(file: File, removals: Removals, *, name: str) -> tuple[str, str]:
    """Give stage and rule that drop a file before a ledger or a signal names its path."""
    if removals.covers(name, file.path):
        return "removed", "asked for"
    is_personal = redact.holds_personal_data(file.path)
    return ("unsafe", "person in path") if is_personal else ("", "")


def _signals_of(
    measured: Sequence[tuple[str, str, str, Signals]], kept: Sequence[File]
) -> tuple[tuple[str, str, str, Signals], ...]:
    """Leave out the files that only a scanner dropped: nothing of them is to be kept."""
    names = {file.path for file in kept}
    return tuple(row for row in measured if row[2] or row[0] in names)


def language_of(file: File, *, genre: Genre) -> str:
    """Name the language of a file: of code, of a text, or the genre of other documents."""
    if genre == "code":
        return languages.detect(file.path, file.text)
    return prose.language(file.text) if genre == "text" else genre


def _dropping_rule(
    file: File, signals: Signals, *, language: str, genre: Genre, recipe: DataRecipe
) -> str:
    """Give the rule that drops a file; conversations and mathematics are no prose and no code."""
    if genre == "code":
        return filters.dropping_rule(file.path, file.text, signals, language=language)
    if genre == "text":
        return prose.dropping_rule(file.text, found=language, languages=recipe.text_languages)
    return "decoding_faults" if signals.replacement_fraction > _MAX_REPLACEMENT else ""


def _safe(
    files: Sequence[File],
    scanner: UnsafeScanner | None,
    ledger: Ledger,
    *,
    told: Mapping[str, str],
) -> list[File]:
    """Leave out what the scanner finds, and all files where it finds much.

    The ledger gets counts alone.
    """
    kept: list[File] = []
    num_hits = 0
    for file in files:
        rule = scanner.scan(file.text) if scanner else ""
        num_hits += bool(rule)
        if rule:
            ledger.add(rule, file.size_bytes, language=told[file.path])
        else:
            kept.append(file)
    if num_hits <= MAX_UNSAFE_FILES:
        return kept
    for file in kept:
        ledger.add("repository with many hits", file.size_bytes, language=told[file.path])
    return []


def measure(
    file: File, *, digest: bytes, benchmarks: BenchmarkIndex, language: str, genre: Genre = "code"
) -> Measured:
    """Compute what the stages compare that look at all repositories.

    Problems and conversations made from one pattern are alike on purpose: of them, only the same
    ones are copies.

    Args:
        file: Redacted.
        digest: `dedup.content_hash` of it before.
        benchmarks: Evaluation texts to look for.
        language: As `language_of` tells.
        genre: What it is.
    """
    body = filters.without_header(file.text) if genre == "code" else file.text
    words = shingles.hash_words(body)
    return Measured(
        path=file.path,
        size_bytes=file.size_bytes,
        language=language,
        digest=digest,
        signature=dedup.signature(words) if genre in ("code", "text") else None,
        hits=tuple(benchmarks.hits(body, words)),
    )


def refused_license(file: File, repository: Repository, *, recipe: DataRecipe) -> str | None:
    """Give the licence that keeps a file out, "" for none known; None when the file is taken.

    Documents say nothing of theirs: whoever names such a source answers for it.
    """
    if not recipe.permissive_only or repository.genre != "code":
        return None
    found = licenses.of_file(file.path, file.text, licenses=dict(repository.licenses))
    if recipe.keep_unlicensed and found in ("", licenses.UNKNOWN):
        return None
    return None if licenses.is_permissive(found) else found


def with_files(repository: Repository, files: Sequence[File]) -> Repository:
    """Give the same repository with other files."""
    return replace(repository, files=tuple(files))


def choose_heldout(names: Collection[str], *, recipe: DataRecipe, seed: int) -> frozenset[str]:
    """Choose the repositories to keep apart: those of the recipe's list, else a share by name.

    The share is drawn only where none of the listed ones is there, or nothing else. One repository
    is always left to train on, so a single one is never kept apart.
    """
    listed = frozenset(names).intersection(recipe.heldout)
    if listed and len(listed) < len(names):
        return listed
    ranks = {
        name: int.from_bytes(
            hashlib.sha256(f"heldout/{seed}/{name}".encode()).digest()[:8], "little"
        )
        for name in names
    }
    drawn = {name for name, rank in ranks.items() if rank < recipe.holdout_fraction * 2**64}
    if drawn and len(drawn) == len(ranks):
        drawn.remove(max(ranks, key=lambda name: ranks[name]))
    return frozenset(drawn)


def repository_copies(repositories: Sequence[Inspected], *, heldout: Collection[str]) -> set[int]:
    """Find repositories most of whose files are another's, such as forks and older releases.

    The one with more files stays, of two alike the earlier; one held out always does.

    Returns:
        Numbers of those to drop.
    """
    owners: dict[bytes, list[int]] = {}
    for number, inspected in enumerate(repositories):
        for digest in {file.digest for file in inspected.files}:
            owners.setdefault(digest, []).append(number)
    common: Counter[tuple[int, int]] = Counter()
    for found in owners.values():
        if len(found) <= _MAX_OWNERS:
            common.update((a, b) for a in found for b in found if a < b)
    sizes = [len({file.digest for file in inspected.files}) for inspected in repositories]
    dropped: set[int] = set()
    for (a, b), count in sorted(common.items()):
        small, large = (a, b) if sizes[a] < sizes[b] else (b, a)
        if repositories[small].repository.name in heldout:
            small, large = large, small
        enough = sizes[small] >= _MIN_REPOSITORY_FILES and count >= _COPY_FRACTION * sizes[small]
        is_free = repositories[small].repository.name not in heldout
        if enough and is_free and not dropped & {small, large}:
            dropped.add(small)
    return dropped


def copies(
    repositories: Sequence[Inspected], *, threshold: float, heldout: Collection[str] = ()
) -> list[dict[str, str]]:
    """Find copies among all files; an earlier repository's files stay, a copied one's do not.

    Of code that is held out altered copies go, too, and whole folders of them.

    Returns:
        For each repository, the rule by path of the files to drop.
    """
    whole = repository_copies(repositories, heldout=heldout)
    signed = [
        file.signature
        for inspected in repositories
        for file in inspected.files
        if file.signature is not None
    ]
    shared = iter(dedup.shared_bands(signed))
    index = dedup.CopyIndex(threshold=threshold)
    relatives = _heldout_relatives(repositories, heldout=heldout)
    dropped: list[dict[str, str]] = []
    for number, inspected in enumerate(repositories):
        rules: dict[str, str] = {}
        for file in inspected.files:
            bands = next(shared) if file.signature is not None else None
            if number in whole:
                rules[file.path] = "repository_copy"
                continue
            name = f"{inspected.repository.name}/{file.path}"
            found = index.add(name, file.digest, file.signature, shared=bands)
            if found:
                rules[file.path] = found[0]
            elif file.path in relatives[number]:
                rules[file.path] = "heldout_relative"
        dropped.append(rules)
    return dropped


def _heldout_relatives(
    repositories: Sequence[Inspected], *, heldout: Collection[str]
) -> list[set[str]]:
    """Find, in each repository, altered copies of held-out code and the folders they fill.

    A package that took over another one and went on with it, in a folder of its own, is no copy of
    it file by file. A folder in which most files, and at least three, are relatives goes whole.
    """
    apart = [
        found
        for found in repositories
        if found.repository.genre == "code" and found.repository.name in heldout
    ]
    index = dedup.RelativeIndex(
        [file.signature for r in apart for file in r.files if file.signature is not None]
    )
    relatives: list[set[str]] = []
    for inspected in repositories:
        repository = inspected.repository
        if not apart or repository.genre != "code" or repository.name in heldout:
            relatives.append(set())
            continue
        near: Counter[str] = Counter()
        all_of: Counter[str] = Counter()
        paths: set[str] = set()
        for file in inspected.files:
            folder = file.path.rpartition("/")[0]
            all_of[folder] += 1
            if file.signature is not None and index.has_relative(file.signature):
                near[folder] += 1
                paths.add(file.path)
        full = {
            folder
            for folder, count in near.items()
            if count >= _MIN_RELATIVES and 2 * count >= all_of[folder]
        }
        paths |= {f.path for f in inspected.files if f.path.rpartition("/")[0] in full}
        relatives.append(paths)
    return relatives


def contaminated(
    repositories: Sequence[Inspected], *, max_repositories: int
) -> list[dict[str, Hit]]:
    """Find files that contain benchmark text.

    Runs of words that stand alone, not in a copy, in more than `max_repositories` repositories do
    not count. Copies always do: benchmarks are copied widely.

    Returns:
        For each repository, the first telling hit by path.
    """
    by_source: dict[str, list[Hit]] = {}
    for inspected in repositories:  # parts of one source are one
        name, genre = inspected.repository.name, inspected.repository.genre
        hits = by_source.setdefault(name if genre == "code" else name.rpartition("#")[0], [])
        hits += (hit for file in inspected.files for hit in file.hits)
    common = decontaminate.common_ngrams(by_source.values(), max_repositories=max_repositories)
    found: list[dict[str, Hit]] = []
    for inspected in repositories:
        first: dict[str, Hit] = {}
        for file in inspected.files:
            telling = next((h for h in file.hits if h.is_copy or h.ngram not in common), None)
            if telling:
                first[file.path] = telling
        found.append(first)
    return found


def excess_tests(files: Sequence[Measured], *, max_fraction: float) -> set[str]:
    """Choose the tests to drop so that the rest is at most a fraction of the other code's bytes.

    Which tests stay is decided by their content hash, not by their names.
    """
    tests = [file for file in files if is_test(file.path)]
    other = sum(file.size_bytes for file in files) - sum(file.size_bytes for file in tests)
    return _over(tests, room=float(other * max_fraction))


def excess_share(files: Sequence[Measured], *, max_bytes: int | None) -> set[str]:
    """Choose the files to drop, by their content hash, so that at most `max_bytes` stay."""
    if max_bytes is None or sum(file.size_bytes for file in files) <= max_bytes:
        return set()
    return _over(files, room=float(max_bytes))


def _over(files: Sequence[Measured], *, room: float) -> set[str]:
    dropped: set[str] = set()
    for file in sorted(files, key=lambda file: file.digest):
        if file.size_bytes <= room:
            room -= file.size_bytes
        else:
            dropped.add(file.path)
    return dropped
