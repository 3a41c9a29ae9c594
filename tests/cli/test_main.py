# SPDX-License-Identifier: Apache-2.0
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from codegemma.cli import main as cli
from codegemma.cli import options
from codegemma.errors import CheckpointError


def test_help_leads_with_complete_and_serve_and_names_every_verb(run):
    ran = run("--help")
    assert ran.status == 0
    words = [line.split()[0] for line in ran.out.splitlines() if line.startswith("  ")]
    names = [verb.name for verb in cli.VERBS]
    assert [word for word in words if word in names] == names
    assert names[:2] == ["complete", "serve"]
    panels = ["Use a model", "Improve it on your code", "Rebuild the recipe"]
    assert [line for line in ran.out.splitlines() if line in panels] == panels


def test_without_a_verb_help_is_shown(run):
    assert run().out == run("--help").out


def test_the_version_is_the_packages(run):
    from importlib.metadata import version

    assert run("--version") == (0, f"codegemma {version('codegemma')}\n", "")


def test_help_imports_no_verb_and_nothing_heavy():
    code = (
        "import sys, codegemma.cli.main as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'jax', 'numpy', 'rich', 'starlette', 'uvicorn', 'codegemma.cli.complete'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == "[]\n"


@pytest.mark.parametrize("name", [verb.name for verb in cli.VERBS])
def test_every_verb_has_its_function_and_a_help_page(run, name):
    module = importlib.import_module(f"codegemma.cli.{name}")
    assert callable(getattr(module, name))
    ran = run(name, "--help")
    assert ran.status == 0
    assert f"codegemma {name}" in ran.out


def test_the_verbs_modules_import_no_jax():
    names = [f"codegemma.cli.{verb.name}" for verb in cli.VERBS]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += "print('jax' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("complte", "No such command 'complte'. Did you mean 'complete'? See codegemma --help"),
        ("--bogus", "No such option: --bogus. See codegemma --help"),
        ("complete", "Missing argument 'FILE:LINE:COL'. See codegemma complete --help"),
        ("serve --port x", "Invalid value for '--port': "),
    ],
)
def test_a_wrong_word_gives_one_line_and_status_2(run, words, message):
    ran = run(*words.split())
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"codegemma: {message}")
    assert ran.err.count("\n") == 1


def test_our_errors_become_one_line_whatever_the_verb(run, monkeypatch):
    def refuse(_):
        raise CheckpointError("weights are damaged:\n  tensor q of layer 3")

    monkeypatch.setattr(options, "open_completer", refuse)
    ran = run("generate", "x")
    assert ran == (2, "", "codegemma: weights are damaged: tensor q of layer 3\n")


def test_a_fault_of_ours_is_not_hidden(run, monkeypatch):
    def fail(_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(options, "open_completer", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        run("generate", "x")


def test_an_interrupt_ends_with_130(run, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "open_completer", interrupt)
    ran = run("generate", "x")
    assert (ran.status, ran.out) == (130, "")


def test_a_verbs_own_exit_status_is_kept(run, monkeypatch):
    def leave(_):
        raise typer.Exit(3)

    monkeypatch.setattr(options, "open_completer", leave)
    assert run("generate", "x").status == 3


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--data", "{data}", "--out", "{file}"], "cannot make the folder {file}: "),
        (["train", "--data", "{data}", "--out", "{file}/o"], "cannot make the folder {file}/o: "),
        (["prepare", "{folder}", "--out", "{file}"], "{file} is no folder"),
        (["prepare", "{folder}", "--out", "{file}/o"], "cannot make the folder {file}/o/.partial"),
        (["verify", LONG], "is no model and cannot be a folder: "),
        (["verify", "~no-such-user/m"], "is no model and cannot be a folder: "),
        (["inspect", LONG], "cannot read the shard x"),
    ],
)
def test_what_the_disk_refuses_is_told_in_one_line(run, tmp_path, monkeypatch, words, message):
    from codegemma.train import loop

    # What is read before the output folder is made is others' business.
    monkeypatch.setattr(loop, "readers", lambda *_: {})
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.py").write_text("x = 1\n")
    places = {name: str(tmp_path / name) for name in ("file", "folder", "data")}
    monkeypatch.delenv("CODEGEMMA_BENCHMARKS", raising=False)
    ran = run(*(word.format(**places) for word in words))
    assert (ran.status, ran.out) == (2, "")
    assert message.format(**places) in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "models"])
def test_a_full_disk_behind_standard_output_is_one_line_and_status_2(words, buffering):
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "codegemma", *words.split()],
            env={**os.environ, "PYTHONUNBUFFERED": buffering},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (
        2,
        "codegemma: cannot write all output: No space left on device\n",
    )


def test_an_error_of_the_disk_that_is_not_full_is_not_hidden(run, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(options, "open_completer", fail)
    with pytest.raises(OSError, match="Input/output error"):
        run("generate", "x")


def test_a_sentence_ends_before_the_next_one(run):
    ran = run("complete", "f.py:1:1", "--max-tokens", "0")
    assert ran.status == 2
    assert ". See codegemma complete --help" in ran.err
