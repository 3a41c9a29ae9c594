# SPDX-License-Identifier: Apache-2.0
"""What a mixture of code, text and mathematics comes to: what is kept of each, and what is drawn.

Code are the packages of a folder in which some are installed, text the descriptions that their
metadata have, and mathematics the problems of `codegemma synthesize algebra`. `codegemma prepare`
runs on them as a user runs it, and batches are made as training makes them: the share of tokens
that each genre has in them stands beside the share that was asked for. The equations of other
problems are read and compared by SymPy.

Example:
    python benchmarks/bench_mixture.py .venv/lib/python3.11/site-packages
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sympy import expand
from sympy.parsing.sympy_parser import (
    convert_xor,
    implicit_multiplication_application,
    parse_expr,
    standard_transformations,
)

from codegemma.data.algebra import Problem, make_problems
from codegemma.data.loader import Encoded, draw_segment, readers
from codegemma.data.manifest import read_manifest
from codegemma.data.mixture import record_weights
from codegemma.data.recipes import by_name
from codegemma.data.shards import Record
from codegemma.text.tokenizer import Tokenizer
from codegemma.train.input import InputConfig, Weighted, make_batches
from results import Row, cpu_name, write_rows

RECIPE = "codegemma-7b"
SHARES = {"code": 0.75, "text": 0.15, "math": 0.1}
_PROBLEMS, _CHECKED, _SEED = 20_000, 4_000, 1
_DRAWN_TOKENS = 4_000_000
_RULES = (*standard_transformations, implicit_multiplication_application, convert_xor)


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where packages are installed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_descriptions(options.folder, folder / "text.jsonl")
        run("synthesize", "algebra", "--out", folder / "math.jsonl", "--count", _PROBLEMS)
        mix = ",".join(f"{genre}={share}" for genre, share in SHARES.items())
        sources = [options.folder, f"text:{folder / 'text.jsonl'}", f"math:{folder / 'math.jsonl'}"]
        words = ("--each", "--mix", mix, "--recipe", RECIPE, "--out", folder / "data")
        run("prepare", *sources, *words)
        rows = [*kept_rows(folder / "data"), *drawn_rows(folder / "data"), solved_row()]
    print(write_rows("mixture", rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:56} {row.value:12.4f} {row.unit:10} {row.n:9}  {row.note}")


def run(*words: object) -> None:
    """Run one of the commands."""
    command = [sys.executable, "-m", "codegemma", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def write_descriptions(packages: Path, file: Path) -> None:
    """Write what installed packages say of themselves, a row each."""
    found = importlib.metadata.distributions(path=[str(packages)])
    texts = sorted({str(one.metadata.get_payload() or "") for one in found} - {""})
    rows = (json.dumps({"text": text}) + "\n" for text in texts)
    file.write_text("".join(rows), encoding="utf-8")


def kept_rows(data: Path) -> Iterator[Row]:
    """Give what of each language stayed after each stage, where it is text or mathematics."""
    report = json.loads((data / "report.json").read_text(encoding="utf-8"))
    manifest = read_manifest(data)
    for name in ("en", "other", "math"):
        for stage, (files, size_bytes) in report["funnel"].get(name, {}).items():
            yield Row(
                name=f"funnel, {name}: after {stage}",
                value=size_bytes / 1e6,
                unit="MB",
                n=files,
                note="n: documents",
            )
    for genre, row in manifest["mixture"].items():
        yield Row(name=f"there is of {genre}", value=row["tokens"], unit="tokens", n=row["records"])


def drawn_rows(data: Path) -> Iterator[Row]:
    """Make batches until enough is drawn; give each genre's share of the tokens."""
    tokenizer, recipe = Tokenizer.from_folder(data), by_name(RECIPE)
    drawn: Counter[str] = Counter()

    def encode(record: Record, epoch: int) -> Encoded:
        encoded = draw_segment(record, tokenizer=tokenizer, recipe=recipe, seed=0, epoch=epoch)
        drawn[record.genre] += len(encoded.tokens)
        drawn[f"segments of {record.genre}"] += 1
        return encoded

    weights = record_weights(read_manifest(data))
    sources = [Weighted(reader, weights[genre]) for genre, reader in readers(data).items()]
    config = InputConfig(row_tokens=recipe.context_tokens, rows=1)
    batches = make_batches(sources, encode=encode, config=config)
    while sum(drawn[genre] for genre in SHARES) < _DRAWN_TOKENS:
        next(batches)
    batches.close()
    total = sum(drawn[genre] for genre in SHARES)
    for genre, share in SHARES.items():
        yield Row(
            name=f"drawn: {genre}, of all tokens",
            value=drawn[genre] / total,
            unit="fraction",
            n=drawn[f"segments of {genre}"],
            note=f"asked: {share:g}; n: segments, of {total:,} tokens",
        )


def solved_row() -> Row:
    """Read problems with SymPy: every line must hold at the answer, or be the same polynomial."""
    problems = list(make_problems(_CHECKED, seed=_SEED))
    right = sum(map(holds, problems))
    note = f"seed {_SEED}; every line of the solution, read by SymPy"
    return Row(
        name="algebra: problems all of whose lines hold",
        value=right / len(problems),
        unit="fraction",
        n=len(problems),
        note=note,
    )


def holds(problem: Problem) -> bool:
    """Whether every equation of a problem is true."""
    asked, _, rest = problem.question.partition(": ")
    lines = [line.rpartition(": ")[2] for line in problem.solution.split("\n")]
    if asked == "Expand":
        values: Mapping[Any, Any] = {}
        lines.append(f"{rest} = {problem.answer}")
    else:
        lines += rest.split(" and ")
        found = problem.answer.split(", ")
        if len(found) == 1:
            found = [f"{asked.removeprefix('Solve for ')} = {problem.answer}"]
        values = {parse(name): parse(value) for name, value in (one.split(" = ") for one in found)}
    return all(is_true(line, values) for line in lines)


def is_true(equation: str, values: Mapping[Any, Any]) -> bool:
    """Whether both sides of an equation are the same, at some values of the unknowns."""
    left, right = (parse(side).subs(values) for side in equation.split(" = "))
    return expand(left - right) == 0


def parse(text: str) -> Any:
    """Read school notation, such as `2(x + 1)^2`."""
    return parse_expr(text, transformations=_RULES)


if __name__ == "__main__":
    main()
