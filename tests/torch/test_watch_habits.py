"""Watching where a training goes back, changes parameters, differentiates steps, or has an odd rule."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_support import bits, give_gradients, leaf, randn, train

import adamas.torch
from adamas.rules import NONNEGATIVE, SIGNED, Gauge, Rule, xp
from adamas.torch import Adam


def test_going_back_to_a_checkpoint_begins_a_new_history() -> None:
    p = leaf(randn(100))
    opt = Adam([p])
    train(opt, [p], range(40))
    saved = copy.deepcopy(opt.state_dict())
    opt.watch(every=5)
    train(opt, [p], range(60))
    opt.load_state_dict(saved)
    report = opt.report()
    assert report.step is None
    assert report.params[0].measured is None
    train(opt, [p], range(60))
    assert opt.report().step == 100


def test_other_parameters_begin_a_new_history() -> None:
    small, large = leaf(1e-3 * randn(30, 20)), leaf(randn(300, 200, seed=2))
    opt = Adam([small, large])
    opt.watch(every=1)
    train(opt, [small, large], range(5))
    opt.param_groups[0]["params"] = [large]
    train(opt, [large], range(5))
    assert opt.report().warnings == ()


def test_a_differentiable_step_is_measured_and_counted() -> None:
    start = randn(4, 5).requires_grad_()
    p = start.clone()
    p.retain_grad()
    opt = Adam([p], lr=0.1, differentiable=True)
    opt.watch(every=1)
    (p.grad,) = torch.autograd.grad((p.clone() ** 2).sum(), p, create_graph=True)
    opt.step()
    assert opt.state[p]["step"] == 1
    assert opt.report().step == 1
    (slope,) = torch.autograd.grad((p**2).sum(), start)
    assert slope.abs().sum() > 0


@dataclass(frozen=True)
class Odd(Rule):
    """A rule whose gauge is as a test wants it, by its options."""

    lr: float = 1e-3
    eps: float = 1e-8
    fault: float = 0.0
    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> tuple[float, ...]:
        return self.lr, self.eps

    def gauge(self, t: int) -> Any:
        if self.fault == 1:
            raise OSError("lost")
        faults = [Gauge("m", 1.0, "v"), None, None, Gauge("m", 1.0, "w"), Gauge("m", 1.0, "v", 0.0)]
        return [*faults, Gauge(root="v" if t > 1 else "m")][int(self.fault)]

    @staticmethod
    def update(p, g, m, v, lr, eps):
        v = v + g * g
        return p - lr * g / (xp.sqrt(v) + eps), m, v


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (1.0, r"gauge\(2\) raises OSError"),
        (2.0, "returns a Gauge, not None"),
        (3.0, "names the slot 'w'"),
        (4.0, "root_factor of 0.0"),
        (5.0, "names the root 'v' at step 2, and 'm' at step 1"),
    ],
)
def test_a_gauge_at_fault_is_said_before_any_change(fault: float, words: str) -> None:
    """Also where another launcher than that of the fault would go first."""
    params = [leaf(randn(5, 3)), leaf(randn(5, 3, seed=2, dtype=torch.float64))]
    opt = adamas.torch.Optimizer([{"params": [p]} for p in params], Odd())
    train(opt, params, [1])
    opt.watch(every=1)
    opt.param_groups[1]["fault"] = fault
    give_gradients(params, 2)
    before = bits(params), copy.deepcopy(opt.state_dict()["state"])
    with pytest.raises(TypeError, match=words):
        opt.step()
    assert (bits(params), bits(opt.state_dict()["state"])) == (before[0], bits(before[1]))


@dataclass(frozen=True)
class WithoutLr(Rule):
    """A rule that names its stepsize otherwise."""

    rate: float = 0.5

    def scalars(self, t: int) -> tuple[float, ...]:
        return (self.rate,)

    @staticmethod
    def update(p, g, rate):
        return (p - rate * g,)


def test_a_rule_without_lr_is_measured() -> None:
    p = leaf(randn(30))
    opt = adamas.torch.Optimizer([p], WithoutLr())
    opt.watch(every=1)
    p.grad = torch.ones(30)
    opt.step()
    measured = opt.report().params[0].measured
    assert measured is not None
    assert measured.update_norm == pytest.approx(0.5 * 30**0.5, rel=1e-5)


@pytest.mark.parametrize("size", [1e-26, 1e-22, 1e25])
def test_the_norm_of_any_update_is_told(size: float) -> None:
    p = leaf(torch.zeros(100))
    opt = adamas.torch.SGD([p], lr=1e-3)
    opt.watch(every=1)
    p.grad = torch.full((100,), size)
    opt.step()
    measured = opt.report().params[0].measured
    assert measured is not None
    assert measured.update_norm == pytest.approx(1e-2 * size, rel=1e-5)


def test_what_state_does_not_tell_of_rows_is_not_told() -> None:
    """Coupled decay is added to m as a gradient is; and where β1 changes, m decays as nobody knows."""

    def oldest(changed: Any = None, **options: Any) -> list[Any]:
        p, found = leaf(randn(10, 4)), []
        opt = Adam([p], **options)
        opt.watch(every=5, to=lambda report: found.append(report.params[0].measured.oldest_row))
        for step in range(1, 21):
            p.grad = randn(10, 4, seed=step)
            p.grad[5:] = 0
            opt.param_groups[0]["betas"] = (0.9 if changed is None else changed(step), 0.999)
            opt.step()
        return found

    assert oldest() == [5, 10, 15, 20]
    assert oldest(weight_decay=0.1) == [None] * 4
    assert oldest(lambda step: 0.9 - step / 100)[1::2] == [None, None]


def test_a_beta_of_one_has_no_reading() -> None:
    p = leaf(randn(30))
    opt = Adam([p])
    p.grad = torch.ones(30)
    opt.step()
    opt.param_groups[0]["betas"] = (0.9, 1.0)
    opt.watch(every=1)
    opt.step()
    assert opt.report().params[0].measured.hidden is None


def test_a_report_keeps_the_options_of_its_moment() -> None:
    rate = torch.tensor(0.01)
    p = leaf(randn(30))
    opt = Adam([p], lr=rate)
    report = opt.report()
    rate.fill_(0.5)
    assert report.groups[0].options["lr"] == pytest.approx(0.01)


def test_every_watch_that_is_due_has_its_report_though_one_fails(tmp_path: Path) -> None:
    p, found = leaf(randn(30)), []
    opt = Adam([p])

    def fails(report: Any) -> None:
        raise OSError("full")

    opt.watch(every=1, to=fails)
    opt.watch(every=1, to=found.append)
    give_gradients([p], 1)
    with pytest.raises(OSError, match="full"):
        opt.step()
    assert [report.step for report in found] == [1]


def test_a_log_stays_where_it_was_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    p = leaf(randn(30))
    opt = Adam([p])
    opt.watch(every=1, to="log.jsonl")
    train(opt, [p], [1])
    monkeypatch.chdir(tmp_path / "other")
    train(opt, [p], [2])
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_logger_of_names_and_values_is_refused() -> None:
    class Module:
        def log(self, name: str, value: float) -> None: ...

    with pytest.raises(TypeError, match="to must be"):
        Adam([leaf(randn(3))]).watch(to=Module())


def test_a_model_without_shapes_yet_is_watched() -> None:
    model = torch.nn.Sequential(torch.nn.LazyLinear(4), torch.nn.Linear(4, 1))
    opt = Adam(model.parameters())
    opt.watch(every=1, model=model)
    model(randn(3, 5)).square().sum().backward()
    opt.step()
    assert all(param.measured is not None for param in opt.report().params)
