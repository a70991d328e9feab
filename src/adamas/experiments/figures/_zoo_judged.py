"""Who wins: every rule beside Adam, and what more state buys, by intervals over the seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ..bootstrap import CONFIDENCE, Estimate
from ..findings import Cell, Finding, verdict
from ._zoo import NEAR, Member, Result, Task, ratio_over

BASE = "Adam"
SOURCE = "Adamas: the family"
LEVEL = 1.02  # costs are level from 1 / LEVEL to LEVEL times each other

Side = Callable[[Estimate, float], bool | None]
Standing = Literal["better", "level", "worse", "undecided", "diverged", "not measured"]


def standing(ratio: Estimate | None) -> Standing:
    """Say how a cost stands to another, by the interval of their ratio, infinite where the one diverged."""
    if ratio is None:
        return "not measured"
    if math.isinf(ratio.value):
        return "diverged"
    if ratio.within(1 / LEVEL, LEVEL):
        return "level"
    above: Mapping[bool | None, Standing] = {True: "worse", False: "better", None: "undecided"}
    return above[ratio.above(1)]


@dataclass(frozen=True)
class Contest:
    """The results of each task, by the name of the member; all have the same seeds."""

    tasks: Sequence[Task]
    results: Sequence[Mapping[str, Result]]

    @property
    def members(self) -> list[Member]:
        """The members, in their order."""
        return [result.member for result in self.results[0].values()]

    def member(self, name: str) -> Member:
        """The member of that name."""
        return self.results[0][name].member

    def beside(self, name: str, place: int) -> Estimate | None:
        """Estimate the ratio of a cost to Adam's on one task; None where runs lack their record."""
        return self._beside[place][name]

    @cached_property
    def _beside(self) -> list[dict[str, Estimate | None]]:
        return [{name: self._ratio(name, BASE, [found]) for name in found} for found in self.results]

    def over(self, name: str, other: str = BASE) -> Estimate | None:
        """Estimate the geometric mean of that ratio over all tasks."""
        return self._ratio(name, other, self.results)

    def _ratio(self, name: str, other: str, results: Sequence[Mapping[str, Result]]) -> Estimate | None:
        if any(found[each].missing for found in results for each in (name, other)):
            return None
        ones, others = ([found[each].final for found in results] for each in (name, other))
        known = [each for each in others if each is not None]
        if len(known) < len(results):
            return None
        ended = [each for each in ones if each is not None]
        return ratio_over(ended, known) if len(ended) == len(results) else Estimate(math.inf)

    def standings(self, name: str) -> list[Standing]:
        """Say how a member stands to Adam on each task."""
        return [standing(self.beside(name, place)) for place in range(len(self.tasks))]

    @cached_property
    def known(self) -> dict[str, Estimate]:
        """Return the ratios to Adam over all tasks, the lowest first, of those that ended on each."""
        found = {each.name: self.over(each.name) for each in self.members}
        ended = {name: each for name, each in found.items() if each and math.isfinite(each.value)}
        return dict(sorted(ended.items(), key=lambda pair: pair[1].value))

    def best_below(self, size: int) -> str | None:
        """Return the member with the lowest mean ratio among those with fewer bytes; None without any."""
        return next((name for name in self.known if self.member(name).bytes < size), None)

    def lacking(self) -> str:
        """Say how many sweeps lack records; empty where none does."""
        every = [result.missing for found in self.results for result in found.values()]
        return f"{sum(every)} of {len(every)} sweeps lack records" if any(every) else ""


def summary(contest: Contest) -> list[Mapping[str, Cell]]:
    """Return a row for each rule, the lowest mean ratio first."""
    ranks = {name: rank for rank, name in enumerate(contest.known)}
    ordered = sorted(contest.members, key=lambda each: ranks.get(each.name, len(ranks)))
    return [_summary_row(contest, each) for each in ordered]


