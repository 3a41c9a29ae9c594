# SPDX-License-Identifier: Apache-2.0
"""Near copies beside datatrove's MinHash, secrets beside detect-secrets: the same files, one run.

- copies: our signatures, candidates, comparison and choice beside the four stages of datatrove
  (signatures, buckets, cluster, filter), run by its local executor with one worker: what each
  costs, and what each drops and keeps, held against every pair that is alike;
- secrets: ours beside detect-secrets with its default plugins, on a megabyte of the same files;
- the whole of `codegemma prepare` on all of them, by one worker.

Which pairs are alike is computed without any signature, by the runs of words that each system
means: ours are of letters, digits and underscores, datatrove's of what its `simplify_text` leaves,
split at blanks.

Example:
    python benchmarks/bench_peers.py --benchmarks shared/benchmarks
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from bench_copies import alike_pairs, find_copies, sign
from bench_data import prepare, processor_s, python_files, write_repositories
from codegemma.data import dedup, redact, shingles
from codegemma.data.document import File
from results import Row, cpu_name, write_rows

THRESHOLD = 0.7
"""That of the recipes; datatrove has none, its bands make half of the pairs at 0.72 candidates."""
_REPEATS = 5
_RECIPE = "codegemma-2b"
Truth = Mapping[str, set[tuple[int, int]]]
"""By whose words: every pair of files that reaches the threshold, by their places."""


class Pass(NamedTuple):
    """What a system did once.

    Args:
        seconds: Of the processor, by stage.
        dropped: Places of the files that it leaves out.
    """

    seconds: dict[str, float]
    dropped: set[int]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=float, default=30.0, help="megabytes of real files")
    parser.add_argument("--secrets", type=float, default=1.0, help="megabytes for detect-secrets")
    parser.add_argument("--benchmarks", type=Path, required=True, help="evaluation data")
    options = parser.parse_args(words)
    files = python_files(options.input)
    texts = [text for _, text in files]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            *copies(texts, folder / "copies"),
            *secrets(texts, folder / "secrets", megabytes=options.secrets),
            whole(files, folder / "whole", benchmarks=options.benchmarks),
        ]
    print(write_rows("data-peers", rows, device=cpu_name()))
    for row in rows:
        beside = f"  {row.peer} {row.peer_value:.3g}" if row.peer_value is not None else ""
        print(f"{row.name:64} {row.value:10.3f} {row.unit} of {row.n}{beside}  {row.note}")


def copies(texts: Sequence[str], folder: Path) -> Iterator[Row]:
    """Find copies with both, in turn; give what it costs and what comes of it."""
    words = {"our words": [dedup.runs(shingles.hash_words(text)) for text in texts]}
    own = [find(texts) for _ in range(_REPEATS)]
    peers: dict[str, list[Pass]] = {}
    for buckets, hashes in ((14, 8), (25, 10)):
        peer = Peer(folder / str(buckets), buckets=buckets, hashes=hashes)
        name = f"datatrove MinHash, {buckets} bands of {hashes}"
        peers[name] = [peer.find(texts, str(number)) for number in range(_REPEATS)]
    shingles_of = peer.signature.get_shingles
    words["its words"] = [np.unique(shingles_of(text)) for text in texts]
    truth = {name: alike_pairs(runs, threshold=THRESHOLD) for name, runs in words.items()}
    size = sum(len(text.encode()) for text in texts) / 1e6
    yield from _costs(own, peers, size=size, n=len(texts))
    yield from _outcomes(own[0], peers, truth, n=len(texts))


def find(texts: Sequence[str]) -> Pass:
    """Find copies as `codegemma prepare` does."""
    begin = processor_s()
    signatures = sign(texts)
    signed = processor_s()
    found = find_copies(texts, signatures)
    seconds = {"signatures": signed - begin, "bands, comparison, choice": processor_s() - signed}
    return Pass(seconds, {place for place, copy in enumerate(found) if copy is not None})


class Peer:
    """datatrove's four stages.

    Its tokenizers of words are packages of their own, and slower than the splitting here; and it
    hands strings to xxhash, whose version here wants bytes.

    Args:
        folder: A new one, for what the stages leave each other.
        buckets: Bands.
        hashes: Rows of a band.
    """

    def __init__(self, folder: Path, *, buckets: int, hashes: int) -> None:
        import xxhash
        from datatrove.pipeline.dedup import minhash
        from datatrove.utils.logging import logger

        logger.disable("datatrove")
        self._folder = folder
        self._config = minhash.MinhashConfig(num_buckets=buckets, hashes_per_bucket=hashes)
        minhash.load_word_tokenizer = lambda _: SimpleNamespace(word_tokenize=str.split)
        minhash.tqdm = lambda rows, **_: rows
        self.signature = minhash.MinhashDedupSignature("unused", config=self._config)
        self.signature._hash_func = lambda gram: xxhash.xxh64_intdigest(gram.encode())

    def find(self, texts: Sequence[str], name: str) -> Pass:
        """Run all stages in a folder of their own."""
        from datatrove.data import Document
        from datatrove.executor.local import LocalPipelineExecutor
        from datatrove.io import get_datafolder
        from datatrove.pipeline.dedup import minhash

        signatures, pairs, removed = (str(self._folder / name / part) for part in "spr")
        self.signature.output_folder = get_datafolder(signatures)
        kept: list[int] = []

        def read(_data: Any, _rank: int, _size: int) -> Iterator[Document]:
            for place, text in enumerate(texts):
                yield Document(text=text, id=str(place))

        def keep(data: Any, _rank: int, _size: int) -> None:
            kept.extend(int(document.id) for document in data)

        config = self._config
        stages: dict[str, list[Any]] = {
            "signatures": [read, self.signature],
            "buckets": [minhash.MinhashDedupBuckets(signatures, pairs, config=config)],
            "cluster": [minhash.MinhashDedupCluster(pairs, removed, config=config)],
            "filter": [read, minhash.MinhashDedupFilter(removed), keep],
        }
        seconds: dict[str, float] = {}
        for stage, steps in stages.items():
            begin = processor_s()
            LocalPipelineExecutor(
                steps,
                tasks=config.num_buckets if stage == "buckets" else 1,
                workers=1,
                logging_dir=str(self._folder / name / f"log-{stage}"),
            ).run()
            seconds[stage] = processor_s() - begin
        return Pass(seconds, set(range(len(texts))) - set(kept))


def _costs(
    own: Sequence[Pass], peers: Mapping[str, Sequence[Pass]], *, size: float, n: int
) -> Iterator[Row]:
    """Compare the stages that both have, then all of them."""
    for name, passes in peers.items():
        shares = ", ".join(
            f"{stage} {statistics.median(one.seconds[stage] for one in passes):.2f} s"
            for stage in passes[0].seconds
        )
        ours = ", ".join(
            f"{stage} {statistics.median(one.seconds[stage] for one in own):.2f} s"
            for stage in own[0].seconds
        )
        note = f"{size:.1f} MB of Python; processor seconds: ours {ours}; its {shares}"
        for label, cost in (
            ("near copies, signatures", lambda one: one.seconds["signatures"]),
            ("near copies, all stages", lambda one: sum(one.seconds.values())),
        ):
            rates = _spread([size / cost(one) for one in own])
            theirs = _spread([size / cost(one) for one in passes])
            yield _beside(label, rates, name, theirs, n=n, note=note)


def _outcomes(
    own: Pass, peers: Mapping[str, Sequence[Pass]], truth: Truth, *, n: int
) -> Iterator[Row]:
    """Hold what each drops and keeps against the pairs that are alike."""
    systems = {"ours": own} | {name: passes[0] for name, passes in peers.items()}
    for system, done in systems.items():
        yield _count(f"{system}: files dropped", len(done.dropped), n, "files")
        for whose, pairs in truth.items():
            like_kept, like_any, missed = judge(done.dropped, pairs)
            note = f"{len(pairs)} of all pairs are alike at {THRESHOLD} or more by runs of {whose}"
            num = len(done.dropped)
            for label, value, count, unit in (
                ("dropped, alike to a file that stays", like_kept, num, "files"),
                ("dropped, alike to one that went alone", like_any - like_kept, num, "files"),
                ("dropped, alike to no file at all", num - like_any, num, "files"),
                ("pairs that are alike and both stay", missed, len(pairs), "pairs"),
            ):
                yield _count(f"{system}: {label}, by {whose}", value, count, unit, note=note)


def judge(dropped: set[int], pairs: set[tuple[int, int]]) -> tuple[int, int, int]:
    """Count the dropped files that are like a kept one, those like any, and the kept pairs."""
    like_kept = {
        one
        for pair in pairs
        for one, other in (pair, pair[::-1])
        if one in dropped and other not in dropped
    }
    like_any = {place for pair in pairs for place in pair if place in dropped}
    return len(like_kept), len(like_any), sum(dropped.isdisjoint(pair) for pair in pairs)


def secrets(texts: Sequence[str], folder: Path, *, megabytes: float) -> Iterator[Row]:
    """Look for secrets in whole files, ours in memory, detect-secrets' by its scan of a file."""
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings

    folder.mkdir()
    drawn = list(texts)
    random.Random(0).shuffle(drawn)
    paths: dict[str, Path] = {}
    size = 0.0
    for place, text in enumerate(drawn):
        if size >= megabytes:
            break
        paths[text] = folder / f"{place}.py"
        paths[text].write_text(text, encoding="utf-8")
        size += len(text.encode()) / 1e6

    def scan(text: str) -> None:
        SecretsCollection().scan_file(str(paths[text]))

    ours = _rate(lambda text: redact.redact([File(path="a.py", text=text)]), list(paths))
    with default_settings():
        theirs = _rate(scan, list(paths))
    note = f"{len(paths)} files drawn with seed 0 of those that the other rows have, {size:.2f} MB"
    peer = "detect-secrets"
    yield _beside("secrets and personal data", ours, peer, theirs, n=len(paths), note=note)
    every = _rate(lambda text: redact.redact([File(path="a.py", text=text)]), texts)
    yield _beside("secrets and personal data, all files", every, None, None, n=len(texts))


