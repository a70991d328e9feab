"""Classes that are made of rules, optimizers by name, and rules that decay and average by themselves."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from rule_cases import gradients, parameters, run_reference
from torch_support import assert_rounding, bits, everything, leaf, randn, simple, train

import adamas.optax
import adamas.rules
import adamas.torch
from adamas.rules import Adan, Rule, ScheduleFreeAdamW, ScheduleFreeSGD
from adamas.rules._found import rule_classes
from adamas.torch.family import classes

MADE = classes()
every_class = pytest.mark.parametrize("name", MADE)
DECAYING: dict[str, Rule] = {
    name: rule(weight_decay=0.1)
    for name, rule in rule_classes().items()
    if "weight_decay" in rule.__dataclass_fields__
}


def test_every_rule_has_a_class_in_torch() -> None:
    lowered = {name.lower() for name in adamas.torch.__all__}
    assert {name.lower() for name in rule_classes()} <= lowered
    assert set(MADE) <= set(adamas.torch.__all__)
    assert "ADOPT" in MADE


@every_class
def test_a_class_is_the_rule_through_optimizer(name: str) -> None:
    rule = rule_classes()[name]()
    ours, other = simple(), simple()
    train(MADE[name](ours), ours, range(4))
    train(adamas.torch.Optimizer(other, rule), other, range(4))
    assert bits(ours) == bits(other)


@every_class
def test_its_signature_has_the_fields_in_their_order_with_betas_as_one(name: str) -> None:
    fields = [field.name for field in dataclasses.fields(rule_classes()[name])]  # type: ignore[arg-type]
    signature = inspect.signature(MADE[name])
    betas = [field for field in fields if field in ("beta1", "beta2", "beta3")]
    wanted = ["betas" if field == "beta1" else field for field in fields if field not in betas[1:]]
    assert [each for each in signature.parameters if each in wanted] == wanted
    rule = rule_classes()[name]()
    if betas:
        assert signature.parameters["betas"].default == tuple(getattr(rule, beta) for beta in betas)
    made = MADE[name](simple())
    options = {k: x for k, x in made.param_groups[0].items() if k != "params"}
    assert options.keys() <= {*signature.parameters, "decoupled_weight_decay"}
    assert made.rule_of(made.param_groups[0]) == rule


@every_class
def test_its_arguments_are_explained_in_the_words_of_the_rule(name: str) -> None:
    doc = inspect.getdoc(MADE[name]) or ""
    assert (rule_classes()[name].__doc__ or "").splitlines()[0] in doc
    for argument in inspect.signature(MADE[name]).parameters:
        (line,) = [each for each in doc.splitlines() if each.strip().startswith(f"{argument}:")]
        assert len(line.strip()) > len(argument) + 2


@pytest.mark.parametrize("name", ["ADOPT", "ScheduleFreeAdamW"])
def test_it_is_pickled_copied_and_subclassed(name: str) -> None:
    class Mine(MADE[name]):  # type: ignore[misc, name-defined]
        pass

    class Fixed(MADE[name]):  # type: ignore[misc, name-defined]
        def __init__(self, params: Any) -> None:
            super().__init__(params, 0.5)

    params = simple()
    opt = MADE[name](params, lr=0.01)
    train(opt, params, range(2))
    twin, twins = copy.deepcopy((opt, params))
    read, others = pickle.loads(pickle.dumps((opt, params)))
    for each, own in ((opt, params), (twin, twins), (read, others)):
        train(each, own, range(2, 4))
        assert type(each) is MADE[name]
        assert everything(each) == everything(opt)
    assert Mine(simple(), 0.25).param_groups[0]["lr"] == 0.25
    assert Fixed(simple()).param_groups[0]["lr"] == 0.5
    assert inspect.signature(Mine).parameters.keys() == inspect.signature(MADE[name]).parameters.keys()
    assert list(inspect.signature(Fixed).parameters) == ["params"]


def test_mistakes_in_betas_are_told() -> None:
    with pytest.raises(ValueError, match="betas: they must be 3 numbers"):
        adamas.torch.AdEMAMix(simple(), betas=(0.9, 0.99))
    with pytest.raises(ValueError, match="beta2"):
        adamas.torch.ADOPT(simple(), betas=(0.9, 1.5))
    with pytest.raises(TypeError, match="ADOPT"):
        adamas.torch.ADOPT()
    with pytest.raises(AttributeError, match="ADOPT"):
        adamas.torch.Adopt  # noqa: B018


# By name.


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        *((spelled(name), name) for name in adamas.rules.names() for spelled in (str, str.upper, str.title)),
        ("adamw", "adamw"),
        ("sparse_adam", "sparseadam"),
        ("SCHEDULE-FREE-ADAMW", "schedulefreeadamw"),
        ("simplified_AdEMAMix", "simplifiedademamix"),
    ],
)
def test_created_by_name(name: str, cls: str) -> None:
    opt = adamas.torch.create(name, simple(), lr=0.25)
    assert type(opt).__name__.lower() == cls
    assert opt.param_groups[0]["lr"] == 0.25


def test_names_are_those_of_the_functions_in_optax() -> None:
    names = adamas.rules.names()
    assert names == sorted(names) == sorted(name.lower() for name in rule_classes())
    assert {"adam", "adopt", "schedulefreeadamw"} <= set(names)
    assert set(names) <= set(dir(adamas.optax))


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"there is no optimizer 'adamv'; the nearest are .*'Adam'"):
        adamas.torch.create("adamv", simple())
    with pytest.raises(ValueError, match=r"there is no optimizer 'zzz'$"):
        adamas.torch.create("zzz", simple())
    with pytest.raises(ValueError, match="no optimizer 3"):
        adamas.torch.create(3, simple())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no optimizer 'optimizer'"):
        adamas.torch.create("optimizer", simple())


@pytest.mark.parametrize("name", ["lion", "adamw", "adopt"])
def test_an_unknown_option_gets_those_there_are(name: str) -> None:
    with pytest.raises(TypeError, match=r"has no option 'beta'; there are lr, betas, .*state_format"):
        adamas.torch.create(name, simple(), beta=0.9)


# Decay of the rule's own.


def test_there_are_rules_that_decay_themselves() -> None:
    assert {"Adan", "ScheduleFreeSGD", "ScheduleFreeAdamW"} <= DECAYING.keys()


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_rule_that_decays_itself_gets_the_decay_and_nothing_else_decays(name: str, backend: str) -> None:
    rule = DECAYING[name]
    p, grads = parameters(40), gradients(6, 40)
    expected = run_reference(rule, p, grads)[-1][0]
    undecayed = run_reference(dataclasses.replace(rule, weight_decay=0.0), p, grads)[-1][0]  # type: ignore[call-arg]
    assert not np.allclose(expected, undecayed, rtol=1e-9, atol=0)
    plain = type(rule)()
    for make in (
        lambda params: MADE[name](params, weight_decay=0.1, backend=backend),
        lambda params: adamas.torch.Optimizer(params, rule, backend=backend),
        lambda params: adamas.torch.Optimizer(params, plain, weight_decay=0.1, backend=backend),
        lambda params: adamas.torch.Optimizer(
            [{"params": params, "weight_decay": 0.1}], plain, backend=backend
        ),
    ):
        q = leaf(torch.tensor(p))
        opt = make([q])
        for g in grads:
            q.grad = torch.tensor(g)
            opt.step()
        assert opt.backend == backend
        np.testing.assert_allclose(q.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", DECAYING)
def test_another_decay_than_its_own_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="decays by itself"):
        adamas.torch.Optimizer(simple(), DECAYING[name], decoupled_weight_decay=True)
    with pytest.raises(ValueError, match="decays by itself"):
        adamas.optax.from_rule(DECAYING[name], decoupled_weight_decay=True)
    assert "decoupled_weight_decay" not in inspect.signature(MADE[name]).parameters
    assert "decoupled_weight_decay" not in inspect.signature(getattr(adamas.optax, name.lower())).parameters
    with pytest.raises(ValueError, match="weight_decay"):
        MADE[name](simple(), weight_decay=-1.0)


def test_its_decay_outlives_a_checkpoint() -> None:
    params = simple()
    opt = adamas.torch.Adan(params, weight_decay=0.5)
    train(opt, params, range(2))
    read = adamas.torch.Adan(params)
    read.load_state_dict(opt.state_dict())
    assert read.param_groups[0]["weight_decay"] == 0.5
    assert read.rule_of(read.param_groups[0]) == Adan(weight_decay=0.5)


@pytest.mark.parametrize("name", DECAYING)
def test_in_optax_too(name: str) -> None:
    jax = pytest.importorskip("jax")
    from optax_support import train as train_in_jax

    rule = DECAYING[name]
    p, grads = parameters(20), gradients(6, 20)
    expected = run_reference(rule, p, grads)[-1][0]
    with jax.enable_x64(True):
        for made in (
            adamas.optax.from_rule(rule),
            adamas.optax.from_rule(type(rule)(), weight_decay=0.1),
            adamas.optax.from_rule(type(rule)(), weight_decay=lambda count: 0.1),
            getattr(adamas.optax, name.lower())(weight_decay=0.1),
        ):
            moved, _ = train_in_jax(made, jax.numpy.asarray(p), jax.numpy.asarray(grads))
            np.testing.assert_allclose(moved, expected, rtol=1e-12)


# Averages of the rule's own.

FREE: dict[str, Rule] = {
    "SGD": ScheduleFreeSGD(lr=0.01, warmup=3),
    "AdamW": ScheduleFreeAdamW(weight_decay=0.1, r=1),
}


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_within_averaged_parameters_a_parameter_is_x(name: str, backend: str) -> None:
    rule = FREE[name]
    p, grads = parameters(40), gradients(150, 40)
    last = run_reference(rule, p, grads)[-1]
    q, idle = leaf(torch.tensor(p)), leaf(torch.tensor(p))
    opt = adamas.torch.Optimizer([q, idle], rule, backend=backend)
    for g in grads:
        q.grad = torch.tensor(g)
        opt.step()
    # Sums over all steps are kept in float64 whatever torch's default type is.
    np.testing.assert_allclose(q.detach().numpy(), last[0], rtol=1e-11)
    with opt.averaged_parameters():
        np.testing.assert_allclose(q.detach().numpy(), rule.averaged(*last), rtol=1e-11)
        assert not np.allclose(q.detach().numpy(), last[0], rtol=1e-6)
        np.testing.assert_array_equal(idle.detach().numpy(), p)
    np.testing.assert_allclose(q.detach().numpy(), last[0], rtol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("state_format", [None, "bfloat16", {"v": "float8"}], ids=str)
def test_of_state_in_few_bits_as_well(dtype: torch.dtype, state_format: Any) -> None:
    start = randn(5000, seed=1)
    q = leaf(start.to(dtype))
    opt = adamas.torch.ScheduleFreeAdamW([q], lr=0.01, state_format=state_format)
    for seed in range(20):
        q.grad = randn(5000, seed=seed).to(dtype)
        opt.step()
    y = q.detach().float().clone()
    with opt.averaged_parameters():
        x = q.detach().float().clone()
    assert torch.equal(q.detach().float(), y)
    # x is the mean of the way, y nearer to its end: they differ by a few steps, and by no more.
    assert 1e-4 < (x - y).abs().max() < 0.1


def test_an_average_that_was_asked_for_comes_first() -> None:
    params, others = simple(), simple()
    opt = adamas.torch.ScheduleFreeSGD(params, lr=0.1, average=0.5)
    plain = adamas.torch.ScheduleFreeSGD(others, lr=0.1)
    train(opt, params, range(3))
    train(plain, others, range(3))
    assert_rounding(params, others)
    with opt.averaged_parameters(), plain.averaged_parameters():
        assert all(torch.equal(p, opt.state[p]["average"]) for p in params)
        assert not torch.allclose(params[0], others[0])


def test_other_rules_keep_none() -> None:
    with (
        pytest.raises(RuntimeError, match="keeps no averages"),
        adamas.torch.ADOPT(simple()).averaged_parameters(),
    ):
        pass
