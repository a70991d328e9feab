"""Rules with sums written or used wrongly, or in ways that are rare: one clear error, or the right step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch_support import randn

import adamas
import adamas.torch
from adamas import rules
from adamas.backends import check_rule
from adamas.rules import Rule, xp
from adamas.rules._base import Form
from adamas.rules._reduction import Reduction
from adamas.torch import Optimizer


@dataclass(frozen=True)
class Normed(Rule):
    """A rule as it should be, of which others here are made."""

    lr: float = 0.1
    beta: float = 0.9
    kept = {"v": 0.0}

    def scalars(self, t):
        return self.lr, self.beta

    @staticmethod
    def measure(p, g, lr, beta, v):
        return (g * g,)

    @staticmethod
    def factors(gg, lr, beta, v):
        v = beta * v + (1 - beta) * gg
        return v, lr / xp.sqrt(v + 1)

    @staticmethod
    def update(p, g, lr, beta, v, rate):
        return (p - rate * g,)


def changed(**members: Any) -> Rule:
    return type("Changed", (Normed,), {**members, "__module__": __name__})()


def swapped_scalars(gg, beta, lr, v):
    return v, lr


def without_kept(p, g, lr, beta, rate, more):
    return (p - rate * g,)


def swapped_measure(p, g, beta, lr, v):
    return (g * g,)


def summed_already(p, g, lr, beta, v):
    return ((g * g).sum(),)


def with_a_mean(p, g, lr, beta, v, rate):
    return (p - rate * g.mean(),)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"factors": staticmethod(swapped_scalars)}, "factors takes the scalars"),
    ({"measure": staticmethod(swapped_measure)}, "factors takes the scalars"),
    ({"update": staticmethod(without_kept)}, "update takes the scalars"),
    ({"kept": {"step": 0.0}}, "'step'"),
    ({"kept": ["v"]}, "kept is a mapping"),
    ({"kept": {"v": "a"}}, "kept is a mapping"),
    ({"scope": "tensors"}, "scope is one of"),
    ({"factors": None}, "there is no factors"),
    ({"measure": staticmethod(summed_already)}, "measure is not elementwise"),
    ({"update": staticmethod(with_a_mean)}, "update is not elementwise"),
]


@pytest.mark.parametrize(("members", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_is_written_wrongly_is_said(members: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        check_rule(changed(**members))


def test_what_they_are_made_of_is_right() -> None:
    check_rule(Normed())


@dataclass(frozen=True)
class By(Rule):
    """Sums over one thing or another, by an option of the group."""

    lr: float = 0.1
    by: Literal["tensor", "row"] = "tensor"

    def form(self) -> Form:
        return Form({}, move, Reduction(self.by, square, over_norm))

    def scalars(self, t):
        return (self.lr,)


def square(p, g, lr):
    return (p * p,)


def over_norm(pp, lr):
    return (lr / xp.sqrt(pp),)


def move(p, g, lr, rate):
    return (p - rate * g,)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_groups_that_sum_over_other_things(backend: str) -> None:
    a, b = (torch.nn.Parameter(randn(3, 4, seed=1).double()) for _ in range(2))
    norms = a.detach().norm(), b.detach().norm(dim=1, keepdim=True)
    start = a.detach().clone()
    opt = Optimizer([{"params": [a], "by": "tensor"}, {"params": [b], "by": "row"}], By(), backend=backend)
    for p in (a, b):
        p.grad = torch.ones_like(p)
    opt.step()
    for p, norm in zip((a, b), norms, strict=True):
        torch.testing.assert_close(p.detach(), start - 0.1 / norm)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (3, 0, 2)], ids=str)
def test_rows_without_elements(shape: tuple[int, ...]) -> None:
    for name in ("numba", "reference"):
        params = [torch.nn.Parameter(torch.ones(shape)), torch.nn.Parameter(torch.ones(4, 6))]
        opt = adamas.torch.AdamMini(params, backend=name)
        for p in params:
            p.grad = torch.ones_like(p)
        opt.step()
        torch.testing.assert_close(params[1].detach(), torch.full((4, 6), 1 - 1e-3))
    jnp = pytest.importorskip("jax.numpy", reason="jax is not installed")
    from adamas import optax as of_optax

    transformation, tree = of_optax.adammini(), {"a": jnp.ones(shape), "b": jnp.ones((4, 6))}
    moved, _ = transformation.update(tree, transformation.init(tree), tree)
    np.testing.assert_allclose(moved["b"], -1e-3, rtol=1e-5)


def test_a_group_cannot_decay_twice() -> None:
    params = [torch.nn.Parameter(torch.ones(2))]
    with pytest.raises(ValueError, match="decays by itself"):
        adamas.torch.LAMB([{"params": params, "decoupled_weight_decay": True}])


def test_averages_within_averages_are_the_same_and_take_no_step() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = adamas.torch.ScheduleFreeSGD([p], lr=0.1)
    for k in range(3):
        p.grad = randn(3, seed=k)
        opt.step()
    own = p.detach().clone()
    with opt.averaged_parameters():
        average = p.detach().clone()
        with opt.averaged_parameters():
            assert torch.equal(p, average)
        with pytest.raises(RuntimeError, match="hold their averages"):
            opt.step()
    assert torch.equal(p, own)
    assert not torch.equal(own, average)


def test_bounds_and_sums_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="bounds put x back"):
        adamas.minimize(
            lambda x: (float(x @ x), 2 * x), np.ones(2), jac=True, rule=rules.Prodigy(), bounds=[(0, 1)] * 2
        )


def test_a_rule_that_keeps_numbers_alone_is_converted() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt, other = (Optimizer([("w", p)], Normed()) for _ in range(2))
    for _ in range(2):
        p.grad = torch.ones(3)
        opt.step()
    other.load_state_dict(adamas.convert(opt, like=other))
    assert torch.equal(other.state[p]["v"], opt.state[p]["v"])
