"""A hyperparameter out of range is a ValueError that names the rule, the parameter, the value, its range."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from rule_cases import RULES

from adamas.rules import SGD, Adam, Rule
from adamas.rules._base import Interval

# For each interval: values just outside and far outside, and values that must be taken.
OUTSIDE = {
    "[0, inf)": [-1.0, -1e-300, math.nan, math.inf, -math.inf, np.float32(-1)],
    "[0, 1)": [1.0, 1, 1.5, -1e-9, math.nan, math.inf, np.float64(1.0)],
    "[0, 1]": [1.0000001, -1e-9, math.nan, math.inf],
    "(-inf, inf)": [math.nan, math.inf, -math.inf],
}
INSIDE = {
    "[0, inf)": [0.0, 0, 1, 1e300, 5e-324, np.float32(0.5), np.int64(2)],
    "[0, 1)": [0.0, 0, 0.5, math.nextafter(1, 0), np.float32(0.9)],
    "[0, 1]": [0, 1, 0.5],
    "(-inf, inf)": [0, 0.5],
}
NO_NUMBERS: list[Any] = [True, False, "0.1", None, 1j, [0.1], np.array([0.1, 0.2])]


def fields(kind: Any) -> list[tuple[str, str, Any]]:
    """(rule, field, annotation) of every hyperparameter of a kind: Annotated (a number), bool or Literal."""
    return [
        (name, field, hint)
        for name, rule in RULES.items()
        for field, hint in get_type_hints(rule, include_extras=True).items()
        if field in {f.name for f in dataclasses.fields(rule)} and (hint is kind or get_origin(hint) is kind)
    ]


def interval(hint: Any) -> str:
    return next(x.text for x in get_args(hint) if isinstance(x, Interval))


NUMBERS = [(rule, field, interval(hint)) for rule, field, hint in fields(Annotated)]


def refused(rule: str, field: str, value: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its message is what is tested
        RULES[rule](**{field: value})
    return str(caught.value)


@pytest.mark.parametrize(("rule", "field", "range_"), NUMBERS)
def test_a_number_outside_is_refused(rule: str, field: str, range_: str) -> None:
    for value in OUTSIDE[range_]:
        assert refused(rule, field, value) == f"{rule}: {field} must lie in {range_}, got {value!r}"


@pytest.mark.parametrize(("rule", "field", "range_"), NUMBERS)
def test_what_is_no_number_is_refused(rule: str, field: str, range_: str) -> None:
    for value in NO_NUMBERS:
        assert refused(rule, field, value) == f"{rule}: {field} must be a number in {range_}, got {value!r}"


@pytest.mark.parametrize(("rule", "field", "range_"), NUMBERS)
def test_a_number_inside_is_taken(rule: str, field: str, range_: str) -> None:
    for value in INSIDE[range_]:
        assert getattr(RULES[rule](**{field: value}), field) == value


@pytest.mark.parametrize(("rule", "field"), [found[:2] for found in fields(bool)])
def test_a_flag_is_true_or_false(rule: str, field: str) -> None:
    for value in ["yes", "", 2, None, 0.5]:
        message = refused(rule, field, value)
        assert message == f"{rule}: {field} must be one of False, True, got {value!r}"


@pytest.mark.parametrize(("rule", "field", "hint"), fields(Literal))
def test_a_word_is_one_of_those_there_are(rule: str, field: str, hint: Any) -> None:
    for value in ["", "Outside", "elsewhere", None, 1, True]:
        message = refused(rule, field, value)
        assert message.startswith(f"{rule}: {field} must be one of ")
        assert message.endswith(f"got {value!r}")
        assert all(repr(choice) in message for choice in get_args(hint))


def test_every_hyperparameter_is_checked_by_one_of_these() -> None:
    checked = {found[:2] for kind in (Annotated, bool, Literal) for found in fields(kind)}
    declared = {(name, f.name) for name, rule in RULES.items() for f in dataclasses.fields(rule)}
    assert checked == declared


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.0}, {"momentum": 0.9, "dampening": 0.1}, {"dampening": 0.1}], ids=str
)
def test_nesterov_needs_momentum_and_no_dampening(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^SGD: nesterov=True needs momentum > 0 and dampening = 0, got"):
        SGD(nesterov=True, **options)
    SGD(nesterov=True, momentum=0.9)


def test_checks_hold_for_replaced_and_users_rules() -> None:
    with pytest.raises(ValueError, match=r"Adam: beta1 must lie in \[0, 1\), got 1"):
        dataclasses.replace(Adam(), beta1=1)

    @dataclass(frozen=True)
    class Own(Rule):
        lr: float = 1e-3
        sign: Literal["plus", "minus"] = "plus"

    with pytest.raises(ValueError, match=r"Own: lr must lie in \(-inf, inf\), got nan"):
        Own(lr=math.nan)
    with pytest.raises(ValueError, match=r"Own: sign must be one of 'plus', 'minus', got 'times'"):
        Own(sign="times")  # type: ignore[arg-type]


def test_a_hyperparameter_of_another_type_is_the_authors_error() -> None:
    @dataclass(frozen=True)
    class Own(Rule):
        name: str = "x"

    with pytest.raises(TypeError, match="a float, an interval, a bool or a Literal"):
        Own()
