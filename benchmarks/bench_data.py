# SPDX-License-Identifier: Apache-2.0
"""What preparing training data costs and what it does to real sources, by processor seconds.

Parts, each by its name and with a file of its own:

- pipeline: all stages of `codegemma prepare`, tokenising included, in a process of one worker, on
  Python of installed packages (files whose text another has too are left out);
- signatures: MinHash signatures beside datatrove's own, on the same files in one run;
- secrets: secrets and personal data beside detect-secrets with its default plugins, the same way;
- growth: peak memory of one worker at two sizes of input, made of the same files with identifiers
  changed, so that no copy is one;
- copies: share of near-copies found by their similarity, planted in real files;
- funnel: what becomes of the sources named on the command line: folders of archives.

Example:
    python benchmarks/bench_data.py pipeline signatures secrets copies
    python benchmarks/bench_data.py growth --megabytes 50 500
    python benchmarks/bench_data.py funnel --sources npm debian
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from codegemma.data import dedup, redact, shingles
from codegemma.data.document import File
from results import Row, cpu_name, write_rows

TOKENIZER = Path(__file__).parents[1] / "src" / "codegemma" / "nano" / "tokenizer.model"
_REPEATS = 5
_PARTS = ("pipeline", "signatures", "secrets", "growth", "copies", "funnel")


def main() -> None:
    """Measure the parts that are named, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=_PARTS)
    parser.add_argument("--input", type=float, default=20.0, help="megabytes for the pipeline")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[50.0, 500.0])
    parser.add_argument("--sources", type=Path, nargs="+", default=[])
    parser.add_argument("--benchmarks", type=Path, help="evaluation data to keep out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            rows = list(_MEASURES[part](options, Path(folder) / part))
            print(write_rows(f"data-{part}", rows, device=cpu_name()))
            for row in rows:
                beside = f"  {row.peer} {row.peer_value:.3g}, {row.ratio:.2f}" if row.peer else ""
                print(f"{row.name:52} {row.value:10.3f} {row.unit}{beside}")


def python_files(megabytes: float) -> list[tuple[str, str]]:
    """Read Python files of installed packages, in the order of their paths, none twice."""
    root = Path(sysconfig.get_path("purelib"))
    found: list[tuple[str, str]] = []
    seen: set[bytes] = set()
    size = 0
    for path in sorted(root.glob("[a-zA-Z]*/**/*.py")):
        if path.stat().st_size > 400_000:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        digest = dedup.content_hash(text)
        if digest in seen:
            continue
        seen.add(digest)
        found.append((path.relative_to(root).as_posix(), text))
        size += len(text.encode())
        if size >= megabytes * 1e6:
            break
    return found


def write_repositories(files: Sequence[tuple[str, str]], folder: Path, *, copies: int = 1) -> float:
    """Write files as repositories by their first folder; give their megabytes.

    Args:
        files: Path and text of each.
        folder: Where.
        copies: Every copy after the first has all its longer names changed.
    """
    total = 0
    for copy in range(copies):
        rename = (lambda match, n=copy: f"{match[0]}_{n}") if copy else None
        for path, text in files:
            changed = re.sub(r"\b[a-z_]{6,}\b", rename, text) if rename else text
            target = folder / f"copy{copy}-{path}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(changed, encoding="utf-8")
            total += len(changed.encode())
    return total / 1e6


_CHILD = """
import json, resource, sys, time
from pathlib import Path
from codegemma.data import pipeline, recipes
import dataclasses
source, out, tokenizer, benchmarks, cache, recipe = sys.argv[1:]
recipe = dataclasses.replace(recipes.by_name(recipe), permissive_only=False, heldout=())
settings = pipeline.Settings(
    sources=(Path(source),), recipe=recipe, tokenizer_file=Path(tokenizer), each=True,
    benchmarks=(Path(benchmarks),) if benchmarks else (), cache=Path(cache),
)
begin = time.process_time()
stages, last = {}, ["start", begin]
def progress(stage, done, total):
    if stage != last[0]:
        now = time.process_time()
        stages[last[0]] = stages.get(last[0], 0) + now - last[1]
        last[:] = [stage, now]
manifest = pipeline.prepare(settings, out=Path(out), progress=progress)
progress("end", 1, 1)
print(json.dumps({
    "cpu_s": time.process_time() - begin,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "stages": stages, "totals": manifest["totals"], "dropped": manifest["dropped"],
}))
"""


def prepare(
    source: Path, out: Path, *, benchmarks: Path | None, recipe: str = "tiny"
) -> dict[str, Any]:
    """Prepare in a process of its own; give its processor seconds, peak memory and totals."""
    words = [source, out, TOKENIZER, benchmarks or "", out.parent / "cache", recipe]
    command = [sys.executable, "-c", _CHILD, *map(str, words)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _pipeline(options: argparse.Namespace, folder: Path) -> list[Row]:
    megabytes = write_repositories(python_files(options.input), folder / "sources")
    runs = [
        prepare(folder / "sources", folder / f"out{i}", benchmarks=options.benchmarks)
        for i in range(4)
    ][1:]  # the first builds the index of the benchmarks
    rates = sorted(megabytes / run["cpu_s"] for run in runs)
    kept = sum(part["bytes"] for part in runs[0]["totals"].values()) / 1e6
    note = (
        f"{megabytes:.1f} MB of Python read, {kept:.1f} MB kept, recipe tiny, one worker, "
        f"decontaminated: {bool(options.benchmarks)}; processor seconds of the whole process"
    )
    rows = [
        Row(
            name="whole pipeline per core",
            value=statistics.median(rates),
            unit="MB/s",
            n=len(runs),
            low=rates[0],
            high=rates[-1],
            note=note,
        )
    ]
    for stage, seconds in runs[-1]["stages"].items():
        share = 1000 * seconds / megabytes
        rows.append(Row(name=f"stage {stage}", value=share, unit="CPU ms/MB", n=1, note=note))
    peak = max(run["peak_mb"] for run in runs)
    rows.append(Row(name="peak memory, one worker", value=peak, unit="MiB", n=len(runs), note=note))
    return rows


def _rate(work: Callable[[str], Any], texts: Sequence[str]) -> tuple[float, float, float]:
    """Give the median of megabytes per processor second, and the ends."""
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    rates: list[float] = []
    for _ in range(_REPEATS):
        begin = time.process_time()
        for text in texts:
            work(text)
        rates.append(megabytes / (time.process_time() - begin))
    return statistics.median(rates), min(rates), max(rates)


def _beside(
    name: str, ours: tuple[float, float, float], peer: str, theirs: float, n: int, note: str
) -> Row:
    value, low, high = ours
    return Row(
        name=name,
        value=value,
        unit="MB/s",
        n=n,
        low=low,
        high=high,
        peer=peer,
        peer_value=theirs,
        ratio=value / theirs,
        note=note,
    )


def _signatures(_options: argparse.Namespace, folder: Path) -> list[Row]:
    """From the text to the signature, for both."""
    import xxhash
    from datatrove.pipeline.dedup import minhash

    folder.mkdir()
    texts = [text for _, text in python_files(4.0) if len(text) > 500]
    ours = _rate(lambda text: dedup.signature(shingles.hash_words(text)), texts)
    # Its tokenizers of words are packages of their own, and slower than this.
    minhash.load_word_tokenizer = lambda _: SimpleNamespace(word_tokenize=str.split)
    rows: list[Row] = []
    for buckets, hashes in ((14, 8), (25, 10)):
        config = minhash.MinhashConfig(num_buckets=buckets, hashes_per_bucket=hashes)
        step = minhash.MinhashDedupSignature(str(folder), config=config)
        # It hands strings to xxhash, whose version here wants bytes.
        step._hash_func = lambda gram: xxhash.xxh64_intdigest(gram.encode())
        theirs = _rate(lambda text, step=step: step.get_signature(step.get_shingles(text)), texts)
        rows.append(
            _beside(
                f"signatures of 250, datatrove's of {buckets * hashes}",
                ours,
                "datatrove MinhashDedupSignature",
                theirs[0],
                len(texts),
                "4 MB of Python, from the text; datatrove with its simplify_text, hash and "
                "signature, words split at blanks",
            )
        )
    return rows


def _secrets(_options: argparse.Namespace, folder: Path) -> list[Row]:
    """Whole files in memory for both; detect-secrets by lines, as its scan does."""
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import default_settings

    folder.mkdir()
    texts = [text for _, text in python_files(2.0)]
    ours = _rate(lambda text: redact.redact([File(path="a.py", text=text)]), texts)
    few = texts[: max(1, len(texts) // 10)]
    with default_settings():

        def scan(text: str) -> None:
            for line in text.split("\n"):
                list(scan_line(line))

        theirs = _rate(scan, few)[0]
    note = f"{len(texts)} files of Python; detect-secrets on the first {len(few)} of them"
    return [_beside("secrets and personal data", ours, "detect-secrets", theirs, len(texts), note)]


def _growth(options: argparse.Namespace, folder: Path) -> list[Row]:
    files = python_files(min(options.megabytes[0], 25.0))
    base = sum(len(text.encode()) for _, text in files) / 1e6
    rows: list[Row] = []
    for megabytes in options.megabytes:
        source = folder / f"sources{megabytes:g}"
        size = write_repositories(files, source, copies=max(1, round(megabytes / base / 1.1)))
        run = prepare(source, folder / f"out{megabytes:g}", benchmarks=options.benchmarks)
        note = f"{size:.0f} MB read, one worker, recipe tiny; names changed from copy to copy"
        name = f"at {size:.0f} MB"
        rows += [
            Row(name=f"peak memory {name}", value=run["peak_mb"], unit="MiB", n=1, note=note),
            Row(name=f"throughput {name}", value=size / run["cpu_s"], unit="MB/s", n=1, note=note),
        ]
    return rows


def edited(rng: random.Random, words: list[str], similarity: float) -> tuple[str, float]:
    """Change words one by one until runs of five are no more alike than asked; give both."""
    before = set(zip(*(words[i:] for i in range(5)), strict=False))
    changed = list(words)
    places = list(range(len(words)))
    rng.shuffle(places)
    alike = 1.0
    for place in places:
        if alike <= similarity:
            break
        changed[place] = f"edit{rng.randrange(10**9)}"
        after = set(zip(*(changed[i:] for i in range(5)), strict=False))
        alike = len(before & after) / len(before | after)
    return " ".join(changed), alike


def _copies(_options: argparse.Namespace, _folder: Path) -> list[Row]:
    rng = random.Random(0)
    texts = [text for _, text in python_files(20.0)]
    documents = [words for text in texts if 200 <= len(words := shingles.words(text)) <= 600]
    documents = documents[:100]
    rows: list[Row] = []
    for similarity in (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9):
        found, alike = 0, []
        for words in documents:
            other, exact = edited(rng, words, similarity)
            index = dedup.CopyIndex(threshold=0.7)
            pair = [dedup.signature(shingles.hash_words(t)) for t in (" ".join(words), other)]
            index.add("first", b"1", pair[0])
            found += index.add("second", b"2", pair[1]) is not None
            alike.append(exact)
        rows.append(
            Row(
                name=f"near-copies found at similarity {similarity}",
                value=found / len(documents),
                unit="fraction",
                n=len(documents),
                note=f"threshold 0.7; mean similarity {statistics.mean(alike):.3f} of runs of five",
            )
        )
    return rows


def _funnel(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    for source in options.sources:
        run = prepare(
            source, folder / source.name, benchmarks=options.benchmarks, recipe="codegemma-2b"
        )
        report = json.loads((folder / source.name / "report.json").read_text(encoding="utf-8"))
        manifest = json.loads((folder / source.name / "manifest.json").read_text(encoding="utf-8"))
        names = ", ".join(row["name"] for row in manifest["repositories"])
        for language, row in report["funnel"].items():
            for stage, (files, size_bytes) in row.items():
                yield Row(
                    name=f"funnel {source.name} {language} {stage}",
                    value=size_bytes / 1e6,
                    unit="MB",
                    n=files,
                    note=names,
                )
        rates = report["rates"]
        for name, part, whole in (
            ("cut", "cut", "eligible"),
            ("psm", "psm", "cut"),
            ("path shown", "with_path", "files"),
        ):
            yield Row(
                name=f"{source.name}: {name}",
                value=rates[part] / max(1, rates[whole]),
                unit="fraction",
                n=rates[whole],
                note=names,
            )
        for name, value, unit in (
            ("padding", rates["padding_fraction"], "fraction"),
            ("contaminated files", len(report["contamination"]), "files"),
            ("values replaced", sum(report["redacted"].values()), "values"),
            ("processor seconds", run["cpu_s"], "s"),
            ("tokens", run["totals"]["train"]["tokens"], "tokens"),
        ):
            yield Row(name=f"{source.name}: {name}", value=value, unit=unit, n=1, note=names)


_MEASURES: dict[str, Callable[[argparse.Namespace, Path], Any]] = {
    "pipeline": _pipeline,
    "signatures": _signatures,
    "secrets": _secrets,
    "growth": _growth,
    "copies": _copies,
    "funnel": _funnel,
}

if __name__ == "__main__":
    main()
