"""The program and its own options; each command is a module beside this one that adds itself."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

import adamas

from ._output import BAD_INPUT, FAILED, progress_console, say

# Typer has its own copy of click, whose names are not public.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class Program(TyperGroup):
    """The program: what is wrong with the arguments is one line, as any other mistake is."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command, and exit with its status."""
        run = functools.partial(super().main, args, prog_name, complete_var, False, windows_expand_args)
        if not standalone_mode:
            return run(**extra)
        try:
            status = run(**extra)
            sys.stdout.flush()
        except _UsageError as error:
            if type(error).__name__ != "NoArgsIsHelpError":  # that has shown the help
                context = getattr(error, "ctx", None)
                help = f" ({context.command_path} --help)" if context is not None else ""
                message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
                say(progress_console(), f"adamas: {message}{help}")
            status = BAD_INPUT
        except OSError as error:  # as of a full disk
            if not isinstance(error, BrokenPipeError):  # else the reader has left, as `head` does
                say(progress_console(), f"adamas: {error}")
            status = FAILED
            # What is still in the buffer would fail again at the end of the process.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(status or 0)


app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Adam and its family: the paper's experiments, run again.",
)

# Options that several commands have.
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output instead of tables.")]
Preset = Annotated[
    Literal["demo", "quick", "paper"],
    typer.Option(help="demo: bundled and synthetic data. quick: real data, few epochs. paper: all of it."),
]
Results = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER", help="Folder for records and pictures; runs recorded there are not run again."
    ),
]
Device = Annotated[
    str,
    typer.Option(metavar="NAME", help="Where networks train: cpu, cuda or cuda:1. Records say which it was."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Jobs at once, each a run or up to 32 trained together; each may need 1 GB of memory.",
        show_default="one a CPU",
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The engine for the runs. local: processes here. ray: a Ray cluster (needs the extra 'ray').",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="The Ray cluster: auto, or host:port.", show_default="one is started here"
    ),
]
RESULTS = Path("adamas-results")


def version(asked: bool) -> None:
    """Print the version and exit."""
    if asked:
        print(f"adamas {adamas.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Handle the options of the program itself."""
