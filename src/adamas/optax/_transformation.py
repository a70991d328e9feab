"""`from_rule`: a rule on every leaf of a tree of arrays, as a gradient transformation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .._tools.intervals import check_number, interval_of
from ..backends import bind, check_rule, only_shifts
from ..rules import Rule
from ..rules._base import Decay, NonNegative
from ._leaf import Leaf, check_dtype, path_name
from ._numbers import Numbers, changes, check_decay, initial_of, next_count
from ._pairs import widest
from ._rounding import check_fit, dtype_of
from ._sums import factors_of_leaves

__all__ = ["RuleState", "from_rule"]

Tree = Any


class RuleState(NamedTuple):
    """The state of a transformation that `from_rule` made.

    Attributes:
        count: the number of steps taken, int32.
        slots: the rule's state arrays by name, each a tree like that of the parameters.
        carried: the rule's carried values by name.
        average: the running average of the parameters, a tree like theirs; None where none is kept.
        kept: what the rule keeps of its sums by name, each a tree like that of the parameters, whose leaves
            have one dimension.
    """

    count: Any
    slots: dict[str, Tree]
    carried: dict[str, Any]
    average: Tree
    kept: dict[str, Tree] = {}


def from_rule(
    rule: Rule,
    *,
    weight_decay: Any = None,
    decoupled_weight_decay: bool = False,
    cautious_decay: bool = False,
    decay_scaling: str = "lr",
    lr_max: Any = None,
    average: Any = None,
    state_format: Any = None,
    stochastic_rounding: bool = False,
    seed: Any = 0,
    **hyperparameters: Any,
) -> optax.GradientTransformation:
    """A rule as a gradient transformation: its updates are what `optax.apply_updates` adds to parameters.

    All numbers may be schedules, functions from the number of steps taken (0, 1, ...) to a value, or traced
    numbers, as `optax.inject_hyperparams` hands them in. Where such a number decides what a rule stores, as
    the momentum of `SGD` does, it is taken not to be 0.

    Args:
        rule: the update rule with its hyperparameters.
        weight_decay: λ, in the unit of a gradient per parameter, added to the gradient as λ p. A rule that
            has a field of that name takes it, and decays parameters itself. 0 unless given, or the rule's
            own.
        decoupled_weight_decay: move p by -lr λ p instead, as AdamW does.
        cautious_decay: decoupled decay only where an element's step and its value before the step have one
            sign, or it does not move (Chen et al. 2025, "Cautious Weight Decay").
        decay_scaling: the part of p that decoupled decay takes in a step: "lr", lr λ; "squared",
            lr λ lr/lr_max, as AdamC; "independent", λ lr/lr_max.
        lr_max: the largest lr of the schedule; by default lr, which is then a number.
        average: the decay β of a running average of the parameters, in `RuleState.average`, with its bias
            correction; of what they are after this transformation, which is then the last one of a chain.
        state_format: "bfloat16" or "float16" for state in 16 bits, rounded stochastically; float32 by
            default. State of float64 and complex parameters is of their own type.
        stochastic_rounding: round parameters of 16 bits stochastically, so that small updates are not lost.
            The updates are then float32: their sums with the parameters are rounded numbers already.
        seed: of the stochastic rounding.
        **hyperparameters: some of the rule's in place of those that it has, by name.

    Returns:
        The transformation; its state is a `RuleState`. `update` needs `params` for decay, averages and
        stochastic rounding, and for a rule that does more with p than to subtract from it.

    Raises:
        TypeError: `rule` is no rule, or has no hyperparameter of that name.
        ValueError: a number is out of its range, or `state_format` is none that there is here.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule must be an update rule such as adamas.rules.Adam(lr=1e-3), got {rule!r}")
    if hasattr(rule, "weight_decay"):
        if decoupled_weight_decay:
            raise ValueError(
                f"{type(rule).__name__} decays by itself, by its weight_decay; leave "
                f"decoupled_weight_decay=True out"
            )
        if weight_decay is not None:
            hyperparameters["weight_decay"] = weight_decay
        weight_decay = 0.0
    weight_decay = 0.0 if weight_decay is None else weight_decay
    if not changes(weight_decay):
        check_number(interval_of(NonNegative), "weight_decay", weight_decay)
    if average is not None and not changes(average):
        check_number(interval_of(Decay), "average", average)
    decays = changes(weight_decay) or weight_decay != 0
    options = {
        "weight_decay": weight_decay,
        "decoupled_weight_decay": decoupled_weight_decay,
        "decay_scaling": decay_scaling,
        "lr_max": lr_max,
        "average": average,
    }
    if hasattr(rule, "weight_decay"):
        del options["weight_decay"]
    numbers = Numbers.of(rule, hyperparameters, options)
    check_decay(numbers, decays, cautious_decay)
    form = check_rule(numbers.rule)
    stored = None if state_format is None else dtype_of(state_format)
    check_fit(stored, form.slots)
    leaf = Leaf(
        title=type(rule).__name__,
        slots=form.slots,
        update=bind(form.update, jnp),
        stored=stored,
        decays=decays,
        decoupled=decoupled_weight_decay,
        cautious=cautious_decay,
        shifts=only_shifts(numbers.rule),
        averages=average is not None,
        stochastic=stochastic_rounding,
        seed=seed,
        reduction=form.reduction,
    )
    return optax.GradientTransformation(
        lambda params: _init(numbers, leaf, params),
        lambda updates, state, params=None: _update(numbers, leaf, updates, state, params),
    )


