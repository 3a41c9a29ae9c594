# SPDX-License-Identifier: Apache-2.0
"""Settings of every test run: arrays of unlike rank or dtype are never combined by accident.

Property tests have no deadline: on a loaded machine one example may take any time. Without one,
Hypothesis gives the first examples 30 seconds before it calls drawing them too slow, not one.

Much of the time of the tests is XLA compiling programs that run for a millisecond. They take the
older of its two code generators, which is more than twice as quick; what is held to another
implementation takes the one that users have.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# In the environment, not through jax.config: tests that need no jax then do not import it.
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.markexpr.startswith("reference"):
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")


_DYING_PARSER = """
import os, signal, time
import tree_sitter

Own = tree_sitter.Parser

class Parser:
    def __init__(self, language):
        self.own = Own(language)

    def parse(self, read, **options):
        text = bytes(read(0, None))
        if b"kill the parser" in text:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"hang the parser" in text:
            time.sleep(600)
        return self.own.parse(read, **options)

tree_sitter.Parser = Parser
"""


@pytest.fixture
def dying_parser(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH: processes with it have a parser that some texts kill, or stop."""
    folder = tmp_path / "dying-parser"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_DYING_PARSER, encoding="utf-8")
    return folder
