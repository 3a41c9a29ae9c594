# SPDX-License-Identifier: Apache-2.0
"""Run the stages: read, license, filter, copies, contamination, share, vocabulary, pack, write.

Reads source folders and writes `OUT/shards/`, `OUT/tokenizer.model`, `OUT/manifest.json` and
`OUT/report.json`. The bytes of the shards depend on sources and configuration alone, not on the
number of workers. Everything is written in a folder beside and moved when it is whole.
"""

import dataclasses
import gzip
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from codegemma.data import (
    archive,
    audit,
    compare,
    decontaminate,
    engine,
    index_cache,
    loader,
    mixture,
    output,
    read,
    report,
    safety,
    shards,
    stages,
    steps,
    table,
    texts,
    thresholds,
    vocabulary,
)
from codegemma.data import manifest as manifests
from codegemma.data.document import (
    GENRES,
    TURN_END,
    Genre,
    Ledger,
    Location,
    Progress,
    each_told,
    no_progress,
)
from codegemma.data.engine import Cluster
from codegemma.data.names import NameTagger, identify
from codegemma.data.recipes import DataRecipe
from codegemma.data.rules import rules_version
from codegemma.data.safety import Removals, Scanners, UnsafeScanner
from codegemma.data.stages import Inspected, Measured
from codegemma.data.steps import InspectJob, Packed, PackJob
from codegemma.errors import ConfigError, InputError
from codegemma.text.tokenizer import FILE_NAMES, Tokenizer

_MAX_ENDINGS: Final = 5
_SAMPLE_BYTES: Final = 24_000_000
STAGES: Final = (
    "read",
    "removed",
    "license",
    "filter",
    "unsafe",
    "copies",
    "contamination",
    "share",
    "pack",
)
"""The stages that drop files, in their order."""
_PACKAGES: Final = ("codegemma", "array-record", "sentencepiece", "tree-sitter-python")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a data set is made from and how.

    Args:
        sources: Folders and files, see `read.find_repositories`.
        texts: Sources of other genres than code, see `texts.find_texts`.
        recipe: Data recipe.
        tokenizer_file: Vocabulary that budgets are counted in; None trains one.
        vocab_size: Size of the vocabulary to train, when there is no file.
        each: Take every child folder of a source as a repository.
        benchmarks: Files and folders of evaluation data to keep out.
        removals: Lists of who asked to be left out, see `safety`.
        unsafe_lists: Lists of unsafe content, see `safety`.
        scanner: Looks for unsafe content besides those lists.
        tagger: Finds names of persons to replace, besides the rules of `redact`.
        seed: Seed of the held-out draw.
        cluster: Where the stages run; no byte depends on it.
        cache: The user's cache folder, in which the index of the benchmarks is kept between runs;
            None for none.
    """

    sources: tuple[Path, ...]
    recipe: DataRecipe
    texts: tuple[tuple[Genre, Path], ...] = ()
    tokenizer_file: Path | None = None
    vocab_size: int | None = None
    each: bool = False
    benchmarks: tuple[Path, ...] = ()
    removals: tuple[Path, ...] = ()
    unsafe_lists: tuple[Path, ...] = ()
    scanner: UnsafeScanner | None = None
    tagger: NameTagger | None = None
    seed: int = 0
    cluster: Cluster = field(default_factory=Cluster)
    cache: Path | None = None

    def __post_init__(self) -> None:
        faults: list[str] = []
        if (self.tokenizer_file is None) == (self.vocab_size is None):
            faults.append("give either a tokenizer or the size of a vocabulary to train")
        smallest = vocabulary.smallest_size()
        if self.vocab_size is not None and self.vocab_size < smallest:
            faults.append(f"vocab_size must be at least {smallest}, not {self.vocab_size}")
        if self.cluster.workers < 1:
            faults.append(f"workers must be at least 1, not {self.cluster.workers}")
        if not self.sources and not self.texts:
            faults.append("name at least one source")
        faults += [
            f"the recipe {self.recipe.name} gives {genre} no share of the mixture; give one, as in "
            f"--mix code=0.8,{genre}=0.2"
            for genre in sorted(self.genres.difference(self.recipe.mixture))
        ]
        if faults:
            raise ConfigError("; ".join(faults))

    @property
    def genres(self) -> frozenset[Genre]:
        """What the sources hold."""
        named: set[Genre] = {genre for genre, _ in self.texts}
        if self.sources:
            named.add("code")
        return frozenset(named)

    def as_json(self) -> dict[str, Any]:
        """Give what decides the output, for the manifest; the number of workers does not."""
        tokenizer = shards.hash_file(self.tokenizer_file) if self.tokenizer_file else None
        return {
            "recipe": json.loads(json.dumps(dataclasses.asdict(self.recipe))),
            "seed": self.seed,
            "each": self.each,
            "tokenizer": tokenizer,
            "vocab_size": self.vocab_size,
            "thresholds": thresholds.THRESHOLDS_VERSION,
            "removals": safety.fingerprint(self.removals),
            "unsafe_lists": safety.fingerprint(self.unsafe_lists),
        } | self.plugged

    @property
    def plugged(self) -> dict[str, str]:
        """Identities of the user's own scanner and tagger, of those that there are."""
        own = {"scanner": self.scanner, "tagger": self.tagger}
        return {name: identify(one) for name, one in own.items() if one is not None}


