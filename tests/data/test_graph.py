# SPDX-License-Identifier: Apache-2.0
"""The orders of three repositories are written by hand, step by step, from the paper's rules."""

import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.data import graph
from codegemma.data.document import File
from codegemma.data.graph import Graph
from codegemma.data.resolve import Resolver
from codegemma.text import syntax
from codegemma.text.imports import Import

# `cart` and `customer` import each other; the import inside a function is the weaker.
PYTHON = {
    "setup.py": "from setuptools import setup\n",
    "docs/conf.py": "project = 'shop'\n",
    "audit/base.py": "RULES = []\n",
    "zoo/rules.py": "from audit.base import RULES\n",
    "shop/__init__.py": "from .cart import Cart\n",
    "shop/cart.py": "import json\nfrom .money import Money, add\nfrom .customer import Customer\n",
    "shop/customer.py": "def carts():\n    from .cart import Cart\n    return Cart\n",
    "shop/money.py": "import decimal\n",
    "shop/report.py": "from .cart import Cart\nfrom .money import Money\n",
    "tests/test_cart.py": "import pytest\nfrom shop.cart import Cart\n",
    "tests/test_money.py": "from shop.money import Money\n",
}
PYTHON_ORDER = [
    "audit/base.py",  # imports nothing, first by path
    "zoo/rules.py",  # 1 from audit/base.py; everything else is in another part of the graph
    "shop/customer.py",  # imports nothing once its edge to cart is cut
    "shop/money.py",  # 2 from customer, by way of cart
    "shop/cart.py",  # 1, before tests/test_money.py by path
    "shop/__init__.py",  # 1 from cart, as are the three after it
    "shop/report.py",
    "tests/test_cart.py",
    "tests/test_money.py",
    "docs/conf.py",  # the rest, by path
    "setup.py",
]

_MAIN, _TEST = "src/main/java/org/shop/", "src/test/java/org/shop/"
JAVA = {
    _MAIN + "App.java": "package org.shop;\nimport org.shop.cart.Cart;\n",
    _MAIN + "cart/Cart.java": "package org.shop.cart;\nimport org.shop.money.Money;\n",
    _MAIN + "money/Money.java": "package org.shop.money;\nimport java.math.BigDecimal;\n",
    _MAIN + "money/Rounding.java": "package org.shop.money;\n",
    _TEST + "AppTest.java": "package org.shop;\nimport org.shop.cart.Cart;\n",
    _TEST + "cart/CartTest.java": "package org.shop.cart;\nimport org.junit.Test;\n",
    _TEST + "money/MoneyTest.java": "package org.shop.money;\nimport static org.junit.Assert.*;\n",
    _TEST + "money/TestRounding.java": "package org.shop.money;\n",
}
JAVA_ORDER = [
    _MAIN + "money/Money.java",
    _TEST + "money/MoneyTest.java",  # imports no file of the repository: beside what it tests
    _MAIN + "cart/Cart.java",
    _TEST + "cart/CartTest.java",
    _MAIN + "App.java",
    _TEST + "AppTest.java",  # by its import of Cart, as far from it as App
    _MAIN + "money/Rounding.java",  # the rest
    _TEST + "money/TestRounding.java",
]

GO = {
    "cmd/shop/main.go": (
        'package main\nimport (\n\t"fmt"\n\t"example.com/shop/cart"\n'
        '\t"example.com/shop/internal/store"\n)\n'
    ),
    "cart/cart.go": 'package cart\nimport (\n\t"net/http"\n\t"example.com/shop/money"\n)\n',
    "cart/cart_test.go": 'package cart\nimport "testing"\n',
    "cart/total.go": "package cart\n",
    "errors/errors.go": "package errors\n",
    "internal/http/http.go": "package http\n",
    "internal/store/store.go": (
        'package store\nimport (\n\t"github.com/pkg/errors"\n\t"example.com/shop/cart"\n)\n'
    ),
    "money/format.go": "package money\n",
    "money/money.go": 'package money\nimport "errors"\n',
}
GO_ORDER = [
    "money/money.go",  # stands for its folder, by its name
    "cart/cart.go",
    "cart/cart_test.go",
    "internal/store/store.go",  # main.go waits for it
    "cmd/shop/main.go",
    "cart/total.go",  # the rest; net/http and the errors of others are none of these
    "errors/errors.go",
    "internal/http/http.go",
    "money/format.go",
]


def build(texts: Mapping[str, str]) -> Graph:
    imports = read(texts)
    resolver = Resolver(imports)
    edges = {path: graph.link(path, found, resolver=resolver) for path, found in imports.items()}
    return graph.build(edges)


