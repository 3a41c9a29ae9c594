# SPDX-License-Identifier: Apache-2.0
"""Run the stages that look at one repository alone, in several processes, keeping what is done.

Each result is stored under the hash of everything it depends on, written beside and renamed, so a
run that was killed goes on where it stopped and never reads a half-written or outdated result.
"""

import base64
import dataclasses
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from codegemma.data import pack, read, shards, stages
from codegemma.data.decontaminate import BenchmarkIndex, Hit
from codegemma.data.document import Ledger, Repository
from codegemma.data.read import Location
from codegemma.data.recipes import DataRecipe
from codegemma.data.stages import Inspected
from codegemma.text.tokenizer import Tokenizer

Work = TypeVar("Work")
Result = TypeVar("Result")

_VERSION = 3
"""Raised when a stage's outcome changes for the same input, so that older results are not taken."""

Progress = Callable[[str, int, int], None]
"""Told (stage, done, in all) as work goes on; the numbers are bytes where they are large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A packed repository.

    Args:
        records: Serialised records.
        num_windows: Files and windows in them.
        num_tokens: Tokens in them, uncut.
        ledger: What no budget held.
    """

    records: list[bytes]
    num_windows: int
    num_tokens: int
    ledger: Ledger


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every worker needs; sent to it once.

    Args:
        recipe: Data recipe.
        benchmarks: What to keep out.
        benchmarks_hash: Identity of the benchmarks.
        folder: Where results are stored.
    """

    recipe: DataRecipe
    benchmarks: BenchmarkIndex
    benchmarks_hash: str
    folder: Path


class Workers:
    """Processes that inspect and pack; with a count of 1 the work is done in this process.

    Args:
        count: Number of processes.
        job: What they need.
    """

    def __init__(self, count: int, job: Job) -> None:
        self._job = job
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                count, mp_context=context, initializer=_begin, initargs=(job,)
            )
        else:
            _begin(job)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def inspect(self, locations: Sequence[Location], progress: Progress) -> list[Inspected]:
        """Inspect repositories; results in the order of the locations."""
        extensions = self._job.recipe.extensions
        sizes = [read.size_bytes(location, extensions=extensions) for location in locations]
        return self._run(_inspect, locations, sizes, "inspect", progress)

    def pack(
        self, repositories: Sequence[Repository], tokenizer_file: Path, progress: Progress
    ) -> list[Packed]:
        """Pack repositories; results in their order."""
        work = [(repository, tokenizer_file) for repository in repositories]
        sizes = [sum(file.size_bytes for file in r.files) for r in repositories]
        return self._run(_pack, work, sizes, "pack", progress)

    def _run(
        self,
        function: Callable[[Work], Result],
        work: Sequence[Work],
        sizes: Sequence[int],
        stage: str,
        progress: Progress,
    ) -> list[Result]:
        """Run the largest first, so that no worker is left alone with one at the end."""
        order = sorted(range(len(work)), key=lambda i: -sizes[i])
        results: dict[int, Result] = {}
        total = sum(sizes)
        done = 0
        progress(stage, 0, total)
        if self._pool is None:
            for i in order:
                results[i] = function(work[i])
                done += sizes[i]
                progress(stage, done, total)
        else:
            futures: dict[Future[Result], int] = {
                self._pool.submit(function, work[i]): i for i in order
            }
            for future in as_completed(futures):
                i = futures[future]
                results[i] = future.result()
                done += sizes[i]
                progress(stage, done, total)
        return [results[i] for i in range(len(work))]


_state: dict[str, Any] = {}
"""Set once per process by `_begin`; processes are not shared between runs."""


def _begin(job: Job) -> None:
    _state.clear()
    _state["job"] = job


def _key(stage: str, parts: Sequence[str]) -> str:
    text = json.dumps([_VERSION, stage, *parts])
    return f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _load(folder: Path, key: str) -> list[bytes] | None:
    try:
        return (folder / key).read_bytes().split(b"\n")
    except FileNotFoundError:
        return None


def _store(folder: Path, key: str, lines: Sequence[bytes]) -> None:
    """Write lines, none of which holds a line end, so that they are there whole or not at all."""
    partial = folder / f"{key}.{os.getpid()}"
    with partial.open("wb") as file:
        file.write(b"\n".join(lines))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / key)


def _recipe_json(recipe: DataRecipe) -> str:
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def _inspect(location: Location) -> Inspected:
    job: Job = _state["job"]
    repository, ledger = read.read_repository(
        location, extensions=job.recipe.extensions, max_bytes=job.recipe.max_file_bytes
    )
    digest = stages.content_hash(repository)
    key = _key("inspect", [digest, job.benchmarks_hash])
    lines = _load(job.folder, key)
    if lines is not None:
        return _inspected_from(json.loads(lines[0]), repository, digest, ledger)
    inspected = stages.inspect(
        repository, benchmarks=job.benchmarks, input_hash=digest, ledger=ledger
    )
    _store(job.folder, key, [json.dumps(_inspected_json(inspected)).encode()])
    return inspected


def _inspected_json(inspected: Inspected) -> dict[str, Any]:
    files = [
        [
            file.path,
            digest.hex(),
            None if signature is None else base64.b64encode(signature.tobytes()).decode(),
            [[hit.item, hit.words, hit.ngram] for hit in hits],
        ]
        for file, digest, signature, hits in zip(
            inspected.repository.files,
            inspected.digests,
            inspected.signatures,
            inspected.hits,
            strict=True,
        )
    ]
    return {"files": files, "dropped": inspected.ledgers["filter"].rows}


def _inspected_from(
    values: dict[str, Any], repository: Repository, digest: str, ledger: Ledger
) -> Inspected:
    rows = values["files"]
    kept = {row[0] for row in rows}
    return Inspected(
        repository=stages.with_files(repository, [f for f in repository.files if f.path in kept]),
        digests=tuple(bytes.fromhex(row[1]) for row in rows),
        signatures=tuple(
            None if row[2] is None else np.frombuffer(base64.b64decode(row[2]), np.uint32)
            for row in rows
        ),
        hits=tuple(
            tuple(Hit(item=item, words=words, ngram=ngram) for item, words, ngram in row[3])
            for row in rows
        ),
        input_hash=digest,
        input_files=len(repository.files),
        input_bytes=sum(file.size_bytes for file in repository.files),
        ledgers={"read": ledger, "filter": Ledger(rows=values["dropped"])},
    )


def _pack(work: tuple[Repository, Path]) -> Packed:
    job: Job = _state["job"]
    repository, tokenizer_file = work
    if _state.get("tokenizer_file") != tokenizer_file:
        _state.update(tokenizer_file=tokenizer_file, tokenizer=Tokenizer.from_file(tokenizer_file))
    tokenizer: Tokenizer = _state["tokenizer"]
    parts = [
        stages.content_hash(repository),
        repository.origin,
        _recipe_json(job.recipe),
        tokenizer.fingerprint,
    ]
    key = _key("pack", parts)
    lines = _load(job.folder, key)
    if lines is not None:
        head = json.loads(lines[0])
        return Packed(
            records=lines[1:],
            num_windows=head["windows"],
            num_tokens=head["tokens"],
            ledger=Ledger(rows=head["dropped"]),
        )
    records, num_tokens, ledger = pack.pack_repository(
        repository, tokenizer=tokenizer, recipe=job.recipe
    )
    packed = Packed(
        records=[shards.pack_record(record) for record in records],
        num_windows=sum(len(record.files) for record in records),
        num_tokens=num_tokens,
        ledger=ledger,
    )
    head = {"windows": packed.num_windows, "tokens": num_tokens, "dropped": ledger.rows}
    _store(job.folder, key, [json.dumps(head).encode(), *packed.records])
    return packed
