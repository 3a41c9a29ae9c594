# SPDX-License-Identifier: Apache-2.0
"""The stages that compare repositories: copies, contamination, and how much is taken of each.

Takes what `stages.inspect` measured of each repository and gives the files to drop, with ledgers.
What a copy is `dedup` tells. The result depends on the repositories and their order alone.

Unstated: which of several copies stays. Repositories that are another's copy go whole. Of the
    others each file stays where more of the files are copies: a library that others took from
    stays whole, and they lose what they took.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from codegemma.data import decontaminate, dedup, shingles, stages
from codegemma.data.decontaminate import Hit
from codegemma.data.document import Ledger, Progress, each_told, no_progress
from codegemma.data.pairing import is_test
from codegemma.data.recipes import DataRecipe
from codegemma.data.stages import Inspected, Measured

_MIN_REPOSITORY_FILES: Final = 5
_COPY_FRACTION: Final = 0.8
_MIN_RELATIVES: Final = 3
_MAX_OWNERS: Final = 50
"""A file in more repositories than this says nothing about which is whose copy."""

ReadText = Callable[[int, int], str]
"""Reads the text of a file by the numbers of its repository and of the file in it."""


class _Shared:
    """Which files, white space folded, repositories have in common.

    Args:
        repositories: All of them.
    """

    def __init__(self, repositories: Sequence[Inspected]) -> None:
        owners: dict[bytes, list[int]] = {}
        for number, inspected in enumerate(repositories):
            for digest in {file.digest.folded for file in inspected.files}:
                owners.setdefault(digest, []).append(number)
        self.sizes = [0] * len(repositories)
        """Different files of each."""
        self.copied = [0] * len(repositories)
        """Of them those that another one has."""
        self.common: Counter[tuple[int, int]] = Counter()
        """How many two have both, by their numbers, the smaller first."""
        for found in owners.values():
            is_telling = 1 < len(found) <= _MAX_OWNERS
            for number in found:
                self.sizes[number] += 1
                self.copied[number] += is_telling
            if is_telling:
                self.common.update((a, b) for a in found for b in found if a < b)


def _repository_copies(
    repositories: Sequence[Inspected], shared: _Shared, *, heldout: Collection[str]
) -> set[int]:
    """Find repositories that are another's copy, such as forks and older releases.

    Most of their files are the other's, or all of the few that they have. The one with more files
    stays, of two alike the earlier; one held out always does.

    Returns:
        Numbers of those to drop.
    """
    sizes = shared.sizes
    dropped: set[int] = set()
    for (a, b), count in sorted(shared.common.items()):
        small, large = (a, b) if sizes[a] < sizes[b] else (b, a)
        if repositories[small].repository.name in heldout:
            small, large = large, small
        is_fork = sizes[small] >= _MIN_REPOSITORY_FILES and count >= _COPY_FRACTION * sizes[small]
        is_part = count == sizes[small] < sizes[large]
        is_free = repositories[small].repository.name not in heldout
        if (is_fork or is_part) and is_free and not dropped & {small, large}:
            dropped.add(small)
    return dropped


def _keeping_order(
    repositories: Sequence[Inspected], shared: _Shared, *, heldout: Collection[str]
) -> list[int]:
    """Order repositories so that each file stays with the first that has it.

    After those held out comes first the one with the largest share of files that others have, too,
    then the one with the fewest files, then the one given first.
    """

    def rank(number: int) -> tuple[bool, float, int]:
        is_free = repositories[number].repository.name not in heldout
        size = shared.sizes[number]
        return is_free, -shared.copied[number] / max(1, size), size

    return sorted(range(len(repositories)), key=rank)


def find_copies(
    repositories: Sequence[Inspected],
    *,
    threshold: float,
    heldout: Collection[str] = (),
    read_text: ReadText | None = None,
    progress: Progress = no_progress,
) -> list[dict[str, str]]:
    """Find copies among all files.

    Of code that is held out altered copies go, too, and whole folders of them.

    Args:
        repositories: Of two that are alike in what decides, the earlier keeps a file.
        threshold: Least Jaccard similarity of a near copy.
        heldout: Names of those kept apart.
        read_text: None: the repositories hold their texts.
        progress: As of `dedup.find_copies`; of altered copies told the repositories ("relatives").

    Returns:
        For each repository, the rule by path of the files to drop.
    """
    shared = _Shared(repositories)
    whole = _repository_copies(repositories, shared, heldout=heldout)
    places = [
        (number, place)
        for number in _keeping_order(repositories, shared, heldout=heldout)
        if number not in whole
        for place in range(len(repositories[number].files))
    ]
    files = [repositories[number].files[place] for number, place in places]
    found = dedup.find_copies(
        [file.digest for file in files],
        [file.signature for file in files],
        threshold=threshold,
        similarity=_similarity(repositories, places, read_text),
        progress=progress,
    )
    relatives = _heldout_relatives(repositories, heldout=heldout, progress=progress)
    dropped: list[dict[str, str]] = [
        dict.fromkeys((file.path for file in inspected.files), "repository_copy")
        if number in whole
        else {}
        for number, inspected in enumerate(repositories)
    ]
    for (number, _), file, copy in zip(places, files, found, strict=True):
        if copy:
            dropped[number][file.path] = copy[0]
        elif file.path in relatives[number]:
            dropped[number][file.path] = "heldout_relative"
    return dropped


def _similarity(
    repositories: Sequence[Inspected],
    places: Sequence[tuple[int, int]],
    read_text: ReadText | None,
) -> dedup.Similarity:
    """Compare files run by run, by their places in a list of those of all repositories."""

    @lru_cache(maxsize=64)
    def runs(index: int) -> NDArray[np.uint64]:
        number, place = places[index]
        repository = repositories[number].repository
        text = read_text(number, place) if read_text else repository.files[place].text
        body = stages.compared(text, genre=repository.genre)
        return dedup.runs(shingles.hash_words(body))

    return lambda left, right: dedup.jaccard(runs(left), runs(right))


def _heldout_relatives(
    repositories: Sequence[Inspected], *, heldout: Collection[str], progress: Progress
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
    for inspected in each_told(repositories, "relatives", progress):
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
) -> list[dict[str, list[Hit]]]:
    """Find files that contain benchmark text.

    Runs of words that stand alone, not in a copy, in more than `max_repositories` repositories do
    not count. Copies always do: benchmarks are copied widely.

    Returns:
        For each repository, the telling hits by path, the first of each benchmark item.
    """
    by_source: dict[str, list[Hit]] = {}
    for inspected in repositories:  # parts of one source are one
        name, genre = inspected.repository.name, inspected.repository.genre
        hits = by_source.setdefault(name if genre == "code" else name.rpartition("#")[0], [])
        hits += (hit for file in inspected.files for hit in file.hits)
    common = decontaminate.common_ngrams(by_source.values(), max_repositories=max_repositories)
    found: list[dict[str, list[Hit]]] = []
    for inspected in repositories:
        by_path: dict[str, list[Hit]] = {}
        for file in inspected.files:
            by_item: dict[str, Hit] = {}
            for hit in file.hits:
                if hit.is_copy or hit.ngram not in common:
                    by_item.setdefault(hit.item, hit)
            if by_item:
                by_path[file.path] = list(by_item.values())
        found.append(by_path)
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
    for file in sorted(files, key=lambda file: file.digest.folded):
        if file.size_bytes <= room:
            room -= file.size_bytes
        else:
            dropped.add(file.path)
    return dropped


def select(
    repositories: Sequence[Inspected],
    *,
    recipe: DataRecipe,
    heldout: Collection[str],
    read_text: ReadText | None,
    ledgers: Mapping[str, Ledger],
    progress: Progress = no_progress,
) -> tuple[list[set[str]], list[dict[str, str]]]:
    """Apply all stages that compare repositories.

    Args:
        repositories: All of them.
        recipe: Thresholds and shares.
        heldout: Names of those kept apart.
        read_text: As of `find_copies`.
        ledgers: "copies", "contamination" and "share" are added to.
        progress: As of `find_copies`.

    Returns:
        The paths to drop of each, and the contaminated files with what they share, once for each
        benchmark item.
    """
    copied = find_copies(
        repositories,
        threshold=recipe.near_copy_threshold,
        heldout=heldout,
        read_text=read_text,
        progress=progress,
    )
    hits = contaminated(repositories, max_repositories=recipe.max_common_repositories)
    dropped: list[set[str]] = []
    found_hits: list[dict[str, str]] = []
    for found, copy_rules, hits_by_path in zip(repositories, copied, hits, strict=True):
        rules: dict[str, tuple[str, str]] = {}
        for file in found.files:
            if file.path in copy_rules:
                rules[file.path] = ("copies", copy_rules[file.path])
            elif telling := hits_by_path.get(file.path):
                rules[file.path] = ("contamination", telling[0].item.split("/")[0])
                where = f"{found.repository.origin}/{file.path}"
                found_hits += (
                    {"file": where, "item": hit.item, "words": hit.words} for hit in telling
                )
        is_code = found.repository.genre == "code"
        rest = [file for file in found.files if is_code and file.path not in rules]
        excess = excess_tests(rest, max_fraction=recipe.max_test_fraction)
        rules |= dict.fromkeys(excess, ("share", "tests"))
        rest = [file for file in rest if file.path not in excess]
        excess = excess_share(rest, max_bytes=recipe.max_repository_bytes)
        rules |= dict.fromkeys(excess, ("share", "repository"))
        for file in found.files:
            if file.path in rules:
                stage, rule = rules[file.path]
                where = f"{found.repository.name}/{file.path}"
                ledgers[stage].add(rule, file.size_bytes, language=file.language, sample=where)
        dropped.append(set(rules))
    return dropped, found_hits
