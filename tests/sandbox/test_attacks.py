# SPDX-License-Identifier: Apache-2.0
"""Programs that attack the machine or their own verdict: each ends as a failure, none gets out."""

import json
import os
import runpy
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyseccomp
import pytest

import codegemma
from codegemma.sandbox.landlock import landlock_version
from codegemma.sandbox.program import MEBIBYTE, Limits, Program
from codegemma.sandbox.run import Sandbox

pytestmark = pytest.mark.slow

_HERE = runpy.run_path(str(Path(__file__).with_name("attacks.py")))
processes_below = _HERE["processes_below"]
ATTACKS: dict[str, str] = _HERE["ATTACKS"]
FORGERIES: dict[str, str] = _HERE["FORGERIES"]
DRAWS: dict[str, str] = _HERE["DRAWS"]
fill = _HERE["fill"]

_LIMITS = Limits(wall_s=1.0, memory_bytes=256 * MEBIBYTE, address_space_bytes=512 * MEBIBYTE)
_UNHURRIED = replace(_LIMITS, wall_s=20.0)  # of programs that end by themselves
_SOMEBODY = 50_000 + os.getpid() % 10_000  # of whom there is no other process
_PYTHON = Path("/usr/bin/python3")
_CHECKS = (
    "assert {} == 42",
    "assert {} == [42]",
    "assert abs({} - 42) < 1e-6",
    "for _ in range(2): assert math.isclose({}, 42)",
)


