# SPDX-License-Identifier: Apache-2.0
"""How fast imports are found and a repository is ordered, and how many files the graph links.

Times are CPU seconds of this process, the median of five (one for the largest repository). The
repositories are installed packages, taken whole, each named with its version, and one of fifty
thousand files made here, in which every file imports four and which is one large cycle. The peer
orders the same graph by path alone, without distances.

With --packing: how many imports, how many tests and what they test, and how many files that stand
behind one another in the order share a record when the repository is packed by the recipe
codegemma-2b and the vocabulary of nano; and the room that records leave.

Example:
    python benchmarks/bench_graph.py torch transformers sympy networkx
    python benchmarks/bench_graph.py --packing networkx
"""

import argparse
import importlib.metadata
import itertools
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import networkx

from codegemma.data import graph, pack, recipes
from codegemma.data.document import File, Repository
from codegemma.data.pairing import pair_tests
from codegemma.data.resolve import Resolver
from codegemma.text.imports import Import
from codegemma.text.tokenizer import Tokenizer
from results import Row, cpu_name, write_rows

T = TypeVar("T")

TOKENIZER = Path(__file__).parents[1] / "src" / "codegemma" / "nano" / "tokenizer.model"
_REPEATS = 5
_LARGE = 50_000


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="+", help="names of installed distributions")
    parser.add_argument("--packing", action="store_true", help="measure records, not times")
    options = parser.parse_args()
    if options.packing:
        found = [_packing(name) for name in options.packages]
        rows = [row for rows in found for row in rows]
        print(write_rows("packing", rows, device=cpu_name()))
        for row in rows:
            print(f"{row.name:50} {row.value:10.3f} {row.unit}  {row.note}")
        return
    rows: list[Row] = []
    for name in options.packages:
        rows += _repository(f"{name} {importlib.metadata.version(name)}", _files(name))
    rows += _ordering(f"made, {_LARGE} files", _made(_LARGE), repeats=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(Row(name="peak memory of all", value=peak, unit="MiB", n=1))
    print(write_rows("graph", rows, device=cpu_name()))
    for row in rows:
        print(f"{row.name:50} {row.value:10.3f} {row.unit}  {row.note}")


def _files(distribution: str) -> list[File]:
    found = []
    for path in importlib.metadata.files(distribution) or ():
        if path.suffix == ".py" and ".." not in path.parts:
            text = Path(str(path.locate())).read_text("utf-8", errors="replace")
            found.append(File(path=path.as_posix(), text=text))
    return found


def _repository(name: str, files: Sequence[File]) -> list[Row]:
    size = sum(file.size_bytes for file in files)
    seconds, imports = _spent(lambda: {file.path: graph.imports_of(file) for file in files})
    rates = sorted(size / spent / 1e6 for spent in seconds)
    found = Row(
        name=f"{name}: find imports",
        value=statistics.median(rates),
        unit="MB/s",
        n=len(rates),
        low=rates[0],
        high=rates[-1],
        note=f"{len(files)} files, {size} bytes",
    )
    return [found, *_ordering(name, imports, repeats=_REPEATS)]


def _ordering(name: str, imports: Mapping[str, tuple[Import, ...]], *, repeats: int) -> list[Row]:
    spent, order = _spent(lambda: graph.arrange(imports), repeats)
    assert sorted(order) == sorted(imports)
    seconds, built = _spent(lambda: _build(imports), 1)
    linked = len(built.dependencies.keys() | built.users.keys())
    edges = sum(map(len, built.dependencies.values()))
    note = f"{edges} edges kept, {len(built.dropped)} dropped; building alone {seconds[0]:.2f} s"
    directed = networkx.DiGraph(
        (dependency, user) for user, all_ in built.dependencies.items() for dependency in all_
    )
    peer, _ = _spent(lambda: list(networkx.lexicographical_topological_sort(directed)), repeats)
    ours, _ = _spent(lambda: graph.order(built), repeats)
    return [
        Row(
            name=f"{name}: arrange",
            value=statistics.median(spent),
            unit="s",
            n=len(spent),
            low=min(spent),
            high=max(spent),
            note=note,
        ),
        Row(
            name=f"{name}: order alone",
            value=statistics.median(ours),
            unit="s",
            n=len(ours),
            low=min(ours),
            high=max(ours),
            peer="networkx lexicographical_topological_sort",
            peer_value=statistics.median(peer),
            ratio=statistics.median(peer) / statistics.median(ours),
        ),
        Row(
            name=f"{name}: files in the graph",
            value=linked / len(imports),
            unit="fraction",
            n=len(imports),
        ),
    ]


def _packing(package: str) -> list[Row]:
    files = _files(package)
    name = f"{package} {importlib.metadata.version(package)}"
    tokenizer = Tokenizer.from_file(TOKENIZER)
    records, num_tokens, _ = pack.pack_repository(
        Repository(name=package, files=tuple(files)),
        tokenizer=tokenizer,
        recipe=recipes.codegemma_2b(),
    )
    together = [{file.path for file in record.files} for record in records]
    imports = {file.path: graph.imports_of(file) for file in files}
    edges = [
        (user, dependency)
        for user, found in _build(imports).dependencies.items()
        for dependency in found
    ]
    pairs = {
        "imports whose files share a record": edges,
        "tests that share a record with what they test": list(pair_tests(imports).items()),
    }
    places = {path: number for number, paths in enumerate(together) for path in paths}
    order = [path for path in graph.arrange(imports) if path in places]
    pairs["files behind one another that share a record"] = list(itertools.pairwise(order))
    room = len(records) * recipes.codegemma_2b().context_tokens
    used = num_tokens + pack.RESERVED_TOKENS * sum(len(record.files) for record in records)
    note = f"{len(files)} files, {len(records)} records of 8,192 tokens"
    rows = [
        Row(
            name=f"{name}: {what}",
            value=sum(any({*pair} <= paths for paths in together) for pair in all_) / len(all_),
            unit="fraction",
            n=len(all_),
            note=note,
        )
        for what, all_ in pairs.items()
    ]
    free = Row(name=f"{name}: room left", value=1 - used / room, unit="fraction", n=1, note=note)
    return [*rows, free]


def _build(imports: Mapping[str, tuple[Import, ...]]) -> graph.Graph:
    resolver = Resolver(imports)
    return graph.build(
        {path: graph.link(path, found, resolver=resolver) for path, found in imports.items()}
    )


def _made(count: int) -> dict[str, tuple[Import, ...]]:
    return {
        f"pkg/p{i % 250}/m{i}.py": tuple(
            Import(parts=("pkg", f"p{j % 250}", f"m{j}"))
            for j in (0, (i * 7 + 3) % count, (i + 1) % count, i // 2)
        )
        for i in range(count)
    }


def _spent(work: Callable[[], T], repeats: int = _REPEATS) -> tuple[list[float], T]:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return seconds, result


if __name__ == "__main__":
    main()
