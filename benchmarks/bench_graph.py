# SPDX-License-Identifier: Apache-2.0
"""How fast imports are found and a repository is ordered, and how many files the graph links.

Times are CPU seconds of this process, the median of five (one for the largest repository). The
repositories are installed packages, taken whole, each named with its version, and one of fifty
thousand files made here, in which every file imports four and which is one large cycle. The peer
orders the same graph by path alone, without distances.

With --packing: how many imports, how many tests and what they test, and how many files that stand
behind one another in the order share a record when the repository is packed by the recipe
codegemma-2b and the vocabulary of nano; and how full records are. The peers fill records
with the same windows one after the other: files in the order of their paths, and in random orders
(the median of nine, seeds 0 to 8, with the ends in the note). Repositories are installed packages
and archives.

Example:
    python benchmarks/bench_graph.py torch transformers sympy networkx
    python benchmarks/bench_graph.py --packing networkx zod-4.6.7.tgz prometheus.orig.tar.xz
"""

import argparse
import importlib.metadata
import itertools
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from codegemma.data import graph, pack, read, recipes
from codegemma.data.document import File, Repository
from codegemma.data.pairing import pair_tests
from codegemma.data.resolve import Resolver
from codegemma.text.fim import encode_whole
from codegemma.text.imports import Import
from codegemma.text.tokenizer import Tokenizer
from results import Row, cpu_name, write_rows

T = TypeVar("T")

TOKENIZER = Path(__file__).parents[1] / "src" / "codegemma" / "nano" / "tokenizer.model"
_REPEATS = 5
_LARGE = 50_000
_DRAWS = 9


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="+", help="installed distributions, or archives to pack")
    parser.add_argument("--packing", action="store_true", help="measure records, not times")
    options = parser.parse_args()
    if options.packing:
        found = [_packing(name) for name in options.packages]
        rows = [row for rows in found for row in rows]
        print(write_rows("packing", rows, device=cpu_name()))
        for row in rows:
            print(f"{row.name:90} {row.value:7.3f} {row.peer_value:7.3f}  {row.note}")
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
    import networkx  # the peer, which is not among what the project installs

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


def _packing(source: str) -> list[Row]:
    recipe = recipes.codegemma_2b()
    if Path(source).exists():
        (location,) = read.find_repositories([Path(source)])
        found = read.read_repository(
            location,
            extensions=recipe.extensions,
            max_bytes=recipe.max_file_bytes,
            languages=recipe.languages,
        )
        name, files = location.name, found[0].files
    else:
        name, files = f"{source} {importlib.metadata.version(source)}", tuple(_files(source))
    tokenizer = Tokenizer.from_file(TOKENIZER)
    repository = Repository(name=source, files=files)
    packed, _, _ = pack.pack_repository(repository, tokenizer=tokenizer, recipe=recipe)
    records = [[file.path for file in record.files] for record in packed]
    windows: dict[str, list[tuple[int, int]]] = {}
    for record in packed:
        for file in record.files:
            line = int(file.origin.rpartition(":")[2])
            size = len(encode_whole(tokenizer, file.text, path=file.path)) + pack.RESERVED_TOKENS
            windows.setdefault(file.path, []).append((line, size))
    sizes = {path: [size for _, size in sorted(found)] for path, found in windows.items()}
    by_path = in_order(sizes, sorted(sizes), room=recipe.context_tokens)
    shuffled = [
        in_order(sizes, random.Random(seed).sample(sorted(sizes), len(sizes)),
                 room=recipe.context_tokens)
        for seed in range(_DRAWS)
    ]  # fmt: skip
    imports = {file.path: graph.imports_of(file) for file in files}
    edges = [
        (user, dependency)
        for user, found in _build(imports).dependencies.items()
        for dependency in found
    ]
    order = [path for path in graph.arrange(imports) if path in sizes]
    pairs = {
        "imports whose files share a record": edges,
        "tests that share a record with what they test": list(pair_tests(imports).items()),
        "files behind one another that share a record": list(itertools.pairwise(order)),
    }
    note = f"{len(files)} files, {len(records)} records of 8,192 tokens"
    rows: list[Row] = []
    for what, all_ in pairs.items():
        if all_:
            drawn = sorted(share(one, all_) for one in shuffled)
            peers = {
                "files by path": (share(by_path, all_), f"{len(by_path)} of the peer"),
                "files in random order": (
                    statistics.median(drawn),
                    f"the peer's ends {drawn[0]:.3f} and {drawn[-1]:.3f}",
                ),
            }
            rows += _beside_peers(f"{name}: {what}", share(records, all_), peers, len(all_), note)
    total = sum(map(sum, sizes.values()))
    full = [total / (len(found) * recipe.context_tokens) for found in (records, by_path)]
    peers = {"files by path": (full[1], "")}
    return [*rows, *_beside_peers(f"{name}: room filled", full[0], peers, 1, note)]


def _beside_peers(
    name: str, value: float, peers: Mapping[str, tuple[float, str]], n: int, note: str
) -> Iterator[Row]:
    for peer, (theirs, words) in peers.items():
        yield Row(
            name=f"{name}, beside {peer}",
            value=value,
            unit="fraction",
            n=n,
            peer=peer,
            peer_value=theirs,
            ratio=value / theirs if theirs else None,
            note=", ".join(filter(None, [note, words])),
        )


def in_order(
    sizes: Mapping[str, Sequence[int]], order: Sequence[str], *, room: int
) -> list[list[str]]:
    """Fill records with the windows of files in an order, a new one where the next has no room.

    Args:
        sizes: Tokens of the windows of each file.
        order: The files.
        room: Tokens of a record.
    """
    records: list[list[str]] = [[]]
    used = 0
    for path in order:
        for size in sizes[path]:
            if used + size > room and records[-1]:
                records.append([])
                used = 0
            records[-1].append(path)
            used += size
    return records


def share(records: Sequence[Sequence[str]], pairs: Sequence[tuple[str, str]]) -> float:
    """Give the share of the pairs of files that have a record in common."""
    places: dict[str, set[int]] = {}
    for number, paths in enumerate(records):
        for path in paths:
            places.setdefault(path, set()).add(number)
    common = sum(bool(places.get(one, set()) & places.get(other, set())) for one, other in pairs)
    return common / len(pairs)


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
