# SPDX-License-Identifier: Apache-2.0
"""One sandbox for all tests of a session; skips by name what this machine lacks."""

import shutil
from collections.abc import Iterator

import pytest

from codegemma.sandbox.run import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    with Sandbox(num_workers=2) as sandbox:
        yield sandbox
