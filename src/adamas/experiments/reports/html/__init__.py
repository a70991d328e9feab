"""One HTML page of results. It is self-contained: it opens from a disk and asks no network."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import plotly.offline

from adamas._tools.files import write_atomically
from adamas._tools.text import format_value

from ...charts import said_once
from ...findings import Preset
from ...records.store import Store
from ..collect import PLURAL, FindingRow, LearnedRow, Report, by_verdict, count_verdicts
from . import _plot, _summary, _terms

__all__ = ["Contents", "write"]

PRESETS: Mapping[Preset, str] = {
    "demo": "Small data stand in for the paper's here: images that come with scikit-learn, not MNIST or "
    "CIFAR-10, and SYNTHETIC reviews, not IMDB; the networks are small. It shows that everything runs, "
    "and what it finds need not be what the paper's data would show.",
    "quick": "The data of the figures of section 6 are the paper's, but training is CUT SHORT: fewer epochs, "
    "and in places a part of the data or smaller networks, as each chart says.",
    "paper": "As near to the paper as what it gives allows; where a chart departs from it, its note says so.",
}


@dataclass(frozen=True)
class Contents:
    """The contents of a page.

    Args:
        command: the command that makes it.
        preset: the size of everything.
        reports: the figures, in the order of the page.
        findings: the rows of the summary.
        learned: the claims that were made after the paper; none where only a figure is shown.
        files: each figure's pictures.
        failures: the number of runs and claims that raised.
    """

    command: str
    preset: Preset
    reports: Sequence[Report]
    findings: Sequence[FindingRow]
    learned: Sequence[LearnedRow]
    files: Mapping[str, Sequence[Path]]
    failures: int


def write(path: Path, contents: Contents, store: Store) -> None:
    """Write the page; its links lead to pictures beside it and to the records in `store`, around it."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["format_value"] = format_value
    templates.filters["plot"] = _plot.plain
    templates.filters["entries"] = _plot.entries
    said = Counter(row.finding.claim for row in contents.findings)
    html = templates.get_template("page.html").render(
        contents=contents,
        note=PRESETS[contents.preset],
        counts=by_verdict(contents.findings),
        terms={"charts": _terms.of_charts, "findings": _terms.of_findings(contents.findings)},
        seeds=_terms.seeds,
        repeated={claim for claim, count in said.items() if count > 1},
        said_once=said_once,
        plural=PLURAL,
        count_verdicts=count_verdicts,
        summaries={each.name: _summary.summarize(each, store, path.parent) for each in contents.reports},
        made=datetime.datetime.now(datetime.UTC).date().isoformat(),
        plotly=plotly.offline.get_plotlyjs(),
    )
    write_atomically(path, html.encode())
