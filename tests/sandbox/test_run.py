# SPDX-License-Identifier: Apache-2.0
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codegemma.errors import PrerequisiteError, SandboxError
from codegemma.sandbox import run as run_module
from codegemma.sandbox.languages import TOOLCHAINS, find_toolchain
from codegemma.sandbox.program import MEBIBYTE, Limits, Program
from codegemma.sandbox.run import Sandbox


def _python(source: str, **fields: str) -> Program:
    return Program(language="python", source=source, **fields)


@pytest.fixture
def replaced_cpp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Gives C++ tools with other fields, for one test."""

    def put(**fields: Any) -> None:
        monkeypatch.setitem(TOOLCHAINS, "cpp", replace(TOOLCHAINS["cpp"], **fields))
        find_toolchain.cache_clear()

    yield put
    find_toolchain.cache_clear()


def test_program_that_reaches_its_end_passes_with_its_output(sandbox):
    result = sandbox.run(
        _python("import sys\nprint(input())\nprint('e', file=sys.stderr)", stdin="x")
    )

    assert (result.outcome, result.stdout, result.stderr) == ("pass", "x\n", "e\n")
    assert result.backend == "bubblewrap"


def test_failed_assertion_is_a_fail_and_shows_its_traceback(sandbox):
    result = sandbox.run(_python("assert 1 == 2"))

    assert result.outcome == "fail"
    assert "AssertionError" in result.stderr


def test_syntax_error_is_a_fail(sandbox):
    assert sandbox.run(_python("def")).outcome == "fail"


def test_tests_see_the_names_of_the_program_but_cannot_change_them(sandbox):
    program = _python(
        "def f(x):\n    return g(x)\ndef g(x):\n    return x + 1", tests="assert f(1) == 2"
    )

    assert sandbox.run(program).is_pass


def test_slow_program_times_out_close_to_its_limit(sandbox):
    result = sandbox.run(_python("while True: pass"), Limits(wall_s=0.3))

    assert result.outcome == "timeout"
    assert 0.3 <= result.wall_s < 2


def test_program_that_works_too_long_times_out_before_the_clock_does(sandbox):
    result = sandbox.run(_python("while True: pass"), Limits(wall_s=60.0, cpu_s=1))

    assert result.outcome == "timeout"
    assert result.wall_s < 50


def test_program_that_waits_is_held_to_the_clock_alone(sandbox):
    source = "import time\ntime.sleep(1.2)"

    assert sandbox.run(_python(source), Limits(wall_s=20.0, cpu_s=1)).is_pass
    assert sandbox.run(_python(source), Limits(wall_s=0.3, cpu_s=1)).outcome == "timeout"


def test_program_that_ends_itself_by_force_is_a_fail(sandbox):
    source = (
        "import os, subprocess\nsubprocess.run(['sh', '-c', f'kill -9 {os.getpid()}'])\nos.abort()"
    )

    assert sandbox.run(_python(source), Limits(cpu_s=3)).outcome == "fail"


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (("sleep", "60"), "timeout"),
        (("perl", "-e", "$x = 'x' x (1 << 28); sleep 60"), "out_of_memory"),
        (("sh", "-c", "echo std::bad_alloc >&2; exit 1"), "compile_error"),
        (("sh", "-c", "yes std::bad_alloc"), "compile_error"),
        (("sh", "-c", "sh -c 'while :; do :; done'; exit 1"), "timeout"),
    ],
)
@pytest.mark.usefixtures("sandbox")
def test_compiler_that_ran_out_of_time_or_memory_found_no_error(
    words, outcome, replaced_cpp, monkeypatch
):
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    replaced_cpp(compiler=words, version=("true",))
    wall_s = 0.5 if words[0] == "sleep" else 60.0
    small = replace(run_module._COMPILE_LIMITS, wall_s=wall_s, cpu_s=1, memory_bytes=64 * MEBIBYTE)
    monkeypatch.setattr(run_module, "_COMPILE_LIMITS", small)
    program = Program(language="cpp", source="", expected_lines=("x",))

    with Sandbox() as own:
        result = own.run(program)

    assert result.outcome == outcome


@pytest.mark.usefixtures("sandbox")
def test_broken_tools_are_told_from_a_wrong_program_before_it_runs(replaced_cpp):
    replaced_cpp(compiler=("false", "main.cpp"), version=("true",), packages=("g++-x",))

    with (
        Sandbox() as own,
        pytest.raises(
            PrerequisiteError,
            match=r"cpp programs do not run here: .* 'compile_error' .*--reinstall g\+\+-x",
        ),
    ):
        own.check("cpp")


def test_hungry_program_is_out_of_memory(sandbox):
    assert sandbox.run(_python("x = bytearray(9 << 30)")).outcome == "out_of_memory"


def test_memory_in_the_buffers_of_sockets_counts(sandbox):
    source = (
        "import socket, time\nheld = [socket.socketpair() for _ in range(100)]\ntime.sleep(SECONDS)"
    )
    small = Limits(wall_s=60.0, memory_bytes=64 * MEBIBYTE)

    result = sandbox.run(_python(source.replace("SECONDS", "50")), small)

    assert result.outcome == "out_of_memory"
    assert sandbox.run(_python(source.replace("SECONDS", "0.2")), Limits(wall_s=60.0)).is_pass


def test_output_is_cut_at_the_limit(sandbox):
    result = sandbox.run(_python("print('x' * 1000)"), Limits(output_bytes=10))

    assert result.stdout == "x" * 10


def test_main_block_runs_and_dataclasses_work(sandbox):
    source = (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
        "if __name__ == '__main__':\n    print(A(1))"
    )

    assert sandbox.run(_python(source)).stdout == "A(x=1)\n"


def test_one_program_leaves_nothing_to_the_next(sandbox):
    sandbox.run(
        _python("import math, os\nmath.pi = 3\nopen('left', 'w')\nopen('/dev/shm/left', 'w')")
    )

    result = sandbox.run(
        _python("import math, os\nprint(math.pi, os.listdir('.'), os.listdir('/dev/shm'))")
    )

    assert result.stdout == "3.141592653589793 [] []\n"


def test_input_is_read_once_and_may_be_long(sandbox):
    twice = "import os, sys\nprint(len(sys.stdin.read()))\nos.lseek(0, 0, 0)"

    result = sandbox.run(_python(twice, stdin="x" * 65536))
    assert (result.stdout, "Illegal seek" in result.stderr) == ("65536\n", True)
    assert sandbox.run(_python(twice, stdin="x" * 300_000)).stdout == "300000\n"
    assert sandbox.run(_python("print(repr(open(0).read()))")).stdout == "''\n"


def test_both_folders_share_one_bound(sandbox):
    source = (
        "import os\nfor folder in ('/tmp', '/dev/shm'):\n"
        "    room = os.statvfs(folder)\n    print(room.f_blocks * room.f_frsize, room.f_bfree)\n"
        "    open(folder + '/file', 'wb').write(bytes(1 << 20))\n"
    )
    lines = sandbox.run(_python(source), Limits(file_bytes=4 << 20)).stdout.split("\n")

    assert lines[0].split()[0] == lines[1].split()[0] == str(4 << 20)
    assert int(lines[0].split()[1]) - int(lines[1].split()[1]) == 256


def test_results_of_many_programs_stand_in_their_order(sandbox):
    programs = [_python(f"import time\ntime.sleep({(5 - n) / 50})\nprint({n})") for n in range(6)]

    assert [result.stdout for result in sandbox.map(programs)] == [f"{n}\n" for n in range(6)]


def test_boxes_outlive_the_threads_that_asked_for_them():
    with Sandbox(num_workers=2) as sandbox:
        for _ in range(3):
            results = list(sandbox.map([_python("print(1)")] * 4))

            assert [result.stdout for result in results] == ["1\n"] * 4
        assert len([box for idle in sandbox._idle.values() for box in idle]) <= 2


@pytest.mark.usefixtures("sandbox")
def test_interrupt_ends_the_programs_under_way_and_the_sandbox_goes_on():
    programs = [_python("print(1)"), *[_python("import time\ntime.sleep(500)")] * 3]
    with Sandbox(num_workers=2) as own:
        found = own.map(programs, Limits(wall_s=500.0))
        assert next(found).stdout == "1\n"
        start = time.monotonic()

        with pytest.raises(KeyboardInterrupt):
            found.throw(KeyboardInterrupt())

        assert time.monotonic() - start < 60
        assert own.run(_python("print(2)")).stdout == "2\n"


def test_box_that_breaks_is_replaced_once_and_then_reported(monkeypatch):
    class Broken:
        count = 0

        def __init__(self, *_: object) -> None:
            Broken.count += 1

        def request(self, _: object) -> dict[str, object]:
            raise SandboxError("the box broke")

    monkeypatch.setitem(run_module._OPENERS, "bubblewrap", Broken)
    monkeypatch.setattr(run_module, "self_test", lambda *_: None)

    with pytest.raises(SandboxError, match="the box broke"):
        Sandbox().run(_python(""))
    assert Broken.count == 2


@pytest.mark.usefixtures("sandbox")
def test_each_kind_of_box_is_attacked_before_it_is_used(monkeypatch, tmp_path):
    try:
        found = find_toolchain("javascript")
    except PrerequisiteError as error:
        pytest.skip(str(error))
    tested = []
    monkeypatch.setattr(
        run_module, "self_test", lambda run, _: tested.append(run.keywords["binds"])
    )
    shown = replace(found, binds=(Path("/etc/alternatives"),))
    monkeypatch.setattr(run_module, "find_toolchain", lambda _: shown)
    script = Program(language="javascript", source="console.log(1)", expected_lines=("1",))

    with Sandbox() as own:
        own.run(_python(""))
        assert own.run(script, Limits(wall_s=60.0)).is_pass
        own.run(_python(""))

    assert tested == [(), (Path("/etc/alternatives"),)]


def test_box_ended_from_outside_is_started_again():
    with Sandbox() as sandbox:
        sandbox.run(_python(""))
        (boxes,) = sandbox._idle.values()
        boxes[0]._process.kill()
        boxes[0]._process.wait()

        assert sandbox.run(_python("print(1)")).stdout == "1\n"
