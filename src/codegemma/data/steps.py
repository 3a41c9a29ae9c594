# SPDX-License-Identifier: Apache-2.0
"""The two stages that look at one repository alone, as units of work for `engine`.

Each leaves its result in a file of its own, under the hash of everything it depends on, so that a
run that was killed goes on where it stopped and never takes an outdated result.
"""

import dataclasses
import hashlib
import json
import shutil
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codegemma.data import dedup, pack, read, results, shards, stages
from codegemma.data.decontaminate import BenchmarkIndex, Hit
from codegemma.data.document import (
    GENRES,
    File,
    Genre,
    Ledger,
    Location,
    Progress,
    Repository,
)
from codegemma.data.filters import Signals
from codegemma.data.names import NameTagger
from codegemma.data.recipes import DataRecipe
from codegemma.data.rules import rules_version
from codegemma.data.safety import Removals, UnsafeScanner
from codegemma.data.stages import Inspected, Measured
from codegemma.errors import InputError
from codegemma.text.tokenizer import Tokenizer

_RECORDS_PER_SHARD: Final = 4096
_SIGNALS: Final = tuple(signal.name for signal in dataclasses.fields(Signals))
_NUM_SECTIONS: Final = 2
"""Before the texts of an inspected repository, a section each: signatures and signals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectJob:
    """What inspecting needs.

    Args:
        recipe: Data recipe.
        benchmarks: What to keep out.
        benchmarks_hash: Identity of the benchmarks.
        removals: Files whose owners asked to be left out.
        scanner: Looks for unsafe content.
        tagger: Finds names to replace.
        lists_hash: Identity of these three.
        locations: The repositories; a unit is one of them.
        folder: Where results are stored.
    """

    recipe: DataRecipe
    benchmarks: BenchmarkIndex
    benchmarks_hash: str
    locations: tuple[Location, ...]
    removals: Removals = field(default_factory=Removals)
    scanner: UnsafeScanner | None = None
    tagger: NameTagger | None = None
    lists_hash: str = ""
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class PackJob:
    """What packing needs.

    Args:
        recipe: Data recipe.
        tokenizer_file: Vocabulary that budgets are counted in.
        names: The repositories; a unit is one of them.
        dropped: Of each, the paths of the files that do not stay.
        folder: Where results are stored.
    """

    recipe: DataRecipe
    tokenizer_file: Path
    names: tuple[str, ...]
    dropped: tuple[Collection[str], ...]
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """What a packed repository holds.

    Args:
        num_records: Records.
        num_windows: Files and windows in them.
        num_tokens: Tokens in them, uncut.
        ledger: What no budget held.
    """

    num_records: int
    num_windows: int
    num_tokens: int
    ledger: Ledger


class Input(NamedTuple):
    """A repository as read.

    Args:
        repository: It.
        ledger: What was left out.
        fault: Why it cannot be read, "" where it can.
        sha256: Hash of all of it that decides what is taken: texts, licences and genre; name and
            version, which are told beside it, are not in it.
    """

    repository: Repository
    ledger: Ledger
    fault: str
    sha256: str


def read_input(location: Location, *, recipe: DataRecipe) -> Input:
    """Read a repository as a recipe says.

    Raises:
        InputError: It cannot be read, and is no part of a source.
    """
    fault = ""
    try:
        repository, ledger = read.read_repository(
            location,
            extensions=recipe.extensions,
            max_bytes=recipe.max_file_bytes,
            languages=recipe.languages,
        )
    except InputError as error:
        if not location.is_part:
            raise
        fault = str(error)
        repository, ledger = Repository(name=location.name, version=location.version), Ledger()
    facts = [
        location.genre,
        stages.content_hash(repository),
        [file.line_ends for file in repository.files],
        repository.licenses,
        ledger.as_json(),
        location.aliases,
        fault,
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return Input(repository, ledger, fault, digest)


def inspect(job: InspectJob, index: int) -> None:
    """Read one repository, drop files by rule, and measure what stays.

    Of one that cannot be read and is a part of a source, the fault is all that is kept.

    Raises:
        InputError: It cannot be read, and is what the user named.
    """
    recipe = job.recipe
    location = job.locations[index]
    repository, ledger, fault, digest = read_input(location, recipe=recipe)
    path = _place(job.folder, "inspect", location.name)
    key = _key([digest, location.version, job.benchmarks_hash, job.lists_hash, _json_of(recipe)])
    if results.is_made(path, key=key):
        return
    removals = dataclasses.replace(job.removals, aliases=location.aliases)
    seen = _look(job, repository, removals, digest)
    inspected = stages.inspect(
        repository,
        recipe=recipe,
        benchmarks=job.benchmarks,
        input_hash=digest,
        ledger=ledger,
        removals=removals,
        scanner=job.scanner,
        tagger=job.tagger,
        seen=seen,
    )
    texts = [zlib.compress(file.text.encode(), 1) for file in inspected.repository.files]
    signed = [file.signature for file in inspected.files if file.signature is not None]
    signatures = np.array(signed, np.uint32).tobytes()
    asked = _asked(inspected, repository, removals)
    head = _head_of(inspected) | {"asked": asked, "fault": fault}
    rows = b"".join(_signal_row(repository, row) for row in inspected.signals)
    sections = [signatures, zlib.compress(rows, 1)]
    results.write(path, head, [*sections, *texts], key=key)


def _look(
    job: InspectJob, repository: Repository, removals: Removals, digest: str
) -> list[stages.Seen]:
    """Read what a run with these or other thresholds has measured, or measure and store it.

    Files are told by their number alone: a scanner may still find that of some nothing is to be
    kept.
    """
    path = _place(job.folder, "signals", repository.name)
    key = _key([digest, job.lists_hash, _json_of(dataclasses.replace(job.recipe, thresholds={}))])
    if results.is_made(path, key=key):
        stored: list[Any] = json.loads(zlib.decompress(results.read_section(path, 0)))
        return [
            stages.Seen(
                language=language,
                stage=stage,
                rule=rule,
                signals=None
                if values is None
                else Signals(**dict(zip(_SIGNALS, values, strict=True))),
            )
            for language, stage, rule, values in stored
        ]
    seen = stages.look(repository, recipe=job.recipe, removals=removals)
    rows = [
        [one.language, one.stage, one.rule, one.signals and dataclasses.astuple(one.signals)]
        for one in seen
    ]
    results.write(path, {}, [zlib.compress(json.dumps(rows).encode(), 1)], key=key)
    return seen


def _asked(inspected: Inspected, repository: Repository, removals: Removals) -> list[str]:
    """Give the entries of the removal lists that left out files of a repository."""
    if not inspected.ledgers["removed"].rows:
        return []
    found = {removals.entry(repository.name, file.path) for file in repository.files}
    return sorted(found - {""})


def read_asked(folder: Path, name: str) -> list[str]:
    """Read the entries of the removal lists that left out files of an inspected repository."""
    return results.read_head(_place(folder, "inspect", name))["asked"]


def _signal_row(repository: Repository, row: tuple[str, str, str, Signals]) -> bytes:
    path, language, rule, signals = row
    start = {"repository": repository.name, "genre": repository.genre, "path": path}
    start |= {"language": language, "rule": rule}
    return json.dumps(start | dataclasses.asdict(signals)).encode() + b"\n"


def read_signals(folder: Path, name: str) -> bytes:
    """Read what was measured of a repository's files, a line of JSON a file."""
    return zlib.decompress(results.read_section(_place(folder, "inspect", name), 1))


