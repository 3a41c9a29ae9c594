# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.evaluate.babelcode.cut import at_function_end, at_stop
from codegemma.evaluate.babelcode.languages import LANGUAGES


@pytest.mark.parametrize(
    ("key", "text", "kept"),
    [
        ("cpp", "\n    return a;\n}\nint main() {\n}", "\n    return a;\n}"),
        ("cpp", "\n    return a;", "\n    return a;\n}"),
        ("cpp", " return a; }", " return a; }"),
        ("cpp", "\n    if (a) {\n        b();", "\n    if (a) {\n        b();\n}"),
        ("csharp", "\n        return a;\n    }\n}\n", "\n        return a;\n    }\n}"),
        ("java", "\n        return a;", "\n        return a;\n    }\n}"),
        ("java", "\n        return a;\n    }", "\n        return a;\n    }\n}"),
        ("kotlin", "\n    return a\n}\nfun b", "\n    return a\n}"),
        ("rust", '\n    a("}")\n}\n', '\n    a("}")\n}'),
        ("go", "\n    return a\n}\nfunc b()", "\n    return a\n}"),
        ("go", "\n    x := struct{}{}\n}", "\n    x := "),
        ("javascript", "\n    return a;\n}\n// more", "\n    return a;\n}"),
        ("python", "\n    return a\nif b:\n    c", "\n    return a"),
    ],
)
def test_stop_strings_end_a_completion_and_braces_are_put_back(key, text, kept):
    assert at_stop(text, LANGUAGES[key]) == kept


@pytest.mark.parametrize(
    ("key", "text", "kept"),
    [
        ("cpp", "\n    if (a) {}\n    return a;\n} }", "\n    if (a) {}\n    return a;\n}"),
        ("cpp", " return '}'; } int x", " return '}'; }"),
        ("csharp", '\n        return @"}";\n    }\n    int b;', '\n        return @"}";\n    }\n}'),
        ("go", "\n    x := struct{}{} // }\n}\nmore", "\n    x := struct{}{} // }\n}"),
        ("go", "\n    return `}`\n}}", "\n    return `}`\n}"),
        ("go", "\n    return a", "\n    return a\n}"),
        ("java", "\n  /* } */ return 1;\n    }\n}", "\n  /* } */ return 1;\n    }\n}"),
        ("javascript", "\n  return `}` + '}';\n}\nf();", "\n  return `}` + '}';\n}"),
        ("kotlin", '\n  return """}"""\n}\nval b', '\n  return """}"""\n}'),
        ("rust", "\n  f::<'a>('{', '}')\n}\nfn b", "\n  f::<'a>('{', '}')\n}"),
        ("python", "\n    return a\n\nprint(a)", "\n    return a"),
    ],
)
def test_function_ends_with_its_body(key, text, kept):
    prompt = 'def f(a):\n    """Do."""' if key == "python" else ""

    assert at_function_end(text, LANGUAGES[key], prompt=prompt) == kept
