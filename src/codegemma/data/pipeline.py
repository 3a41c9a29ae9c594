# SPDX-License-Identifier: Apache-2.0
"""Run the stages: read, license, filter, copies, contamination, share, vocabulary, pack, write.

Reads source folders and writes `OUT/shards/`, `OUT/tokenizer.model`, `OUT/manifest.json` and
`OUT/report.json`. The bytes of the shards depend on sources and configuration alone, not on the
number of workers. Everything is written in a folder beside and moved when it is whole.
"""

import dataclasses
import hashlib
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from codegemma.data import filters, pack, read, shards, stages, vocabulary
from codegemma.data import license as licenses
from codegemma.data.decontaminate import BenchmarkIndex, read_benchmarks
from codegemma.data.document import Ledger, Repository
from codegemma.data.read import Location
from codegemma.data.recipes import DataRecipe
from codegemma.data.stages import Inspected
from codegemma.errors import ConfigError, InputError
from codegemma.text.tokenizer import Tokenizer

FORMAT: Final = 1
_SAMPLE_BYTES: Final = 24_000_000
_RECORDS_PER_SHARD: Final = 4096

Progress = Callable[[str, int, int], None]
"""Told (stage, steps done, steps in all) as work goes on."""


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
    """Make a data set.

    Args:
        settings: What to make.
        out: Output folder; made when missing. With a finished data set of the same settings in
            it nothing is done.
        progress: Told how far the work is.

    Returns:
        The manifest.

    Raises:
        ConfigError: The folder holds a data set of other settings.
        InputError: A source or benchmark cannot be read, or nothing is left to train on.
    """
    if (found := _finished(settings, out)) is not None:
        return found
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as partial:
        manifest = _prepare(settings, Path(partial), progress or (lambda *_: None))
        _publish(Path(partial), out)
    return manifest


def _finished(settings: Settings, out: Path) -> dict[str, Any] | None:
    path = out / "manifest.json"
    if not path.exists():
        if (out / "shards").exists():
            shutil.rmtree(out / "shards")  # moved here by a run that was stopped before its end
        return None
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("settings") != settings.as_json():
        raise ConfigError(
            f"{out} holds data prepared with other settings; choose another folder or delete it"
        )
    return manifest


def _publish(partial: Path, out: Path) -> None:
    """Move finished files to their place, the manifest last: without it there is no data set."""
    for name in ("shards", "tokenizer.model", "report.json", "manifest.json"):
        if (partial / name).exists():
            (partial / name).replace(out / name)


def _prepare(settings: Settings, out: Path, progress: Progress) -> dict[str, Any]:
    recipe = settings.recipe
    locations = read.find_repositories(settings.sources, each=settings.each)
    progress("benchmarks", 0, 1)
    benchmarks = BenchmarkIndex(read_benchmarks(settings.benchmarks))
    ledgers = {name: Ledger() for name in _STAGES}
    allowed: list[Location] = []
    for location in locations:
        if not recipe.permissive_only or licenses.is_permissive(location.license):
            allowed.append(location)
        else:
            _count_license(location, recipe, ledgers["license"])
    with _Workers(settings.workers, benchmarks, recipe) as workers:
        # Held-out repositories first: of two copies the held-out one stays, training loses its own.
        allowed.sort(
            key=lambda at: not stages.is_heldout(at.name, recipe=recipe, seed=settings.seed)
        )
        inspected = workers.inspect(allowed, progress)
        for found in inspected:
            for stage, ledger in found.ledgers.items():
                ledgers[stage].merge([ledger])
        progress("copies", 0, 1)
        repositories, hits = _select(inspected, recipe, ledgers)
        train = [
            repository
            for repository in repositories
            if not stages.is_heldout(repository.name, recipe=recipe, seed=settings.seed)
        ]
        if not any(repository.files for repository in train):
            raise InputError(
                "nothing is left to train on; see the licences and filters of `prepare`"
            )
        progress("vocabulary", 0, 1)
        _write_tokenizer(settings, out, train)
        packed = workers.pack(repositories, out / "tokenizer.model", progress)
    progress("write", 0, 1)
    (out / "shards").mkdir()
    heldout = {r.name for r in repositories} - {r.name for r in train}
    parts: dict[str, list[bytes]] = {"train": [], "heldout": []}
    for repository, result in zip(repositories, packed, strict=True):
        parts["heldout" if repository.name in heldout else "train"].extend(result.records)
        ledgers["pack"].merge([result.ledger])
    entries = {
        part: shards.write_shards(
            out / "shards", part, parts[part], records_per_shard=_RECORDS_PER_SHARD
        )
        for part in shards.PARTS
    }
    rows = _repository_rows(inspected, repositories, packed, heldout)
    manifest = {
        "format": FORMAT,
        "settings": settings.as_json(),
        "tokenizer": {"sha256": shards.hash_file(out / "tokenizer.model")},
        "versions": {
            name: version(name) for name in ("codegemma", "array-record", "sentencepiece")
        },
        "shards": entries,
        "totals": {part: _totals(rows, part, parts[part]) for part in shards.PARTS},
        "dropped": {stage: ledger.as_json() for stage, ledger in ledgers.items()},
        "repositories": rows,
    }
    report = {"contamination": hits, "not_permissive": _not_permissive(locations)}
    _write_json(out / "report.json", report)
    _write_json(out / "manifest.json", manifest)
    return manifest