def read_inspected(folder: Path, name: str) -> Inspected:
    """Read what is known of an inspected repository; its files are listed, not held."""
    path = _place(folder, "inspect", name)
    head = results.read_head(path)
    signatures = iter(
        np.frombuffer(results.read_section(path, 0), np.uint32).reshape(-1, dedup.SIGNATURE_SIZE)
    )
    files = tuple(
        Measured(
            path=row["path"],
            size_bytes=row["size_bytes"],
            language=row["language"],
            digest=dedup.Digest(*map(bytes.fromhex, row["digest"])),
            signature=next(signatures) if row["is_signed"] else None,
            hits=tuple(
                Hit(item=item, words=words, ngram=ngram, is_copy=is_copy)
                for item, words, ngram, is_copy in row["hits"]
            ),
        )
        for row in head["files"]
    )
    return Inspected(
        repository=Repository(**head["repository"]),
        files=files,
        input_hash=head["input_hash"],
        input=Ledger.from_json(head["input"]),
        ledgers={stage: Ledger.from_json(rows) for stage, rows in head["ledgers"].items()},
        is_barred=head["is_barred"],
        redacted=head["redacted"],
        fault=head["fault"],
    )


def read_files(folder: Path, name: str, *, without: Collection[str] = ()) -> Repository:
    """Read an inspected repository with its texts, some files left out."""
    path = _place(folder, "inspect", name)
    head = results.read_head(path)
    texts = results.read_sections(path)[_NUM_SECTIONS:]
    files = tuple(
        File(
            path=row["path"],
            text=zlib.decompress(text).decode(),
            line_ends=row["line_ends"],
            is_broken=row["is_broken"],
        )
        for row, text in zip(head["files"], texts, strict=True)
        if row["path"] not in without
    )
    return dataclasses.replace(Repository(**head["repository"]), files=files)


