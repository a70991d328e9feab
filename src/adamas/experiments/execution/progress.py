"""The progress of runs: a bar on a terminal, a line for each run elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..records.store import FAILED
from ..runs import Run
from .engines import Ended, Event, Lost, Started


def show(events: Generator[Event], runs: Sequence[Run], stored: int, console: Console) -> list[Run]:
    """Show the progress of these runs on `console`; return those that failed. `stored` others are done."""
    total = len(runs)
    console.print(f"{total} runs to do, {stored} already stored")
    failed: list[Run] = []
    running: set[Run] = set()
    done = 0
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
        task = bar.add_task(f"0/{total} runs", total=sum(run.epochs for run in runs))
        for event in events:
            if isinstance(event, Started):
                running.add(event.run)
            else:
                running.discard(event.run)
            if isinstance(event, Ended):
                done += 1
                bar.advance(task, event.run.epochs)
                if event.record["status"] == FAILED:
                    failed.append(event.run)
            _tell(event, f"[{done}/{total}]", console)
            counts = f"{done}/{total} runs, {len(running)} running, {len(failed)} failed"
            bar.update(task, description=counts)
    return failed


def _tell(event: Event, place: str, console: Console) -> None:
    """Print failures and losses, and every end where there is no bar, on lines of their own."""
    text, style = event.run.describe(), None
    if isinstance(event, Ended) and event.record["status"] == FAILED:
        text, style = f"failed: {text}\n{event.record['traceback'].rstrip()}", "red"
    elif isinstance(event, Lost):
        text, style = f"its process was killed, it will be tried again: {text}", "red"
    elif isinstance(event, Started) or console.is_terminal:
        return
    else:
        diverged = event.record["status"] == "diverged"
        text = f"{place} {text}{' (diverged)' if diverged else ''}"
    console.print(text, style=style, markup=False, soft_wrap=True)
