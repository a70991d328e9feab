"""`adamas try`: a rule of one's own, checked, and beside Adam."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from ._app import Json, app
from ._output import FAILED, console, ending, progress_console, say, show_json
from ._table import show_facts, show_table, show_text

if TYPE_CHECKING:
    from adamas.experiments.trial import Agreement, Contest, Trial

COLOURS = {"agrees": "green", "differs": "bold red", "not taken": "yellow"}


@app.command("try", no_args_is_help=True)
def try_(
    file: Annotated[Path, typer.Argument(help="A Python file with rules, classes of adamas.rules.Rule.")],
    rules: Annotated[
        list[str] | None,
        typer.Argument(help="The classes to keep to.", show_default="all of the file"),
    ] = None,
    no_compare: Annotated[
        bool, typer.Option("--no-compare", help="Leave out the comparison with Adam.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The page to write.", show_default="the file's name and .html, here"
        ),
    ] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Write no page.")] = False,
    as_json: Json = False,
) -> None:
    """Check a rule of one's own in every backend and format that is here, and compare it with Adam.

    Its steps are compared with the float64 reference, on gradients that turn. Then it meets Adam on test
    functions and on handwritten digits: the same seeds, steps and stepsizes for both; for each the best
    stepsize is chosen on two seeds, and six others are compared at it, in pairs. Everything but the stepsize
    stays at its default. A page of the playground, one HTML file, plays the rule in a browser.

    Exit status: 0 the rule works, whoever wins; 1 a backend that takes it does not agree with the reference;
    2 the file has no rule, or one that cannot be tried; 130 interrupted.
    """
    from adamas.experiments.trial import RuleFileError, run

    progress, target = progress_console(), page or Path(f"{file.stem}.html")
    with ending(progress, RuleFileError), _progress(progress) as listen:
        found = run(file, rules or (), not no_compare, None if no_page else target, listen)
    if as_json:
        show_json([trial.plain() for trial in found])
    else:
        for trial in found:
            _show(console(), trial)
    if not all(trial.sound for trial in found):
        raise typer.Exit(FAILED)


@contextlib.contextmanager
def _progress(out: Console) -> Iterator[Callable[[float, str], None]]:
    """A bar with the time that is left on a terminal, and a line for each part elsewhere."""
    label_column = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True))
    columns = (TextColumn("{task.percentage:3.0f} %"), BarColumn(10), TimeRemainingColumn(), label_column)
    bar = Progress(*columns, console=out, transient=True, expand=True)
    said: set[str] = set()

    def listen(done: float, label: str) -> None:
        if out.is_terminal:
            bar.update(task, completed=done, description=label)
        elif label not in said:
            say(out, f"{100 * done:3.0f} % {label}")
        said.add(label)

    with bar if out.is_terminal else contextlib.nullcontext():
        task = bar.add_task("reading the file", total=1.0)
        yield listen


def _show(out: Console, trial: Trial) -> None:
    show_text(out, f"{trial.name}, from {trial.file}", "bold")
    slots = ", ".join(f"{name} ({sign})" for name, sign in trial.slots.items())
    defaults = ", ".join(f"{name} = {value}" for name, value in trial.hyperparameters.items())
    kernel = "compiled kernels" if trial.fallback is None else f"no kernel: {trial.fallback}"
    show_facts(out, {"state": slots or "none", "defaults": defaults, "adamas.torch": kernel})
    out.print()
    _show_agreements(out, trial.agreements)
    if trial.contests:
        _show_contests(out, trial.name, trial.contests)
    if trial.no_page is not None:
        show_text(out, f"no page: {trial.no_page}\n", "yellow")
    if trial.page is not None:
        say(out, f"to play with it in a browser: {trial.page}\n")


def _show_agreements(out: Console, rows: Sequence[Agreement]) -> None:
    verdicts = {True: "agrees", False: "differs", None: "not taken"}
    shown = [
        {
            "backend": row.backend,
            "state": row.state,
            "verdict": verdicts[row.agrees] if row.error is not None or row.agrees is False else "not taken",
            "distance": None if row.error is None else f"{row.error:.1e}",
        }
        for row in rows
    ]
    title = "Beside the float64 reference, on gradients that turn: the distance, 1 for standing still"
    show_table(out, title, shown, COLOURS)
    for note, of in _notes(rows).items():
        show_text(out, f"{', '.join(of)}: {note}", "yellow", indent=2)
    out.print()


def _notes(rows: Sequence[Agreement]) -> dict[str, list[str]]:
    """Each note with the backends and formats that it is about; all formats of a backend are its name."""
    found: dict[str, list[str]] = {}
    for note in dict.fromkeys(row.note for row in rows if row.note):
        for backend in dict.fromkeys(row.backend for row in rows):
            noted = [row.state for row in rows if (row.backend, row.note) == (backend, note)]
            whole = len(noted) == len([row for row in rows if row.backend == backend])
            names = [backend] if whole else [f"{backend} {state}" for state in noted]
            found.setdefault(note, []).extend(names if noted else [])
    return found


def _show_contests(out: Console, name: str, contests: Sequence[Contest]) -> None:
    names = {"mine": name, "Adam": "Adam", None: "neither"}
    rows: list[dict[str, Any]] = [
        {
            "on": each.problem,
            "wins": names[each.winner],
            "its α": _alpha(each.mine),
            "Adam's α": _alpha(each.adam),
            "its cost": each.mine.cost,
            "Adam's": each.adam.cost,
            "ratio": _short(each.ratio),
            "from": _short(each.low),
            "to": _short(each.high),
        }
        for each in contests
    ]
    styles = {names["mine"]: "green", names["Adam"]: "yellow"}
    show_table(out, f"{name} beside Adam, each at its best α", rows, styles)
    show_text(
        out,
        "ratio: its cost over Adam's, the geometric mean of six pairs of runs; from, to: where it is with "
        "95 % confidence. One of them wins where that leaves out 1. Below 1e-8 there is nothing left to win. "
        "*: the best α is at an end of the sweep.",
        "dim",
    )
    digits = contests[-1]
    sweep = [
        {"α": f"{lr:g}", name: cost, "Adam": digits.adam.sweep[lr]} for lr, cost in digits.mine.sweep.items()
    ]
    out.print()
    show_table(out, f"{digits.problem}: {digits.measure} by α", sweep)
    if digits.mine.test_error is not None and digits.adam.test_error is not None:
        errors = f"{100 * digits.mine.test_error:.2g} % and {100 * digits.adam.test_error:.2g} %"
        show_text(out, f"test images that are wrong at the best α: {errors}\n")


def _alpha(side: Any) -> str:
    return f"{side.lr:g}{'*' if side.at_edge else ''}"


def _short(ratio: float) -> float:
    return float(f"{ratio:.2g}")
