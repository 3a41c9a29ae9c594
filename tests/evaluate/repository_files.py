# SPDX-License-Identifier: Apache-2.0
"""Small git repositories of three languages, whose tests cover functions that use other files."""

import os
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

JAVASCRIPT = {
    "src/money.js": "exports.add = (a, b) => a + b;\n\nexports.unused = (a) => a;\n",
    "src/cart.js": (
        "const { add, unused } = require('./money');\n\n"
        "function total(prices) {\n"
        "  let found = 0;\n"
        "  for (const price of prices) {\n"
        "    found = add(found, price);\n"
        "    found = add(found, 0);\n"
        "  }\n"
        "  return found;\n"
        "}\n\n"
        "function untested() {\n  return unused(1);\n}\n\n"
        "module.exports = { total, untested };\n"
    ),
    "test/cart.test.js": (
        "const assert = require('node:assert');\n"
        "const { total } = require('../src/cart');\n"
        "assert.strictEqual(total([1, 2]), 3);\n"
        "console.log(`passed in ${process.uptime()} s`);\n"
    ),
}
GO = {
    "go.mod": "module example.test/shop\n\ngo 1.19\n",
    "money/money.go": "package money\n\nfunc Add(a, b int) int {\n\treturn a + b\n}\n",
    "cart.go": (
        'package shop\n\nimport "example.test/shop/money"\n\n'
        "func Total(prices []int) int {\n"
        "\tfound := 0\n"
        "\tfor _, price := range prices {\n"
        "\t\tfound = money.Add(found, price)\n"
        "\t\tfound = money.Add(found, 0)\n"
        "\t}\n"
        "\treturn found\n"
        "}\n"
    ),
    "label.go": (
        'package shop\n\nimport "example.test/shop/money"\n\n'
        "func Untested() int {\n\treturn money.Add(1, 2)\n}\n"
    ),
    "cart_test.go": (
        'package shop\n\nimport "testing"\n\n'
        "func TestTotal(t *testing.T) {\n"
        "\tif Total([]int{1, 2}) != 3 {\n\t\tt.Fatal()\n\t}\n"
        "}\n"
    ),
}


def make_repository(folder: Path, files: Mapping[str, str] = SHOP) -> Path:
    """Write files and commit them."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    commit(folder, files)
    return folder


def commit(folder: Path, files: Mapping[str, str], *, time: str | None = None) -> None:
    """Write files of a repository and commit them, now or as of another time."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    dated = {} if time is None else {"GIT_COMMITTER_DATE": time}
    for words in (
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@example.test", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", "-C", str(folder), *words], check=True, env=os.environ | dated)
