# SPDX-License-Identifier: Apache-2.0
"""The import graph of a repository and the order that it gives to the files.

Takes texts, or their imports; gives the files so that what is imported stands before what imports
it and files that have to do with one another stand close. Everything is a function of paths and
texts alone; the work is bounded, and fifty thousand files take seconds beyond their reading.

Source: CodeGemma, arXiv 2406.11409, 'Multi-file packing': edges by longest path suffix, weak edges
    cut until no cycle is left, shortest paths between all pairs, a topological order in which the
    next file without parents is the nearest to those placed, ties in lexicographic order; the rest
    alphabetical, unit tests beside what they test.
Unstated: what makes an edge weak (see `_Edge`), and how long it is (here 1, either way).
Differs: distances over `MAX_DISTANCE` count as infinite.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from codegemma.data.document import File
from codegemma.data.pairing import beside_tested, pair_tests
from codegemma.data.resolve import Resolver
from codegemma.text import syntax
from codegemma.text.imports import Import, find_imports

MAX_DISTANCE: Final = 8
"""Longest distance that tells files apart."""
_MAX_STEPS: Final = 5_000_000


class Weight(NamedTuple):
    """What a file imports of another one.

    Args:
        names: How many names, at least 1.
        is_eager: Whether any at the margin, not inside a function or a condition.
    """

    names: int
    is_eager: bool


Edges = Mapping[str, Mapping[str, Weight]]
"""By importing file, the files that it imports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """Which files of a repository import which.

    Args:
        dependencies: The files that a file imports; files of no edge are not in it.
        users: The files that import a file; the same edges.
        dropped: Edges cut to break cycles, as (importing, imported), sorted.
    """

    dependencies: Mapping[str, Collection[str]]
    users: Mapping[str, Collection[str]]
    dropped: tuple[tuple[str, str], ...] = ()


class _Edge(NamedTuple):
    """An edge; the greater in order, the weaker it is.

    Weak are imports inside functions and conditions, then those of few names, then those of
    another folder, then those of files that many import.
    """

    is_deferred: bool
    minus_names: int
    is_far: bool
    num_users: int
    user: str
    dependency: str


def imports_of(file: File) -> tuple[Import, ...]:
    """List the imports of a file, none for one of no known language."""
    language = syntax.language_of(file.path)
    return find_imports(file.text, language=language) if language else ()


def arrange(imports: Mapping[str, Sequence[Import]]) -> list[str]:
    """Put the files of a repository in the order in which they are packed.

    Args:
        imports: Imports by path, of every file.
    """
    return arrange_linked(link_all(imports))


def arrange_linked(edges: Edges) -> list[str]:
    """Put files in order by their edges and names.

    First the files of the import graph in its order, then the others by path; a test that neither
    imports nor is imported stands right behind what it tests.

    Args:
        edges: Of every file, those without an edge too; edges lead to files among them.
    """
    linked = order(build(edges))
    covered = set(linked)
    tests = pair_tests(edges)
    rest = [path for path in sorted(edges) if path not in covered and path not in tests]
    return beside_tested([*linked, *rest], tests)


def link_all(imports: Mapping[str, Sequence[Import]]) -> dict[str, dict[str, Weight]]:
    """Find the files that each file of a repository imports.

    Args:
        imports: Imports by path, of every file.
    """
    resolver = Resolver(imports)
    return {path: link(path, imports[path], resolver=resolver) for path in sorted(imports)}


def link(path: str, imports: Sequence[Import], *, resolver: Resolver) -> dict[str, Weight]:
    """Find the files that a file imports."""
    found: dict[str, Weight] = {}
    for wanted in imports:
        target = resolver.resolve(path, wanted)
        if target is not None:
            names, is_eager = found.get(target, (0, False))
            found[target] = Weight(names + 1, is_eager or wanted.is_eager)
    return found


def build(edges: Edges) -> Graph:
    """Cut the edges that close a cycle with stronger ones.

    Args:
        edges: Of every file.

    Returns:
        The graph without cycles, everything in it sorted.
    """
    num_users = Counter(dependency for weights in edges.values() for dependency in weights)
    strongest_first = sorted(
        _Edge(
            is_deferred=not weight.is_eager,
            minus_names=-weight.names,
            is_far=user.rpartition("/")[0] != dependency.rpartition("/")[0],
            num_users=num_users[dependency],
            user=user,
            dependency=dependency,
        )
        for user, weights in edges.items()
        for dependency, weight in weights.items()
    )
    pairs = [(edge.user, edge.dependency) for edge in strongest_first]
    dropped = _weakest_of_cycles(pairs)
    kept = sorted(set(pairs) - dropped)
    return Graph(
        dependencies=_adjacent(kept),
        users=_adjacent(sorted((dependency, user) for user, dependency in kept)),
        dropped=tuple(sorted(dropped)),
    )


