"""Bad input: one clear error each, and nothing has changed when it is raised."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_support import (
    CLASSES,
    DROP_IN,
    OPTIMIZERS,
    Make,
    SignMomentum,
    bits,
    everything,
    give_gradients,
    leaf,
    own,
    randn,
    simple,
    train,
)

import adamas.torch
from adamas import rules

NAMES = list(CLASSES)
WITH_BETAS = [name for name in NAMES if "betas" in getattr(adamas.torch, name)(simple()).defaults]
WITH_EPS = [name for name in NAMES if "eps" in getattr(adamas.torch, name)(simple()).defaults]
OUTSIDE: list[float] = [math.nan, math.inf, -math.inf, -1.0]


def bad_values() -> list[tuple[str, str, Any]]:
    cases: list[tuple[str, str, Any]] = []
    cases += [(name, "lr", value) for name in [*NAMES, "Optimizer"] for value in OUTSIDE]
    cases += [(name, "weight_decay", value) for name in [*NAMES, "Optimizer"] for value in OUTSIDE]
    cases += [(name, "eps", value) for name in WITH_EPS for value in OUTSIDE]
    cases += [(name, "betas", value) for name in WITH_BETAS for value in [(1.0, 0.9), (0.9, 1.0)]]
    cases += [(name, "betas", value) for name in WITH_BETAS for value in [(-0.1, 0.9), (0.9, math.nan)]]
    cases += [("SGD", "momentum", -0.5), ("RMSprop", "momentum", math.nan), ("RMSprop", "alpha", -1.0)]
    cases += [("Adadelta", "rho", 1.5), ("NAdam", "momentum_decay", -1.0), ("Adagrad", "lr_decay", -1.0)]
    # The range of an own rule's lr is its own affair: any finite number here.
    return [case for case in cases if case != ("Optimizer", "lr", -1.0)]


BAD = [pytest.param(*case, id=f"{case[0]}-{case[1]}={case[2]}") for case in bad_values()]


@pytest.mark.parametrize(("name", "option", "value"), BAD)
def test_a_bad_option_is_refused_by_the_constructor(name: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        OPTIMIZERS[name](simple(), **{option: value})
    wrong = next((x for x in value if not 0 <= x < 1), None) if isinstance(value, tuple) else value
    assert str(wrong) in str(raised.value)


@pytest.mark.parametrize(("name", "option", "value"), BAD)
def test_a_bad_option_of_a_new_group_is_refused(name: str, option: str, value: Any) -> None:
    params = simple()
    opt = OPTIMIZERS[name](params[:1])
    train(opt, params, range(1))
    before = everything(opt)
    with pytest.raises(ValueError, match=r"must lie in|must be a number|Invalid"):
        opt.add_param_group({"params": [params[1]], option: value})
    assert everything(opt) == before
    opt.add_param_group({"params": [params[1]]})
    train(opt, params, range(1, 3))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("value", ["fast", None, (1, 2), 1e300], ids=repr)
def test_an_lr_that_is_no_number_for_a_step_stops_it(name: str, value: Any) -> None:
    params, undisturbed = simple(), simple()
    opt, other = OPTIMIZERS[name](params), OPTIMIZERS[name](undisturbed)
    train(opt, params, range(2))
    train(other, undisturbed, range(2))
    good = opt.param_groups[0]["lr"]
    opt.param_groups[0]["lr"] = value
    give_gradients(params, 2)
    before = bits([params, [opt.state.get(p) for p in params]])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"lr must be a number|too large|out of range"):
            opt.step()
        assert bits([params, [opt.state.get(p) for p in params]]) == before
    opt.param_groups[0]["lr"] = good
    opt.step()
    train(other, undisturbed, range(2, 3))
    assert everything(opt) == everything(other)


def test_a_bad_option_before_the_first_step_makes_no_state() -> None:
    params = simple()
    opt = adamas.torch.Adam([{"params": [params[0]]}, {"params": [params[1]]}])
    opt.param_groups[1]["lr"] = 1e300
    give_gradients(params, 0)
    with pytest.raises(ValueError, match="too large"):
        opt.step()
    assert opt.state_dict()["state"] == {}
    assert bits(params) == bits(simple())


@pytest.mark.parametrize("bad", [{"lr": 1e300}, {"betas": (1.0, 0.9)}], ids=str)
def test_a_bad_option_in_the_second_group_leaves_the_first_as_it_was(bad: dict[str, Any]) -> None:
    params = simple()
    opt = adamas.torch.Adam([{"params": [params[0]]}, {"params": [params[1]]}])
    train(opt, params, range(2))
    opt.param_groups[0]["lr"] = 0.5
    opt.param_groups[1].update(bad)
    before = everything(opt)
    with pytest.raises(ValueError, match=r"too large|cannot be computed: .*division by zero"):
        opt.step()
    assert everything(opt) == before


def test_a_tensor_lr_that_turns_bad() -> None:
    params = simple()
    lr = torch.tensor(0.1, dtype=torch.float64)
    opt = adamas.torch.Adam(params, lr=lr)
    train(opt, params, range(2))
    before = everything(opt)
    lr.fill_(1e300)
    with pytest.raises(ValueError, match="too large"):
        opt.step()
    lr.fill_(0.1)
    assert everything(opt) == before


def test_a_scalar_too_large_for_float32_stops_the_step() -> None:
    params = simple()
    opt = adamas.torch.SGD(params, lr=0.1)
    train(opt, params, range(1))
    opt.param_groups[0]["lr"] = 1e300
    before = everything(opt)
    with pytest.raises(ValueError, match="too large for float32"):
        opt.step()
    assert everything(opt) == before


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_gradient_that_is_not_a_number_comes_out_as_one(make: Make) -> None:
    """Nothing hides it: the user must see that training broke."""
    p = leaf(randn(40))
    opt = make([p])
    p.grad = torch.ones(40)
    p.grad[7] = math.nan
    before = p.detach().clone()
    opt.step()
    broken = make is not OPTIMIZERS["Optimizer"] and make is not OPTIMIZERS["Lion"]
    if broken:  # the sign of NaN is not the same everywhere
        assert torch.isnan(p[7])
    others = torch.arange(40) != 7
    assert bool((p[others] != before[others]).all())
    assert bool(p[others].isfinite().all())


@pytest.mark.parametrize("value", ["sideways", "cuda", None, 1])
def test_an_unknown_backend_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"backend must be one of 'auto', 'numba', .*, got"):
        adamas.torch.Adam(simple(), backend=value)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_capturable_is_refused_on_the_cpu(make: Make) -> None:
    if "capturable" not in make(simple()).defaults:
        with pytest.raises(TypeError, match="capturable"):
            make(simple(), capturable=True)
        return
    params = simple()
    opt, before = make(params, capturable=True), [p.detach().clone() for p in params]
    give_gradients(params, 0)
    with pytest.raises(ValueError, match="capturable=True needs a step without the host"):
        opt.step()
    assert not opt.state
    assert all(torch.equal(p, x) for p, x in zip(params, before, strict=True))


# Rules


@pytest.mark.parametrize("rule", [rules.Adam, "Adam", None, 1e-3, torch.optim.Adam], ids=repr)
def test_what_is_not_a_rule_is_refused(rule: Any) -> None:
    with pytest.raises(
        TypeError, match=r"rule must be an update rule such as adamas\.rules\.Adam\(lr=1e-3\), got"
    ):
        adamas.torch.Optimizer(simple(), rule)


@pytest.mark.parametrize("taken", ["params", "maximize", "differentiable"])
def test_a_rule_whose_field_has_the_name_of_an_option_is_refused(taken: str) -> None:
    """One of the two would be read in the place of the other."""
    fields = [("lr", float, 1e-3), (taken, float, 0.5)]
    namespace = {
        "scalars": lambda self, t: (self.lr,),
        "update": staticmethod(lambda p, g, lr: (p - lr * g,)),
    }
    rule = dataclasses.make_dataclass(
        "Taken", fields, bases=(rules.Rule,), frozen=True, namespace=namespace
    )()
    with pytest.raises(TypeError, match=f"Taken.*{taken}"):
        adamas.torch.Optimizer(simple(), rule)


def test_a_rule_that_fails_in_its_scalars_changes_nothing() -> None:
    @dataclasses.dataclass(frozen=True)
    class Failing(SignMomentum):
        def scalars(self, t: int) -> tuple[float, ...]:
            if t == 3:
                raise ArithmeticError("no third step")
            return super().scalars(t)

    params = simple()
    opt = adamas.torch.Optimizer(params, Failing())
    train(opt, params, range(2))
    before = everything(opt)
    with pytest.raises(ArithmeticError, match="no third step"):
        opt.step()
    assert everything(opt) == before


# Loading


def refused(opt: torch.optim.Optimizer, state_dict: dict[str, Any], match: str) -> None:
    before = everything(opt)
    with pytest.raises(ValueError, match=match):
        opt.load_state_dict(state_dict)
    assert everything(opt) == before


def trained(name: str, shapes: list[tuple[int, ...]], groups: int = 1) -> torch.optim.Optimizer:
    params = [leaf(randn(*shape, seed=k)) for k, shape in enumerate(shapes)]
    split = [{"params": params[k::groups]} for k in range(groups)]
    opt = OPTIMIZERS[name](split)
    train(opt, params, range(2))
    return opt


STATEFUL = [name for name in OPTIMIZERS if name != "SGD"]


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("shape", [(5, 4), (3, 5), (15,), (1,), ()], ids=str)
def test_state_of_another_shape_is_not_loaded(name: str, shape: tuple[int, ...]) -> None:
    opt, other = trained(name, [(5, 3), (4,)]), trained(name, [shape, (4,)])
    expected = r"state '\w+' of parameter 0 has shape .*; nothing was loaded"
    refused(opt, copy.deepcopy(other.state_dict()), expected)
    train(opt, opt.param_groups[0]["params"], range(2, 4))


@pytest.mark.parametrize("name", STATEFUL)
def test_state_of_another_shape_in_the_last_parameter_is_not_loaded(name: str) -> None:
    opt, other = trained(name, [(5, 3), (4,)]), trained(name, [(5, 3), (6,)])
    refused(opt, copy.deepcopy(other.state_dict()), "of parameter 1 has shape")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_another_number_of_groups_is_not_loaded(name: str) -> None:
    opt, other = trained(name, [(5, 3), (4,)]), trained(name, [(5, 3), (4,)], groups=2)
    refused(opt, copy.deepcopy(other.state_dict()), "different number of parameter groups")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_of_another_size_is_not_loaded(name: str) -> None:
    opt, other = trained(name, [(5, 3), (4,)]), trained(name, [(5, 3), (4,), (2,)])
    refused(opt, copy.deepcopy(other.state_dict()), "doesn't match the size of optimizer's group")


@pytest.mark.parametrize("name", DROP_IN)
def test_what_we_refuse_to_load_from_torch(name: str) -> None:
    params = [leaf(randn(6)), leaf(randn(2, 2))]
    theirs = getattr(torch.optim, name)(params, **({"momentum": 0.9} if name == "SGD" else {}))
    train(theirs, params, range(2))
    opt = trained("SGD-momentum" if name == "SGD" else name, [(5, 3), (2, 2)])
    refused(opt, copy.deepcopy(theirs.state_dict()), "of parameter 0 has shape")


# Sparse gradients are refused before anything has changed, or taken (test_layouts)

DENSE_ONLY = [name for name in OPTIMIZERS if not name.startswith(("SGD", "Adagrad"))]


@pytest.mark.parametrize("name", DENSE_ONLY)
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("steps", [0, 2], ids=["first step", "later"])
def test_a_sparse_gradient_is_refused(name: str, backend: str, steps: int) -> None:
    params = simple()
    opt = OPTIMIZERS[name](params, backend=backend)
    train(opt, params, range(steps))
    give_gradients(params, 5)
    assert params[1].grad is not None
    params[1].grad = params[1].grad.to_sparse()
    before = everything(opt)
    with pytest.raises(RuntimeError, match=r"torch.sparse_coo gradient.*does not support sparse gradients"):
        opt.step()
    assert everything(opt) == before
    train(opt, params, range(steps, steps + 1))
    assert everything(opt) != before


@pytest.mark.parametrize("make", [own, OPTIMIZERS["Adam"]], ids=["Optimizer", "Adam"])
def test_a_closure_that_fails_changes_nothing(make: Make) -> None:
    params = simple()
    opt = make(params)
    train(opt, params, range(2))
    before = everything(opt)

    def closure() -> Tensor:
        raise ZeroDivisionError("in the model")

    with pytest.raises(ZeroDivisionError, match="in the model"):
        opt.step(closure)
    assert everything(opt) == before


@pytest.mark.parametrize("occasion", ["step", "load"])
def test_a_hook_that_fails_changes_nothing(occasion: str) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("in the hook")

    opt, other = trained("Adam", [(5, 3)]), trained("Adam", [(5, 3)])
    train(other, other.param_groups[0]["params"], range(2, 5))
    opt.register_step_pre_hook(fail)
    opt.register_load_state_dict_pre_hook(fail)
    before = everything(opt)
    with pytest.raises(KeyError, match="in the hook"):
        opt.step() if occasion == "step" else opt.load_state_dict(other.state_dict())
    assert everything(opt) == before
