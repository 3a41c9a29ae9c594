# SPDX-License-Identifier: Apache-2.0
"""Runs the command line as a process of its own with a scripted model; started by tests.

    python scripted_command.py SCRIPT WORDS...

SCRIPT is JSON: the settings of `ScriptedCompleter`, or `{"error": MESSAGE}` for a model that
cannot be loaded, or `{"load_s": SECONDS}` for one that takes long.
"""

import importlib.util
import json
import sys
import time
import types
from pathlib import Path

from codegemma.cli.main import main
from codegemma.errors import CheckpointError


def run() -> int:
    spec = importlib.util.spec_from_file_location("fakes", Path(__file__).parents[1] / "fakes.py")
    assert spec is not None
    assert spec.loader is not None
    fakes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fakes)
    script = json.loads(sys.argv[1])
    if sys.stdin.isatty():
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C in this terminal comes here

    def load_completer(name: str, *, dtype: object = None, progress: object = None) -> object:
        del dtype, progress
        if "error" in script:
            raise CheckpointError(script["error"])
        time.sleep(script.pop("load_s", 0))
        return fakes.ScriptedCompleter(**{"name": name, **script})

    loader = types.ModuleType("codegemma.generate.load")
    loader.load_completer = load_completer
    sys.modules["codegemma.generate.load"] = loader
    return main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(run())