def _summary_row(contest: Contest, member: Member) -> Mapping[str, Cell]:
    ratio = contest.over(member.name)
    less = contest.best_below(member.bytes)
    widths = [found[member.name].width() for found in contest.results]
    known = [width for width in widths if width is not None]
    return {
        "rule": member.name,
        "bytes": float(member.bytes),
        "kept_beside": member.kept,
        **_cells(ratio, "of_adam"),
        "beside_adam": "" if member.name == BASE else standing(ratio),
        "beside_fewer_bytes": standing(contest.over(member.name, less)) if less else "",
        **{
            task.name: "" if member.name == BASE else found
            for task, found in zip(contest.tasks, contest.standings(member.name), strict=True)
        },
        "decades_near_best": float(np.mean(known)) if known else None,
    }


def ranking(contest: Contest, place: int) -> list[Mapping[str, Cell]]:
    """Return a row for each rule on a task, the lowest cost first."""
    results = contest.results[place]
    costs = {
        name: math.inf if each.final is None else float(each.final.mean()) for name, each in results.items()
    }
    least, base = min(costs.values()), costs[BASE]
    return [
        _ranking_row(
            contest, place, results[name], cost, (cost - least) / base if math.isfinite(base) else math.inf
        )
        for name, cost in sorted(costs.items(), key=lambda pair: pair[1])
    ]


