# SPDX-License-Identifier: Apache-2.0
"""What runs in the sandbox and what comes back: Program, Limits, RunResult.

A program's verdict never rests on its exit status alone. Python programs pass when control comes
back to the harness after the last statement; programs in other languages pass when they print
every expected line, which the caller makes unguessable with a nonce of its own.
"""

from dataclasses import dataclass, field
from typing import Literal

from codegemma.errors import ConfigError, InputError

Language = Literal["cpp", "csharp", "go", "java", "javascript", "kotlin", "python", "rust"]
Outcome = Literal["pass", "fail", "timeout", "out_of_memory", "compile_error"]

MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of one program; a compile step has the bounds of its toolchain instead.

    Args:
        wall_s: Wall-clock seconds, processor time included.
        cpu_s: Processor seconds of one process; None leaves them to the clock. With more of
            wall_s, a verdict depends less on what else the machine does.
        memory_bytes: Resident memory of all its processes together.
        address_space_bytes: Virtual memory of one process; None leaves it unbounded, which
            runtimes that reserve address space need.
        output_bytes: Kept of each of stdout and stderr; a little more is read and dropped, and a
            flood ends the program.
        file_bytes: All files it may hold at one time.
        max_processes: Processes and threads at one time.
    """

    wall_s: float = 3.0
    cpu_s: int | None = None
    memory_bytes: int = 1024 * MEBIBYTE
    address_space_bytes: int | None = 2048 * MEBIBYTE
    output_bytes: int = 64 * 1024
    file_bytes: int = 64 * MEBIBYTE
    max_processes: int = 64

    def __post_init__(self) -> None:
        numbers = (
            ("wall_s", self.wall_s),
            ("cpu_s", 1 if self.cpu_s is None else self.cpu_s),
            ("memory_bytes", self.memory_bytes),
            ("output_bytes", self.output_bytes),
            ("file_bytes", self.file_bytes),
            ("max_processes", self.max_processes),
        )
        faults = [f"{name} must be above 0, not {value}" for name, value in numbers if value <= 0]
        if faults:
            raise ConfigError("; ".join(faults))


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """One untrusted program.

    Args:
        language: Its language.
        source: Its text.
        tests: Python only: run after `source` in a copy of its names, in which `entry_point`
            gives back plain values alone (an object that calls itself equal to all is a failure).
        entry_point: Python only: name of the function under test, None for none.
        expected_lines: Other languages: lines of which each has to be printed to stdout.
        stdin: Given to the program.
    """

    language: Language
    source: str
    tests: str = ""
    entry_point: str | None = None
    expected_lines: tuple[str, ...] = ()
    stdin: str = ""

    def __post_init__(self) -> None:
        for name, text in (("source", self.source), ("tests", self.tests), ("stdin", self.stdin)):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(f"{name} holds half a surrogate pair at {error.start}") from error
        if self.language == "python" and self.expected_lines:
            raise ConfigError("a Python program is judged by its tests, not by expected lines")
        if self.language != "python" and (self.tests or self.entry_point):
            raise ConfigError("tests and entry_point are for Python; use expected_lines")
        if self.language != "python" and not self.expected_lines:
            raise ConfigError(f"a {self.language} program needs expected_lines to be judged by")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What one program did. A broken sandbox is never a result: it raises SandboxError.

    Args:
        outcome: The verdict.
        stdout: What it printed, cut at the limit.
        stderr: The same of its error stream; the compiler's words for "compile_error".
        exit_code: Of its last step; negative is a signal; None when it was ended from outside.
        wall_s: Seconds of its last step.
        backend: Name of the isolation it ran under.
    """

    outcome: Outcome
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    wall_s: float = 0.0
    backend: str = field(default="")

    @property
    def is_pass(self) -> bool:
        """Whether the program passed."""
        return self.outcome == "pass"
