# SPDX-License-Identifier: Apache-2.0
"""A small repository on disk, and a tokenizer."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from codegemma.text.tokenizer import Tokenizer

SHOP = {
    "pyproject.toml": "",
    "notes.txt": "import shop.cart\n",
    ".hidden/x.py": "import shop.cart\n",
    "node_modules/x.js": "import './y'\n",
    "shop/__init__.py": "",
    "shop/money.py": "class Money:\n    amount = 0\n",
    "shop/customer.py": "from .money import Money\n\nNAME = 'name'\n",
    "shop/cart.py": "from .customer import NAME\nfrom .money import Money\n\nclass Cart: ...\n",
    "shop/report.py": "from .cart import Cart\n",
    "shop/far.py": "from .report import Cart\n",
    "shop/farther.py": "from .far import Cart\n",
    "shop/unlinked.py": "x = 1\n",
    "tests/test_cart.py": "def test_nothing(): ...\n",
}


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(Path(__file__).parents[1] / "golden" / "tokenizer")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Write files below a folder and give it."""

    def write_files(texts: Mapping[str, str]) -> Path:
        for path, text in texts.items():
            target = tmp_path / "repository" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        return tmp_path / "repository"

    return write_files


@pytest.fixture
def shop(write: Callable[[Mapping[str, str]], Path]) -> Path:
    return write(SHOP)
