# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.errors import SandboxError
from codegemma.sandbox import box, bubblewrap
from codegemma.sandbox.bubblewrap import open_box

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


def test_box_that_cannot_start_says_why(sandbox, monkeypatch):
    del sandbox
    monkeypatch.setattr(bubblewrap.inside, "__file__", "/not/there.py")

    with pytest.raises(SandboxError, match="not/there"):
        open_box()


def test_answer_that_does_not_come_is_a_broken_box(sandbox, monkeypatch):
    del sandbox
    opened = open_box()
    monkeypatch.setattr(box, "_SLACK_S", -1.9)

    with pytest.raises(SandboxError, match="no answer within"):
        opened.request(_request("import time\ntime.sleep(1)"))
    assert not opened.is_open
