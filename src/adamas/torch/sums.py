"""The sums over tensors that a rule's step depends on: measured, added up over shards, and made factors of.

A launcher measures its own members, unit by unit: a unit is a parameter, or a row of one. What is made of
the sums goes back to it before it steps, and what the rule keeps of them goes into the state after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends import factors_of
from ..rules import Rule
from ..rules._reduction import Reduction
from ._compat import foreach_copy
from .exchange import exchange_of
from .kept import kept_of
from .launchers import IDLE, Launcher, ParamState, StepScalars
from .mesh import Spread
from .options import Groups
from .placement import Placement

__all__ = ["Sums", "sums_of_plan"]


@dataclass(eq=False)
class _Part:
    """The members of one launcher whose rule has sums.

    Attributes:
        launcher: the launcher.
        number: its number among those of the plan.
        members: its members.
        groups: the number of the group of each.
        firsts: the first unit of each.
        member_of: the member of each unit.
        kept: the tensors of each kept value, one a member.
        narrow: whether each unit's kept values are float32.
    """

    launcher: Launcher
    number: int
    members: Sequence[ParamState]
    groups: NDArray[Any]
    firsts: NDArray[Any]
    member_of: NDArray[Any]
    kept: list[list[Tensor]]
    narrow: NDArray[Any]

    def read_kept(self) -> NDArray[Any]:
        """The kept values, float64 of shape (units, values)."""
        columns = [_in_one(column) for column in self.kept]
        if not columns:
            return np.zeros((len(self.member_of), 0))
        return np.stack(columns, axis=1).astype(np.float64)


class Sums:
    """What finds the factors for the steps of one plan.

    Args:
        parts: the launchers whose rules have sums.
        shards: every DTensor and where it is, in the same order in each process.
        n_groups: how many groups there are.
        process_group: the option of that name.
    """

    def __init__(
        self,
        parts: Sequence[_Part],
        shards: Sequence[tuple[Tensor, Spread]],
        n_groups: int,
        process_group: Any,
    ) -> None:
        self._parts, self._shards, self._n_groups = parts, shards, n_groups
        self._everybody = None if process_group is None else exchange_of((), process_group)
        self._new: list[tuple[_Part, NDArray[Any], NDArray[Any]]] = []

    def take(self, rows: Sequence[StepScalars], places: Sequence[Sequence[int]], scale: float) -> None:
        """Measure the step, and give each launcher its factors; nothing else has changed.

        Args:
            rows: the scalars of the step, as launchers take them.
            places: the row of each member of each launcher.
            scale: the factor on the gradients.
        """
        kept = [part.read_kept() for part in self._parts]
        found = [
            part.launcher.measure_sums(scale, values) for part, values in zip(self._parts, kept, strict=True)
        ]
        if self._shards:
            self._add_shards(found)
        totals = self._of_groups(found, places) if any(map(_of_group, rows)) else {}
        self._new, oldest = [], dict[int, tuple[int, NDArray[Any]]]()
        for part, sums, values in zip(self._parts, found, kept, strict=True):
            place = np.array(places[part.number], np.int64)[part.member_of]
            factors: NDArray[Any] | None = None
            for row in np.unique(place[place != IDLE]).tolist():
                here = np.flatnonzero(place == row)
                mine = sums[here]
                if _of_group(rows[row]):
                    mine = np.stack([totals[k] for k in part.groups[part.member_of[here]].tolist()])
                made = _factors(rows[row], mine, values[here], part.narrow[here])
                factors = np.zeros((len(place), made.shape[1])) if factors is None else factors
                factors[here] = made
                if _of_group(rows[row]):
                    _note_oldest(oldest, part, here, rows[row][3], made[:, : values.shape[1]])
            if factors is not None:
                self._new.append((part, place != IDLE, factors))
        for part, taken, factors in self._new:
            # A group has one of each kept value, whichever of its parameters take the step.
            for group, (_, values) in oldest.items():
                mine = part.groups[part.member_of] == group
                factors[mine, : len(values)] = values
                taken |= mine
            part.launcher.stage_factors(factors)

    def keep(self) -> None:
        """Write the new kept values, once the step is taken."""
        for part, written, factors in self._new:
            ends = np.append(part.firsts[1:], len(written))
            spans = list(zip(part.firsts.tolist(), ends.tolist(), strict=True))
            taken = [n for n, (first, end) in enumerate(spans) if end > first and written[first]]
            for k, column in enumerate(part.kept):
                new = torch.from_numpy(factors[:, k].astype(np.float32 if part.narrow.all() else np.float64))
                devices = {x.device for x in column}
                new = new.to(devices.pop()) if len(devices) == 1 else new  # one copy for all
                foreach_copy([column[n] for n in taken], [new[slice(*spans[n])] for n in taken])
        self._new = []

    def _add_shards(self, found: Sequence[NDArray[Any]]) -> None:
        """Put in place of the sums of each shard those of the whole; every process that has one joins."""
        at = {
            id(member.p): (sums, first, member)
            for part, sums in zip(self._parts, found, strict=True)
            for member, first in zip(part.members, part.firsts.tolist(), strict=True)
        }
        terms = max(x.shape[1] for x in found)
        by_mesh: dict[Any, list[tuple[Tensor, Spread]]] = {}
        for p, spread in self._shards:
            by_mesh.setdefault(spread.mesh, []).append((p, spread))
        for mesh, shards in by_mesh.items():
            exchange = exchange_of([spread for _, spread in shards], None)
            if exchange is None or mesh.get_coordinate() is None:
                continue
            table, here = np.zeros((len(shards), terms)), [at.get(id(p)) for p, _ in shards]
            for n, each in enumerate(here):
                if each is not None and each[2].counts:
                    table[n, : each[0].shape[1]] = each[0][each[1]]
            total = exchange.total(table, np.zeros(len(shards)))[:, :-1]
            for n, each in enumerate(here):
                if each is not None:
                    each[0][each[1]] = total[n, : each[0].shape[1]]

    def _of_groups(
        self, found: Sequence[NDArray[Any]], places: Sequence[Sequence[int]]
    ) -> dict[int, NDArray[Any]]:
        """The sums of each group over all its members, those of other processes included."""
        table = np.zeros((2, self._n_groups, max(x.shape[1] for x in found)))
        with np.errstate(invalid="ignore", over="ignore"):
            for part, sums in zip(self._parts, found, strict=True):
                active = np.array(places[part.number])[part.member_of] != IDLE
                for unit in np.flatnonzero(active).tolist():
                    member = part.member_of[unit]
                    whole = int(part.members[member].spread is not None)
                    table[whole, part.groups[member], : sums.shape[1]] += sums[unit]
        if self._everybody is not None:
            table[0] = self._everybody.total(table[0], np.zeros(self._n_groups))[:, :-1]
        return dict(enumerate(table.sum(axis=0)))


def sums_of_plan(
    placed: Placement,
    group_of: Mapping[int, int],
    rules: Sequence[Rule],
    groups: Groups,
    shards: Sequence[tuple[Tensor, Spread]],
) -> Sums | None:
    """What finds the factors for the steps of a plan; None where no rule has sums.

    Args:
        placed: the launchers of the plan, and the members of each.
        group_of: the number of the group of each parameter, by its identity.
        rules: that of each group.
        groups: those of the optimizer.
        shards: as of `Sums`.
    """
    parts = []
    for number, (launcher, part) in enumerate(zip(placed.launchers, placed.slices, strict=True)):
        if not launcher.units:
            continue
        here = placed.states[part]
        mine = np.array([group_of[id(member.p)] for member in here])
        units = np.array(launcher.units, np.int64)
        _, keys = kept_of(rules[mine[0]], groups.state_names)
        kept = [[member.state[key] for member in here] for key in keys]
        wide = [x.dtype == torch.float64 for x in kept[0]] if kept else [False] * len(here)
        member_of = np.repeat(np.arange(len(here)), units)
        narrow = ~np.array(wide)[member_of]
        firsts = np.cumsum(units) - units
        parts.append(_Part(launcher, number, here, mine, firsts, member_of, kept, narrow))
    _share([part for part in parts if _scope_of(rules[part.groups[0]]) == "group"])
    return Sums(parts, shards, len(rules), groups.options.process_group) if parts else None


def _factors(row: StepScalars, sums: NDArray[Any], kept: NDArray[Any], narrow: NDArray[Any]) -> NDArray[Any]:
    """The factors of units that share a row of scalars, float64 of shape (units, factors)."""
    rule, _, scalars, _, _ = row
    made = factors_of(_reduction(rule), list(sums.T), scalars, list(kept.T))
    columns = [np.broadcast_to(np.asarray(x, np.float64), len(sums)) for x in made]
    for k in range(kept.shape[1]):
        # Rounded to what is stored, so that resuming gives the same bits.
        with np.errstate(over="ignore"):
            columns[k] = np.where(narrow, columns[k].astype(np.float32), columns[k])
    return np.stack(columns, axis=1)


def _in_one(column: Sequence[Tensor]) -> NDArray[Any]:
    """The numbers of several tensors, by one copy to the host where they are on one device."""
    if len({x.device for x in column}) == 1:
        return torch.cat(list(column)).numpy(force=True)
    return np.concatenate([x.numpy(force=True) for x in column])


def _scope_of(rule: Rule) -> str:
    return _reduction(rule).scope


def _reduction(rule: Rule) -> Reduction:
    found = rule.form().reduction
    assert found is not None
    return found


def _of_group(row: StepScalars) -> bool:
    found = row[0].form().reduction
    return found is not None and found.scope == "group"


def _note_oldest(
    oldest: dict[int, tuple[int, NDArray[Any]]],
    part: _Part,
    here: NDArray[Any],
    t: int,
    kept: NDArray[Any],
) -> None:
    """Note the new kept values of groups, of those of their parameters that have taken the most steps."""
    for group, first in zip(*np.unique(part.groups[part.member_of[here]], return_index=True), strict=True):
        if t > oldest.get(int(group), (0, kept))[0]:
            oldest[int(group)] = t, kept[first]


def _share(parts: Sequence[_Part]) -> None:
    """Give parameters that join a group, whose first gradient comes later, what the group has kept."""
    members = [
        (int(group), float(member.state.get("step", 0.0)), [column[n] for column in part.kept])
        for part in parts
        for n, (group, member) in enumerate(zip(part.groups, part.members, strict=True))
    ]
    for group in {each[0] for each in members}:
        mine = [each for each in members if each[0] == group]
        _, _, known = max(mine, key=lambda each: each[1])
        for _, _, column in mine:
            for x, value in zip(column, known, strict=True):
                x.copy_(value)
