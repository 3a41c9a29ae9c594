# SPDX-License-Identifier: Apache-2.0
"""What preparing training data costs and what it does to real sources, by processor seconds.

Parts, each by its name and with a file of its own:

- pipeline: all stages of `codegemma prepare`, tokenising included, in a process of one worker, on
  Python of installed packages (files whose text another has too are left out);
- growth: peak memory of one worker at two sizes of input, made of the same files with identifiers
  changed, so that no copy is one;
- inputs: one repository as each kind of source, and whether the same text is read of all;
- identity: bytes of a data set made by one, two and eight processes, by Ray, and by runs that are
  killed.

Example:
    python benchmarks/bench_data.py pipeline inputs
    python benchmarks/bench_data.py growth --megabytes 50 500
"""

import argparse
import importlib.metadata
import json
import os
import random
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from codegemma.data import dedup, read, shards, stages
from results import Row, cpu_name, write_rows

TOKENIZER = Path(__file__).parents[1] / "src" / "codegemma" / "nano" / "tokenizer.model"
_REPEATS = 5
_KILLED_RUNS = 4
_PARTS = ("pipeline", "growth", "inputs", "identity")


def main() -> None:
    """Measure the parts that are named, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=_PARTS)
    parser.add_argument("--input", type=float, default=20.0, help="megabytes for the pipeline")
    parser.add_argument("--recipe", default="tiny", help="of the pipeline")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[50.0, 500.0])
    parser.add_argument("--benchmarks", type=Path, help="evaluation data to keep out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            rows = list(_MEASURES[part](options, Path(folder) / part))
            name = f"data-{part}" if options.recipe == "tiny" else f"data-{part}-{options.recipe}"
            print(write_rows(name, rows, device=cpu_name()))
            for row in rows:
                print(f"{row.name:52} {row.value:10.3f} {row.unit}")


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
        prepare(
            folder / "sources",
            folder / f"out{i}",
            benchmarks=options.benchmarks,
            recipe=options.recipe,
        )
        for i in range(4)
    ][1:]  # the first builds the index of the benchmarks
    rates = sorted(megabytes / run["cpu_s"] for run in runs)
    kept = sum(part["bytes"] for part in runs[0]["totals"].values()) / 1e6
    note = (
        f"{megabytes:.1f} MB of Python read, {kept:.1f} MB kept, recipe {options.recipe}, "
        f"one worker, decontaminated: {bool(options.benchmarks)}; processor seconds of the "
        "whole process"
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


def _inputs(_options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Write files of an installed package as every kind of source and read each, by CPU seconds."""
    name = "networkx"
    root = Path(sysconfig.get_path("purelib")) / name
    files = [
        (path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("*.py"))
    ]
    megabytes = sum(len(text.encode()) for _, text in files) / 1e6
    version = importlib.metadata.version(name)
    hashes: dict[str, str] = {}
    for kind, source in write_sources(files, folder, name=name).items():
        rates: list[float] = []
        for _ in range(_REPEATS):
            begin = processor_s()
            (location,) = read.find_repositories([source])
            repository, _ = read.read_repository(location, extensions=(".py",), max_bytes=10**7)
            rates.append(megabytes / (processor_s() - begin))
        hashes[kind] = stages.content_hash(repository)
        yield Row(
            name=f"read, {kind}",
            value=statistics.median(rates),
            unit="MB/s",
            n=len(rates),
            low=min(rates),
            high=max(rates),
            note=f"{name} {version}, {len(files)} files, {megabytes:.1f} MB; git's own seconds too",
        )
    same = sum(found == hashes["folder"] for found in hashes.values())
    yield Row(
        name="kinds of source that give the folder's files and texts",
        value=same / len(hashes),
        unit="fraction",
        n=len(hashes),
        note=", ".join(hashes),
    )


