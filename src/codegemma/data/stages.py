# SPDX-License-Identifier: Apache-2.0
"""The stages that look at one repository alone, each a pure function of it and a recipe.

A stage gives what stays and a ledger of what does not. `pipeline` runs them in processes; those
that compare repositories are `compare`'s.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from codegemma.data import (
    decontaminate,
    dedup,
    filters,
    languages,
    personal,
    prose,
    redact,
    shingles,
    thresholds,
)
from codegemma.data import license as licenses
from codegemma.data.decontaminate import BenchmarkIndex, Hit
from codegemma.data.dedup import Digest
from codegemma.data.document import File, Genre, Ledger, Repository
from codegemma.data.filters import Signals
from codegemma.data.names import NameTagger
from codegemma.data.recipes import DataRecipe
from codegemma.data.safety import MAX_UNSAFE_FILES, Removals, UnsafeScanner

_STAGES: Final = ("removed", "license", "filter", "unsafe", "contamination")
_NAMED: Final = frozenset({"license", "contamination"})
"""Stages before the filters that tell which files they left out."""
_UNLICENSED: Final = frozenset({"removed", "unsafe", "license"})
"""Stages that leave out a file before, or because, its licence was asked for."""
_NO_REMOVALS: Final = Removals()


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is known of a file before any threshold is applied, by which it is stored.

    Args:
        language: As `language_of` tells.
        stage: That left it out before it was measured, "" where none did.
        rule: Of that stage; where it was measured, of "filter": one that no threshold is part of.
        signals: What was measured, None where a stage left it out.
    """

    language: str
    stage: str = ""
    rule: str = ""
    signals: Signals | None = None


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
    digest: Digest
    signature: NDArray[np.uint32] | None
    hits: tuple[Hit, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """A repository after the stages that look at one repository alone.

    Args:
        repository: With the files that passed; without any where they are only listed.
        files: What is known of them, in the same order.
        input_hash: Hash of what was read, before filters: `steps.Input.sha256`.
        input: What was read, by language (the rule is "read").
        ledgers: What was dropped by "read", "removed", "license", "filter" and "unsafe".
        is_barred: Whether the licence of every file that it was asked of keeps it out.
        signals: Of each file that a licence and the scanner let in: path, language, the rule that
            drops it or "", and what was measured; empty where only the outcome was read back.
        redacted: How many values of each kind were replaced.
        fault: Why it could not be read, "" where it was.
    """

    repository: Repository
    files: tuple[Measured, ...]
    input_hash: str
    input: Ledger
    ledgers: dict[str, Ledger]
    is_barred: bool = False
    signals: tuple[tuple[str, str, str, Signals], ...] = ()
    redacted: dict[str, int] = field(default_factory=dict[str, int])
    fault: str = ""


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
    tagger: NameTagger | None = None,
    seen: Sequence[Seen] | None = None,
) -> Inspected:
    """Drop files by removal, licence, rule and list, redact, and measure what is compared later.

    Args:
        repository: As read.
        recipe: Which licences are taken, and thresholds.
        benchmarks: Evaluation texts to look for.
        input_hash: Hash of what was read.
        ledger: What was left out when it was read.
        removals: Files whose owners asked to be left out.
        scanner: Looks for unsafe content; None looks for none.
        tagger: Finds names to replace, besides the rules; None for none.
        seen: What `look` gave, where it is known.
    """
    ledgers = {stage: Ledger() for stage in _STAGES} | {"read": ledger}
    seen = look(repository, recipe=recipe, removals=removals) if seen is None else seen
    read = Ledger()
    kept: list[File] = []
    measured: list[tuple[str, str, str, Signals]] = []
    for file, one in zip(repository.files, seen, strict=True):
        language, signals = one.language, one.signals
        read.add("read", file.size_bytes, language=language)
        where = f"{repository.name}/{file.path}"
        if signals is None:
            named = where if one.stage in _NAMED else ""
            ledgers[one.stage].add(one.rule, file.size_bytes, language=language, sample=named)
            continue
        rule = one.rule or thresholds.dropping_rule(
            signals, language=language, genre=repository.genre, changes=recipe.thresholds
        )
        measured.append((file.path, language, rule, signals))
        if rule:
            ledgers["filter"].add(rule, file.size_bytes, language=language, sample=where)
        else:
            is_broken = thresholds.is_broken(signals, language=language, changes=recipe.thresholds)
            kept.append(replace(file, is_broken=is_broken))
    told = {file.path: one.language for file, one in zip(repository.files, seen, strict=True)}
    kept = _safe(kept, scanner, ledgers["unsafe"], told=told, genre=repository.genre)
    digests = [dedup.content_hash(file.text) for file in kept]  # of copies before they are redacted
    kept, redacted = redact.redact(kept, tagger=tagger) if recipe.redact else (kept, Counter[str]())
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
        is_barred=bool(ledgers["license"].rows) and all(one.stage in _UNLICENSED for one in seen),
        signals=_signals_of(measured, kept),
        redacted=dict(sorted(redacted.items())),
    )


