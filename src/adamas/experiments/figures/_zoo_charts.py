"""The charts of the family: cost by the bytes of state, and cost by α."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from ..charts import BLACK, BLUE, GREEN, ORANGE, PINK, SKY, YELLOW, Chart, Line, Style
from ._zoo import NEAR, Member, Result
from ._zoo_judged import BASE, Contest, standing, steps

GROUPS = [Style(color, marked=True) for color in (SKY, ORANGE, BLUE, GREEN, PINK, YELLOW)]
OTHERS = [
    Style(ORANGE, "dash", marked=True),
    Style(GREEN, "dashdot", marked=True),
    Style(PINK, "dot", marked=True),
    Style(SKY, marked=True),
    Style(YELLOW, "dash", marked=True),
    Style(BLACK, "dot", marked=True),
]
WORSE = 1.1  # what ends above so many times the cost before the first step is no point of a curve
ROOM = 1.5  # an interval is drawn up to so many times beyond the outermost points


def ranked(contest: Contest) -> Chart:
    """Return the chart of costs beside Adam's, a row for each rule, by bytes of state, the best first."""
    known = contest.known
    ranks = {name: rank for rank, name in enumerate(known)}
    order = sorted(contest.members, key=lambda each: (each.bytes, ranks.get(each.name, len(ranks))))
    heights = {each.name: float(len(order) - place) for place, each in enumerate(order)}
    groups = [(size, list(found)) for size, found in groupby(order, key=lambda each: each.bytes)]
    lines = [
        line
        for (size, found), style in zip(groups, GROUPS * len(groups), strict=False)
        if (
            line := _group(contest, size, [each.name for each in found if each.name in known], heights, style)
        )
    ]
    if lines:
        everywhere = np.array(sorted(heights.values()))
        lines.append(Line(f"{BASE}'s cost", np.ones(len(order)), everywhere[None], Style(BLACK, "dot", 1.0)))
    count = len(contest.tasks)
    note = (
        f"Geometric mean over {count} problems, each rule at its best constant α; 95 % intervals over seeds"
    )
    return Chart(
        "The family by bytes of float32 state a parameter",
        note,
        f"final cost ÷ {BASE}'s",
        "rule",
        lines,
        log_x=True,
        finding=_headline(contest),
        names=[each.name for each in reversed(order)],
    )


def _group(
    contest: Contest, size: int, names: Sequence[str], heights: dict[str, float], style: Style
) -> Line | None:
    known = contest.known
    if not names:
        return None
    every = [each.value for each in known.values()]
    low, high = min(every) / ROOM, max(every) * ROOM
    x = np.array([known[name].value for name in names])
    spans = np.array([known[name].interval or (known[name].value,) * 2 for name in names])
    values = np.array([[heights[name] for name in names]])
    return Line(f"{size} bytes", x, values, style, spans=np.clip(spans, low, high))


def _headline(contest: Contest) -> str:
    known = contest.known
    others = [name for name in known if name != BASE]
    if not others:
        return ""
    counts = [standing(known[name]) for name in others]
    last = next((step for step in reversed(steps(contest)) if standing(step.ratio) == "better"), None)
    paid = (
        f"state pays for certain up to the {last.bytes} bytes of {last.best}"
        if last
        else "no state pays for certain"
    )
    tally = [f"{counts.count(word)} {word}" for word in ("better", "level", "worse", "undecided")]
    return f"Beside {BASE}: {', '.join(tally)}; lowest {others[0]}, {known[others[0]].value:.2f} ×; {paid}"


def sweeps(contest: Contest) -> list[list[Chart]]:
    """Return the charts of costs by α: a row for each few rules, a column for each task, Adam in all."""
    others = [each for each in contest.members if each.name != BASE]
    parts = [others[start : start + len(OTHERS)] for start in range(0, len(others), len(OTHERS))]
    return [[_sweep(contest, place, part) for place in range(len(contest.tasks))] for part in parts]


def _sweep(contest: Contest, place: int, members: Sequence[Member]) -> Chart:
    task, results = contest.tasks[place], contest.results[place]
    base = results[BASE].final
    shown = {
        BASE: Style(BLUE, marked=True),
        **dict(zip([each.name for each in members], OTHERS, strict=False)),
    }
    unit = math.nan if base is None else float(base.mean())
    lines = [line for name, style in shown.items() if (line := _curve(results[name], unit, style))]
    widths = {each.name: results[each.name].width() for each in members}
    known = sorted((width, name) for name, width in widths.items() if width is not None)
    ends = ((word, known[end]) for word, end in (("widest", -1), ("narrowest", 0))) if known else ()
    finding = ", ".join(f"{word} {name}, {width:.1f}" for word, (width, name) in ends)
    sizes = " to ".join(dict.fromkeys(str(members[end].bytes) for end in (0, -1)))
    return Chart(
        f"{task.title}, {task.note}",
        f"Near: within {NEAR:g} × the best cost. × at the edge: diverged, or ended above its start",
        "α ÷ default α",
        f"final cost ÷ {BASE}'s at its best",
        lines,
        log_x=True,
        log_y=True,
        finding=f"Decades of α near the best: {finding}" if finding else "",
        row="" if place else f"Cost by α: rules with {sizes} bytes",
    )


def _curve(result: Result, unit: float, style: Style) -> Line | None:
    """Return the costs of a member at its α; None where it has none."""
    if not np.isfinite(result.mean).any() or not math.isfinite(unit):
        return None
    relative = result.lrs / result.member.rule.lr
    ended = result.mean <= WORSE * result.start
    failed = tuple(relative[~ended & ~np.isnan(result.costs).any(axis=0)].tolist())
    costs = np.where(ended, result.costs, math.nan) / unit
    return Line(result.member.name, relative, costs, style, failed=failed)