@pytest.fixture(scope="module")
def bait(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What attacks look for on this machine: a listening port, a secret file, a variable."""
    secret = tmp_path_factory.mktemp("bait") / "secret"
    secret.write_text("secret")
    os.environ["CODEGEMMA_TOKEN"] = "TOKEN"
    listener = str(tmp_path_factory.mktemp("listener") / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(listener, family=socket.AF_UNIX),
        tempfile.NamedTemporaryFile(dir=Path.home(), prefix=".codegemma-bait-") as key,
        tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="codegemma-bait-") as kept,
    ):
        for file in (key, kept):
            Path(file.name).chmod(0o644)
        yield {
            "listener": listener,
            "port": str(server.getsockname()[1]),
            "home": str(Path.home()),
            "project": str(Path(__file__).parents[2]),
            "secret": str(secret),
            "key": key.name,
            "kept": kept.name,
        }
    del os.environ["CODEGEMMA_TOKEN"]


def test_there_are_sixty_attacks_or_more():
    assert len(ATTACKS) + len(FORGERIES) >= 60


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_fails_and_harms_nothing(name: str, sandbox: Sandbox, bait: dict[str, str]):
    sandbox.run(Program(language="python", source=""))
    (boxes,) = sandbox._idle.values()
    before = [processes_below(box._process.pid) for box in boxes]
    assert all(before)

    result = sandbox.run(Program(language="python", source=fill(ATTACKS[name], bait)), _LIMITS)

    assert not result.is_pass, result
    assert Path(bait["secret"]).read_text() == "secret"
    assert not Path("/written").exists()
    assert [processes_below(box._process.pid) for box in boxes] == before
    assert sandbox.run(Program(language="python", source="print('sound')")).stdout == "sound\n"


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_answer_is_no_pass(name: str, sandbox: Sandbox):
    for check in _CHECKS:
        program = _answer(FORGERIES[name], check)

        assert not sandbox.run(program, _LIMITS).is_pass, check


@pytest.mark.parametrize("wrap", ["(x for x in [{}])", "map(lambda x: {}, [0])"])
def test_forged_item_of_an_iterator_is_no_pass(wrap: str, sandbox: Sandbox):
    source = FORGERIES["an object equal to all"] + f"\nplain = answer\ndef answer(): return {wrap}"
    check = "assert list({}) == [42]"

    assert not sandbox.run(_answer(source.format("plain()"), check), _LIMITS).is_pass
    assert sandbox.run(_answer(source.format("42"), check), _UNHURRIED).is_pass


def _answer(source: str, check: str) -> Program:
    tests = f"import math\ndef check(candidate):\n    {check.format('candidate()')}\ncheck(answer)"
    return Program(language="python", source=source, tests=tests, entry_point="answer")


@pytest.mark.parametrize("name", DRAWS)
def test_tests_draw_with_the_library_as_it_was(name: str, sandbox: Sandbox):
    draw = "import random\n    drawn = [random.randint(41, 43) for _ in range(64)]\n"
    for steps in (draw, f"candidate()\n    {draw}"):  # before and after the program's own steps
        tests = (
            f"def check(candidate):\n    {steps}"
            "    for each in drawn: assert candidate() == each\ncheck(answer)"
        )
        program = Program(language="python", source=DRAWS[name], tests=tests, entry_point="answer")

        assert sandbox.run(program, _UNHURRIED).outcome == "fail"


def test_tests_copy_with_the_library_as_it_was(sandbox: Sandbox):
    forge = "import copy\ncopy._deepcopy_dispatch[list] = lambda x, memo: [43]\n"
    tests = (
        "def check(candidate):\n    import copy\n"
        "    assert copy.deepcopy([42]) == [candidate()]\ncheck(answer)"
    )

    for answer, outcome in ((43, "fail"), (42, "pass")):
        source = f"{forge}def answer(): return {answer}"
        program = Program(language="python", source=source, tests=tests, entry_point="answer")
        assert sandbox.run(program, _UNHURRIED).outcome == outcome


def test_honest_answer_passes_beside_the_forged_ones(sandbox: Sandbox):
    for source, check in zip(
        [
            "def answer(): return 42",
            "def answer(): return [42]",
            *["def answer(): return 42.0"] * 2,
        ],
        _CHECKS,
        strict=True,
    ):
        assert sandbox.run(_answer(source, check), _UNHURRIED).is_pass, check


@pytest.fixture
def copy() -> Iterator[Path]:
    """A folder that everyone may read, with the sandbox and the attacks.

    Not below `tmp_path`, whose parents are for this user alone.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield _fill(folder)


def _fill(folder: Path) -> Path:
    package = Path(codegemma.__file__).parent
    for name in ("__init__.py", "errors.py"):
        (folder / "codegemma").mkdir(exist_ok=True)
        shutil.copy(package / name, folder / "codegemma" / name)
    shutil.copytree(package / "sandbox", folder / "codegemma" / "sandbox")
    for path in (
        Path(pyseccomp.__file__),
        Path(__file__).with_name("attacks.py"),
        Path(__file__).with_name("as_normal_user.py"),
    ):
        shutil.copy(path, folder / path.name)
    return folder


@pytest.mark.timeout(900)  # two programs for each attack, one of them up to its limit
@pytest.mark.skipif(os.getuid() != 0, reason="the other tests here show it already")
# Linux answers kill(-1) with success when it was let signal nobody; without a network of their own
# the sockets of a program are not counted, and whether it ends in time depends on the machine.
@pytest.mark.parametrize(
    ("isolation", "harmless", "uncounted"),
    [("bubblewrap", set(), set()), ("landlock", {"kill everything"}, {"memory in sockets"})],
)
def test_attacks_fail_for_a_normal_user_too(
    copy: Path, isolation: str, harmless: set[str], uncounted: set[str]
):
    if not _PYTHON.exists():
        pytest.skip(f"no {_PYTHON}, the Python that every user may run")
    if isolation == "landlock" and landlock_version() < 6:
        pytest.skip("this kernel has no Landlock of version 6")
    identity = ("setpriv", f"--reuid={_SOMEBODY}", f"--regid={_SOMEBODY}", "--clear-groups")
    script = (str(_PYTHON), str(copy / "as_normal_user.py"))

    run = subprocess.run(
        [*identity, *script, str(Path.cwd()), isolation],
        cwd=copy,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert (report["user"], report["backend"]) == (_SOMEBODY, isolation)
    assert report["count"] >= 60
    assert set(report["passed"]) - uncounted == harmless
    assert report["left"] == []
