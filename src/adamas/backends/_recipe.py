"""What a kernel is made of, whatever compiles it: a rule's arithmetic, and the format of each array."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import formats
from ..formats import Format
from ..rules import Rule
from ._bind import host_carry, host_scalars
from ._cautious import CAUTIOUS
from ._check import check_rule, input_names, measure_names, trace_measure
from ._columns import COPY, columns, real_of
from ._names import text_key
from ._sums import counts_of

__all__ = ["ENVELOPE", "Recipe", "SumsRecipe", "recipe_of", "sums_recipe_of"]

# A row of scalars begins with the envelope, in this order.
ENVELOPE = ("g_scale", "coupled_decay", "decay_factor", "average_weight")


@dataclass(frozen=True)
class Recipe:
    """One kernel of one rule.

    Attributes:
        title: the rule's name.
        inputs: the names of `update`'s arguments: p, g, the slots, the scalars, of which the first may be
            `CAUTIOUS`, and the factors.
        formats: the format of each array: "p", "g", then the slots in order, and `COPY` where there is one.
        average: whether a running average of the parameters is kept, in the type of the computation.
        signs: whether each slot is signed, for rules whose state underflows gradually; None for others.
        n_scalars: how many scalars the rule has.
        by_rows: whether each row has factors of its own.
        measured: what it measures, as `text_key` says it; None for nothing.
    """

    title: str
    inputs: tuple[str, ...]
    formats: tuple[tuple[str, Format], ...]
    average: bool
    signs: tuple[tuple[str, bool], ...] | None
    n_scalars: int
    by_rows: bool = False
    measured: Hashable = None

    @property
    def scalars(self) -> tuple[str, ...]:
        """The names of the rule's scalars."""
        return self.inputs[self.n_arrays : self.n_arrays + self.n_scalars]

    @property
    def factors(self) -> tuple[str, ...]:
        """The names of what the rule makes of its sums."""
        return self.inputs[self.n_arrays + self.n_scalars :]

    @property
    def n_arrays(self) -> int:
        """How many of the inputs are elements of arrays."""
        return sum(name != COPY for name, _ in self.formats)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the computation."""
        return np.dtype(real_of(dict(self.formats)))


def recipe_of(
    rule: Rule,
    p: str,
    g: str | None = None,
    slots: Mapping[str, str] | None = None,
    average: bool = False,
    copy: str | None = None,
    cautious: bool = False,
) -> Recipe:
    """What the kernel of a rule is made of; the arguments are those of `compile_rule`.

    Raises:
        RuleSourceError, TypeError, ValueError: as of `compile_rule`.
    """
    form = check_rule(rule)
    own = formats.get(p)
    chosen = {"p": own, "g": formats.get(g or own.name)}
    for name, slot in form.slots.items():
        chosen[name] = formats.get((slots or {}).get(name, own.compute.name), slot.signed)
    arrays = len(chosen)
    if copy is not None:
        narrow = formats.get(copy)
        assert narrow.nearest is not None
        chosen[COPY] = dataclasses.replace(narrow, encode=narrow.nearest, rounds=False, packed16=None)
    scaled = [name for name, format in chosen.items() if format.scaled]
    if scaled and any(format.compute == np.float64 for format in chosen.values()):
        raise ValueError(f"{scaled[0]} cannot be {chosen[scaled[0]].name} where anything is float64")
    title, inputs = type(rule).__name__, tuple(input_names(rule, form))
    scalars = host_scalars(rule, 1, *host_carry(rule, 1, *rule.carried.values()))
    taken = len(inputs) - arrays - counts_of(form, scalars)[1]
    if len(scalars) != taken:
        raise TypeError(
            f"{title}: scalars(t) returns {len(scalars)} with these options, and update takes {taken}"
        )
    n_scalars = taken + cautious
    if cautious:
        inputs = (*inputs[:arrays], CAUTIOUS, *inputs[arrays:])
    divides = not all(slot.signed for slot in form.slots.values())
    hidden = _eps_hides_subnormals(rule, chosen)
    signs = None if hidden or not divides else tuple((k, x.signed) for k, x in form.slots.items())
    arrays_of = tuple(chosen.items())
    if form.reduction is None:
        return Recipe(title, inputs, arrays_of, average, signs, n_scalars)
    by_rows, measured = form.reduction.scope == "row", text_key(form.reduction.measure)
    return Recipe(title, inputs, arrays_of, average, signs, n_scalars, by_rows, measured)


@dataclass(frozen=True)
class SumsRecipe:
    """The pass over a rule's arrays that measures.

    Attributes:
        title: the rule's name.
        inputs: the names of `measure`'s arguments: p, g, the slots, the scalars, the kept values.
        formats: the format of each array.
        n_scalars: how many scalars there are.
        before: how many numbers stand before them in a row of the step.
        n_terms: how many terms it measures.
        width: how many columns the table of the step has, of which this pass reads the first.
    """

    title: str
    inputs: tuple[str, ...]
    formats: tuple[tuple[str, Format], ...]
    n_scalars: int
    before: int
    n_terms: int
    width: int

    @property
    def scalars(self) -> tuple[str, ...]:
        """The names of the rule's scalars."""
        return self.inputs[len(self.formats) :][: self.n_scalars]

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of the kept values."""
        return self.inputs[len(self.formats) + self.n_scalars :]


def sums_recipe_of(rule: Rule, recipe: Recipe) -> SumsRecipe:
    """What measures before the pass that is made of `recipe`."""
    form = check_rule(rule)
    found = tuple((name, format) for name, format in recipe.formats if name != COPY)
    n_terms = len(trace_measure(rule, form).results)
    names = tuple(measure_names(rule, form))
    cautious = CAUTIOUS in recipe.scalars
    before = len(ENVELOPE) + cautious
    width = len(columns(dict(recipe.formats), recipe.average))
    return SumsRecipe(recipe.title, names, found, recipe.n_scalars - cautious, before, n_terms, width)


def _eps_hides_subnormals(rule: Rule, chosen: Mapping[str, Format]) -> bool:
    """Whether the rule's ε is so much larger than √(a subnormal number) that the sum is ε.

    It is, by the digits of the type, and five more for the factor √(1 - β2^t) on ε.
    """
    real = np.finfo(real_of(chosen))
    hidden = float(real.tiny) ** 0.5 * 2.0 ** (real.nmant + 6)
    return bool(rule.eps_hides and getattr(rule, "eps", 0.0) >= hidden)