def processor_s() -> float:
    """Give the processor seconds of this process and of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + used.ru_utime + used.ru_stime


def write_sources(files: Sequence[tuple[str, str]], folder: Path, *, name: str) -> dict[str, Path]:
    """Write one repository as each kind of source that is read; give their places."""
    import pyarrow
    from pyarrow import parquet

    root = folder / "plain" / name
    for path, text in files:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
    cloned, bare = folder / "git" / name, folder / "bare" / f"{name}.git"
    shutil.copytree(root, cloned)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(cloned), *words], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(cloned), str(bare)], check=True)
    archives = {
        f"archive .{suffix}": Path(
            shutil.make_archive(str(folder / kind / name), kind, folder / "plain", name)
        )
        for kind, suffix in (("zip", "zip"), ("gztar", "tar.gz"), ("xztar", "tar.xz"))
    }
    content = [{"file_path": path, "content": text} for path, text in files]
    whole = [{"repo_path": name, "commit_id": "0" * 40, "files": content}]
    single = [{"repo_name": name, "path": path, "text": text} for path, text in files]
    tables: dict[str, Path] = {}
    for kind, rows in (("a repository a row", whole), ("a file a row", single)):
        lines, table = (folder / f"{kind}.{end}".replace(" ", "-") for end in ("jsonl", "parquet"))
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        parquet.write_table(pyarrow.Table.from_pylist(rows), table)
        tables |= {f"JSONL, {kind}": lines, f"Parquet, {kind}": table}
    return {"folder": root, "git": cloned, "git, bare": bare} | archives | tables


def _identity(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Run the command with other numbers of workers, and killed at moments drawn with seed 0."""
    megabytes = write_repositories(python_files(options.input), folder / "sources")
    first = _contents(_finished(folder, "one", workers=1))
    made = {"8 workers": _contents(_finished(folder, "of8", workers=8))}
    begin = time.monotonic()
    made["2 workers"] = _contents(_finished(folder, "of2", workers=2))
    whole_s = time.monotonic() - begin
    made["Ray, 2 workers"] = _contents(_finished(folder, "ray", workers=2, executor="ray"))
    notes = dict.fromkeys(made, "")
    rng = random.Random(0)
    for number in range(_KILLED_RUNS):
        is_alone = number % 2 == 1
        who = "the command alone" if is_alone else "the command and its workers"
        name = f"{who} killed and run again, {number // 2 + 1} of {_KILLED_RUNS // 2}"
        moments, failed = _kill(folder, f"killed{number}", rng, whole_s, is_alone=is_alone)
        made[name] = _contents(folder / f"killed{number}" / "data")
        notes[name] = (
            f"; {len(moments)} kills of a running process, "
            f"{', '.join(f'{moment:.1f}' for moment in moments)} s after its start, where "
            f"{whole_s:.1f} s are a whole run; begun again after each, which {failed} times ended "
            "in an error and was begun once more"
        )
    for name, found in made.items():
        same = sum(found.get(path) == digest for path, digest in first.items())
        yield Row(
            name=f"files that are the same bytes, {name}",
            value=same / len(first) if len(found) == len(first) else 0.0,
            unit="fraction",
            n=len(first),
            note=f"{megabytes:.1f} MB of Python, recipe tiny, beside one worker{notes[name]}",
        )


def _kill(
    folder: Path, name: str, rng: random.Random, whole_s: float, *, is_alone: bool
) -> tuple[list[float], int]:
    """Begin a run again and again and kill it, until one ends by itself.

    Returns:
        After how long each was killed, and how many ended with an error.
    """
    moments: list[float] = []
    failed = 0
    while True:
        process = _command(folder, name, workers=2)
        moment = rng.uniform(0.15, 0.7) * whole_s
        try:
            if not process.wait(moment):
                return moments, failed
            failed += 1
        except subprocess.TimeoutExpired:
            if is_alone:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            moments.append(moment)


def _finished(folder: Path, name: str, *, workers: int, executor: str = "local") -> Path:
    process = _command(folder, name, workers=workers, executor=executor)
    if process.wait():
        raise SystemExit(f"prepare failed: {' '.join(map(str, process.args))}")
    return folder / name / "data"


def _command(
    folder: Path, name: str, *, workers: int, executor: str = "local"
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "codegemma", "prepare", str(folder / "sources"), "--each"]
    command += ["--recipe", "tiny", "--unlicensed", "--workers", str(workers)]
    command += ["--executor", executor, "--out", str(folder / name / "data")]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)


def _contents(out: Path) -> dict[str, str]:
    files = (file for file in out.rglob("*") if file.is_file())
    return {file.relative_to(out).as_posix(): shards.hash_file(file) for file in files}


_MEASURES: dict[str, Callable[[argparse.Namespace, Path], Any]] = {
    "pipeline": _pipeline,
    "growth": _growth,
    "inputs": _inputs,
    "identity": _identity,
}

if __name__ == "__main__":
    main()
