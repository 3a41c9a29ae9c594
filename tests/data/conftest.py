# SPDX-License-Identifier: Apache-2.0
"""A small tokenizer in Gemma's layout and source folders to prepare."""

import sys
from pathlib import Path

import pytest

from codegemma.data import vocabulary
from codegemma.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "codegemma"

sys.path.append(str(ROOT / "benchmarks"))

MIT = (
    "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy\n"
    "of this software, to deal in the Software without restriction\n"
)

SHAPES = '''"""Shapes and their areas, with nothing else inside."""

import math


def circle_area(radius):
    """Give the area of a circle of this radius."""
    if radius < 0:
        raise ValueError("a radius must not be negative")
    return math.pi * radius**2


def square_area(side):
    """Give the area of a square of this side."""
    return side * side
'''

ORDERS = '''"""Orders of a small shop: lines, totals and discounts."""


class Order:
    def __init__(self, customer):
        self.customer = customer
        self.lines = []

    def add(self, article, price, count=1):
        self.lines.append((article, price, count))

    def total(self):
        amount = sum(price * count for _, price, count in self.lines)
        return amount if amount < 100 else amount * 0.9
'''


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [path.read_text(encoding="utf-8") for path in sorted((SOURCE / "data").glob("*.py"))]
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(vocabulary.train(texts, vocab_size=700))
    return path


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file: Path) -> Tokenizer:
    return Tokenizer.from_file(tokenizer_file)


@pytest.fixture
def repository_folder(tmp_path: Path) -> Path:
    """A folder with two repositories: `shapes` (MIT) and `orders` (MIT)."""
    root = tmp_path / "repositories"
    for name, files in {
        "shapes": {"shapes.py": SHAPES},
        "orders": {"shop/orders.py": ORDERS},
    }.items():
        for path, text in {"LICENSE": MIT, **files}.items():
            target = root / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    return root