def read(texts: Mapping[str, str]) -> dict[str, tuple[Import, ...]]:
    return {path: graph.imports_of(File(path=path, text=text)) for path, text in texts.items()}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [(PYTHON, PYTHON_ORDER), (JAVA, JAVA_ORDER), (GO, GO_ORDER)],
    ids=["python", "java", "go"],
)
def test_a_repository_comes_in_the_order_written_by_hand(
    texts: dict[str, str], expected: list[str]
) -> None:
    language = syntax.language_of(next(reversed(texts)))
    assert language is not None
    if not syntax.has_grammar(language):
        pytest.skip(f"the grammar of {language} is not installed: pip install 'codegemma[data]'")

    assert graph.arrange(read(texts)) == expected
    assert graph.arrange(read(dict(reversed(texts.items())))) == expected


def test_a_cycle_loses_its_weakest_edge_alone() -> None:
    assert build(PYTHON).dropped == (("shop/customer.py", "shop/cart.py"),)


@pytest.mark.parametrize(
    ("texts", "dropped"),
    [
        ({"a.py": "import b\n", "b.py": "if T:\n    from a import x, y, z\n"}, ("b.py", "a.py")),
        ({"a.py": "from b import x\n", "b.py": "from a import x, y\n"}, ("a.py", "b.py")),
        (
            {
                "p/a.py": "import q.b\nimport p.c\n",
                "q/b.py": "import p.c\n",
                "p/c.py": "import p.a",
            },
            ("q/b.py", "p/c.py"),
        ),
        ({"a.py": "import b\n", "b.py": "import a\n", "c.py": "import b\n"}, ("a.py", "b.py")),
        ({"a.py": "import b\n", "b.py": "import a\n"}, ("b.py", "a.py")),
    ],
    ids=["deferred", "names", "folders", "users", "path"],
)
def test_what_makes_an_edge_weak(texts: dict[str, str], dropped: tuple[str, str]) -> None:
    assert dropped in build(texts).dropped


EDGES = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40)


def numbered(edges: list[tuple[int, int]]) -> Graph:
    """The graph of modules a.py, b.py, ... that import one another."""
    texts = {f"{chr(97 + i)}.py": "" for i in range(12)}
    for user, dependency in edges:
        texts[f"{chr(97 + user)}.py"] += f"import {chr(97 + dependency)}\n"
    return build(texts)


@settings(deadline=None)
@given(EDGES)
def test_edges_are_cut_until_no_cycle_is_left_and_none_without_need(
    edges: list[tuple[int, int]],
) -> None:
    found = numbered(edges)
    kept = {(u, d) for u, dependencies in found.dependencies.items() for d in dependencies}
    wanted = {(f"{chr(97 + u)}.py", f"{chr(97 + d)}.py") for u, d in edges if u != d}

    assert kept | set(found.dropped) == wanted
    assert not kept & set(found.dropped)
    assert not has_cycle(kept)
    assert all(has_cycle(kept | {edge}) for edge in found.dropped)


def has_cycle(edges: set[tuple[str, str]]) -> bool:
    edges = set(edges)
    while edges:
        leaves = {d for _, d in edges} - {u for u, _ in edges}
        if not leaves:
            return True
        edges = {(u, d) for u, d in edges if d not in leaves}
    return False


@settings(deadline=None)
@given(EDGES)
def test_the_order_is_the_papers_with_all_distances_between_all_pairs(
    edges: list[tuple[int, int]],
) -> None:
    found = numbered(edges)
    nodes = sorted(found.dependencies.keys() | found.users.keys())
    far = graph.MAX_DISTANCE + 1
    lengths = {(a, b): 0 if a == b else far for a in nodes for b in nodes}
    for user, dependencies in found.dependencies.items():
        for dependency in dependencies:
            lengths[user, dependency] = lengths[dependency, user] = 1
    for middle in nodes:  # Floyd and Warshall
        for a in nodes:
            for b in nodes:
                through = lengths[a, middle] + lengths[middle, b]
                lengths[a, b] = min(lengths[a, b], through)
    expected: list[str] = []
    while len(expected) < len(nodes):
        ready = [
            node
            for node in nodes
            if node not in expected and set(found.dependencies.get(node, ())) <= set(expected)
        ]
        expected.append(
            min(ready, key=lambda n: (min((lengths[n, p] for p in expected), default=far), n))
        )

    assert graph.order(found) == expected
    for node in nodes:
        near = {other: lengths[node, other] for other in nodes if lengths[node, other] < far}
        assert graph.distances(found, node) == near


@pytest.mark.slow
def test_fifty_thousand_files_with_cycles_and_a_hub_are_arranged() -> None:
    """A step for each pair of them would outlast any limit of a test."""
    imports = {
        f"pkg/p{i % 250}/m{i}.py": tuple(
            Import(parts=("pkg", f"p{j % 250}", f"m{j}"))
            for j in {0, (i * 7 + 3) % 50_000, (i + 1) % 50_000, i // 2}
        )
        for i in range(50_000)
    }

    assert sorted(graph.arrange(imports)) == sorted(imports)


def test_graph_and_pack_load_neither_jax_nor_datatrove() -> None:
    code = (
        "import sys\nimport codegemma.data.graph, codegemma.data.pack\n"
        "print([name for name in ('jax', 'datatrove', 'grain') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
