# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.data import graph
from codegemma.data.document import File
from codegemma.data.resolve import Resolver, family_of
from codegemma.text import syntax

PYTHON = [
    "setup.py",
    "src/shop/__init__.py",
    "src/shop/cart.py",
    "src/shop/json.py",
    "src/shop/io/__init__.py",
    "src/shop/io/csv.py",
    "tools/json_lines.py",
    "tools/run.py",
]
JAVA = ["src/main/java/org/shop/Cart.java", "src/main/java/org/shop/money/Money.java"]
WEB = ["src/a.ts", "src/lib/index.ts", "src/lib/b.js", "src/lib/types.d.ts", "packages/x/core/y.js"]
GO = [
    "main.go",
    "cart/total.go",
    "cart/cart.go",
    "cart/cart_test.go",
    "http/http.go",
    "errors/e.go",
]
C = ["include/shop/cart.h", "src/cart.c", "src/util.h", "lib/util.h", "lib/stdio.h", "tests/t.c"]
CSHARP = ["Acme.Shop/Cart.cs", "Acme.Shop/Money/Coin.cs", "Acme.Shop/Money/Money.cs", "App/Main.cs"]
RUST = ["src/lib.rs", "src/cart.rs", "src/money/mod.rs", "src/money/coin.rs", "x-y/src/lib.rs"]


@pytest.mark.parametrize(
    ("paths", "path", "text", "expected"),
    [
        (PYTHON, "src/shop/cart.py", "import shop.io.csv", "src/shop/io/csv.py"),
        (PYTHON, "src/shop/cart.py", "from shop.io import csv", "src/shop/io/csv.py"),
        (PYTHON, "src/shop/cart.py", "from shop.io import CSV", "src/shop/io/__init__.py"),
        (PYTHON, "src/shop/cart.py", "from . import io", "src/shop/io/__init__.py"),
        (PYTHON, "src/shop/cart.py", "from . import VERSION", "src/shop/__init__.py"),
        (PYTHON, "src/shop/io/csv.py", "from ..cart import Cart", "src/shop/cart.py"),
        (PYTHON, "src/shop/cart.py", "import json", None),
        (PYTHON, "src/shop/cart.py", "from ....x import y", None),
        (PYTHON, "src/shop/cart.py", "from other.shop.cart import Cart", None),
        (PYTHON, "tools/run.py", "import json_lines", "tools/json_lines.py"),
        (PYTHON, "src/shop/cart.py", "from .cart import Cart", None),
        (JAVA, JAVA[0], "import org.shop.money.Money;", JAVA[1]),
        (JAVA, JAVA[0], "import static org.shop.money.Money.ZERO;", JAVA[1]),
        (JAVA, JAVA[0], "import org.shop.money.*;", JAVA[1]),
        (JAVA, JAVA[0], "import java.money.Money;", None),
        (WEB, "src/a.ts", "import {b} from './lib/b.js'", "src/lib/b.js"),
        (WEB, "src/a.ts", "import {b} from './lib'", "src/lib/index.ts"),
        (WEB, "src/lib/b.js", "import {b} from '..'", None),
        (WEB, "src/lib/b.js", "import {b} from '../a'", "src/a.ts"),
        (WEB, "src/a.ts", "import {T} from './lib/types'", "src/lib/types.d.ts"),
        (WEB, "src/a.ts", "import {b} from '@/lib/b'", "src/lib/b.js"),
        (WEB, "src/a.ts", "import {b} from '@org/x/core/y'", "packages/x/core/y.js"),
        (WEB, "src/a.ts", "import {b} from 'b'", None),
        (GO, "main.go", 'package m\nimport "a.org/shop/cart"', "cart/cart.go"),
        (GO, "main.go", 'package m\nimport "net/http"', None),
        (GO, "main.go", 'package m\nimport "errors"', None),
        (C, "src/cart.c", '#include "util.h"', "src/util.h"),
        (C, "src/cart.c", '#include "shop/cart.h"', "include/shop/cart.h"),
        (C, "src/cart.c", "#include <shop/cart.h>", "include/shop/cart.h"),
        (C, "tests/t.c", '#include "util.h"', "lib/util.h"),
        (C, "tests/t.c", '#include "../src/util.h"', "src/util.h"),
        (C, "src/cart.c", "#include <stdio.h>", None),
        (CSHARP, "App/Main.cs", "using Acme.Shop;", "Acme.Shop/Cart.cs"),
        (CSHARP, "App/Main.cs", "using Acme.Shop.Money;", "Acme.Shop/Money/Money.cs"),
        (CSHARP, "App/Main.cs", "using static Acme.Shop.Money.Coin;", "Acme.Shop/Money/Coin.cs"),
        (CSHARP, "App/Main.cs", "using System.Text;", None),
        (RUST, "src/lib.rs", "mod cart;", "src/cart.rs"),
        (RUST, "src/lib.rs", "mod money;", "src/money/mod.rs"),
        (RUST, "src/money/mod.rs", "mod coin;", "src/money/coin.rs"),
        (RUST, "src/cart.rs", "use crate::money::Money;", "src/money/mod.rs"),
        (RUST, "src/cart.rs", "use crate::money::coin::Coin;", "src/money/coin.rs"),
        (RUST, "src/money/coin.rs", "use super::Money;", "src/money/mod.rs"),
        (RUST, "src/cart.rs", "use serde::cart;", None),
    ],
)  # fmt: skip
def test_an_import_means_the_file_with_the_longest_common_suffix(
    paths: list[str], path: str, text: str, expected: str | None
) -> None:
    language = syntax.language_of(path)
    assert language is not None
    if not syntax.has_grammar(language):
        pytest.skip(f"the grammar of {language} is not installed: pip install 'codegemma[data]'")
    found = graph.imports_of(File(path=path, text=text + "\n"))

    resolver = Resolver({one: found if one == path else () for one in paths})

    means = [resolver.resolve(path, wanted) for wanted in found]

    assert means[:1] == [expected] or (means == [] and expected is None)


def test_of_two_go_modules_names_the_one_imported_most_is_the_repositorys() -> None:
    imports = 'package m\nimport (\n\t"b.org/cart"\n\t"a.org/shop/cart"\n\t"a.org/shop/http"\n)\n'
    found = graph.imports_of(File(path="main.go", text=imports))
    resolver = Resolver({path: found if path == "main.go" else () for path in GO})

    assert [resolver.resolve("main.go", wanted) for wanted in found] == [
        None,
        "cart/cart.go",
        "http/http.go",
    ]


def test_files_of_no_known_language_are_in_no_family() -> None:
    assert family_of("notes.txt") is None
    assert family_of("a.tsx") == family_of("a.js") == "web"
    assert Resolver({"notes.txt": ()}).resolve("notes.txt", found_nowhere()) is None


def found_nowhere():
    return graph.imports_of(File(path="a.py", text="import notes\n"))[0]
