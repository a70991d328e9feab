"""A report as HTML for notebooks: no script, no request, and the colours of the page that it stands in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from ..._tools.text import format_size
from .table import Column, amount, extremes, fold, heading, settings, shown_columns, value_of
from .values import ParamReport, Report

__all__ = ["page"]

# Grey of half the strength of the text is seen on light and on dark alike, whatever the page decides.
_STYLE = """
.adamas-report { font: 14px/1.45 system-ui, sans-serif; color: inherit; max-width: 100%;
  container-type: inline-size; }
.adamas-report .table { overflow-x: auto; }
.adamas-report p { margin: .3em 0; overflow-wrap: anywhere; }
.adamas-report ul { margin: .6em 0; padding: 0; list-style: none; }
.adamas-report li { margin: .4em 0; padding: .4em .8em; border-left: 4px solid #d97706;
  background: rgba(217, 119, 6, .12); overflow-wrap: anywhere; }
.adamas-report table { border-collapse: collapse; margin: .6em 0; width: 100%;
  font-variant-numeric: tabular-nums; color: inherit; background: none; border: 0; }
.adamas-report tr { background: none; border-bottom: 1px solid rgba(128, 128, 128, .3); }
.adamas-report th, .adamas-report td { padding: .25em .6em; text-align: right; white-space: nowrap;
  font-weight: normal; color: inherit; border: 0; }
.adamas-report thead th { font-weight: 600; vertical-align: bottom; }
.adamas-report th:first-child { text-align: left; font-family: ui-monospace, monospace; font-size: 13px;
  white-space: normal; min-width: 13em; overflow-wrap: anywhere; }
.adamas-report .group th { font-family: inherit; font-weight: 600; background: rgba(128, 128, 128, .12); }
.adamas-report .share { background: linear-gradient(to right, rgba(59, 130, 246, .35) var(--share),
  transparent 0) no-repeat; }
