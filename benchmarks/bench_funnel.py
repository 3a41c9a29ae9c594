# SPDX-License-Identifier: Apache-2.0
"""What becomes of real sources: every stage of `codegemma prepare`, by language and by reason.

Each source is a name and a folder: of installed packages, or of archives, each of which is a
repository. `codegemma prepare` runs on it as a user runs it, in a process of its own, with the
recipe of the 2B model, and the rows are made from its manifest and report. Every repository is
named with its version and licence. Then files are drawn from the records until 20,000 could have
been cut, in as many epochs as that takes, for the shares of cuts and of their orders.

The sources of the results here are the packages installed for this project; archives that
`npm pack NAME@VERSION` leaves in a folder; and original archives that `apt-get source
--download-only NAME` leaves in another, without those of Debian's own changes.

Example:
    python benchmarks/bench_funnel.py site-packages=.venv/lib/python3.11/site-packages npm=npm
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from codegemma.data import audit
from codegemma.data.loader import read_shards
from codegemma.data.manifest import read_manifest
from codegemma.data.recipes import by_name
from codegemma.evaluate.statistics import wilson
from codegemma.text.tokenizer import Tokenizer
from results import Row, cpu_name, write_rows

RECIPE = "codegemma-2b"
_SIZES = 8
_FILES = 20_000


def main(words: Sequence[str] | None = None) -> None:
    """Prepare each source, write its rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, help="keep the data sets here")
    parser.add_argument(
        "--benchmarks",
        type=Path,
        required="CODEGEMMA_BENCHMARKS" not in os.environ,
        default=os.environ.get("CODEGEMMA_BENCHMARKS"),
        help="evaluation data that is looked for",
    )
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        for word in options.sources:
            name, _, path = word.partition("=")
            out = (options.out or Path(folder)) / name
            cost = prepare(Path(path), out, benchmarks=options.benchmarks)
            manifest, report = (
                json.loads((out / f"{part}.json").read_text(encoding="utf-8"))
                for part in ("manifest", "report")
            )
            rows = [*rows_of(manifest, report, cost=cost), *drawn_rows(out)]
            print(write_rows(f"funnel-{name}", rows, device=cpu_name()))
            for row in rows:
                print(f"{row.name:64} {row.value:12.4f} {row.unit:10} {row.n:8}  {row.note}")


def prepare(source: Path, out: Path, *, benchmarks: Path) -> dict[str, float]:
    """Run the command; give its seconds, peak memory in MiB and how many others wanted to run."""
    command = [sys.executable, "-m", "codegemma", "prepare", str(source), "--each"]
    command += ["--out", str(out), "--recipe", RECIPE, "--decontaminate", str(benchmarks)]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"codegemma prepare failed on {source}")
    return {
        "processor": used.ru_utime + used.ru_stime,
        "wall": time.monotonic() - begin,
        "peak": used.ru_maxrss / 1024,
        "load": os.getloadavg()[1],
    }


def rows_of(
    manifest: Mapping[str, Any], report: Mapping[str, Any], *, cost: Mapping[str, float]
) -> Iterator[Row]:
    """Give the rows of a data set: repositories, funnel, drops, findings, examples, cost."""
    yield from _repositories(manifest, report)
    for language, stages in report["funnel"].items():
        for stage, (files, size_bytes) in stages.items():
            yield _text(f"funnel, {language}: after {stage}", size_bytes, files)
    for stage, rules in manifest["dropped"].items():
        for rule, row in rules.items():
            samples = report["samples"].get(stage, {}).get(rule, ())
            such = "such as " + ", ".join(samples[:2]) if samples else ""
            yield _text(f"dropped, {stage}: {rule}", row["bytes"], row["files"], note=such)
    yield from _findings(report)
    yield from _examples(manifest, report["rates"])
    read_bytes = sum(row["read"][1] for row in report["funnel"].values())
    note = (
        f"one worker, {read_bytes / 1e6:.1f} MB of source read, decontaminated, {RECIPE}, "
        f"tokenizer of nano, rules {manifest['versions']['rules']}; load of the two cores "
        f"{cost['load']:.0f}"
    )
    for name, key, unit in (
        ("processor time", "processor", "s"),
        ("time", "wall", "s"),
        ("peak memory", "peak", "MiB"),
    ):
        yield Row(name=name, value=cost[key], unit=unit, n=1, note=note)
    rate = read_bytes / 1e6 / cost["processor"]
    yield Row(name="throughput per core, start included", value=rate, unit="MB/s", n=1, note=note)


