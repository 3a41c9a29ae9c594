# SPDX-License-Identifier: Apache-2.0
"""Run the stages: read, license, filter, copies, contamination, share, vocabulary, pack, write.

Reads source folders and writes `OUT/shards/`, `OUT/tokenizer.model`, `OUT/manifest.json` and
`OUT/report.json`. The bytes of the shards depend on sources and configuration alone, not on the
number of workers. Everything is written in a folder beside and moved when it is whole.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from codegemma.data import decontaminate, read, report, shards, stages, vocabulary
from codegemma.data import license as licenses
from codegemma.data import manifest as manifests
from codegemma.data.decontaminate import BenchmarkIndex
from codegemma.data.document import File, Ledger, Repository
from codegemma.data.read import Location
from codegemma.data.recipes import DataRecipe
from codegemma.data.stages import Inspected
from codegemma.data.workers import Job, Packed, Progress, Workers
from codegemma.errors import ConfigError, InputError
from codegemma.text.tokenizer import FILE_NAMES, Tokenizer

_SAMPLE_BYTES: Final = 24_000_000
_RECORDS_PER_SHARD: Final = 4096
_PACKAGES: Final = ("codegemma", "array-record", "sentencepiece", "tree-sitter-python")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a data set is made from and how.

    Args:
        sources: Folders, see `read.find_repositories`.
        recipe: Data recipe.
        tokenizer_file: Vocabulary that budgets are counted in; None trains one.
        vocab_size: Size of the vocabulary to train, when there is no file.
        each: Take every child folder of a source as a repository.
        benchmarks: Files and folders of evaluation data to keep out.
        seed: Seed of the held-out draw.
        workers: Processes.
    """

    sources: tuple[Path, ...]
    recipe: DataRecipe
    tokenizer_file: Path | None = None
    vocab_size: int | None = None
    each: bool = False
    benchmarks: tuple[Path, ...] = ()
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        faults: list[str] = []
        if (self.tokenizer_file is None) == (self.vocab_size is None):
            faults.append("give either a tokenizer or the size of a vocabulary to train")
        smallest = vocabulary.smallest_size()
        if self.vocab_size is not None and self.vocab_size < smallest:
            faults.append(f"vocab_size must be at least {smallest}, not {self.vocab_size}")
        if self.workers < 1:
            faults.append(f"workers must be at least 1, not {self.workers}")
        if not self.sources:
            faults.append("name at least one source folder")
        if faults:
            raise ConfigError("; ".join(faults))

    def as_json(self) -> dict[str, Any]:
        """Give what decides the output, for the manifest; the number of workers does not."""
        tokenizer = shards.hash_file(self.tokenizer_file) if self.tokenizer_file else None
        return {
            "recipe": json.loads(json.dumps(dataclasses.asdict(self.recipe))),
            "seed": self.seed,
            "each": self.each,
            "tokenizer": tokenizer,
            "vocab_size": self.vocab_size,
        }


