"""Words of the page that a reader cannot know, each with a sentence for where it is first used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..collect import FindingRow, Report


class Term(NamedTuple):
    """A word, and what it means here."""

    word: str
    meaning: str


BEST = Term(
    "Best of the grid",
    "each optimizer is drawn at the α, momentum and decays of its grid with the lowest mean training cost "
    "over all epochs; one that diverged is never the best. Where a table says so, the better half of a grid "
    "goes on after each of some epochs. The paper gives no grids: these are ours.",
)
SEED = Term(
    "One seed",
    "a curve is one run, with one start and one order of the examples. Another seed would move it a little, "
    "so small differences mean nothing.",
)
SEEDS = Term(
    "Seeds", "a curve is the mean over runs that differ by chance alone, and its band is their range."
)
LOG = Term("Log", "on a logarithmic axis, equal steps are equal factors.")
EXCESS = Term(
    "Mean excess cost",
    "the mean over the epochs of an optimizer's training cost, less the lowest cost that any optimizer of "
    "the chart reached: the area between its curve and that floor, divided by the epochs.",
)
THRESHOLD = Term(
    "Our threshold",
    "the paper says “faster” or “alike” without a number. The number that we judge by is ours, chosen before "
    "the runs; it is not what the paper expected.",
)

INTERVAL = Term(
    "[1.71, 2.02]",
    "the 95 % interval of the number before it, by a bootstrap over seeds, which all optimizers share; where "
    "nothing is trained, over independent repetitions. With one seed it is over the mini-batches of each "
    "epoch, or there is none: it is then said. Hyperparameters are those found best, and that other seeds "
    "might choose others is not in it.",
)
UNDECIDED = Term(
    "Undecided",
    "a threshold lies within the interval, so that chance may have decided on which side the number is. More "
    "seeds would tell.",
)


def of_charts(report: Report) -> list[Term]:
    """Return the words that the charts of a figure use."""
    charts = [chart for row in report.charts for chart in row]
    names = [curve.name for chart in charts for curve in chart.curves]
    found = [BEST] if any(", α = " in name for name in names) else []
    found.append(SEED if seeds(report) == 1 else SEEDS)
    return [*found, LOG]


def of_findings(rows: Iterable[FindingRow]) -> list[Term]:
    """Return the words that the measurements use; what intervals decide, wherever there are any."""
    text = " ".join(row.finding.measured for row in rows)
    words: Sequence[Term] = (EXCESS, THRESHOLD)
    found = [term for term in words if term.word.lower() in text.lower()]
    return [*found, INTERVAL, UNDECIDED] if re.search(r"\[\S+, \S+\]", text) else found


def seeds(report: Report) -> int:
    """Return the number of different seeds of a figure's runs."""
    return len({run.configuration().get("seed") for run in report.runs})
