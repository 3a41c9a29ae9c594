# SPDX-License-Identifier: Apache-2.0
"""A small git repository whose tests cover two functions that use another file."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

SHOP = {
    "shop/__init__.py": "",
    "shop/money.py": "def add(a, b):\n    return a + b\n\n\ndef unused(a):\n    return a\n",
    "shop/cart.py": (
        "from .money import add, unused\n\n\n"
        "def total(prices):\n"
        "    found = 0\n"
        "    for price in prices:\n"
        "        found = add(found, price)\n"
        "        found = add(found, 0)\n"
        "    return found\n\n\n"
        "def untested():\n    return unused(1)\n\n\n"
        "def hollow():\n    add(1, 2)\n"
    ),
    "tests/test_cart.py": (
        "from shop.cart import hollow, total\n\n\n"
        "def test_total():\n    assert total([1, 2]) == 3\n\n\n"
        "def test_hollow():\n"
        "    try:\n        hollow()\n    except NotImplementedError:\n        pass\n\n\n"
        "def test_red():\n    assert total([1]) == 5\n"
    ),
    "check.py": "from shop.cart import total\nassert total([1, 2]) == 3\n",
}


def make_repository(folder: Path, files: Mapping[str, str] = SHOP) -> Path:
    """Write files and commit them."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@example.test", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder
