"""What is shown while runs go on: a bar on a terminal, a line a run elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .engines import Ended, Event, Lost, Started
from .runs import Run
from .store import FAILED


def show(events: Generator[Event], runs: Sequence[Run], stored: int, console: Console) -> list[Run]:
    """Shows on `console` what happens to these runs; returns those that failed. `stored` were there."""
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
    # The speed is taken over ten minutes: long runs end rarely.
    bar = Progress(*columns, console=console, speed_estimate_period=600, disable=not console.is_terminal)
    # Closed here and now, also on an interrupt, because that ends the processes.
    with contextlib.closing(events), bar:
        # Epochs, not runs, are what takes time.
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
    """In a line of its own: what must not be overlooked, and every end where there is no bar."""
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