def look(
    repository: Repository, *, recipe: DataRecipe, removals: Removals = _NO_REMOVALS
) -> list[Seen]:
    """Tell what each file is, leave out those that nothing is to be known of, measure the others.

    No threshold is part of it: by others the same holds.

    Args:
        repository: As read.
        recipe: Which licences and natural languages are taken.
        removals: Files whose owners asked to be left out.
    """
    is_benchmark = decontaminate.is_benchmark_repository(repository.name, *removals.aliases)
    found: list[Seen] = []
    for file in repository.files:
        language = language_of(file, genre=repository.genre)
        stage, rule = _unnamed_rule(file, removals, name=repository.name)
        license = None if rule else refused_license(file, repository, recipe=recipe)
        if license is not None:
            stage, rule = "license", f"license: {license or 'unknown'}"
        elif is_benchmark and not rule:
            stage, rule = "contamination", "benchmark repository"
        if rule:
            found.append(Seen(language=language, stage=stage, rule=rule))
            continue
        signals = filters.measure(file.text, language=language)
        rule = _fixed_rule(file, language=language, genre=repository.genre, recipe=recipe)
        found.append(Seen(language=language, rule=rule, signals=signals))
    return found


def _unnamed_rule(file: File, removals: Removals, *, name: str) -> tuple[str, str]:
    """Give stage and rule that drop a file before a ledger or a signal names its path."""
    if removals.covers(name, file.path):
        return "removed", "asked for"
    is_personal = personal.holds_personal_data(file.path)
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


def _fixed_rule(file: File, *, language: str, genre: Genre, recipe: DataRecipe) -> str:
    """Give the rule that drops a file whatever is measured of it."""
    if genre == "code":
        return filters.foreign_rule(file.path, file.text)
    is_text = genre == "text"
    taken = recipe.text_languages
    return prose.dropping_rule(file.text, found=language, languages=taken) if is_text else ""


def _safe(
    files: Sequence[File],
    scanner: UnsafeScanner | None,
    ledger: Ledger,
    *,
    told: Mapping[str, str],
    genre: Genre,
) -> list[File]:
    """Leave out what the scanner finds, and all files of a repository where it finds much.

    Documents that lie in one file have nothing else in common. The ledger gets counts alone.
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
    if num_hits <= MAX_UNSAFE_FILES or genre != "code":
        return kept
    for file in kept:
        ledger.add("repository with many hits", file.size_bytes, language=told[file.path])
    return []


def measure(
    file: File, *, digest: Digest, benchmarks: BenchmarkIndex, language: str, genre: Genre = "code"
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
    body = compared(file.text, genre=genre)
    words = shingles.hash_words(body)
    return Measured(
        path=file.path,
        size_bytes=file.size_bytes,
        language=language,
        digest=digest,
        signature=dedup.signature(words) if genre in ("code", "text") else None,
        hits=tuple(benchmarks.hits(body, words)),
    )


def compared(text: str, *, genre: Genre) -> str:
    """Give what of a text is compared with others: of code, what follows its first comment."""
    return filters.without_header(text) if genre == "code" else text


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
