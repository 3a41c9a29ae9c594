# SPDX-License-Identifier: Apache-2.0

from codegemma.evaluate.babelcode.reserved import RESERVED


def test_words_of_every_language_are_taken():
    assert {"func", "fun", "fn"} & RESERVED == {"func"}
    assert {"string", "compl", "base", "value", "length", "map", "default", "ref"} <= RESERVED


def test_words_are_lower_case_names():
    assert [word for word in RESERVED if not word.isidentifier() or word != word.lower()] == []


def test_words_that_only_python_has_are_free():
    assert not {"list", "dict", "str", "num", "arr", "def"} & RESERVED
