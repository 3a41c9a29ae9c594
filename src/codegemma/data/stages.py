# SPDX-License-Identifier: Apache-2.0
"""The stages between reading and packing, each a pure function of repositories and a recipe.

A stage gives what stays and a ledger of what does not. `pipeline` runs them, in processes where a
stage looks at one repository alone.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegemma.data import decontaminate, dedup, filters
from codegemma.data.decontaminate import BenchmarkIndex, Hit
from codegemma.data.document import File, Ledger, Repository
from codegemma.data.recipes import DataRecipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """A repository after the stages that look at one repository alone.

    Args:
        repository: Files that passed the filters.
        digests: `dedup.content_hash` of each file.
        signatures: `dedup.signature` of each file.
        hits: Runs of words each file shares with the benchmarks.
        input_hash: `content_hash` of what was read, before filters.
        input_files: Number of files read.
        input_bytes: Their size.
        ledgers: What was dropped by the stages "read" and "filter".
    """

    repository: Repository
    digests: tuple[bytes, ...]
    signatures: tuple[NDArray[np.uint32] | None, ...]
    hits: tuple[tuple[Hit, ...], ...]
    input_hash: str
    input_files: int
    input_bytes: int
    ledgers: dict[str, Ledger]


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
    benchmarks: BenchmarkIndex,
    input_hash: str,
    ledger: Ledger,
) -> Inspected:
    """Drop files by rule, and measure what the later stages compare.

    Args:
        repository: As read.
        benchmarks: Evaluation texts to look for.
        input_hash: Its `content_hash`.
        ledger: What was left out when it was read.
    """
    dropped = Ledger()
    kept: list[File] = []
    for file in repository.files:
        rule = filters.dropping_rule(file)
        if rule:
            dropped.add(rule, file.size_bytes)
        else:
            kept.append(file)
    bodies = [filters.without_header(file.text) for file in kept]
    return Inspected(
        repository=with_files(repository, kept),
        digests=tuple(dedup.content_hash(file.text) for file in kept),
        signatures=tuple(dedup.signature(body) for body in bodies),
        hits=tuple(tuple(benchmarks.hits(body)) for body in bodies),
        input_hash=input_hash,
        input_files=len(repository.files),
        input_bytes=sum(file.size_bytes for file in repository.files),
        ledgers={"read": ledger, "filter": dropped},
    )


def with_files(repository: Repository, files: Sequence[File]) -> Repository:
    """Give the same repository with other files."""
    return Repository(
        name=repository.name,
        version=repository.version,
        license=repository.license,
        files=tuple(files),
    )


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


def copies(repositories: Sequence[Inspected], *, threshold: float) -> list[dict[str, str]]:
    """Find copies among all files; an earlier repository's files stay.

    Returns:
        For each repository, the rule by path of the files to drop.
    """
    index = dedup.CopyIndex(threshold=threshold)
    dropped: list[dict[str, str]] = []
    for inspected in repositories:
        rules: dict[str, str] = {}
        files = inspected.repository.files
        for file, digest, signature in zip(
            files, inspected.digests, inspected.signatures, strict=True
        ):
            found = index.add(f"{inspected.repository.name}/{file.path}", digest, signature)
            if found:
                rules[file.path] = found[0]
        dropped.append(rules)
    return dropped


def contaminated(
    repositories: Sequence[Inspected], *, max_repositories: int
) -> list[dict[str, Hit]]:
    """Find files that contain benchmark text.

    Runs of words that stand in more than `max_repositories` repositories do not count.

    Returns:
        For each repository, the first telling hit by path.
    """
    common = decontaminate.common_ngrams(
        ((hit for hits in inspected.hits for hit in hits) for inspected in repositories),
        max_repositories=max_repositories,
    )
    found: list[dict[str, Hit]] = []
    for inspected in repositories:
        first: dict[str, Hit] = {}
        for file, hits in zip(inspected.repository.files, inspected.hits, strict=True):
            telling = next((hit for hit in hits if hit.ngram not in common), None)
            if telling:
                first[file.path] = telling
        found.append(first)
    return found


def excess_tests(repository: Repository, *, max_fraction: float) -> set[str]:
    """Choose the tests to drop so that the rest is at most a fraction of the other code's bytes.

    Which tests stay is decided by their content hash, not by their names.
    """
    tests = [file for file in repository.files if filters.is_test(file.path)]
    other = sum(file.size_bytes for file in repository.files) - sum(f.size_bytes for f in tests)
    room = other * max_fraction
    dropped: set[str] = set()
    for file in sorted(tests, key=lambda file: dedup.content_hash(file.text)):
        if file.size_bytes <= room:
            room -= file.size_bytes
        else:
            dropped.add(file.path)
    return dropped


def excess_share(repository: Repository, *, max_bytes: int | None) -> set[str]:
    """Choose the files to drop, by their content hash, so that at most `max_bytes` stay."""
    if max_bytes is None or sum(file.size_bytes for file in repository.files) <= max_bytes:
        return set()
    room = max_bytes
    dropped: set[str] = set()
    for file in sorted(repository.files, key=lambda file: dedup.content_hash(file.text)):
        if file.size_bytes <= room:
            room -= file.size_bytes
        else:
            dropped.add(file.path)
    return dropped