def order(graph: Graph) -> list[str]:
    """Put the files of a graph without cycles in topological order, dependencies first.

    Of the files whose dependencies are placed the one with the least distance to any file placed
    comes next, then the first by path.
    """
    nodes = sorted(graph.dependencies.keys() | graph.users.keys())
    waiting = {node: len(graph.dependencies.get(node, ())) for node in nodes}
    far = MAX_DISTANCE + 1
    distance = dict.fromkeys(nodes, far)
    ready = [(far, node) for node in nodes if not waiting[node]]
    placed: list[str] = []
    done: set[str] = set()
    while ready:
        _, node = heapq.heappop(ready)
        if node in done:
            continue
        placed.append(node)
        done.add(node)
        for nearer in _relax(graph, node, distance):
            if not waiting[nearer] and nearer not in done:
                heapq.heappush(ready, (distance[nearer], nearer))
        for user in graph.users.get(node, ()):
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (distance[user], user))
    return placed


def distances(graph: Graph, path: str, *, max_distance: int = MAX_DISTANCE) -> dict[str, int]:
    """Give the lengths of the shortest paths from a file, over edges in either direction.

    Files farther than `max_distance` are left out, the file itself has 0.
    """
    found = {path: 0}
    frontier = [path]
    for length in range(1, max_distance + 1):
        frontier = [
            near
            for node in frontier
            for near in _neighbours(graph, node)
            if found.setdefault(near, length) == length
        ]
        frontier = list(dict.fromkeys(frontier))
    return found


def _relax(graph: Graph, node: str, distance: dict[str, int]) -> list[str]:
    """Lower the distances of files that are nearer to `node` than to those before; name them."""
    distance[node] = 0
    lowered: list[str] = []
    frontier = [node]
    length = 0
    while frontier and length < MAX_DISTANCE:
        length += 1
        reached: list[str] = []
        for one in frontier:
            for near in _neighbours(graph, one):
                if distance[near] > length:
                    distance[near] = length
                    reached.append(near)
        lowered += reached
        frontier = reached
    return lowered


def _neighbours(graph: Graph, node: str) -> Iterable[str]:
    yield from graph.dependencies.get(node, ())
    yield from graph.users.get(node, ())


def _adjacent(pairs: Sequence[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Group sorted pairs by their first member."""
    lists: dict[str, list[str]] = {}
    for one, other in pairs:
        lists.setdefault(one, []).append(other)
    return {one: tuple(others) for one, others in lists.items()}


def _weakest_of_cycles(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Choose the edges to cut: taking edges from the strongest, those that would close a cycle.

    Every edge chosen is the weakest of a cycle, and no other choice is made, so a graph without
    cycles loses nothing. A topological order is kept as edges come and mended only between the
    ends of a new edge. After `_MAX_STEPS`, which real repositories do not come near, the edges
    left over are taken as far as they agree with that order.

    Source: Pearce and Kelly, 'A dynamic topological sort algorithm for directed acyclic graphs'.
    """
    place = {node: i for i, node in enumerate(sorted({node for pair in pairs for node in pair}))}
    after: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    chosen: set[tuple[str, str]] = set()
    steps = 0
    for user, dependency in pairs:
        low, high = place[user], place[dependency]
        if low < high:
            ahead = _reach(after, user, place, low, high) if steps <= _MAX_STEPS else {dependency}
            steps += sum(len(after.get(node, ())) for node in ahead)
            if dependency in ahead:
                chosen.add((user, dependency))
                continue
            behind = _reach(before, dependency, place, low, high)
            steps += sum(len(before.get(node, ())) for node in behind)
            moved = sorted(behind, key=place.__getitem__) + sorted(ahead, key=place.__getitem__)
            for node, free in zip(moved, sorted(place[node] for node in moved), strict=True):
                place[node] = free
        after.setdefault(dependency, []).append(user)
        before.setdefault(user, []).append(dependency)
    return chosen


def _reach(
    edges: Mapping[str, list[str]], start: str, place: Mapping[str, int], low: int, high: int
) -> set[str]:
    """Give what can be reached from `start` by way of nodes placed from `low` to `high`."""
    found = {start}
    stack = [start]
    while stack:
        for node in edges.get(stack.pop(), ()):
            if node not in found and low <= place[node] <= high:
                found.add(node)
                stack.append(node)
    return found