def prepare(settings: Settings, *, out: Path, progress: Progress = no_progress) -> dict[str, Any]:
    """Make a data set. Run again after an interrupt, it goes on where it stopped.

    Args:
        settings: What to make.
        out: Output folder; made when missing. With a finished data set of the same settings and
            sources in it nothing is done.
        progress: Told how far the work is.

    Returns:
        The manifest.

    Raises:
        ConfigError: The folder holds a data set of other settings or sources, or files of others.
        InputError: A source or benchmark cannot be read, or nothing is left to train on.
        CheckpointError: The tokenizer file is refused.
    """
    if settings.tokenizer_file is not None:
        Tokenizer.from_file(settings.tokenizer_file)
    removals = safety.read_removals(settings.removals)
    found = read.find_repositories(settings.sources, each=settings.each)
    found += texts.find_texts(settings.texts)
    locations, asked = removals.apply(found)
    if not locations:
        raise InputError("nothing is left to train on: the removal list covers every repository")
    identity = settings.as_json() | {
        "repositories": [[at.name, at.version] for at in locations],
        "benchmarks": decontaminate.fingerprint(settings.benchmarks),
    }
    finished = _finished(out, identity, locations, settings.recipe)
    if finished is not None:
        shutil.rmtree(out / output.PARTIAL, ignore_errors=True)
        return finished
    with output.claimed(out) as partial:
        finished = _finished(out, identity, locations, settings.recipe)
        if finished is not None:  # by a run that ended between the two looks
            shutil.rmtree(partial)
            return finished
        run = _Run(settings, removals, partial, progress)
        manifest = run.prepare(identity, locations, asked)
        output.publish(partial, out)
    return manifest


def _finished(
    out: Path, identity: dict[str, Any], locations: Sequence[Location], recipe: DataRecipe
) -> dict[str, Any] | None:
    """Give the manifest of a finished data set made of the same, None when there is none."""
    inputs = ((at.name, steps.read_input(at, recipe=recipe).sha256) for at in locations)
    return output.finished(out, identity, inputs)


