"""The program and its own options; each command is a module beside this one that adds itself to it."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Adam and its family: the paper's experiments, run again.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output instead of tables.")]


def version(asked: bool) -> None:
    """Prints the version and ends."""
    if asked:
        from adamas.experiments.store import versions

        print(f"adamas {versions()['adamas']}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""