_STAGES: Final = ("read", "license", "filter", "copies", "contamination", "share", "pack")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _count_license(location: Location, recipe: DataRecipe, ledger: Ledger) -> None:
    found, _ = read.read_repository(
        location, extensions=recipe.extensions, max_bytes=recipe.max_file_bytes
    )
    for file in found.files:
        ledger.add(f"license: {location.license or 'unknown'}", file.size_bytes)


def _not_permissive(locations: Sequence[Location]) -> list[dict[str, str]]:
    return [
        {"name": at.name, "version": at.version, "license": at.license}
        for at in locations
        if not licenses.is_permissive(at.license)
    ]


def _select(
    inspected: Sequence[Inspected], recipe: DataRecipe, ledgers: dict[str, Ledger]
) -> tuple[list[Repository], list[dict[str, str]]]:
    """Apply the stages that compare repositories with one another."""
    copied = stages.copies(inspected, threshold=recipe.near_copy_threshold)
    hits = stages.contaminated(inspected, max_repositories=recipe.max_common_repositories)
    repositories: list[Repository] = []
    report: list[dict[str, str]] = []
    for found, copy_rules, hit_by_path in zip(inspected, copied, hits, strict=True):
        kept = []
        for file in found.repository.files:
            if file.path in copy_rules:
                ledgers["copies"].add(copy_rules[file.path], file.size_bytes)
            elif file.path in hit_by_path:
                hit = hit_by_path[file.path]
                ledgers["contamination"].add(hit.item.split("/")[0], file.size_bytes)
                where = f"{found.repository.origin}/{file.path}"
                report.append({"file": where, "item": hit.item, "words": hit.words})
            else:
                kept.append(file)
        repository = stages.with_files(found.repository, kept)
        excess = stages.excess_tests(repository, max_fraction=recipe.max_test_fraction)
        repository = _without(repository, excess, ledgers["share"], "tests")
        excess = stages.excess_share(repository, max_bytes=recipe.max_repository_bytes)
        repositories.append(_without(repository, excess, ledgers["share"], "repository"))
    return repositories, report


def _without(repository: Repository, excess: set[str], ledger: Ledger, rule: str) -> Repository:
    for file in repository.files:
        if file.path in excess:
            ledger.add(rule, file.size_bytes)
    rest = [file for file in repository.files if file.path not in excess]
    return stages.with_files(repository, rest)


