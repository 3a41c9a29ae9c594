# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.data import languages
from codegemma.text import syntax


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [
        ("a/b.py", "", "python"),
        ("A.java", "", "java"),
        ("a.MJS", "", "javascript"),
        ("a.tsx", "", "tsx"),
        ("main.go", "", "go"),
        ("m.c", "", "c"),
        ("m.cc", "", "cpp"),
        ("P.cs", "class P {}", "csharp"),
        ("lib.rs", "", "rust"),
        ("A.kts", "", "kotlin"),
        ("SConstruct", "", "python"),
        ("run", "#!/usr/bin/env python3\n", "python"),
        ("run", "#! /usr/bin/python2.7 -u\n", "python"),
        ("run", "#!/usr/bin/env -S node --harmony\n", "javascript"),
        ("run", "#!/usr/bin/env A=1 deno run\n", "typescript"),
        ("run", "#!/bin/sh\n", "other"),
        ("run", "#!\n", "other"),
        ("run", "# -*- mode: python; coding: utf-8 -*-\n", "python"),
        ("run", "# -*- python -*-\n", "python"),
        ("run", "# -*- coding: utf-8; mode: python -*-\n", "python"),
        ("run", "/* -*- Mode: C++; tab-width: 4 -*- */\n", "cpp"),
        ("run", "# -*- coding: utf-8; tab-width: 8 -*-\n", "other"),
        ("run", "// vim: set ft=cpp sw=2 :\n", "cpp"),
        ("run", "# -*- coding: utf-8 -*-\n", "other"),
        ("README", "A readme about python.\n", "other"),
        ("a.txt", "#!/usr/bin/env python3\n", "other"),
        ("a.h", "int add(int a, int b);\n#include <stdio.h>\n", "c"),
        ("a.h", "#include <vector>\n", "cpp"),
        ("a.h", "namespace a {\n}\n", "cpp"),
        ("a.h", "struct a;\nclass B : public A {\n};\n", "cpp"),
        ("a.h", "/* class of its own */\nstruct s { int x; };\n", "c"),
        ("a.h", "//===-- x.h ------ -*- C++ -*-===//\nint add(int, int);\n", "cpp"),
        ("a.h", "// -*- C++ -*-\nint add(int a, int b);\n", "cpp"),
        ("a.h", "/* -*- mode: c; c-basic-offset: 4 -*- */\n// as std::move does\n", "c"),
        ("a.h", "/* vim: set ft=c : */\n// as std::move does\n", "c"),
        ("a.h", "// -*- python -*-\nnamespace a {\n}\n", "cpp"),
        ("a.h", "@interface Shape : NSObject\n@end\n", "other"),
        ("nl.ts", '<?xml version="1.0"?>\n<TS>', "other"),
        ("nl.ts", "export const a = 1\n", "typescript"),
        ("a.cs", "!Shape methodsFor: 'x'!\n", "other"),
    ],
)
def test_the_language_is_told_as_a_reader_would(path: str, text: str, language: str) -> None:
    assert languages.detect(path, text) == language


def test_every_extension_is_one_of_a_known_language() -> None:
    found = {syntax.language_of(f"x{end}") for end in languages.EXTENSIONS}

    assert found == set(languages.ALL)


def test_long_hostile_text_is_told_in_linear_time() -> None:
    assert languages.detect("a.h", "class " * 200_000) in ("c", "cpp")
    assert languages.detect("run", "-*-" * 300_000) == "other"