def drawn_rows(out: Path) -> Iterator[Row]:
    """Draw the files of a data set until enough could have been cut; give the shares of cuts."""
    tokenizer, recipe = Tokenizer.from_folder(out), by_name(RECIPE)
    entries = [one for one in read_manifest(out)["shards"]["train"] if one["genre"] == "code"]
    counts: Counter[str] = Counter()
    epoch = 0
    while counts["eligible"] < _FILES:
        rows = read_shards(out / "shards", entries)
        drawn = audit.measure(
            rows, tokenizer=tokenizer, recipe=recipe, epoch=epoch, max_tokens=None
        )
        counts.update({name: drawn[name] for name in ("eligible", "cut", "psm")})
        epoch += 1
    for name, part, whole, asked in (
        ("cut, of those long enough", "cut", "eligible", recipe.fim_fraction),
        ("prefix first, of those cut", "psm", "cut", recipe.psm_fraction),
    ):
        yield _share(f"drawn in {epoch} epochs: {name}", counts[part], counts[whole], asked)


def _text(name: str, size_bytes: int, files: int, *, note: str = "") -> Row:
    return Row(name=name, value=size_bytes / 1e6, unit="MB", n=files, note=note or "n: files")


def _count(name: str, value: float, *, n: int = 1, unit: str = "count", note: str = "") -> Row:
    return Row(name=name, value=float(value), unit=unit, n=n, note=note)


def _repositories(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[Row]:
    for row in manifest["repositories"]:
        named = f"{row['name']} {row['version']}".strip()
        yield _text(
            f"source {named}, {row['license'] or 'no licence known'}: kept",
            row["bytes"],
            row["files"],
            note=f"of {row['input_bytes'] / 1e6:.3f} MB in {row['input_files']:,} files",
        )
    for name, version, licence in report["not_permissive"]:
        yield _text(f"source {name} {version}".strip() + f", {licence or 'no licence known'}: kept",
                    0, 0, note="kept out by its licence")  # fmt: skip


def _findings(report: Mapping[str, Any]) -> Iterator[Row]:
    hits = report["contamination"]
    found = {(hit["item"].partition("/")[0], hit["file"]) for hit in hits}
    sets = Counter(name for name, _ in found)
    yield _count("contaminated files", len({hit["file"] for hit in hits}), unit="files")
    yield _count("benchmark items in them", len({hit["item"] for hit in hits}), unit="items")
    for name, count in sorted(sets.items()):
        yield _count(f"contaminated files, {name}", count, unit="files")
    for kind in ("key", "email", "ip", "name", "data_uri"):
        yield _count(f"values replaced, {kind}", report["redacted"].get(kind, 0), unit="values")


def _examples(manifest: Mapping[str, Any], rates: Mapping[str, Any]) -> Iterator[Row]:
    recipe = manifest["settings"]["recipe"]
    weights = recipe["split_kinds"]
    for name, part, whole, asked in (
        ("files cut, of those long enough", "cut", "eligible", recipe["fim_fraction"]),
        ("prefix first, of those cut", "psm", "cut", recipe["psm_fraction"]),
        ("path line shown", "with_path", "files", 1 - recipe["no_path_fraction"]),
    ):
        yield _share(f"drawn: {name}", rates[part], rates[whole], asked)
    for kind, count in rates["kinds"].items():
        asked = weights.get(kind, 0) / sum(weights.values())
        yield _share(f"drawn: split {kind}", count, rates["cut"], asked)
    drawn = f"{rates['segments']} segments of epoch 0, packed as training does"
    yield Row(
        name="padding",
        value=rates["padding_fraction"],
        unit="fraction",
        n=rates["segments"],
        note=drawn,
    )
    yield _count("segments left uncut for want of room", rates["fallbacks"], n=rates["segments"])
    context = recipe["context_tokens"]
    for place, count in enumerate(rates["segment_sizes"]):
        low, high = (context * (place + step) // _SIZES for step in (0, 1))
        yield _count(f"segments of {low + 1} to {high} tokens", count, n=rates["segments"])
    for part, row in manifest["totals"].items():
        yield _count(f"{part}: packed examples", row["records"], n=row["repositories"])
        yield _count(f"{part}: tokens", row["tokens"], n=row["files"], unit="tokens")


def _share(name: str, part: int, whole: int, asked: float) -> Row:
    value = part / max(1, whole)
    low, high = wilson(value, float(max(1, whole)))
    note = f"asked: {asked:g}"
    return Row(name=name, value=value, unit="fraction", n=whole, low=low, high=high, note=note)


if __name__ == "__main__":
    main()