def _write_tokenizer(settings: Settings, out: Path, train: Sequence[Repository]) -> None:
    target = out / "tokenizer.model"
    if settings.tokenizer_file is not None:
        shutil.copyfile(settings.tokenizer_file, target)
        return
    files = [file for repository in train for file in repository.files]
    total = sum(file.size_bytes for file in files)
    texts = vocabulary.sample(
        (file.text for file in files), max_bytes=_SAMPLE_BYTES, total_bytes=total
    )
    target.write_bytes(vocabulary.train(texts, vocab_size=settings.vocab_size or 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Packed:
    """Serialised records of a repository, what they hold, and what no budget held."""

    records: list[bytes]
    num_windows: int
    num_tokens: int
    ledger: Ledger


class _Workers:
    """Runs the stages that look at one repository alone, in this process or in several."""

    def __init__(self, count: int, benchmarks: BenchmarkIndex, recipe: DataRecipe) -> None:
        self._recipe = recipe
        self._benchmarks = benchmarks
        self._pool = None
        if count > 1:
            self._pool = ProcessPoolExecutor(
                count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_set_worker,
                initargs=(benchmarks, recipe),
            )

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def inspect(self, locations: Sequence[Location], progress: Progress) -> list[Inspected]:
        """Inspect repositories, results in the order of the locations."""
        if not self._pool:
            _set_worker(self._benchmarks, self._recipe)
        run = self._pool.map(_inspect, locations) if self._pool else map(_inspect, locations)
        found: list[Inspected] = []
        for result in run:
            found.append(result)
            progress("inspect", len(found), len(locations))
        return found

    def pack(
        self, repositories: Sequence[Repository], tokenizer_file: Path, progress: Progress
    ) -> list[_Packed]:
        """Pack repositories, results in their order."""
        work = [(repository, tokenizer_file) for repository in repositories]
        run = self._pool.map(_pack, work) if self._pool else map(_pack, work)
        packed: list[_Packed] = []
        for result in run:
            packed.append(result)
            progress("pack", len(packed), len(repositories))
        return packed


_worker: dict[str, Any] = {}


def _set_worker(benchmarks: BenchmarkIndex, recipe: DataRecipe) -> None:
    _worker.update(benchmarks=benchmarks, recipe=recipe)


def _inspect(location: Location) -> Inspected:
    return stages.inspect_repository(
        location, recipe=_worker["recipe"], benchmarks=_worker["benchmarks"]
    )


def _pack(work: tuple[Repository, Path]) -> _Packed:
    repository, tokenizer_file = work
    if _worker.get("tokenizer_file") != tokenizer_file:
        _worker.update(tokenizer_file=tokenizer_file, tokenizer=Tokenizer.from_file(tokenizer_file))
    records, num_tokens, ledger = pack.pack_repository(
        repository, tokenizer=_worker["tokenizer"], recipe=_worker["recipe"]
    )
    return _Packed(
        records=[shards.pack_record(record) for record in records],
        num_windows=sum(len(record.files) for record in records),
        num_tokens=num_tokens,
        ledger=ledger,
    )


def _repository_rows(
    inspected: Sequence[Inspected],
    repositories: Sequence[Repository],
    packed: Sequence[_Packed],
    heldout: set[str],
) -> list[dict[str, Any]]:
    return [
        {
            "name": repository.name,
            "version": repository.version,
            "license": repository.license,
            "part": "heldout" if repository.name in heldout else "train",
            "input_sha256": found.input_hash,
            "input_files": found.input_files,
            "input_bytes": found.input_bytes,
            "files": len(repository.files),
            "test_files": sum(filters.is_test(file.path) for file in repository.files),
            "bytes": sum(file.size_bytes for file in repository.files),
            "windows": result.num_windows,
            "records": len(result.records),
            "tokens": result.num_tokens,
        }
        for found, repository, result in zip(inspected, repositories, packed, strict=True)
    ]


def _totals(rows: Sequence[dict[str, Any]], part: str, records: Sequence[bytes]) -> dict[str, Any]:
    mine = [row for row in rows if row["part"] == part]
    digest = hashlib.sha256(b"".join(sorted(map(shards.record_key, records)))).hexdigest()
    keys = (
        "input_files",
        "input_bytes",
        "files",
        "test_files",
        "bytes",
        "windows",
        "records",
        "tokens",
    )
    return {key: sum(row[key] for row in mine) for key in keys} | {
        "repositories": len(mine),
        "sha256": digest,
    }
