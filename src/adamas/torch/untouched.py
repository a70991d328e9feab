"""For how long rows of a parameter have had no gradient, from its state: no step has to keep count.

While a row has no gradient, a slot such as Adam's m decays by a known factor a step, and nothing else. Two
measured steps apart, the sum of its magnitudes in a row then is what it was times a power of that factor; had
the row been touched, it would be more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import formats
from ..backends import host_carry, host_scalars
from ..rules import Rule
from .conversion import widened
from .slots import find

__all__ = ["Untouched"]

# How much of a sum may be rounding, of many steps each of which rounds once, by the bits of an element.
_ROUNDING = {64: 1e-3, 32: 1e-3, 16: 0.02}
_COARSE = 0.1


@dataclass(eq=False)
class _Rows:
    """What is remembered of a parameter: step, decay, sums of the slot in rows, and each row's last touch."""

    step: int
    factor: float
    sums: Tensor
    touched: Tensor


class Untouched:
    """The rows of all parameters of an optimizer, as measured steps have found them."""

    def __init__(self) -> None:
        self._rows: dict[Tensor, _Rows] = {}

    def oldest(
        self, p: Tensor, g: Tensor, rule: Rule, t: int, state: Mapping[str, Any], keys: Mapping[str, str]
    ) -> int | None:
        """The steps since the row that has longest had no gradient had one; None where none is without.

        None too where state does not tell: no slot decays, or not as it did at the last measured step.

        Args:
            p: the parameter.
            g: its gradient, dense.
            rule: its rule, with the options of this step.
            t: the number of this step, of those that it has taken.
            state, keys: its state after the step, and the key of each slot.
        """
        if g.dim() < 2 or g.shape[0] < 2 or g.shape[1:].numel() == 0:
            return None
        idle = ~(g != 0).flatten(1).any(1)
        before = self._rows.pop(p, None)
        if not bool(idle.any()):
            return None
        slot = _decaying(p, rule, t, state, keys)
        if slot is None or (before is not None and before.factor != slot[1]):
            return None
        values, factor, rounding = slot
        sums = torch.linalg.vector_norm(values.detach().flatten(1), ord=1, dim=1)
        if before is None or before.step >= t or before.sums.shape != sums.shape:
            # What has never been touched has state of zeros; of the others no more is known than this step.
            touched = torch.where(sums == 0, 0, t - 1)
        else:
            left = before.sums * factor ** (t - before.step) * (1 + rounding)
            touched = torch.where(sums <= left, before.touched, t - 1)
        touched = torch.where(idle, touched, t)
        self._rows[p] = _Rows(t, factor, sums, touched)
        return t - int(touched.min())


def _decaying(
    p: Tensor, rule: Rule, t: int, state: Mapping[str, Any], keys: Mapping[str, str]
) -> tuple[Tensor, float, float] | None:
    """A slot that decays where there is no gradient, the fastest first; its factor, and its rounding."""
    carried = host_carry(rule, t, *rule.carried.values())
    form = rule.coast(*host_scalars(rule, t, *carried))
    if form is None:
        return None
    for name, factor in sorted(form.factors.items(), key=lambda each: each[1]):
        held = find(state, keys[name])
        if held is None or not 0 < factor < 1 or name in form.offsets or name in form.least:
            continue
        if held.name == "" and held.codes.dtype.is_floating_point:
            return held.codes, factor, _ROUNDING[8 * held.codes.dtype.itemsize]
        if p.device.type == "cpu":
            wide = formats.get("float32")
            return widened(held, p, wide, rule.form().slots[name].signed), factor, _COARSE
    return None
