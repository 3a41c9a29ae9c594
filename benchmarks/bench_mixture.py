# SPDX-License-Identifier: Apache-2.0
"""What a mixture of code, text and mathematics comes to: what is kept of each, and what is drawn.

Code are the packages of a folder in which some are installed, text the prose that packages of
Debian carry (`apt-get download NAME`), a document a file, and mathematics the problems of
`codegemma synthesize algebra`. `codegemma prepare` runs on them as a user runs it, and batches are
made as training makes them: the share of tokens that each genre has in them stands beside the share
that was asked for. The equations of other problems are read and compared by SymPy.

The filters of text are for web pages, where a paragraph is a line: paragraphs that are broken into
lines are joined, and the rows say what becomes of them as they are, too.

Example:
    python benchmarks/bench_mixture.py .venv/lib/python3.11/site-packages --text anarchism_*.deb
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from codegemma.data.prose import dropping_rule, language
from codegemma.data.recipes import by_name
from codegemma.data.shards import Record
from codegemma.text.tokenizer import Tokenizer
from codegemma.train.input import InputConfig, Weighted, make_batches
from results import Row, cpu_name, write_rows

RECIPE = "codegemma-7b"
SHARES = {"code": 0.75, "text": 0.15, "math": 0.1}
_PROBLEMS, _CHECKED, _SEED = 20_000, 4_000, 1
_DRAWN_TOKENS = 4_000_000
_TEXT_RULES = ("gopher", "c4", "fineweb", "other_language")
_RULES = (*standard_transformations, implicit_multiplication_application, convert_xor)


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where packages are installed")
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="packages of Debian")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = dict(unpack(deb, folder / deb.stem) for deb in options.text)
        write_texts([text for found in texts.values() for text in found], folder / "text.jsonl")
        run("synthesize", "algebra", "--out", folder / "math.jsonl", "--count", _PROBLEMS)
        mix = ",".join(f"{genre}={share}" for genre, share in SHARES.items())
        sources = [options.folder, f"text:{folder / 'text.jsonl'}", f"math:{folder / 'math.jsonl'}"]
        words = ("--each", "--mix", mix, "--recipe", RECIPE, "--out", folder / "data")
        run("prepare", *sources, *words)
        rows = [
            *text_rows(texts),
            *kept_rows(folder / "data"),
            *drawn_rows(folder / "data"),
            solved_row(),
        ]
    print(write_rows("mixture", rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:56} {row.value:12.4f} {row.unit:10} {row.n:9}  {row.note}")


def run(*words: object) -> None:
    """Run one of the commands."""
    command = [sys.executable, "-m", "codegemma", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def unpack(deb: Path, folder: Path) -> tuple[str, list[str]]:
    """Give a package's name, version and the licence it states first; and its documents."""
    command = ["dpkg-deb", "--show", "--showformat", "${Package} ${Version}", str(deb)]
    named = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(folder)], check=True)
    (notice,) = folder.glob("usr/share/doc/*/copyright")
    stated = re.search(r"(?m)^License: (\S+)", notice.read_text(encoding="utf-8"))
    return f"{named}, {stated[1] if stated else 'no licence stated'}", list(documents(folder))


def documents(folder: Path) -> Iterator[str]:
    """Read the text files of a folder, those that are compressed too, none twice."""
    seen: set[bytes] = set()
    for path in sorted(folder.rglob("*")):
        if re.search(r"\.(?:txt|md|rst)(?:\.gz)?\Z", path.name) and path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            if data not in seen:
                seen.add(data)
                yield data.decode("utf-8", "replace")


def joined(text: str) -> str:
    """Make a line of every paragraph of running text; lists, tables and code stay as they are."""
    paragraphs = re.split(r"\n[ \t]*\n", text)
    return "\n\n".join(
        " ".join(lines) if all(re.match(r"[\w\"'(`*]", line) for line in lines) else paragraph
        for paragraph in paragraphs
        for lines in [paragraph.split("\n")]
    )


def write_texts(texts: Iterable[str], file: Path) -> None:
    """Write a row for each text."""
    rows = (json.dumps({"text": joined(text)}) + "\n" for text in texts)
    file.write_text("".join(rows), encoding="utf-8")


def text_rows(texts: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Give what each package has, and what the filters make of it, as it is and joined."""
    for name, found in texts.items():
        for how, change in (("as they are", str), ("paragraphs joined", joined)):
            rules = Counter(rule_of(change(text)) for text in found)
            kept = rules.pop("", 0)
            drops = ", ".join(f"{count} {rule}" for rule, count in rules.most_common())
            yield Row(
                name=f"text of {name}: documents kept, {how}",
                value=kept / len(found),
                unit="fraction",
                n=len(found),
                note=f"{sum(map(len, found)) / 1e6:.1f} million characters; dropped: {drops}",
            )


def rule_of(text: str) -> str:
    """Name the filter that drops a text, "" where none does."""
    return dropping_rule(text, found=language(text), languages=("en",))


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
    for rule, row in manifest["dropped"]["filter"].items():
        if rule.startswith(_TEXT_RULES):
            size, count = row["bytes"] / 1e6, row["files"]
            yield Row(name=f"dropped, filter: {rule}", value=size, unit="MB", n=count)
    named = sorted(f"{row['name']} {row['version']}" for row in manifest["repositories"]
                   if row["version"])  # fmt: skip
    for genre, row in manifest["mixture"].items():
        note = f"kept of {', '.join(named)}" if genre == "code" else ""
        yield Row(name=f"there is of {genre}", value=row["tokens"], unit="tokens",
                  n=row["records"], note=note)  # fmt: skip


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
