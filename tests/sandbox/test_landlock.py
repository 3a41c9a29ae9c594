# SPDX-License-Identifier: Apache-2.0
import os
import sys
from pathlib import Path

import pytest

from codegemma.errors import ConfigError, PrerequisiteError
from codegemma.sandbox import landlock
from codegemma.sandbox.program import Program
from codegemma.sandbox.run import Sandbox


def test_a_kernel_without_it_is_refused_by_version(monkeypatch):
    monkeypatch.setattr(landlock, "landlock_version", lambda: 5)

    with pytest.raises(PrerequisiteError, match=r"Linux has from 6.12 on; this kernel's is 5"):
        landlock.open_box()


def test_root_needs_a_python_that_everyone_may_read(monkeypatch, tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(landlock, "landlock_version", lambda: 7)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(sys, "base_prefix", str(private))

    with pytest.raises(PrerequisiteError, match="start it as a normal user"):
        landlock.open_box()


def test_a_home_folder_may_not_be_read(monkeypatch):
    monkeypatch.setattr(landlock, "landlock_version", lambda: 7)

    with pytest.raises(ConfigError, match="is a home folder or has one in it"):
        landlock.open_box([Path.home()])


def test_the_strict_box_is_never_replaced_by_the_weaker(monkeypatch):
    from codegemma.sandbox import bubblewrap

    monkeypatch.setattr(bubblewrap.shutil, "which", lambda _: None)
    with Sandbox() as sandbox, pytest.raises(PrerequisiteError, match="apt-get install bubblewrap"):
        sandbox.run(Program(language="python", source=""))


def test_a_program_in_it_runs_and_leaves_nothing():
    if landlock.landlock_version() < 6 or os.getuid() == 0:
        pytest.skip(
            "no Landlock of version 6, or root, for whom test_attacks.py shows it as another"
        )
    with Sandbox(isolation="landlock") as sandbox:
        result = sandbox.run(Program(language="python", source="import os\nprint(os.getcwd())"))
    assert (result.outcome, result.backend) == ("pass", "landlock")
    assert not Path(result.stdout.strip()).exists()