def _init(numbers: Numbers, leaf: Leaf, params: Tree) -> RuleState:
    for path, p in _with_paths(params)[0]:
        check_dtype(f"parameter {path_name(path)!r}", p)
    carried = {name: jnp.asarray(x, widest()) for name, x in numbers.rule.carried.items()}
    initial = {name: initial_of(slot.initial, numbers.later) for name, slot in leaf.slots.items()}
    return RuleState(
        jnp.zeros((), jnp.int32),
        {name: jax.tree.map(lambda p, x=x: leaf.initial(p, x), params) for name, x in initial.items()},
        carried,
        jax.tree.map(leaf.initial_average, params) if leaf.averages else None,
        {name: jax.tree.map(lambda p, x=x: leaf.initial_kept(p, x), params) for name, x in leaf.kept.items()},
    )


def _update(
    numbers: Numbers, leaf: Leaf, updates: Tree, state: RuleState, params: Tree | None
) -> tuple[Tree, RuleState]:
    if params is None and (reason := leaf.needs_params):
        raise ValueError(f"{leaf.title} needs the parameters {reason}: call update(grads, state, params)")
    _check_state(leaf, state)
    places, treedef = _with_paths(updates)
    names = [path_name(path) for path, _ in places]
    columns = [_column(treedef, tree, what) for tree, what in _trees(leaf, state, params)]
    scalars = numbers.at(state.count, state.carried)
    gradients = [g for _, g in places]
    kept = [_column(treedef, state.kept[name], f"the state {name!r}") for name in leaf.kept]
    factors: list[Any] = [()] * len(names)
    if leaf.reduction is not None:
        factors = factors_of_leaves(leaf, scalars, names, gradients, columns, kept)
    results = []
    for k, (name, g) in enumerate(zip(names, gradients, strict=True)):
        p, average, *slots = (column[k] for column in columns)
        results.append(leaf.step(scalars, state.count, name, p, g, slots, average, factors[k]))
    moved, averages, *slots = zip(*results, strict=True) if results else [()] * (2 + len(leaf.slots))
    trees = {name: treedef.unflatten(x) for name, x in zip(leaf.slots, slots, strict=True)}
    average = treedef.unflatten(averages) if leaf.averages else None
    new = {name: treedef.unflatten([x[k] for x in factors]) for k, name in enumerate(leaf.kept)}
    taken = next_count(state.count)
    return treedef.unflatten(moved), RuleState(taken, trees, scalars.carried, average, new)


def _check_state(leaf: Leaf, state: Any) -> None:
    fits = isinstance(state, RuleState) and state.slots.keys() == leaf.slots.keys()
    fits = fits and state.kept.keys() == leaf.kept.keys()
    if not fits or (state.average is not None) != leaf.averages:
        wanted = ", ".join([*leaf.slots, *leaf.kept, *["an average"] * leaf.averages]) or "no slots"
        raise ValueError(
            f"the state is not one of {leaf.title} with these options, which is a RuleState with {wanted}: "
            f"take that of init(params), or convert one by adamas.convert"
        )


def _with_paths(tree: Tree) -> tuple[list[tuple[Any, Any]], Any]:
    """The leaves of a tree with their paths, and its structure."""
    return jax.tree_util.tree_flatten_with_path(tree)


def _trees(leaf: Leaf, state: RuleState, params: Tree | None) -> list[tuple[Tree | None, str]]:
    """The trees that go along with the gradients, and what each is called; slots in the rule's order."""
    slots = [(state.slots[name], f"the state {name!r}") for name in leaf.slots]
    return [(params, "the parameters"), (state.average, "the average"), *slots]


def _column(treedef: Any, tree: Tree | None, what: str) -> list[Any]:
    """The leaves of a tree in the order of those of the gradients."""
    if tree is None:
        return [None] * treedef.num_leaves
    try:
        leaves: list[Any] = treedef.flatten_up_to(tree)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the gradients and {what} are different trees: {error}") from None
    if not jax.tree_util.all_leaves(leaves):
        raise ValueError(
            f"the gradients and {what} are different trees: one has an array where the other has none"
        )
    return leaves
