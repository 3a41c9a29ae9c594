# SPDX-License-Identifier: Apache-2.0
"""Run untrusted programs: one `Sandbox`, any number of programs, each in a fresh box of its own.

A verdict is about the program; whatever goes wrong with the box itself raises SandboxError after
one retry in a new box. Nothing runs before the start-up self-test has passed.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from codegemma.errors import PrerequisiteError, SandboxError
from codegemma.sandbox import bubblewrap, landlock
from codegemma.sandbox.box import ENVIRONMENT, Box
from codegemma.sandbox.languages import Installed, find_toolchain
from codegemma.sandbox.prepared import prepare
from codegemma.sandbox.program import MEBIBYTE, Language, Limits, Outcome, Program, RunResult
from codegemma.sandbox.samples import LIMITS, LINE, SAMPLES
from codegemma.sandbox.selftest import self_test

_COMPILE_LIMITS = Limits(
    wall_s=240.0,
    cpu_s=60,  # so that what else the machine does decides nothing
    memory_bytes=2048 * MEBIBYTE,
    address_space_bytes=None,
    file_bytes=256 * MEBIBYTE,
    max_processes=256,
)
_TAIL_CHARS = 300
Isolation = Literal["bubblewrap", "landlock"]
_OPENERS = {"bubblewrap": bubblewrap.open_box, "landlock": landlock.open_box}
_REASONS: Mapping[str, Outcome] = {
    "timeout": "timeout",
    "out_of_memory": "out_of_memory",
    "flood": "fail",
}


class Sandbox:
    """Runs programs in boxes that it starts when needed and keeps for the next program.

    Thread-safe: programs run at the same time up to `num_workers`, each in a box of its own.

    Args:
        num_workers: Boxes at one time.
        binds: Further paths that programs may read.
        isolation: "landlock" is weaker, for machines that grant no namespaces; see `landlock.py`.
            It stands in every result.
        prepared: Folder of files that make compilers start faster, made when first needed; None
            makes none.
    """

    def __init__(
        self,
        *,
        num_workers: int = 1,
        binds: Iterable[Path] = (),
        isolation: Isolation = "bubblewrap",
        prepared: Path | None = None,
    ) -> None:
        self.isolation: Isolation = isolation
        self._binds = tuple(binds)
        self._prepared = prepared
        self._installed: dict[Language, Installed] = {}
        self._checked: set[Language] = set()
        self._slots = threading.Semaphore(num_workers)
        self._num_workers = num_workers
        self._idle: dict[tuple[Path, ...], list[Box]] = {}
        self._busy: set[Box] = set()
        self._is_ending = False
        self._lock = threading.Lock()
        self._test_lock = threading.Lock()
        self._prepare_lock = threading.Lock()
        self._tested: set[tuple[Path, ...]] = set()
        # A box ends with the thread that started it: this one lasts as long as the sandbox.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox")

    def run(self, program: Program, limits: Limits | None = None) -> RunResult:
        """Run one program and judge it.

        Args:
            program: What to run.
            limits: Its bounds; None takes the defaults of `Limits`.

        Raises:
            PrerequisiteError: bubblewrap or the language's tools are not installed.
            SandboxError: The box broke twice in a row, or failed its self-test.
        """
        installed = None if program.language == "python" else self._find(program.language)
        binds = self._binds + (installed.binds if installed else ())
        with self._test_lock:
            if binds not in self._tested:  # each kind of box, with what it shows
                self_test(partial(self._run, installed=None, binds=binds), self.isolation)
                self._tested.add(binds)
        return self._run(program, limits or Limits(), installed=installed, binds=binds)

    def check(self, language: Language) -> None:
        """Run a program known to be right, once for a language: are its tools whole?

        Raises:
            PrerequisiteError: bubblewrap or the language's tools are missing, or do not work.
            SandboxError: As of `run`.
        """
        if language in self._checked:
            return
        if language == "python":
            self.run(Program(language="python", source=""))
        else:
            installed = find_toolchain(language)  # a missing one is named before anything runs
            program = Program(language=language, source=SAMPLES[language], expected_lines=(LINE,))
            result = self.run(program, LIMITS)
            if not result.is_pass:
                words = " ".join((result.stderr or result.stdout)[-_TAIL_CHARS:].split())
                raise PrerequisiteError(
                    f"{language} programs do not run here: one known to be right ended in "
                    f"{result.outcome!r} ({words or 'without a word'}); apt-get install "
                    f"--reinstall {' '.join(installed.toolchain.packages)}"
                )
        self._checked.add(language)

    def _run(
        self,
        program: Program,
        limits: Limits,
        *,
        installed: Installed | None,
        binds: tuple[Path, ...],
    ) -> RunResult:
        request = _python_request(program, limits)
        if installed:
            request = _command_request(program, limits, installed)
        with self._slots:
            try:
                answer = self._ask(request, binds)
            except SandboxError:
                answer = self._ask(request, binds)
        result = _judge(program, answer, num_steps=len(request["steps"]))
        return replace(result, backend=self.isolation)

    def _find(self, language: Language) -> Installed:
        with self._prepare_lock:
            if language not in self._installed:
                installed = find_toolchain(language)
                if self._prepared:
                    installed = prepare(installed, self._prepared)
                self._installed[language] = installed
            return self._installed[language]

    def map(self, programs: Iterable[Program], limits: Limits | None = None) -> Iterator[RunResult]:
        """Run programs side by side and give their results in order.

        An exception, such as an interrupt, ends the programs under way instead of waiting for them.
        """
        pool = ThreadPoolExecutor(self._num_workers)
        try:
            yield from pool.map(partial(self.run, limits=limits), programs)
        except BaseException:
            with self._lock:
                self._is_ending = True
                for box in self._busy:
                    box.end()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            self._is_ending = False

    def close(self) -> None:
        """End every box."""
        with self._lock:
            boxes = [box for idle in self._idle.values() for box in idle]
            self._idle.clear()
        for box in boxes:
            box.close()
        self._starter.shutdown()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: Mapping[str, Any], binds: tuple[Path, ...]) -> dict[str, Any]:
        with self._lock:
            idle = self._idle.setdefault(binds, [])
            box = idle.pop() if idle else None
        box = box or self._starter.submit(_OPENERS[self.isolation], binds).result()
        with self._lock:
            if self._is_ending:
                self._idle.setdefault(binds, []).append(box)
                raise SandboxError("the program was not run: those beside it were ended")
            self._busy.add(box)
        try:
            answer = box.request(request)  # a box that breaks closes itself and is not kept
        finally:
            with self._lock:
                self._busy.discard(box)
        with self._lock:
            self._idle.setdefault(binds, []).append(box)
        return answer


def _python_request(program: Program, limits: Limits) -> dict[str, Any]:
    step: dict[str, Any] = {
        "source": program.source,
        "tests": program.tests,
        "entry_point": program.entry_point,
        "stdin": program.stdin,
        "memory_marks": [],
        "limits": asdict(limits),
    }
    return {"steps": [step]}


def _command_request(program: Program, limits: Limits, installed: Installed) -> dict[str, Any]:
    tools = installed.toolchain
    environment = {**ENVIRONMENT, **dict(tools.environment)}
    if tools.reserves_address_space:
        limits = replace(limits, address_space_bytes=None)
    steps: list[dict[str, Any]] = []
    if command := installed.compiler_for(program.source):
        compiler = {"argv": list(command), "limits": asdict(_COMPILE_LIMITS)}
        # A compiler's words quote the program: they do not tell that memory ran out.
        steps.append(compiler | {"environment": environment, "memory_marks": []})
    runner = {"argv": list(installed.runner), "limits": asdict(limits), "stdin": program.stdin}
    marks = list(tools.memory_marks)
    steps.append(runner | {"environment": environment, "memory_marks": marks})
    return {"files": {tools.file_name: program.source}, "steps": steps}


def _judge(program: Program, answer: Mapping[str, Any], *, num_steps: int) -> RunResult:
    lines = frozenset(str(answer["stdout"]).split("\n"))
    outcome: Outcome = "fail"
    is_compiled = answer["step"] == num_steps - 1
    if answer["reason"] and (is_compiled or answer["reason"] != "flood"):
        outcome = _REASONS[answer["reason"]]
    elif not is_compiled:
        # A driver whose compiler was ended by the kernel for its time ends by an error.
        outcome = "timeout" if answer["used_fraction"] > 0.5 else "compile_error"
    elif answer["is_finished"] and lines.issuperset(program.expected_lines):
        outcome = "pass"
    return RunResult(
        outcome=outcome,
        stdout=answer["stdout"],
        stderr=answer["stderr"],
        exit_code=answer["status"],
        wall_s=answer["wall_s"],
    )
