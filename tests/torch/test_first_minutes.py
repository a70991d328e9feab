"""What a newcomer meets first: documentation, names, spellings, and a warning where training stands still."""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_support import (
    DROP_IN,
    OPTIMIZERS,
    Make,
    bits,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
    train,
)

import adamas
import adamas.torch

CLASSES = {
    name: getattr(adamas.torch, name)
    for name in adamas.torch.__all__
    if isinstance(getattr(adamas.torch, name), type)
    and issubclass(getattr(adamas.torch, name), torch.optim.Optimizer)
}
every_class = pytest.mark.parametrize("name", CLASSES)
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
EXTRA: dict[str, Any] = {
    "backend": "numba",
    "state_format": "float32",
    "clip_norm": 1.5,
    "skip_nonfinite": True,
    "skip_spikes": 6.5,
    "average": 0.75,
    "seed": 3,
    "warn_after_skips": 5,
}
every_extra = pytest.mark.parametrize("option", EXTRA)

# The extra options stand where one looks.


@every_class
def test_the_documentation_explains_every_extra_option(name: str) -> None:
    doc = inspect.getdoc(CLASSES[name]) or ""
    for option in EXTRA:
        lines = [line for line in doc.splitlines() if line.strip().startswith(f"{option}:")]
        assert len(lines) == 1, option
        assert len(lines[0]) > len(option) + 20, "an explanation, not a mere name"


@every_class
def test_the_documentation_of_a_class_is_its_own(name: str) -> None:
    """Not that of torch.optim.Optimizer, nor of the first class that has one."""
    docs = [inspect.getdoc(cls) for cls in CLASSES.values()]
    assert docs.count(inspect.getdoc(CLASSES[name])) == 1
    assert name in (inspect.getdoc(CLASSES[name]) or "")


@every_class
def test_the_signature_has_every_extra_option_with_its_default(name: str) -> None:
    parameters = inspect.signature(CLASSES[name]).parameters
    assert EXTRA.keys() <= parameters.keys()
    defaults = {option: parameters[option].default for option in EXTRA}
    assert defaults == {
        "backend": "auto",
        "state_format": None,
        "clip_norm": None,
        "skip_nonfinite": False,
        "skip_spikes": None,
        "average": None,
        "seed": 0,
        "warn_after_skips": 10,
    }
    assert all(parameters[option].kind is inspect.Parameter.KEYWORD_ONLY for option in EXTRA)
    assert not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


@every_optimizer
@every_extra
def test_repr_shows_an_extra_option_that_was_set(make: Make, option: str) -> None:
    shown = repr(make(simple(), **{option: EXTRA[option]}))
    assert f"{option}: {EXTRA[option]}" in shown
    assert all(other not in shown for other in EXTRA.keys() - {option})


@every_optimizer
def test_repr_is_torchs_where_none_was_set(make: Make) -> None:
    opt = make(simple())
    assert repr(opt) == torch.optim.Optimizer.__repr__(opt)
    assert all(option not in repr(opt) for option in EXTRA)


# Spellings.

SPELLINGS: list[tuple[Any, torch.dtype]] = [
    ("bf16", torch.bfloat16),
    ("bfloat16", torch.bfloat16),
    (torch.bfloat16, torch.bfloat16),
    ("fp32", torch.float32),
    (torch.float32, torch.float32),
    ({"exp_avg": "bf16", "exp_avg_sq": torch.bfloat16}, torch.bfloat16),
]


@pytest.mark.parametrize(("spelling", "dtype"), SPELLINGS, ids=str)
def test_a_format_by_the_names_that_people_give_it(spelling: Any, dtype: torch.dtype) -> None:
    p = leaf(randn(5000))
    opt = adamas.torch.Adam([p], state_format=spelling)
    train(opt, [p], range(2))
    assert opt.state[p]["exp_avg"].dtype == opt.state[p]["exp_avg_sq"].dtype == dtype


def test_fp8_is_float8() -> None:
    params, plain = [leaf(randn(5000))], [leaf(randn(5000))]
    opt = adamas.torch.Adam(params, state_format="fp8")
    other = adamas.torch.Adam(plain, state_format="float8")
    train(opt, params, range(3))
    train(other, plain, range(3))
    assert everything(opt) == everything(other)


@pytest.mark.parametrize("spelling", ["bf8", "fp64", torch.int8, torch.float64, "", 16])
def test_what_is_no_format_is_answered_with_those_there_are(spelling: Any) -> None:
    with pytest.raises(ValueError, match=r"bfloat16.*float16.*float32.*float4.*float8"):
        adamas.torch.Adam(simple(), state_format=spelling)


def test_adamax_is_found_by_the_papers_spelling() -> None:
    with pytest.raises(AttributeError, match=r"\bAdamax\b"):
        adamas.torch.AdaMax  # noqa: B018
    with pytest.raises(AttributeError, match="no_such_thing"):
        adamas.torch.no_such_thing  # noqa: B018
    assert not hasattr(adamas.torch, "AdaMax")


# The norm, without clipping.


