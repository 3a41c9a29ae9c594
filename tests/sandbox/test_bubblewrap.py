# SPDX-License-Identifier: Apache-2.0
import os
import pwd
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from codegemma.errors import ConfigError, PrerequisiteError
from codegemma.sandbox.bubblewrap import box_command, open_box

_LIMITS = {
    "wall_s": 2.0,
    "memory_bytes": 1 << 30,
    "address_space_bytes": None,
    "output_bytes": 1000,
    "file_bytes": 1 << 20,
    "max_processes": 16,
}


def _request(source: str) -> dict[str, object]:
    step = {"source": source, "tests": "", "entry_point": None, "memory_marks": []}
    return {"steps": [step | {"limits": _LIMITS}]}


def test_missing_bubblewrap_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(PrerequisiteError, match="apt-get install bubblewrap"):
        box_command(interpreter_folder=Path("/usr"))


def test_normal_user_gets_a_user_namespace_and_root_an_identity_of_its_own(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/bwrap")

    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert "--unshare-user" in box_command(interpreter_folder=Path("/usr"))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert "CAP_SETUID" in box_command(interpreter_folder=Path("/usr"))


def test_program_sees_what_was_bound_and_cannot_write_there(sandbox):
    del sandbox
    folder = Path(__file__).parent
    if folder.is_relative_to("/tmp"):
        pytest.skip("this checkout lies under /tmp, which a box has for itself")
    box = open_box([folder])

    source = f"import os\nprint('{Path(__file__).name}' in os.listdir('{folder}'))"
    assert box.request(_request(source))["stdout"] == "True\n"
    assert "Read-only" in box.request(_request(f"open('{folder}/new', 'w')"))["stderr"]
    box.close()


def test_path_under_the_boxs_own_tmp_cannot_be_bound():
    with pytest.raises(ConfigError, match="may not lie under /tmp"):
        box_command(interpreter_folder=Path("/usr"), binds=[Path("/tmp/environment")])


@pytest.mark.parametrize("path", ["/", "/home", "~", "~/..", "~/link"])
def test_home_folders_cannot_be_bound(path, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(pwd, "getpwall", lambda: [SimpleNamespace(pw_dir="/home/other")])
    path = Path(path.replace("~", str(home)))
    if path.is_relative_to("/tmp"):
        monkeypatch.setattr(Path, "is_relative_to", _outside_tmp)

    with pytest.raises(ConfigError, match="is a home folder or has one in it"):
        box_command(interpreter_folder=Path("/usr"), binds=[path])


def _outside_tmp(path: Path, other: str | Path) -> bool:
    return str(other) != "/tmp" and path.parts[: len(Path(other).parts)] == Path(other).parts
