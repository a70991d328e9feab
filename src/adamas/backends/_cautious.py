"""Cautious weight decay (Chen et al. 2025, arXiv 2510.12402), Algorithm 1, as a part of any rule's update."""

from __future__ import annotations

from typing import Any

from ..rules import Rule, xp
from ..rules._base import Form, Update

__all__ = ["CAUTIOUS", "to_zero", "update_in", "update_of"]

# The scalar of such an update before those of the rule: lr λ, or what stands for it.
CAUTIOUS = "cautious_decay"


def update_of(rule: Rule, cautious: bool) -> Update:
    """The rule's update, or with `cautious` one that decays after its step, which takes λ before its scalars.

    p' = p - u - λ p 1[u p >= 0], element by element, with u the step of the rule and p as it was before: an
    element decays where both have one sign, and where it does not move, as in the paper. A step that the type
    of the computation rounds away is none.
    """
    return update_in(rule.form(), cautious)


def update_in(form: Form, cautious: bool) -> Update:
    """The same of a form."""
    return _cautious(form.update, len(form.slots)) if cautious else form.update


def to_zero(p: Any, change: Any) -> Any:
    """Whether each element of p changes towards zero or not at all; signs alone, whose product may be 0."""
    return (p > 0.0) & (change <= 0.0) | (p < 0.0) & (change >= 0.0)


def _cautious(update: Update, count: int) -> Update:
    """An update of `count` slots, and its decay."""

    def update_and_decay(p: Any, g: Any, *others: Any) -> tuple[Any, ...]:
        slots, decay, scalars = others[:count], others[count], others[count + 1 :]
        new, *state = update(p, g, *slots, *scalars)
        return (new - decay * xp.where(to_zero(p, new - p), p, 0.0), *state)

    return update_and_decay
