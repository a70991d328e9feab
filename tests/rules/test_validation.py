"""A hyperparameter out of range is a ValueError that names the rule, the parameter, the value, its range."""

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import annotated_types as at
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import RULES

import adamas.rules
from adamas._tools.intervals import contains, interval_of, interval_text
from adamas.rules import SGD, Adam, RMSprop, Rule

# For each interval: values just outside and far outside, and values that must be taken.
OUTSIDE = {
    "[0, inf)": [-1.0, -1e-300, math.nan, math.inf, -math.inf, np.float32(-1)],
    "(0, inf)": [0.0, -1.0, -1e-300, math.nan, math.inf],
    "[0, 1)": [1.0, 1, 1.5, -1e-9, math.nan, math.inf, np.float64(1.0)],
    "[0, 1]": [1.0000001, -1e-9, math.nan, math.inf],
    "(-inf, inf)": [math.nan, math.inf, -math.inf],
}
INSIDE = {
    "[0, inf)": [0.0, 0, 1, 1e300, 5e-324, np.float32(0.5), np.int64(2)],
    "(0, inf)": [1, 1e300, 5e-324, np.float32(0.5)],
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
    return interval_text(interval_of(hint))


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


RANGES = {interval(hint): hint for _, _, hint in fields(Annotated)}


@pytest.mark.parametrize("range_", RANGES)
@given(data=st.data())
def test_a_range_is_what_hypothesis_reads_it_to_be(range_: str, data: st.DataObject) -> None:
    """The vocabulary is that of annotated-types: other libraries draw and check values by it."""
    assert contains(interval_of(RANGES[range_]), data.draw(st.from_type(RANGES[range_])))


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (Annotated[float, at.Gt(0)], "(0, inf)"),
        (Annotated[float, at.Ge(1), at.Lt(2)], "[1, 2)"),
        (Annotated[float, "in seconds", at.Le(0.5)], "(-inf, 0.5]"),
        (Annotated[float, at.Interval(gt=0, le=1)], "(0, 1]"),
    ],
)
@given(x=st.floats(-3, 3))
def test_ranges_of_annotated_types_are_checked(hint: Any, text: str, x: float) -> None:
    @dataclass(frozen=True)
    class Own(Rule):
        lr: hint = 1.0

    low, high = (float(bound) for bound in text[1:-1].split(", "))
    inside = (low < x < high) or (x == low and text[0] == "[") or (x == high and text[-1] == "]")
    if inside:
        assert Own(lr=x).lr == x
    else:
        with pytest.raises(ValueError, match=re.escape(f"Own: lr must lie in {text}, got ")):
            Own(lr=x)


def test_an_annotation_without_bounds_is_the_authors_error() -> None:
    @dataclass(frozen=True)
    class Own(Rule):
        lr: Annotated[float, "seconds"] = 1.0

    with pytest.raises(TypeError, match="no bounds"):
        Own()


ZERO_D = {
    "numpy": lambda x: np.array(x),
    "torch": lambda x: pytest.importorskip("torch").tensor(x, dtype=pytest.importorskip("torch").float64),
    "torch parameter": lambda x: pytest.importorskip("torch").tensor(x, requires_grad=True),
    "jax": lambda x: pytest.importorskip("jax").numpy.array(x),
}


@pytest.mark.parametrize("kind", ZERO_D)
@pytest.mark.parametrize(("rule", "field", "range_"), NUMBERS)
def test_a_0d_array_is_a_number(kind: str, rule: str, field: str, range_: str) -> None:
    for made in (
        RULES[rule](**{field: ZERO_D[kind](0.5)}),
        RULES[rule].unchecked(**{field: ZERO_D[kind](0.5)}),
    ):
        assert getattr(made, field) == 0.5
        assert type(getattr(made, field)) is float
    assert range_ in refused(rule, field, ZERO_D[kind](-math.inf))
    assert "must be a number" in refused(rule, field, np.array(True))


@pytest.mark.parametrize("name", RULES)
def test_unchecked_takes_any_number_and_computes_with_it(name: str) -> None:
    """What a schedule makes of a stepsize by rounding, or a user sets after construction, is no error."""
    rule = RULES[name].unchecked(lr=np.float32(-0.25))
    assert rule == dataclasses.replace(RULES[name](), lr=0.25) or rule.lr == -0.25
    assert type(rule.lr) is float
    fields_ = {f.name for f in dataclasses.fields(rule)} - {"lr"}
    assert all(getattr(rule, f) == getattr(RULES[name](), f) for f in fields_)


def test_unchecked_knows_the_fields() -> None:
    with pytest.raises(TypeError, match="Adam has no field 'beta'"):
        Adam.unchecked(beta=0.5)
    assert Adam.unchecked() == Adam()
    assert SGD.unchecked(nesterov=True).nesterov is True
    assert Adam.unchecked(beta1=math.nan).beta1 != 0

    @dataclass(frozen=True)
    class Own(Rule):
        lr: float

    with pytest.raises(TypeError, match="misses the field 'lr'"):
        Own.unchecked()


def test_rmsprop_takes_an_alpha_of_one() -> None:
    """As torch does: the second moment then stays as it is."""
    assert RMSprop(alpha=1).scalars(1)[1:3] == (1.0, 0.0)


class Tensor:
    """What torch's parameters look like from here."""

    requires_grad, ndim = True, 2


PARAMETERS: dict[str, Callable[[], Any]] = {
    "generator": lambda: (Tensor() for _ in range(2)),
    "iterator": lambda: iter([Tensor()]),
    "list": lambda: [Tensor()],
    "groups": lambda: [{"params": [Tensor()]}],
    "named": lambda: [("weight", Tensor())],
    "tensor": Tensor,
}


@pytest.mark.parametrize("kind", PARAMETERS)
@pytest.mark.parametrize("options", [{}, {"lr": 1e-3}], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_parameters_are_sent_to_the_torch_classes(name: str, options: dict[str, float], kind: str) -> None:
    with pytest.raises(
        TypeError, match=rf"^adamas\.{name} is an update rule .*adamas\.torch\.{name}\(params\)$"
    ):
        RULES[name](PARAMETERS[kind](), **options)


@pytest.mark.parametrize("module", [adamas, adamas.rules])
@pytest.mark.parametrize(
    ("wrong", "right"),
    [("Adamax", "AdaMax"), ("ADAM", "Adam"), ("Rmsprop", "RMSprop"), ("AmsGrad", "AMSGrad")],
)
def test_a_name_in_another_case_is_suggested(module: Any, wrong: str, right: str) -> None:
    with pytest.raises(AttributeError, match=f"{module.__name__}.*{wrong!r}; did you mean {right!r}"):
        getattr(module, wrong)


def test_a_name_like_no_other_is_just_missing() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Zebra'$"):
        adamas.rules.Zebra  # noqa: B018


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

    with pytest.raises(TypeError, match=r"^Own.name: annotate it as float, .* bool or Literal, not str$"):
        Own()