class StoredTexts:
    """The texts of inspected repositories, read from disk one by one.

    Args:
        folder: Where the results are.
        names: The repositories.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths: list[Path] = [_place(folder, "inspect", name) for name in names]
        self._places: dict[int, NDArray[np.int64]] = {}

    def read(self, number: int, place: int) -> str:
        """Read a file of a repository, by the number of each."""
        path = self._paths[number]
        if number not in self._places:
            self._places[number] = np.array(results.offsets(path)[_NUM_SECTIONS:], np.int64)
        begin, size = self._places[number][place].tolist()
        return zlib.decompress(results.read_bytes(path, begin, size)).decode()


def pack_one(job: PackJob, index: int) -> None:
    """Pack what stays of one repository."""
    name, dropped = job.names[index], job.dropped[index]
    tokenizer = _tokenizer(job.tokenizer_file)
    made_from = results.read_key(_place(job.folder, "inspect", name))
    key = _key([made_from, sorted(dropped), _json_of(job.recipe), tokenizer.fingerprint])
    path = _place(job.folder, "pack", name)
    if results.is_made(path, key=key):
        return
    repository = read_files(job.folder, name, without=dropped)
    records, num_tokens, ledger = pack.pack_repository(
        repository, tokenizer=tokenizer, recipe=job.recipe
    )
    head = {
        "windows": sum(len(record.files) for record in records),
        "tokens": num_tokens,
        "ledger": ledger.as_json(),
    }
    results.write(path, head, [shards.pack_record(record) for record in records], key=key)


def read_packed(folder: Path, name: str) -> Packed:
    """Read what packing a repository came to."""
    path = _place(folder, "pack", name)
    head = results.read_head(path)
    return Packed(
        num_records=len(results.offsets(path)),
        num_windows=head["windows"],
        num_tokens=head["tokens"],
        ledger=Ledger.from_json(head["ledger"]),
    )


class StoredRecords(Sequence[bytes]):
    """The records of packed repositories, read from disk when asked for.

    Args:
        folder: Where the results are.
        names: The repositories.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths: list[Path] = [_place(folder, "pack", name) for name in names]
        places: list[tuple[int, int, int]] = []
        for which, path in enumerate(self._paths):
            places.extend((which, begin, size) for begin, size in results.offsets(path))
        self._places = np.array(places, np.int64).reshape(-1, 3)

    def __len__(self) -> int:
        """Number of records."""
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        """Read a record; slices are not given."""
        which, begin, size = (int(value) for value in self._places[index])
        return results.read_bytes(self._paths[which], begin, size)


def write_shards(
    folder: Path, genres: Mapping[str, Genre], heldout: Collection[str], progress: Progress
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Write all records of packed repositories to `shards/`.

    A part has shards of code even where it has none of it, and of other genres where it has some.

    Args:
        folder: Where the results are.
        genres: What each repository holds, by its name.
        heldout: Names of those kept apart.
        progress: Told of the records ("write").

    Returns:
        The shards of each part and a hash over its records.
    """
    target = folder / "shards"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    entries: dict[str, list[dict[str, Any]]] = {}
    digests: dict[str, str] = {}
    done, total = 0, len(StoredRecords(folder, list(genres)))
    progress("write", done, total)

    def tell(count: int) -> None:
        nonlocal done
        done += count
        progress("write", done, total)

    for part in shards.PARTS:
        entries[part], keys = [], list[bytes]()
        for genre in GENRES:
            mine = [
                name
                for name, found in genres.items()
                if found == genre and (name in heldout) == (part == "heldout")
            ]
            records = StoredRecords(folder, mine)
            if len(records) or genre == "code":
                entries[part] += shards.write_shards(
                    target,
                    part,
                    records,
                    records_per_shard=_RECORDS_PER_SHARD,
                    genre=genre,
                    written=tell,
                )
            keys += map(shards.record_key, records)
        digests[part] = hashlib.sha256(b"".join(sorted(keys))).hexdigest()
    return entries, digests


def _head_of(inspected: Inspected) -> dict[str, Any]:
    return {
        "repository": {
            "name": inspected.repository.name,
            "version": inspected.repository.version,
            "license": inspected.repository.license,
            "genre": inspected.repository.genre,
        },
        "files": [
            {
                "path": file.path,
                "size_bytes": file.size_bytes,
                "language": file.language,
                "digest": [digest.hex() for digest in file.digest],
                "is_signed": file.signature is not None,
                "hits": [[hit.item, hit.words, hit.ngram, hit.is_copy] for hit in file.hits],
                "line_ends": source.line_ends,
                "is_broken": source.is_broken,
            }
            for file, source in zip(inspected.files, inspected.repository.files, strict=True)
        ],
        "input_hash": inspected.input_hash,
        "input": inspected.input.as_json(),
        "ledgers": {stage: ledger.as_json() for stage, ledger in inspected.ledgers.items()},
        "is_barred": inspected.is_barred,
        "redacted": inspected.redacted,
    }


def _place(folder: Path, stage: str, name: str) -> Path:
    return folder / stage / hashlib.sha256(name.encode()).hexdigest()[:32]


def _key(facts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps([rules_version(), *facts]).encode()).hexdigest()


def _json_of(recipe: DataRecipe) -> Mapping[str, Any]:
    return dataclasses.asdict(recipe)


@lru_cache(maxsize=1)
def _tokenizer(file: Path) -> Tokenizer:
    return Tokenizer.from_file(file)