@every_optimizer
def test_an_infinite_clip_norm_measures_and_changes_nothing(make: Make) -> None:
    params, plain = simple(), simple()
    opt, other = make(params, clip_norm=math.inf), make(plain)
    for seed in range(3):
        give_gradients(params, seed)
        give_gradients(plain, seed)
        opt.step()
        other.step()
        expected = torch.nn.utils.get_total_norm([p.grad.double() for p in params])  # type: ignore[union-attr]
        assert float(opt.last_step.grad_norm) == pytest.approx(float(expected), rel=1e-12)
        assert float(opt.last_step.clip_factor) == 1.0
    assert everything(opt) == everything(other)


# Steps that are skipped one after another.


def broken(params: list[Tensor], which: int) -> None:
    give_gradients(params, 0)
    params[which].grad[-1] = math.nan  # type: ignore[index]


def skipped(opt: torch.optim.Optimizer, params: list[Tensor], times: int, which: int = 1) -> list[str]:
    """The warnings of so many steps that are skipped."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(times):
            broken(params, which)
            opt.step()
            assert opt.last_step.skipped
    assert all(w.category is UserWarning for w in seen)
    return [str(w.message) for w in seen]


NAMED = [("first.weight", 0), ("second.bias", 1)]


@every_optimizer
@pytest.mark.parametrize(("name", "which"), NAMED)
def test_ten_skips_in_a_row_warn_once_with_the_parameters_name(make: Make, name: str, which: int) -> None:
    params = simple()
    named = [(name, p) for (name, _), p in zip(NAMED, params, strict=True)]
    opt = make(named, skip_nonfinite=True)
    assert skipped(opt, params, 9, which) == []
    (text,) = skipped(opt, params, 1, which)
    assert repr(name) in text
    assert "10" in text
    assert all(repr(other) not in text for other, _ in NAMED if other != name)
    assert skipped(opt, params, 25, which) == []
    assert opt.skipped_steps == 35


def test_a_parameter_without_a_name_is_told_by_its_place() -> None:
    params = [leaf(randn(3, seed=k)) for k in range(5)]
    opt = adamas.torch.Adam([{"params": params[:2]}, {"params": params[2:]}], skip_nonfinite=True)
    (text,) = skipped(opt, params, 10, which=3)
    assert "parameter 1 of group 1" in text


def test_the_first_of_several_is_named() -> None:
    params = [leaf(randn(3, seed=k)) for k in range(5)]
    opt = adamas.torch.Adam([(f"layer{k}", p) for k, p in enumerate(params)], skip_nonfinite=True)
    skipped(opt, params, 9, which=4)
    broken(params, 4)
    params[2].grad[0] = math.inf  # type: ignore[index]
    with pytest.warns(UserWarning, match="'layer2'"):
        opt.step()


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64], ids=str)
def test_it_is_found_in_every_dtype(dtype: torch.dtype, backend: str) -> None:
    params = [leaf(randn(40, seed=k).to(dtype)) for k in range(3)]
    named = [(f"layer{k}", p) for k, p in enumerate(params)]
    opt = adamas.torch.Adam(named, skip_nonfinite=True, warn_after_skips=1, backend=backend)
    (text,) = skipped(opt, params, 1, which=1)
    assert "'layer1'" in text


def test_a_step_that_is_taken_starts_the_count_anew() -> None:
    params = simple()
    opt = adamas.torch.Adam(params, skip_nonfinite=True)
    for _ in range(3):
        assert skipped(opt, params, 9) == []
        train(opt, params, range(1))
    assert len(skipped(opt, params, 10)) == 1
    train(opt, params, range(1))
    assert len(skipped(opt, params, 10)) <= 1


@pytest.mark.parametrize(("after", "expected"), [(1, [0]), (3, [2]), (None, [])])
def test_how_many_is_an_option(after: int | None, expected: list[int]) -> None:
    params = simple()
    opt = adamas.torch.SGD(params, skip_nonfinite=True, warn_after_skips=after)
    assert [k for k in range(20) if skipped(opt, params, 1)] == expected


def test_without_skipping_nothing_is_said() -> None:
    params = simple()
    opt = adamas.torch.Adam(params, warn_after_skips=1)
    for _ in range(3):
        broken(params, 0)
        opt.step()
    assert not opt.last_step.skipped


def test_as_an_error_the_warning_leaves_the_optimizer_usable() -> None:
    params = simple()
    opt = adamas.torch.Adam(params, skip_nonfinite=True, warn_after_skips=2)
    broken(params, 0)
    opt.step()
    broken(params, 0)
    with pytest.raises(UserWarning, match="skip"):  # warnings are errors in this suite
        opt.step()
    assert bits(params) == bits(simple())
    train(opt, params, range(2))
    assert bits(params) != bits(simple())


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "10"])
def test_a_bad_number_of_skips_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="warn_after_skips"):
        adamas.torch.Adam(simple(), warn_after_skips=value)


@pytest.mark.parametrize("name", sorted(DROP_IN.keys() & set(adamas.__all__)))
def test_a_rule_called_as_an_optimizer_says_where_optimizers_are(name: str) -> None:
    """`adamas.Adam(model.parameters())`: the rule has the same name."""
    for params in (simple(), torch.nn.Linear(2, 2).parameters()):
        with pytest.raises((TypeError, ValueError), match=rf"adamas\.torch\.{name}"):
            getattr(adamas, name)(params)