.adamas-report .signal span { display: flex; justify-content: space-between; align-items: center; gap: .6em; }
.adamas-report summary { cursor: pointer; padding: .4em 0; }
.adamas-report svg { vertical-align: middle; }
.adamas-report svg line { stroke: currentColor; }
.adamas-report svg rect { fill: currentColor; opacity: .35; }
.adamas-report small { opacity: .75; }
@container (max-width: 760px) {
  .adamas-report thead { display: none; }
  .adamas-report tr { display: grid; grid-template-columns: 1fr 1fr; padding: .4em 0; }
  .adamas-report th { grid-column: 1 / -1; }
  .adamas-report td { display: flex; justify-content: space-between; gap: .6em; text-align: left;
    white-space: normal; }
  .adamas-report .signal { grid-column: 1 / -1; }
  .adamas-report td::before { content: attr(data-label); opacity: .75; }
}
"""

_FIXED = ("count", "shape", "elements", "state", "memory")


def page(report: Report) -> str:
    """The report as a `div` with a style of its own."""
    step = "" if report.step is None else f"; measured at step {report.step:,}"
    about = f"{amount(report.params)}; backend {report.backend}{step}"
    shown = shown_columns(report.params)
    groups = [(k, group.params) for k, group in enumerate(report.groups)]
    parts = [
        f'<div class="adamas-report"><style>{_STYLE}</style>',
        f"<p><strong>{escape(heading(report))}</strong></p><p>{escape(about)}</p>",
        *_warnings(report),
        *_table(report, [(k, fold(params)) for k, params in groups], shown),
    ]
    if any(len(same) > 1 for _, params in groups for _, same in fold(params)):
        parts += [f"<details><summary>All {len(report.params):,} parameters</summary>"]
        parts += _table(
            report, [(k, [(each.label, [each]) for each in params]) for k, params in groups], shown
        )
        parts += ["</details>"]
    meanings = "; ".join(f"{name}: {meaning}" for name, _, _, meaning in shown)
    if meanings:
        parts.append(f"<p><small>{escape(meanings)}.</small></p>")
    if not report.watched and report.params:
        parts.append("<p><small><code>optimizer.watch()</code> measures steps.</small></p>")
    return "\n".join([*parts, "</div>"])


def _warnings(report: Report) -> Iterator[str]:
    if report.warnings:
        yield "<ul>"
        yield from (
            f"<li><strong>{escape(found.kind)}</strong> {escape(found.message)} "
            f"<em>{escape(found.remedy)}</em></li>"
            for found in report.warnings
        )
        yield "</ul>"


_Folded = list[tuple[str, list[ParamReport]]]


def _table(report: Report, groups: Sequence[tuple[int, _Folded]], shown: Sequence[Column]) -> Iterator[str]:
    heads = "".join(f"<th>{escape(head)}</th>" for head in (*_FIXED, *(column[0] for column in shown)))
    yield f'<div class="table"><table><thead><tr><th>parameter</th>{heads}</tr></thead><tbody>'
    for k, rows in groups:
        if len(groups) > 1:
            width = 1 + len(_FIXED) + len(shown)
            options = settings(report.groups[k].differing)
            yield f'<tr class="group"><th colspan="{width}">group {k}: {escape(options)}</th></tr>'
        yield from (_row(name, same, shown) for name, same in rows)
    yield "</tbody></table></div>"


def _row(name: str, same: Sequence[ParamReport], shown: Sequence[Column]) -> str:
    first = same[0]
    row = first.row()
    cells = [
        str(len(same)),
        row["shape"].replace(" x ", " × ") or "scalar",
        f"{sum(param.elements for param in same):,}",
        row["state_format"],
        format_size(sum(param.param_bytes + param.state_bytes for param in same)),
    ]
    notes = "".join(f"<br><small>{escape(note)}</small>" for note in first.notes)
    fixed = "".join(
        f'<td data-label="{label}">{escape(cell)}</td>' for label, cell in zip(_FIXED, cells, strict=True)
    )
    measured = "".join(_cell(same, column) for column in shown)
    # A name breaks behind its dots.
    label = escape(name).replace(".", ".<wbr>")
    return f"<tr><th>{label}{notes}</th>{fixed}{measured}</tr>"


def _cell(same: Sequence[ParamReport], column: Column) -> str:
    head, quantity, is_share, _ = column
    low, high = extremes(same, column)
    text, mark = escape(low if low == high else f"{low} – {high}"), ""
    values = [value for param in same if (value := value_of(param)[quantity]) is not None]
    if quantity == "signal_50":
        text, mark = f"{_box(same)} {text}", ' class="signal"'
    elif is_share and values:
        mark = f' class="share" style="--share: {100 * max(values):.0f}%"'
    return f'<td data-label="{escape(head)}"{mark}><span>{text}</span></td>'


# The signal to which the width of a box reaches: a steady gradient has 1, and few elements more than 2.
_WIDEST = 2.0


def _box(same: Sequence[ParamReport]) -> str:
    """The quantiles of the signal as a box: from the smallest of parameters that are alike to the largest."""
    signals = [param.signal for param in same if param.signal is not None]
    if not all(math.isfinite(value) for signal in signals for value in signal) or not signals:
        return ""
    lows, highs = (tuple(map(choose, *signals, signals[0])) for choose in (min, max))
    low, first, middle, third, high = (60 * min(x, _WIDEST) / _WIDEST for x in (*lows[:3], *highs[3:]))
    return (
        '<svg width="60" height="12" role="img" aria-label="quantiles of |m| / sqrt(v) from 0 to 2">'
        f'<line x1="{low:.1f}" y1="6" x2="{high:.1f}" y2="6"/>'
        f'<rect x="{first:.1f}" y="1" width="{max(1, third - first):.1f}" height="10"/>'
        f'<line x1="{middle:.1f}" y1="1" x2="{middle:.1f}" y2="11"/></svg>'
    )