class _Run:
    """One run of all stages.

    Args:
        settings: What to make.
        removals: Files whose owners asked to be left out.
        folder: Where everything is kept until it is whole.
        progress: Told how far the work is.
    """

    def __init__(
        self, settings: Settings, removals: Removals, folder: Path, progress: Progress
    ) -> None:
        self._settings = settings
        self._removals = removals
        self._folder = folder
        self._progress = progress
        self._ledgers = {name: Ledger() for name in STAGES}

    def prepare(
        self, identity: dict[str, Any], locations: Sequence[Location], asked: set[str]
    ) -> dict[str, Any]:
        """Run the stages; `asked` are the removal entries that left out whole repositories."""
        everything = self._inspect(locations, identity["benchmarks"])
        refused = [[found.repository.name, found.fault] for found in everything if found.fault]
        barred = [found for found in everything if found.is_barred]
        inspected = [found for found in everything if not found.is_barred and not found.fault]
        genres: dict[str, Genre] = {
            found.repository.name: found.repository.genre for found in inspected
        }
        heldout = self._choose_heldout(genres)
        # Held-out repositories first: of two copies the held-out one stays, training loses its own.
        inspected.sort(key=lambda found: found.repository.name not in heldout)
        names = [found.repository.name for found in inspected]
        dropped, hits = compare.select(
            inspected,
            recipe=self._settings.recipe,
            heldout=heldout,
            read_text=steps.StoredTexts(self._folder, names).read,
            ledgers=self._ledgers,
            progress=self._progress,
        )
        kept = [
            [file for file in found.files if file.path not in paths]
            for found, paths in zip(inspected, dropped, strict=True)
        ]
        if not any(files and name not in heldout for files, name in zip(kept, names, strict=True)):
            raise InputError(self._reason(barred, everything, locations))
        tokenizer_file = self._write_tokenizer(names, dropped, kept, heldout)
        packed = self._pack(tokenizer_file, names, dropped, kept)
        entries, digests = steps.write_shards(self._folder, genres, heldout, self._progress)
        rows = report.repository_rows(inspected, kept, packed, heldout)
        trained: list[tuple[Genre, Packed]] = []
        for name, result in zip(names, packed, strict=True):
            if name not in heldout:
                trained.append((genres[name], result))
        manifest: dict[str, Any] = {
            "format": manifests.FORMAT,
            "settings": identity,
            "inputs": {found.repository.name: found.input_hash for found in everything},
            "tokenizer": {"sha256": shards.hash_file(tokenizer_file)},
            "versions": {name: version(name) for name in _PACKAGES} | {"rules": rules_version()},
            "shards": entries,
            "mixture": mixture.describe(trained, shares=self._settings.recipe.mixture),
            "totals": {
                part: report.totals(rows, part) | {"sha256": digests[part]} for part in shards.PARTS
            },
            "dropped": {stage: ledger.counts() for stage, ledger in self._ledgers.items()},
            "repositories": rows,
            "refused": refused,
        }
        rates = audit.measure(
            loader.read_shards(
                self._folder / "shards", [e for e in entries["train"] if e["genre"] == "code"]
            ),
            tokenizer=Tokenizer.from_file(tokenizer_file),
            recipe=self._settings.recipe,
        )
        findings = {
            "rates": rates,
            "contamination": hits,
            "refused": refused,
            "not_permissive": [
                [found.repository.name, found.repository.version, found.repository.license]
                for found in barred
            ],
            "redacted": report.total_counts(found.redacted for found in inspected),
            "unsafe": report.unsafe(identity["unsafe_lists"], identity.get("scanner")),
            "unused_removals": self._unused_removals(locations, asked),
            "funnel": report.funnel([found.input for found in everything], self._ledgers),
        } | report.drops(self._ledgers)
        with gzip.GzipFile(self._folder / "signals.jsonl.gz", "wb", mtime=0) as file:
            for found in everything:
                file.write(steps.read_signals(self._folder, found.repository.name))
        report.write_json(self._folder / "report.json", findings)
        report.write_json(self._folder / "manifest.json", manifest)
        return manifest

    def _reason(
        self,
        barred: Sequence[Inspected],
        everything: Sequence[Inspected],
        locations: Sequence[Location],
    ) -> str:
        start = "nothing is left to train on: "
        if barred:
            return (
                f"{start}{len(barred)} repositories lack a permissive licence; --unlicensed takes "
                "code that you may use all the same"
            )
        if any(found.input.rows for found in everything):
            return f"{start}no file passed the filters"
        faults = {found.repository.name: found.fault for found in everything if found.fault}
        if len(faults) == len(locations):
            return start + next(iter(faults.values()))
        recipe = self._settings.recipe
        counts = read.endings(at for at in locations if at.name not in faults)
        found = sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:_MAX_ENDINGS]
        # A name for the ending to stand behind: of `lib.tar.gz` only .gz is told.
        named = [Path(f"x.tar{ending}") for ending in counts]
        is_packed = any(archive.is_archive(path) or table.is_table(path) for path in named)
        if is_packed:
            advice = "name the archives and tables, or read each of a folder by --each"
        elif any(ending in recipe.extensions for ending in counts):
            advice = "those that it reads are empty, too large or come without their text"
        else:
            advice = "another --recipe may read those, such as codegemma-2b"
        return (
            f"{start}the recipe {recipe.name} reads {' '.join(recipe.extensions)}, and the sources "
            "hold "
            + (", ".join(f"{ending} ({count})" for ending, count in found) or "no files")
            + f"; {advice}"
        )

    def _unused_removals(self, locations: Sequence[Location], asked: set[str]) -> list[str]:
        """Give the places of the removal entries that left out neither a file nor a repository."""
        of_files = (steps.read_asked(self._folder, at.name) for at in locations)
        return self._removals.unused(asked.union(*of_files))

    def _choose_heldout(self, genres: Mapping[str, Genre]) -> frozenset[str]:
        """Choose by genre, so that something of each is left to train on; the list is of code."""
        recipe, heldout = self._settings.recipe, frozenset[str]()
        for genre in GENRES:
            names = {name for name, found in genres.items() if found == genre}
            listed = recipe.heldout if genre == "code" else ()
            changed = dataclasses.replace(recipe, heldout=listed)
            heldout |= stages.choose_heldout(names, recipe=changed, seed=self._settings.seed)
        return heldout

    def _inspect(self, locations: Sequence[Location], benchmarks_hash: str) -> list[Inspected]:
        self._progress("benchmarks", 0, 1)
        settings = self._settings
        scanner = safety.read_unsafe_lists(settings.unsafe_lists)
        job = InspectJob(
            recipe=settings.recipe,
            benchmarks=index_cache.benchmark_index(
                settings.benchmarks, fingerprint=benchmarks_hash, cache=settings.cache
            ),
            benchmarks_hash=benchmarks_hash,
            locations=tuple(locations),
            removals=self._removals,
            scanner=scanner if settings.scanner is None else Scanners((scanner, settings.scanner)),
            tagger=settings.tagger,
            lists_hash=json.dumps(
                [settings.as_json()[key] for key in ("removals", "unsafe_lists")]
                + [settings.plugged]
            ),
            folder=self._folder,
        )
        extensions = settings.recipe.extensions
        sizes = read.sizes_bytes(locations, extensions=extensions)
        self._run("inspect", steps.inspect, job, sizes)
        told = each_told(locations, "measured", self._progress)
        found = [steps.read_inspected(self._folder, at.name) for at in told]
        for inspected in found:
            for stage, ledger in inspected.ledgers.items():
                self._ledgers[stage].merge([ledger])
        return found

    def _pack(
        self,
        tokenizer_file: Path,
        names: Sequence[str],
        dropped: Sequence[Collection[str]],
        kept: Sequence[Sequence[Measured]],
    ) -> list[Packed]:
        job = PackJob(
            recipe=self._settings.recipe,
            tokenizer_file=tokenizer_file,
            names=tuple(names),
            dropped=tuple(dropped),
            folder=self._folder,
        )
        sizes = [sum(file.size_bytes for file in files) for files in kept]
        self._run("pack", steps.pack_one, job, sizes)
        packed = [steps.read_packed(self._folder, name) for name in names]
        for result in packed:
            self._ledgers["pack"].merge([result.ledger])
        return packed

    def _run(self, label: str, work: engine.Work, job: Any, sizes: Sequence[int]) -> None:
        engine.run(
            label,
            work,
            job,
            sizes=sizes,
            cluster=self._settings.cluster,
            folder=self._folder / "run",
            progress=self._progress,
        )

    def _write_tokenizer(
        self,
        names: Sequence[str],
        dropped: Sequence[Collection[str]],
        kept: Sequence[Sequence[Measured]],
        heldout: Collection[str],
    ) -> Path:
        """Copy the vocabulary that was given, or train one, and give its path."""
        settings, folder = self._settings, self._folder
        for name in FILE_NAMES:
            (folder / name).unlink(missing_ok=True)  # of a run that was stopped
        if settings.tokenizer_file is not None:
            suffix = ".json" if settings.tokenizer_file.suffix == ".json" else ".model"
            target = folder / f"tokenizer{suffix}"
            shutil.copyfile(settings.tokenizer_file, target)
            return target
        train = [place for place, name in enumerate(names) if name not in heldout]
        total = sum(file.size_bytes for place in train for file in kept[place])

        def read_texts() -> Iterator[str]:
            done = 0
            for place in train:
                found = steps.read_files(folder, names[place], without=dropped[place])
                for file, known in zip(found.files, kept[place], strict=True):
                    self._progress("vocabulary", done, total)
                    yield file.text.replace(TURN_END, "\n")
                    done += known.size_bytes
            self._progress("vocabulary", done, total)
            self._progress("merges", 0, 0)  # what sentencepiece does now it tells nobody

        texts = vocabulary.sample(read_texts(), max_bytes=_SAMPLE_BYTES, total_bytes=total)
        target = folder / "tokenizer.model"
        target.write_bytes(vocabulary.train(texts, vocab_size=settings.vocab_size or 0))
        return target
