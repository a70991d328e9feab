"""The progress of runs: a bar on a terminal, a line for each run elsewhere."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..records.store import FAILED
from ..runs import Run
from .engines import Ended, Event, Lost, Paused, Started


def show(events: Generator[Event], runs: Sequence[Run], stored: int, console: Console) -> None:
    """Show the progress of these runs, and of those that follow, on `console`; `stored` others are done."""
    more = " and the better half of the searched ones further" if any(run.whole for run in runs) else ""
    console.print(f"{len(runs)} runs to do{more}, {stored} already stored", soft_wrap=True)
    known, running = set(runs), set[Run]()
    done = failed = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    # The speed is estimated over ten minutes, because long runs end rarely.
    bar = Progress(*columns, console=console, speed_estimate_period=600, disable=not console.is_terminal)
    # Close at once, also on an interrupt, because that ends the processes.
    with contextlib.closing(events), bar:
        # Time is spent by the epoch, not by the run.
        task = bar.add_task(f"0/{len(runs)} runs", total=sum(map(_expected, runs)))
        for event in events:
            if isinstance(event, Started):
                running.add(event.run)
                known.add(event.run)
            else:
                running.discard(event.run)
            if isinstance(event, Ended | Paused):
                bar.advance(task, event.epochs)
            if isinstance(event, Ended):
                done += 1
                failed += event.record["status"] == FAILED
            _tell(event, f"[{done}/{len(known)}]", console)
            counts = f"{done}/{len(known)} runs, {len(running)} running, {failed} failed"
            bar.update(task, description=counts)


def _expected(run: Run) -> float:
    """Return the epochs of a run and of what follows: half as many runs after each doubling of its length."""
    return run.epochs * (1 + math.log2(max(run.whole / run.epochs, 1)) / 2)


def _tell(event: Event, place: str, console: Console) -> None:
    """Print failures and losses, and every end where there is no bar, on lines of their own."""
    text, style = event.run.describe(), None
    if isinstance(event, Ended) and event.record["status"] == FAILED:
        text, style = f"failed: {text}\n{event.record['traceback'].rstrip()}", "red"
    elif isinstance(event, Lost):
        text, style = f"its process was killed, it will be tried again: {text}", "red"
    elif isinstance(event, Started | Paused) or console.is_terminal:
        return
    else:
        diverged = event.record["status"] == "diverged"
        text = f"{place} {text}{' (diverged)' if diverged else ''}"
    console.print(text, style=style, markup=False, soft_wrap=True)
