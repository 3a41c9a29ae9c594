# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from codegemma.text import imports, syntax
from codegemma.text.imports import Import, find_imports

# What is read as where it starts (`.` once for each folder up, counted from one), path, the parts
# that may be inside a file in brackets, `/` behind a folder, and `?` where the import is deferred.
READ = {
    "python": (
        '''"""Not this one:
import no
"""
import os.path, a.b as c
from . import x
from ..y.z import (p as q,  # one, two
                   r)
from k import *
if TYPE_CHECKING:
    from m import n
import late \\
    , later
''',
        "os/path a/b .[x] ..y/z[p] ..y/z[r] k m[n]? late later",
    ),
    "java": (
        """package a;
// import b.No;
import com.x.Foo;
import static com.x.Foo.bar;
import com.x.*;
""",
        "com/x[Foo] com/x[Foo/bar] com/x/",
    ),
    "kotlin": (
        "package a\nimport com.x.Foo\nimport com.x.*\nimport com.x.y as z\n",
        "com/x[Foo] com/x/ com/x[y]",
    ),
    "javascript": (
        """import a from './x.js';
import {
  b as c,
  d,
} from '../y';
export * from './z';
import './side';
import react from 'react';
import lib from '@org/lib/part';
const w = require('./w');
const text = "import no from './no'";
function f() { return import('./late'); }
""",
        ".x ..y:b ..y:d .z .side @org/lib/part .w .late?",
    ),
    "typescript": (
        "import type { A } from './a';\nimport b = require('./b');\nexport { c } from '..';\n",
        ".a:A .b ..:c",
    ),
    "tsx": ("import { A } from './a';\n", ".a:A"),
    "go": (
        'package a\nimport "fmt"\nimport (\n\tb "a.com/b/c"\n\t_ "net/http" // x\n)\n',
        "fmt/ a.com/b/c/ net/http/",
    ),
    "c": (
        '#include "../a/b.h"\n#include <stdio.h>\n#ifdef X\n#include "c.h"\n#endif\n',
        "..a/b.h .c.h",
    ),
    "cpp": ('#include <a/b.hpp>\n#include <vector>\n#include "c.h"\n', "a/b.hpp .c.h"),
    "csharp": (
        "using System;\nusing static Acme.X;\nusing F = Acme.Y;\nnamespace A {\n  using Q.R;\n}\n",
        "System/ Acme/X/ Acme/Y/ Q/R/",
    ),
    "rust": (
        """mod a;
pub(crate) mod b { fn f() {} }
use crate::{x::{Y, z as w}, v};
pub use super::k::L;
use self::m::*;
use std::fmt;
""",
        ".a x[Y] x[z] v ..[k/L] .[m] std/fmt",
    ),
}  # fmt: skip


def drawn(one: Import) -> str:
    """An import in the notation of READ."""
    last = len(one.parts) - one.optional
    if len(one.parts) >= one.least > last:
        last = one.least
    up = "" if one.up is None else "." * (one.up + 1)
    inside = "/".join(one.parts[last:])
    name = f":{one.name}" if one.name else ""
    text = up + "/".join(one.parts[:last]) + (f"[{inside}]" if inside else "") + name
    return text + "/" * one.is_folder + "?" * (not one.is_eager)


@pytest.mark.parametrize("language", sorted(READ))
def test_imports_are_read_as_they_are_spelt(language: str) -> None:
    if not syntax.has_grammar(language):
        pytest.skip(f"the grammar of {language} is not installed: pip install 'codegemma[data]'")
    text, expected = READ[language]

    assert " ".join(drawn(one) for one in find_imports(text, language=language)) == expected


def test_every_language_has_its_reading() -> None:
    assert set(READ) == set(syntax.LANGUAGES)


def test_imports_behind_the_head_are_not_looked_at() -> None:
    text = "import a\n" + "x = 1\n" * (imports.MAX_LINES - 2) + "import b\nimport c\n"

    assert [one.parts for one in find_imports(text, language="python")] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("go", 'package a\n\nimport (\n\t"last"\n)\n\nfunc F() {}\n'),
        ("java", "package a;\n\nimport last;\n\nclass C {}\n"),
        ("kotlin", "package a\n\nimport last\n\nclass C\n"),
        ("python", "import a\n\n\nimport last\n\n\nx = 1\n"),
        ("typescript", "import { A } from './a';\n\nimport last = require('./last');\n\nA();\n"),
        ("c", '#include "a.h"\n\n#include "last"\n\nint x;\n'),
        ("csharp", "using A;\n\nusing last;\n\nclass C {}\n"),
        ("rust", "use a::b;\n\nmod last;\n\nfn f() {}\n"),
    ],
)
def test_the_last_import_is_read_behind_a_blank_line(language: str, text: str) -> None:
    if not syntax.has_grammar(language):
        pytest.skip(f"the grammar of {language} is not installed: pip install 'codegemma[data]'")

    assert find_imports(text, language=language)[-1].parts == ("last",)


def test_a_list_of_names_longer_than_its_first_line_is_read_whole() -> None:
    text = "from a import (\n" + "".join(f"    name{i},  # a (\n" for i in range(50)) + ")\nx = 1\n"

    names = [one.parts[-1] for one in find_imports(text, language="python")]

    assert names == [f"name{i}" for i in range(50)]


@pytest.mark.parametrize(
    "text",
    [
        "import " + "(" * 40_000,
        "from " + "." * 40_000 + " import x",
        "import a\n" * 100_000,
        "import a" + ", a" * 100_000,
        "from \u2028 import \ud800\n",
    ],
    ids=["brackets", "dots", "lines", "names", "odd letters"],
)
def test_hostile_heads_are_read_in_bounded_time(text: str) -> None:
    start = time.process_time()
    find_imports(text, language="python")

    assert time.process_time() - start < 2