def prepare(settings: Settings, *, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Make a data set. Run again after an interrupt, it goes on where it stopped.

    Args:
        settings: What to make.
        out: Output folder; made when missing. With a finished data set of the same settings and
            sources in it nothing is done.
        progress: Told how far the work is.

    Returns:
        The manifest.

    Raises:
        ConfigError: The folder holds a data set of other settings or sources.
        InputError: A source or benchmark cannot be read, or nothing is left to train on.
        CheckpointError: The tokenizer file is refused.
    """
    recipe = settings.recipe
    if settings.tokenizer_file is not None:
        Tokenizer.from_file(settings.tokenizer_file)
    locations = read.find_repositories(settings.sources, each=settings.each)
    allowed = [
        at for at in locations if not recipe.permissive_only or licenses.is_permissive(at.license)
    ]
    names = {at.name for at in allowed}
    heldout = stages.choose_heldout(names, recipe=recipe, seed=settings.seed)
    # Held-out repositories first: of two copies the held-out one stays, training loses its own.
    allowed.sort(key=lambda at: at.name not in heldout)
    identity = settings.as_json() | {
        "repositories": [[at.name, at.version] for at in allowed],
        "benchmarks": decontaminate.fingerprint(settings.benchmarks),
    }
    partial = out / ".partial"
    finished = _finished(out, identity, allowed, recipe)
    if finished is not None:
        shutil.rmtree(partial, ignore_errors=True)
        return finished
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder")
    partial.mkdir(parents=True, exist_ok=True)
    barred = [at for at in locations if at not in allowed]
    try:
        with FileLock(out / ".lock", timeout=0):
            manifest = _prepare(
                settings, identity, allowed, barred, heldout, partial, progress or _no_progress
            )
            _publish(partial, out)
    except Timeout as error:
        raise ConfigError(f"another run is preparing data in {out}; wait for it") from error
    (out / ".lock").unlink(missing_ok=True)
    return manifest


def _no_progress(stage: str, done: int, total: int) -> None:
    pass


def _finished(
    out: Path, identity: dict[str, Any], allowed: Sequence[Location], recipe: DataRecipe
) -> dict[str, Any] | None:
    """Give the manifest of a finished data set made of the same, None when there is none."""
    if not (out / "manifest.json").exists():
        return None
    manifest = manifests.read_manifest(out)
    if manifest["settings"] != identity:
        raise ConfigError(
            f"{out} holds data prepared with other settings or sources; "
            "choose another folder or delete it"
        )
    made_of = {row["name"]: row["input_sha256"] for row in manifest["repositories"]}
    for location in allowed:
        repository, _ = read.read_repository(
            location, extensions=recipe.extensions, max_bytes=recipe.max_file_bytes
        )
        if made_of.get(location.name) != stages.content_hash(repository):
            raise ConfigError(
                f"{out} holds data prepared before {location.name} changed; "
                "choose another folder or delete it"
            )
    return manifest


def _publish(partial: Path, out: Path) -> None:
    """Move finished files to their place, the manifest last: without it there is no data set."""
    if (out / "shards").exists():
        shutil.rmtree(out / "shards")  # moved there by a run that was stopped before its end
    for name in ("shards", *FILE_NAMES, "report.json", "manifest.json"):
        if (partial / name).exists():
            (partial / name).replace(out / name)
    shutil.rmtree(partial)


def _prepare(
    settings: Settings,
    identity: dict[str, Any],
    allowed: list[Location],
    barred: list[Location],
    heldout: frozenset[str],
    partial: Path,
    progress: Progress,
) -> dict[str, Any]:
    recipe = settings.recipe
    ledgers = {name: Ledger() for name in _STAGES}
    for location in barred:
        _count_license(location, recipe, ledgers["license"])
    progress("benchmarks", 0, 1)
    job = Job(
        recipe=recipe,
        benchmarks=BenchmarkIndex(decontaminate.read_benchmarks(settings.benchmarks)),
        benchmarks_hash=identity["benchmarks"],
        folder=partial,
    )
    with Workers(settings.workers, job) as workers:
        inspected = workers.inspect(allowed, progress)
        for found in inspected:
            for stage, ledger in found.ledgers.items():
                ledgers[stage].merge([ledger])
        progress("copies", 0, 1)
        repositories, hits = _select(inspected, recipe, ledgers)
        train = [repository for repository in repositories if repository.name not in heldout]
        if not any(repository.files for repository in train):
            raise InputError(
                "nothing is left to train on: "
                + (
                    f"{len(barred)} repositories lack a permissive licence; --unlicensed takes "
                    "code that you may use all the same"
                    if barred
                    else "no file passed the filters"
                )
            )
        progress("vocabulary", 0, 1)
        tokenizer_file = _write_tokenizer(settings, partial, train)
        packed = workers.pack(repositories, tokenizer_file, progress)
    progress("write", 0, 1)
    entries, digests = _write_shards(partial / "shards", repositories, packed, heldout)
    for result in packed:
        ledgers["pack"].merge([result.ledger])
    rows = report.repository_rows(inspected, repositories, packed, heldout)
    manifest: dict[str, Any] = {
        "format": manifests.FORMAT,
        "settings": identity,
        "tokenizer": {"sha256": shards.hash_file(tokenizer_file)},
        "versions": {name: version(name) for name in _PACKAGES},
        "shards": entries,
        "totals": {
            part: report.totals(rows, part) | {"sha256": digests[part]} for part in shards.PARTS
        },
        "dropped": {stage: ledger.as_json() for stage, ledger in ledgers.items()},
        "repositories": rows,
    }
    findings = {
        "contamination": hits,
        "not_permissive": [[at.name, at.version, at.license] for at in barred],
    }
    report.write_json(partial / "report.json", findings)
    report.write_json(partial / "manifest.json", manifest)
    return manifest


def _write_shards(
    folder: Path,
    repositories: Sequence[Repository],
    packed: Sequence[Packed],
    heldout: frozenset[str],
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Write all records; give the shards of each part and a hash over its records."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    parts: dict[shards.Part, list[bytes]] = {"train": [], "heldout": []}
    for repository, result in zip(repositories, packed, strict=True):
        parts["heldout" if repository.name in heldout else "train"].extend(result.records)
    entries: dict[str, list[dict[str, Any]]] = {}
    digests: dict[str, str] = {}
    for part, records in parts.items():
        entries[part] = shards.write_shards(
            folder, part, records, records_per_shard=_RECORDS_PER_SHARD
        )
        keys = b"".join(sorted(map(shards.record_key, records)))
        digests[part] = hashlib.sha256(keys).hexdigest()
    return entries, digests


_STAGES: Final = ("read", "license", "filter", "copies", "contamination", "share", "pack")


def _count_license(location: Location, recipe: DataRecipe, ledger: Ledger) -> None:
    found, _ = read.read_repository(
        location, extensions=recipe.extensions, max_bytes=recipe.max_file_bytes
    )
    for file in found.files:
        ledger.add(f"license: {location.license or 'unknown'}", file.size_bytes)


def _select(
    inspected: Sequence[Inspected], recipe: DataRecipe, ledgers: dict[str, Ledger]
) -> tuple[list[Repository], list[dict[str, str]]]:
    """Apply the stages that compare repositories with one another."""
    copied = stages.copies(inspected, threshold=recipe.near_copy_threshold)
    hits = stages.contaminated(inspected, max_repositories=recipe.max_common_repositories)
    repositories: list[Repository] = []
    found_hits: list[dict[str, str]] = []
    for found, copy_rules, hit_by_path in zip(inspected, copied, hits, strict=True):
        kept: list[File] = []
        for file in found.repository.files:
            if file.path in copy_rules:
                ledgers["copies"].add(copy_rules[file.path], file.size_bytes)
            elif file.path in hit_by_path:
                hit = hit_by_path[file.path]
                ledgers["contamination"].add(hit.item.split("/")[0], file.size_bytes)
                where = f"{found.repository.origin}/{file.path}"
                found_hits.append({"file": where, "item": hit.item, "words": hit.words})
            else:
                kept.append(file)
        repository = stages.with_files(found.repository, kept)
        excess = stages.excess_tests(repository, max_fraction=recipe.max_test_fraction)
        repository = _without(repository, excess, ledgers["share"], "tests")
        excess = stages.excess_share(repository, max_bytes=recipe.max_repository_bytes)
        repositories.append(_without(repository, excess, ledgers["share"], "repository"))
    return repositories, found_hits


def _without(repository: Repository, excess: set[str], ledger: Ledger, rule: str) -> Repository:
    for file in repository.files:
        if file.path in excess:
            ledger.add(rule, file.size_bytes)
    rest = [file for file in repository.files if file.path not in excess]
    return stages.with_files(repository, rest)


def _write_tokenizer(settings: Settings, folder: Path, train: Sequence[Repository]) -> Path:
    """Copy the vocabulary that was given, or train one, and give its path."""
    for name in FILE_NAMES:
        (folder / name).unlink(missing_ok=True)  # of a run that was stopped
    if settings.tokenizer_file is not None:
        suffix = ".json" if settings.tokenizer_file.suffix == ".json" else ".model"
        target = folder / f"tokenizer{suffix}"
        shutil.copyfile(settings.tokenizer_file, target)
        return target
    files = [file for repository in train for file in repository.files]
    total = sum(file.size_bytes for file in files)
    texts = vocabulary.sample(
        (file.text for file in files), max_bytes=_SAMPLE_BYTES, total_bytes=total
    )
    target = folder / "tokenizer.model"
    target.write_bytes(vocabulary.train(texts, vocab_size=settings.vocab_size or 0))
    return target
