"""What is shown while runs go on: a bar on a terminal, a line a run elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .grid import Failure
from .runs import Run


def show(
    ended: Generator[Run | Failure], runs: Sequence[Run], stored: int, console: Console
) -> list[Failure]:
    """Shows the ends of these runs on `console`; returns the failures. `stored` runs were there before."""
    total = len(runs)
    console.print(f"{total} runs to do, {stored} already stored")
    failures: list[Failure] = []
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
    with contextlib.closing(ended), bar:
        # Epochs, not runs, are what takes time.
        task = bar.add_task(f"0/{total} runs", total=sum(run.epochs for run in runs))
        for done, end in enumerate(ended, start=1):
            run = end.run if isinstance(end, Failure) else end
            if isinstance(end, Failure):
                failures.append(end)
                text = f"failed: {run.describe()}\n{end.traceback}"
                console.print(text, style="red", end="", markup=False, soft_wrap=True)
            elif not console.is_terminal:
                console.print(f"[{done}/{total}] {run.describe()}", markup=False, soft_wrap=True)
            failed = f", {len(failures)} failed" if failures else ""
            bar.update(task, advance=run.epochs, description=f"{done}/{total} runs{failed}")
    return failures
