# SPDX-License-Identifier: Apache-2.0
"""The `codegemma` command: its verbs, and the one place where an error becomes an exit status.

A verb is one function in a module of its own name, imported when it is asked for: the page of
`codegemma --help` is drawn from the table below alone. Exit status: 0; 2 with one line on stderr
for the user's mistake; 1 with a traceback for ours; 3 for a gate that was not kept; 130 for an
interrupt.
"""

import errno
import importlib
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from codegemma.errors import CodegemmaError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
USE = "Use a model"
IMPROVE = "Improve it on your code"
REBUILD = "Rebuild the recipe"


class Verb(NamedTuple):
    """A command: `name` is its module in `codegemma.cli` and its function there."""

    name: str
    panel: str
    help: str


VERBS = (
    Verb("complete", USE, "Complete the code at a cursor: complete FILE:LINE:COL"),
    Verb("serve", USE, "Serve completions, and a page to try them, on this machine"),
    Verb("generate", USE, "Go on writing from a prompt, left to right"),
    Verb("chat", USE, "Talk with an instruction model"),
    Verb("models", USE, "List the models: what they are, which are on this machine"),
    Verb("pull", USE, "Get a model's files"),
    Verb("convert", USE, "Write a model in another layout"),
    Verb("verify", USE, "Prove that a model is whole and completes code"),
    Verb("prepare", IMPROVE, "Turn folders of source code into training data"),
    Verb("synthesize", IMPROVE, "Make instruction data: tasks from code, or algebra problems"),
    Verb("inspect", IMPROVE, "Show a training example as a person would read it"),
    Verb("evaluate", IMPROVE, "Measure a model on benchmarks, or go on with a measurement"),
    Verb("score", IMPROVE, "Score samples that were made elsewhere"),
    Verb("report", IMPROVE, "Lay measurements out as a model card, or as a page"),
    Verb("train", REBUILD, "Train a model, or go on with a run"),
)


class VerbGroup(TyperGroup):
    """The group of all verbs, none of which is imported before it is run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys((verb.name for verb in VERBS), None)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a verb's module and make its command; None for an unknown name."""
        del ctx
        return load_verb(cmd_name) if cmd_name in self.commands else None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words before the verb; without any word, show the help."""
        return super().parse_args(ctx, args or ["--help"])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs, panel by panel, and then the options."""
        width = max(len(verb.name) for verb in VERBS)
        for panel in dict.fromkeys(verb.panel for verb in VERBS):
            formatter.write(f"\n{typer.style(panel, bold=True)}\n")
            for verb in VERBS:
                if verb.panel == panel:
                    name = typer.style(verb.name.ljust(width), fg="cyan")
                    formatter.write(f"  {name}  {verb.help}\n")
        records = [param.get_help_record(ctx) for param in self.get_params(ctx)]
        formatter.write(f"\n{typer.style('Options', bold=True)}\n")
        formatter.indent()
        formatter.write_dl([record for record in records if record])


class VerbCommand(TyperCommand):
    """A verb; a word such as `-:3:1` is a place in standard input, not an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words behind the verb."""
        places = [word for word in args if re.fullmatch(r"-:\d+:\d+", word)]
        if places and "--" not in args:
            args = [*(word for word in args if word not in places), "--", *places]
        return super().parse_args(ctx, args)


def load_verb(name: str) -> Any:
    """Make the command of one verb from its module's function."""
    module = importlib.import_module(f"codegemma.cli.{name}")
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    short = next(verb.help for verb in VERBS if verb.name == name)
    single.command(name, cls=VerbCommand, short_help=short)(getattr(module, name))
    return get_command(single)


app = typer.Typer(
    name="codegemma",
    cls=VerbGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_wanted: bool) -> bool:
    if is_wanted:
        from importlib.metadata import version

        print(f"codegemma {version('codegemma')}")
        raise typer.Exit
    return is_wanted


@app.callback()
def _start(
    _: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Code completion, generation and chat with CodeGemma models, on your own machine."""
    logging.basicConfig(level=logging.WARNING, format="codegemma: %(message)s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: Words after the program's name; None takes the process's own.
    """
    try:
        status = get_command(app)(args=arguments, prog_name="codegemma", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        verb = context.command_path if context is not None else "codegemma"
        message = error.format_message().rstrip()
        stop = "" if message.endswith((".", "!", "?")) else "."
        return _refuse(f"{message}{stop} See {verb} --help")
    except CodegemmaError as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _drop_stdout()
        return _refuse(f"cannot write {error.filename or 'all output'}: {error.strerror}")
    return status if isinstance(status, int) else 0


def _drop_stdout() -> None:
    """Let go what waits for standard output where it takes no more.

    The interpreter would try again when it ends, and report that in its own words.
    """
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _refuse(message: str) -> int:
    print(f"codegemma: {' '.join(message.split())}", file=sys.stderr)
    return 2
