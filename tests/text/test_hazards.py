# SPDX-License-Identifier: Apache-2.0
"""Parsers that die are stand-ins: in processes started here, a text with a mark kills or stops."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from codegemma.text import hazards, syntax

DEADLY = "x = 'kill the parser'\n"


@pytest.fixture
def _deadly(dying_parser: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes started from here on have the stand-in; this one does not."""
    monkeypatch.setenv("PYTHONPATH", str(dying_parser))


def die_of(text: str, folder: Path) -> int:
    """Parse a text, between two that are harmless, in a process of its own."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom codegemma.text import hazards, syntax\n"
        "with hazards.watched(Path(sys.argv[1])):\n"
        "    for text in ('a = 1\\n', sys.argv[2], 'b = 2\\n'):\n"
        "        print(syntax.error_fraction(text, 'python'))\n"
    )
    return subprocess.run([sys.executable, "-c", code, str(folder), text], check=False).returncode


def notes(folder: Path) -> list[Path]:
    return list((folder / "parsing").glob("*"))


@pytest.mark.usefixtures("_deadly")
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_text_that_kills_its_process_is_found_alone_and_not_parsed_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    assert die_of(DEADLY, folder) == -signal.SIGSEGV
    assert hazards.settle(folder) == 1
    assert notes(folder) == []
    assert die_of(DEADLY, folder) == 0  # 1.0 of it does not parse, and the third text is read
    assert hazards.settle(folder) == 0
    with hazards.watched(folder):
        assert syntax.error_fraction(DEADLY, "python") == 1.0
        assert syntax.parse_bytes(DEADLY.encode(), "go")  # what is known is of one grammar
        assert syntax.error_fraction("x = 1\n", "python") == 0.0
    assert syntax.error_fraction(DEADLY, "python") == 0.0  # unwatched: this parser survives it


@pytest.mark.usefixtures("_deadly")
def test_a_text_that_hangs_the_parser_counts_as_one_that_kills_it(tmp_path: Path) -> None:
    left(tmp_path, b"x = 'hang the parser'\n")

    assert hazards.settle(tmp_path, trial_s=3.0) == 1


def left(folder: Path, data: bytes, *, missing: int = 0) -> None:
    """Leave a note as a killed process does; fewer bytes than it tells where the machine died."""
    (folder / "parsing").mkdir(exist_ok=True)
    head = hazards._HEAD.pack(len(data) + 1, b"python")
    (folder / "parsing" / "host-1-1").write_bytes(head + data[: len(data) - missing])


def test_a_harmless_text_that_a_killed_process_left_is_parsed_again(tmp_path: Path) -> None:
    left(tmp_path, b"x = 1\n")

    assert hazards.settle(tmp_path) == 0
    assert notes(tmp_path) == []
    with hazards.watched(tmp_path):
        assert syntax.error_fraction("x = 1\n", "python") == 0.0


def test_torn_and_empty_notes_are_taken_away(tmp_path: Path) -> None:
    left(tmp_path, b"x = 1\n", missing=2)
    (tmp_path / "parsing" / "host-2-2").write_bytes(b"")

    assert hazards.settle(tmp_path) == 0
    assert notes(tmp_path) == []


def test_the_note_is_of_the_text_being_parsed_and_goes_when_the_work_is_done(
    tmp_path: Path,
) -> None:
    seen: list[tuple[bytes, str] | None] = []
    with hazards.watched(tmp_path):
        for data in (b"y = 2 # a longer one\n", b"x = 1\n"):
            with hazards.noted(data, "python") as is_fit:
                assert is_fit
                seen += map(hazards._read, notes(tmp_path))
            seen += map(hazards._read, notes(tmp_path))

    assert seen == [(b"y = 2 # a longer one\n", "python"), None, (b"x = 1\n", "python"), None]
    assert notes(tmp_path) == []


def test_an_error_in_parsing_crosses_the_note_out(tmp_path: Path) -> None:
    with hazards.watched(tmp_path):
        with pytest.raises(RuntimeError), hazards.noted(b"x", "python"):
            raise RuntimeError
        assert [hazards._read(path) for path in notes(tmp_path)] == [None]
