# SPDX-License-Identifier: Apache-2.0
"""What a small model gives away of secrets that stand 1, 4 and 16 times in its training data.

With `--data`: what a model that is there gives back of its own data, by natural duplicates.
Otherwise it takes folders of Python, each as a repository, the head of each file alone, plants
canaries in those that are not held out, trains `tiny` on them for many passes, and measures
extraction, exposure and memorised documents with `codegemma evaluate`. The planted lines are
counted in the prepared data before anything is trained. With 240 steps on whole files, about one
pass, no number of copies could be told from chance.

Example:
    python benchmarks/bench_memorization.py src/codegemma/{text,generate,data,model} --out out
    python benchmarks/bench_memorization.py --model nano --data data --out out --limit 1000
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from codegemma.data.loader import ShardReader
from codegemma.data.manifest import read_manifest
from codegemma.data.shards import Part
from codegemma.evaluate.canaries import Canary, make_canaries, write_canaries
from results import Row, cpu_name, write_rows

COPIES = (0, 1, 4, 16)
MIN_FILE_BYTES = 600
MAX_LINES = 40
TASKS = ("memorization:train", "memorization:heldout", "memorization:canaries")


def main(words: Sequence[str] | None = None) -> None:
    """Plant, prepare, train and measure, or measure alone, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, nargs="*", help="folders, a repository each")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for everything")
    parser.add_argument("--canaries", type=int, default=6, help="of each number of copies")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--data", type=Path, help="prepared data of --model, in place of folders")
    parser.add_argument("--model", default="nano", help="what is measured on --data")
    parser.add_argument("--limit", type=int, help="documents of each part of --data")
    arguments = parser.parse_args(words)
    out: Path = arguments.out
    if bool(arguments.source) == bool(arguments.data):
        parser.error("name either folders or --data")
    if arguments.data:
        limit = ("--limit", str(arguments.limit)) if arguments.limit else ()
        found = measure(
            ("memorization", *limit), data=arguments.data, model=arguments.model, out=out
        )
        note = f"model {arguments.model}; 50 tokens shown and 50 drawn greedily, float32"
        if arguments.limit:
            note += f"; the first {arguments.limit} documents of each part, in an order of chance"
        name = f"memorization-{Path(arguments.model).name}"
    else:
        data = train_with_canaries(
            arguments.source, out=out, num_each=arguments.canaries, steps=arguments.steps
        )
        found = measure(TASKS, data=data, model=out / "run", out=out / "results")
        note = (
            f"tiny, {arguments.steps} steps of 2,048 tokens, {read_passes(data, arguments.steps)}; "
            "canaries of 10 digits among 1,024"
        )
        name = "memorization-canaries"
    rows = [row for result in found for row in rows_of(result, note=note)]
    print(write_rows(name, rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:64} {row.value:6.3f} [{row.low:.3f}, {row.high:.3f}] n {row.n}")


def train_with_canaries(sources: Iterable[Path], *, out: Path, num_each: int, steps: int) -> Path:
    """Plant canaries in the heads of files, prepare them, and train; give the prepared data."""
    repositories = copy_sources(sources, out / "repositories")
    data = out / "data"
    prepare(repositories, out / "unplanted")
    trained = [path for path in repositories if is_trained(path, out / "unplanted")]
    canaries = make_canaries(num_each, copies=COPIES, seed=0)
    plant(canaries, sorted(file for path in trained for file in path.glob("*.py")))
    prepare(repositories, data)
    check_planted(canaries, data)
    write_canaries(data, canaries)
    settings = (
        *(f"schedule.num_steps={steps}", f"schedule.decay_steps={max(1, steps // 6)}"),
        *(f"run.{name}={steps}" for name in ("heldout_every", "checkpoint_every")),
    )
    more = [word for setting in settings for word in ("--set", setting)]
    run("train", "--recipe", "tiny", "--data", data, "--out", out / "run", *more)
    return data


def read_passes(data: Path, steps: int) -> str:
    """Say how many passes over the data so many steps are."""
    return f"{2048 * steps / read_manifest(data)['totals']['train']['tokens']:.0f} passes"


def measure(
    tasks: Sequence[str], *, data: Path, model: str | Path, out: Path
) -> list[dict[str, Any]]:
    """Evaluate a model and give what was printed for machines, a task each."""
    where = ("--data", data, "--model", model, "--out", out)
    return list(map(json.loads, run("evaluate", *tasks, *where, "--json").splitlines()))


def copy_sources(sources: Iterable[Path], target: Path) -> list[Path]:
    """Copy the heads of the Python files of folders, those of a folder side by side."""
    repositories: list[Path] = []
    for source in sources:
        repository = target / source.name
        repository.mkdir(parents=True)
        for file in sorted(source.rglob("*.py")):
            (repository / file.name).write_text(head_of(file.read_text("utf-8")), "utf-8")
        repositories.append(repository)
    return repositories


def head_of(text: str) -> str:
    """Give the first lines of a text up to a blank one, so that nothing is cut in two."""
    lines = text.split("\n")[:MAX_LINES]
    ends = [place for place, line in enumerate(lines) if not line]
    return "\n".join(lines[: ends[-1]] if ends else lines) + "\n"


def plant(canaries: Iterable[Canary], files: Sequence[Path]) -> None:
    """Append each canary's line to as many files as it has copies, drawn with a fixed seed."""
    rng = random.Random(0)
    large = [file for file in files if file.stat().st_size >= MIN_FILE_BYTES]
    for canary in canaries:
        for file in rng.sample(large, canary.copies):
            with file.open("a", encoding="utf-8") as opened:
                opened.write(canary.line)


def check_planted(canaries: Iterable[Canary], data: Path) -> None:
    """Count the canaries in the prepared training text."""
    text = _text(data, "train")
    for canary in canaries:
        found = text.count(canary.line.rstrip())
        if found != canary.copies:
            sys.exit(
                f"{canary.prefix} was planted {canary.copies} times and is there {found} times"
            )


def is_trained(repository: Path, data: Path) -> bool:
    """Tell whether a repository is of the training part."""
    reader = ShardReader(data, "train")
    origins = {reader[index].files[0].origin for index in range(len(reader))}
    names = {origin.rpartition(":")[0].split("@")[0] for origin in origins}
    return repository.name in names


def prepare(repositories: Iterable[Path], out: Path) -> None:
    """Prepare repositories for `tiny`, a sixth of them held out or so."""
    words = ("--recipe", "tiny", "--unlicensed", "--vocab-size", "1024")
    run("prepare", *repositories, "--out", out, *words, "--holdout-fraction", "0.15")


def run(*words: str | Path) -> str:
    """Run a command of ours and give what it printed."""
    command = [sys.executable, "-m", "codegemma", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def rows_of(result: dict[str, Any], *, note: str) -> list[Row]:
    """Turn a task's result into rows, by number of copies too."""
    parts = {"": result["metric"], **{f" {name}": part for name, part in result["group"].items()}}
    return [
        Row(
            name=f"{result['task']} {metric}{part}",
            value=found["value"],
            unit="fraction",
            n=found["n"],
            low=found["low"],
            high=found["high"],
            note=note,
        )
        for part, metrics in parts.items()
        for metric, found in metrics.items()
    ]


def _text(data: Path, part: Part) -> str:
    reader = ShardReader(data, part)
    return "\n".join(file.text for index in range(len(reader)) for file in reader[index].files)


if __name__ == "__main__":
    main()