def _ranking_row(
    contest: Contest, place: int, result: Result, cost: float, excess: float
) -> Mapping[str, Cell]:
    name, default = result.member.name, result.default()
    ratio = contest.beside(name, place)
    return {
        "rule": name,
        "bytes": float(result.member.bytes),
        "best_lr": None if result.best is None else float(result.lrs[result.best]),
        "final_cost": _finite(cost),
        **_cells(ratio, "of_adam"),
        "beside_adam": "" if name == BASE else standing(ratio),
        "above_the_best_of_adam": _finite(excess),
        "decades_near_best": result.width(),
        "default_of_best": _finite(default.value) if default else None,
        "remarks": _remarks(result),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cells(ratio: Estimate | None, name: str) -> Mapping[str, Cell]:
    low, high = (ratio.interval if ratio else None) or (None, None)
    return {name: _finite(ratio.value) if ratio else None, "low": low, "high": high}


def _remarks(result: Result) -> str:
    if result.best is None:
        return "lacks records" if result.missing else "diverged at every α"
    lrs = [f"{lr:g}" for lr, cost in zip(result.lrs, result.costs.T, strict=True) if np.isinf(cost).any()]
    remarks = [f"diverged at α {', '.join(lrs)}"] if lrs else []
    remarks += ["best α at the edge of the sweep"] if result.at_edge else []
    remarks += ["stays near its start"] if result.stays else []
    return "; ".join([*remarks, *(["lacks records"] if result.missing else [])])


@dataclass(frozen=True)
class Step:
    """The best rule among those with so many bytes, beside the best of those with less."""

    bytes: int
    best: str
    less: str | None
    ratio: Estimate | None


def steps(contest: Contest) -> list[Step]:
    """Return a step for each number of bytes that any rule has that ended."""
    known, found = contest.known, []
    bytes_of = {name: contest.member(name).bytes for name in known}
    for size in sorted({*bytes_of.values()}):
        best = next(name for name, has in bytes_of.items() if has == size)
        less = contest.best_below(size)
        found.append(Step(size, best, less, contest.over(best, less) if less else None))
    return found


def pays(contest: Contest) -> list[Mapping[str, Cell]]:
    """Return a row for each number of bytes: whether its best rule is worth more than fewer bytes."""
    worth = {"better": "pays", "worse": "costs more, and buys nothing", "level": "level with fewer bytes"}
    return [
        {
            "bytes": float(step.bytes),
            "best_rule": step.best,
            "of_adam": contest.known[step.best].value,
            "best_with_fewer": step.less or "",
            **_cells(step.ratio, "of_that"),
            "verdict": worth.get(standing(step.ratio), standing(step.ratio)) if step.less else "",
        }
        for step in steps(contest)
    ]


def findings(contest: Contest) -> list[Finding]:
    """Judge what the numbers say of the family."""
    found = [_beaten(contest), *_state(contest), _defaults(contest)]
    return [each.unless(contest.lacking() if each.verdict != "not measured" else "") for each in found]


def _beaten(contest: Contest) -> Finding:
    most, count = len(contest.tasks) // 2 + 1, len(contest.tasks)
    claim = f"some rule ends below Adam on {most} of {count} problems or more, each at its best constant α"
    known = contest.known
    others = [name for name in known if name != BASE]
    if not others:
        return Finding(claim, SOURCE, "no finished runs", "not measured")
    standings = {each.name: contest.standings(each.name) for each in contest.members if each.name != BASE}
    better = [name for name, each in standings.items() if each.count("better") >= most]
    may = any(each.count("better") + each.count("undecided") >= most for each in standings.values())
    tally = Counter(one for each in standings.values() for one in each)
    listed = f": {', '.join(better)}" if better else ""
    chance = round((1 - CONFIDENCE) * tally.total())
    parts = [
        f"{len(better)} of {len(standings)} rules do{listed}",
        f"lowest in the geometric mean over problems {others[0]}, {known[others[0]]:.3f} × Adam's cost",
        f"highest {others[-1]}, {known[others[-1]]:.3f} ×",
        f"of {tally.total()} comparisons {', '.join(f'{n} {word}' for word, n in tally.most_common())}",
        f"were all alike, chance alone would decide about {chance}",
    ]
    return Finding(claim, SOURCE, "; ".join(parts), verdict([True if better else None if may else False]))


def _state(contest: Contest) -> list[Finding]:
    """Judge whether rules with more state than Adam, and Adam's, are worth it."""
    size = contest.member(BASE).bytes
    bytes_of = {name: contest.member(name).bytes for name in contest.known}
    fewer = [name for name, has in bytes_of.items() if has < size]
    same = [name for name, has in bytes_of.items() if has <= size]
    more = [name for name, has in bytes_of.items() if has > size]
    pairs = [
        (f"more state than Adam's {size} bytes buys a lower cost", more, same, Estimate.below),
        (f"less state than Adam's {size} bytes costs more", fewer, same, Estimate.above),
    ]
    return [
        _best(contest, f"{claim}, best beside best", ones, others, side)
        for claim, ones, others, side in pairs
    ]


def _best(contest: Contest, claim: str, ones: Sequence[str], others: Sequence[str], side: Side) -> Finding:
    """Judge on which side of 1 the ratio is of the first of these to the first of the others."""
    if not ones or not others:
        return Finding(claim, SOURCE, "no finished runs of both", "not measured")
    one, other = (contest.member(names[0]) for names in (ones, others))
    ratio = contest.over(one.name, other.name)
    assert ratio is not None  # both ended
    ends = (
        f"{one.name} ({one.bytes} bytes) ends at {ratio:.3f} × the cost of {other.name} ({other.bytes} bytes)"
    )
    return Finding(claim, SOURCE, ends, verdict([side(ratio, 1)]))


def _defaults(contest: Contest) -> Finding:
    claim = f"at its default α each rule costs at most {NEAR:g} × what it costs at its best"
    ratios = {
        f"{name} on the {task.name}": result.default()
        for task, found in zip(contest.tasks, contest.results, strict=True)
        for name, result in found.items()
    }
    known = {name: each for name, each in ratios.items() if each is not None}
    if not known:
        return Finding(claim, SOURCE, "no finished runs", "not measured")
    held = [each.within(0, NEAR) for each in known.values()]
    ended = {name: each for name, each in known.items() if math.isfinite(each.value)}
    worst = max(ended, key=lambda name: ended[name].value, default=None)
    parts = [f"{held.count(True)} of {len(held)} do, {held.count(None)} are undecided"]
    parts += [f"farthest {worst}, {ended[worst]:.2f} ×"] if worst else []
    parts += [f"{len(known) - len(ended)} diverge"] if len(known) > len(ended) else []
    return Finding(claim, SOURCE, "; ".join(parts), verdict(held))
