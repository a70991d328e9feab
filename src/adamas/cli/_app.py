"""The program and its own options; each command is a module beside this one that adds itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import adamas

app = typer.Typer(
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
    Path, typer.Option(help="Folder for records and pictures; runs recorded there are not run again.")
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Runs at once; each may need 1 GB of memory.", show_default="one a CPU"),
]
Engine = Annotated[
    str,
    typer.Option(
        help="The engine for the runs. local: processes here. ray: a Ray cluster (needs the extra 'ray')."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="The Ray cluster: auto, or host:port.", show_default="one is started here"),
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
