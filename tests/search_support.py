"""Records of figures that search: more runs follow from the records of the first ones."""

from collections.abc import Callable, Mapping
from typing import Any

from adamas.experiments.figures import Figure
from adamas.experiments.findings import Preset
from adamas.experiments.runs import Run


def every_record(
    figure: Figure, preset: Preset, make: Callable[[Run], Mapping[str, Any] | None]
) -> dict[Run, Any]:
    """Return the record that `make` gives of each run that is ever wanted; it may give none."""
    found: dict[Run, Any] = {}
    none: set[Run] = set()
    while missing := [
        run for run in figure.runs(preset, found, none) if run not in found and run not in none
    ]:
        made = {run: make(run) for run in dict.fromkeys(missing)}
        found |= {run: each for run, each in made.items() if each is not None}
        none |= {run for run, each in made.items() if each is None}
    return found
