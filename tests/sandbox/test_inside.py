# SPDX-License-Identifier: Apache-2.0
import ast
import os
import sys
from pathlib import Path

import pytest

from codegemma.sandbox import inside, verdict


def test_frames_come_back_as_they_went():
    reader, writer = os.pipe()

    inside.write_frame(writer, {"text": "ä\n", "n": 1})
    os.close(writer)

    assert inside.read_frame(reader) == {"text": "ä\n", "n": 1}
    assert inside.read_frame(reader) is None
    os.close(reader)


@pytest.mark.parametrize("module", [inside, verdict], ids=["inside", "verdict"])
def test_only_the_standard_library_is_imported(module):
    tree = ast.parse(Path(module.__file__).read_text())
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }

    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    assert names <= sys.stdlib_module_names
