"""What can be seen of a rule without any backend but the reference: its signature, and a few hard steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamas.backends import array_scalars, check_rule, reference
from adamas.rules import Rule
from adamas.rules._file import RuleFileError, mistake

__all__ = ["signature", "steps_are_sound"]

_STEPS = 40
Gradients = NDArray[np.float64]


def _probes() -> dict[str, Gradients]:
    """Gradients by what they are, (steps,) each."""
    t, random = np.arange(_STEPS), np.random.default_rng(0)
    normal = random.standard_normal(_STEPS)
    return {
        "ordinary": normal,
        "turning every 7 steps": np.where(t // 7 % 2 == 0, 1.0, -1.0),
        "zero": np.zeros(_STEPS),
        "zero, and not from step 20 on": np.where(t < 20, 0.0, normal),
        "ordinary, and zero from step 20 on": np.where(t < 20, normal, 0.0),
        "a thousand": 1e3 * normal,
        "a millionth": 1e-6 * normal,
        "one large one": np.where(t == 10, 1e4, 1e-2 * normal),
    }


def signature(rule: Rule, path: Path) -> dict[str, Any]:
    """Return what a rule stores and takes, once its definition has been found right.

    Raises:
        RuleFileError: it is not; one sentence says what to write.
    """
    title = type(rule).__name__
    try:
        form = check_rule(rule)
    except (TypeError, ValueError) as error:
        raise RuleFileError(f"{path}: {error}") from error
    except Exception as error:
        raise RuleFileError(f"{title} fails before its first step: {mistake(path, error)}") from error
    if not hasattr(rule, "lr"):
        raise RuleFileError(
            f"{path}: {title} has no hyperparameter lr, the stepsize: write `lr: float = 1e-3`"
        )
    _check_scalars(rule, path)
    slots = {name: "signed" if slot.signed else "non-negative" for name, slot in form.slots.items()}
    return {"slots": slots, "hyperparameters": {name: getattr(rule, name) for name in _fields(rule)}}


def _fields(rule: Rule) -> list[str]:
    return list(getattr(type(rule), "__dataclass_fields__", {}))


def _check_scalars(rule: Rule, path: Path) -> None:
    """See that `scalars` takes many steps at once: parameters may have taken different numbers of them."""
    title, t = type(rule).__name__, np.array([1.0, 2.0, 3.0, 1000.0])
    carried = tuple(np.full(4, x) for x in rule.carried.values())
    try:
        with np.errstate(all="ignore"):
            array_scalars(rule, t, *carried, xp=np)
    except ValueError as error:
        if "truth value" not in str(error):
            raise RuleFileError(f"{title}.scalars fails: {mistake(path, error)}") from error
        raise RuleFileError(
            f"{title}.scalars has an `if` on t ({mistake(path, error).partition(': ')[0]}): write "
            "xp.where(t == 1, a, b), with xp from adamas.rules, so that it takes many steps at once"
        ) from error
    except Exception as error:
        raise RuleFileError(f"{title}.scalars fails on an array of steps: {mistake(path, error)}") from error


def steps_are_sound(rule: Rule, path: Path) -> None:
    """Take steps of the float64 reference with gradients that turn, vanish and jump.

    Raises:
        RuleFileError: a step raises, a number is no longer finite, or the gradient makes no difference.
    """
    title, probes = type(rule).__name__, _probes()
    gradients = np.stack(list(probes.values()), axis=1)
    one, other = (_run(rule, path, sign * gradients, list(probes)) for sign in (1.0, -1.0))
    if np.array_equal(one, other):
        raise RuleFileError(
            f"{title}.update does not use its gradient: it takes the same steps with g and with -g; "
            "return what depends on g, as in `return p - lr * g,`"
        )


def _run(rule: Rule, path: Path, gradients: Gradients, names: list[str]) -> Gradients:
    title, start, form = type(rule).__name__, np.ones(len(names)), rule.form()
    labels = ["p", *form.slots, *(form.reduction.kept if form.reduction is not None else ())]
    state = reference.State(0, start, ())
    try:
        with np.errstate(all="ignore"):
            for state in reference.trajectory(rule, start, lambda t, _: gradients[t - 1], _STEPS):
                _check_finite(title, state, labels, names)
    except RuleFileError:
        raise
    except Exception as error:
        raise RuleFileError(f"{title} fails at step {state.t + 1}: {mistake(path, error)}") from error
    return np.asarray(state.p)


def _check_finite(title: str, state: reference.State, labels: list[str], names: list[str]) -> None:
    values: Mapping[str, Any] = dict(zip(labels, (state.p, *state.slots), strict=True))
    for label, value in values.items():
        bad = np.flatnonzero(~np.isfinite(value))
        if len(bad):
            found = float(np.asarray(value)[bad[0]])
            raise RuleFileError(
                f"{title}: {label} becomes {found} at step {state.t} where the gradient is {names[bad[0]]}; "
                "keep denominators from zero, as with + eps, and roots from negative numbers"
            )
