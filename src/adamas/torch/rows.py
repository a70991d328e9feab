"""The scalars of a step, computed on the host: a row for the parameters of one group that share a count."""

from __future__ import annotations

from collections.abc import Sequence

from ..backends import host_carry, host_scalars
from ..rules import Rule
from .counters import Counters
from .keywords import StepOptions
from .launchers import StepScalars

__all__ = ["Rows"]

# Scalars of steps that are kept for parameters that have taken fewer.
_KEPT = 4096


class Rows:
    """The scalars of the steps of one plan.

    Args:
        options: those of the step.
    """

    def __init__(self, options: StepOptions) -> None:
        self._options = options
        self._memo: dict[tuple[int, int, tuple[float, ...]], tuple[float, ...]] = {}

    def forget(self) -> None:
        """Forget what was computed with other hyperparameters."""
        self._memo.clear()

    def next(
        self,
        counters: Counters,
        rules: Sequence[Rule],
        envelopes: Sequence[tuple[float, ...]],
    ) -> list[StepScalars]:
        """The scalars of the next step, a row each.

        Args:
            counters: of the parameters.
            rules, envelopes: those of each group.

        Raises:
            ValueError: one cannot be computed.
        """
        rows: list[StepScalars] = []
        # With many counts of steps at once, most of them were some parameter's count in the last step too.
        memo = self._memo if len(counters.counts) > 4 else None
        if memo is not None and len(memo) > _KEPT:
            memo.clear()
        for count in counters.counts:
            k, carried = count.group, count.carried
            rule, envelope, taken = rules[k], envelopes[k], count.taken + 1
            t = taken if rule.counts_steps else 1 + count.began
            try:
                if carried:
                    carried = counters.stored(host_carry(rule, t, *carried))
                scalars = None if memo is None else memo.get((k, t, carried))
                if scalars is None:
                    scalars = host_scalars(rule, t, *carried)
                    if memo is not None:
                        memo[k, t, carried] = scalars
            except (ZeroDivisionError, OverflowError) as error:
                raise ValueError(f"a scalar of step {t} cannot be computed: {error!r} in {rule}") from None
            if self._options.average is not None:
                envelope = (*envelope[:3], self._options.average_weight(taken), *envelope[4:])
            rows.append((rule, envelope, scalars, taken, carried))
        return rows
