"""Torch's own tables of what its optimizers take and refuse, with our classes in the place of torch's."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch.testing._internal import common_optimizers
from torch_support import DROP_IN, assert_rounding, assorted, copies, default_dtype, simple, train

from adamas.torch.keywords import StepOptions

TORCH_INFO = {info.optim_cls.__name__: info for info in common_optimizers.optim_db}


def our_info(name: str) -> common_optimizers.OptimizerInfo:
    info = copy.copy(TORCH_INFO[name])
    info.optim_cls = DROP_IN[name]
    return info


INFOS = [our_info(name) for name in DROP_IN]
CONFIGURATIONS = [
    pytest.param(info.optim_cls, config.kwargs, id=f"{info.name}-{config.desc}")
    for info in INFOS
    for config in info.optim_inputs_func(device="cpu")
]
ERRORS = [
    pytest.param(info.optim_cls, error, id=f"{info.name}-{error.optimizer_error_input.desc}")
    for info in INFOS
    for error in info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
]


def torch_class(cls: type) -> type[torch.optim.Optimizer]:
    return getattr(torch.optim, cls.__name__)


def test_every_class_of_torch_optim_that_we_offer_is_in_the_tables() -> None:
    assert set(DROP_IN) <= set(TORCH_INFO)
    assert set(DROP_IN) >= {"Adam", "AdamW", "Adamax", "NAdam", "RAdam"}
    assert set(DROP_IN) >= {"SGD", "Adagrad", "RMSprop", "Adadelta"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("cls", "options"), CONFIGURATIONS)
def test_every_configuration_gives_the_numbers_of_torch(
    cls: type, options: dict[str, Any], dtype: torch.dtype
) -> None:
    ours, theirs = assorted(dtype), copies(assorted(dtype))
    opt = cls(ours, **options)
    reference = torch_class(cls)(theirs, foreach=False, **options)
    with default_dtype(dtype):
        train(opt, ours, range(12))
        train(reference, theirs, range(12))
    assert_rounding(ours, theirs)


@pytest.mark.parametrize(("cls", "options"), CONFIGURATIONS)
def test_every_configuration_keeps_the_state_of_torch(cls: type, options: dict[str, Any]) -> None:
    ours, theirs = assorted(torch.float32), copies(assorted(torch.float32))
    opt, reference = cls(ours, **options), torch_class(cls)(theirs, foreach=False, **options)
    train(opt, ours, range(3))
    train(reference, theirs, range(3))
    mine, its = opt.state_dict(), reference.state_dict()
    assert mine["state"].keys() == its["state"].keys()
    for index, state in its["state"].items():
        assert mine["state"][index].keys() == state.keys()
        assert {k: (v.dtype, v.shape, v.device) for k, v in mine["state"][index].items()} == {
            k: (v.dtype, v.shape, v.device) for k, v in state.items()
        }
        assert_rounding([mine["state"][index][key] for key in state], state.values())
    assert [group | {"foreach": False} for group in mine["param_groups"]] == its["param_groups"]


@pytest.mark.parametrize(("cls", "options"), CONFIGURATIONS)
def test_every_configuration_has_the_repr_of_torch(cls: type, options: dict[str, Any]) -> None:
    assert repr(cls(simple(), **options)) == repr(torch_class(cls)(simple(), **options))


def provoke(cls: type, error: common_optimizers.ErrorOptimizerInput) -> None:
    case = error.optimizer_error_input
    params = [torch.nn.Parameter(torch.randn(2, 3))] if case.params is None else case.params
    opt = cls(params, **case.kwargs)
    if error.error_on == common_optimizers.OptimizerErrorEnum.STEP_ERROR:
        opt.step()


@pytest.mark.parametrize(("cls", "error"), ERRORS)
def test_every_error_is_the_error_of_torch(cls: type, error: common_optimizers.ErrorOptimizerInput) -> None:
    def outcome(optimizer: type) -> tuple[type, str]:
        with pytest.raises(error.error_type, match=error.error_regex) as raised:
            provoke(optimizer, error)
        return raised.type, str(raised.value)

    assert outcome(cls) == outcome(torch_class(cls))


@pytest.mark.parametrize("name", DROP_IN)
def test_defaults_are_those_of_torch(name: str) -> None:
    assert DROP_IN[name](simple()).defaults == getattr(torch.optim, name)(simple()).defaults


PHASE = set(StepOptions.__dataclass_fields__)


@pytest.mark.parametrize("name", DROP_IN)
def test_signature_is_that_of_torch_with_more_keywords(name: str) -> None:
    """Positional arguments mean what they mean in torch, and so does every keyword."""
    expected = getattr(torch.optim, name)(simple(), 0.125).defaults
    assert DROP_IN[name](simple(), 0.125).defaults == expected
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    ours = inspect.signature(DROP_IN[name]).parameters
    assert list(theirs) == [key for key in ours if key not in PHASE]
    assert [p.default for p in theirs.values()] == [p.default for k, p in ours.items() if k not in PHASE]
    assert set(ours) - set(theirs) == PHASE


@pytest.mark.parametrize("name", DROP_IN)
def test_an_unknown_keyword_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="momentums"):
        DROP_IN[name](simple(), momentums=0.9)


def flags_of_speed() -> list[tuple[str, str]]:
    return [
        (name, flag)
        for name in DROP_IN
        for flag in ("foreach", "fused")
        if flag in inspect.signature(getattr(torch.optim, name)).parameters
    ]


@pytest.mark.parametrize(("name", "flag"), flags_of_speed())
def test_the_flags_of_speed_change_no_number(name: str, flag: str) -> None:
    plain, flagged = simple(), simple()
    for params, options in ((plain, {}), (flagged, {flag: True})):
        train(DROP_IN[name](params, **options), params, range(3))
    assert all(map(torch.equal, plain, flagged))


@pytest.mark.parametrize("name", DROP_IN)
def test_it_is_an_instance_of_the_class_of_torch(name: str) -> None:
    """Schedulers, Accelerate and Lightning tell optimizers apart by isinstance."""
    assert isinstance(DROP_IN[name](simple()), getattr(torch.optim, name))