def whole(files: Sequence[tuple[str, str]], folder: Path, *, benchmarks: Path) -> Row:
    """Prepare all files, twice, since the first run builds the index of the evaluation data."""
    size = write_repositories(files, folder / "sources")
    for out in ("first", "second"):
        run = prepare(folder / "sources", folder / out, benchmarks=benchmarks, recipe=_RECIPE)
    return Row(
        name="the whole of codegemma prepare",
        value=size / run["cpu_s"],
        unit="MB/s",
        n=1,
        note=f"{size:.1f} MB, recipe {_RECIPE}, one worker, decontaminated, tokenizer of nano",
    )


Spread = tuple[float, float, float]
"""Median and ends."""


def _rate(work: Callable[[str], Any], texts: Sequence[str]) -> Spread:
    """Give megabytes per processor second."""
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    rates: list[float] = []
    for _ in range(_REPEATS):
        begin = processor_s()
        for text in texts:
            work(text)
        rates.append(megabytes / (processor_s() - begin))
    return _spread(rates)


def _spread(values: Sequence[float]) -> Spread:
    return statistics.median(values), min(values), max(values)


def _beside(
    name: str, ours: Spread, peer: str | None, theirs: Spread | None, *, n: int, note: str = ""
) -> Row:
    if theirs is not None:
        note += f"; spread of the peer {theirs[1]:.3g} to {theirs[2]:.3g}"
    return Row(
        name=name,
        value=ours[0],
        unit="MB/s",
        n=n,
        low=ours[1],
        high=ours[2],
        peer=peer,
        peer_value=theirs[0] if theirs else None,
        ratio=ours[0] / theirs[0] if theirs else None,
        note=note,
    )


def _count(name: str, value: int, n: int, unit: str, *, note: str = "") -> Row:
    return Row(name=name, value=float(value), unit=unit, n=n, note=note)


if __name__ == "__main__":
    main()
