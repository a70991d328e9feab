"""Sparse gradients of tracked parameters: the steps of dense ones, at the cost of the rows they have."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from rule_cases import CASES, OwnRule, has_sums
from sparse_support import Twins, apart, zipf
from torch import nn
from torch_support import CLASSES, LAZY, leaf, randn

import adamas.torch as at
from adamas.backends import host_carry, host_scalars
from adamas.backends.numba import History
from adamas.rules import SIGNED, Adam, Coast, Rule, xp
from adamas.torch.lagging import LaggingRows

# Torch 2.11 warns even where it is told to check.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")
FORMS = {name: rule for name, rule in CASES.items() if not isinstance(rule, OwnRule)}


def makes_up(opt: Any) -> bool:
    """Whether the rule says what steps without a gradient do, and they end; all others are refused."""
    rule = opt.rule_of(opt.param_groups[0])
    if rule.form().reduction is not None:
        return False
    carried = host_carry(rule, 2, *host_carry(rule, 1, *rule.carried.values()))
    form = rule.coast(*host_scalars(rule, 2, *carried))
    return form is not None and History.fades(form)


def test_few_rules_are_refused() -> None:
    """Last gradients that are state, two decays at once, and means that outlive the root they are over."""
    elementwise = {name: rule for name, rule in FORMS.items() if not has_sums(rule)}
    made = {name: at.Optimizer([torch.zeros(1)], rule) for name, rule in elementwise.items()}
    refused = {name.split("-")[0] for name, opt in made.items() if not makes_up(opt)}
    assert refused == {"Adan", "AdEMAMix", "MARS", "SimplifiedAdEMAMix"}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_every_rule_takes_the_steps_of_dense_gradients(name: str, dtype: torch.dtype, decay: float) -> None:
    own = hasattr(FORMS[name], "weight_decay")
    options = {"weight_decay": decay} | ({} if own else {"decoupled_weight_decay": decay > 0})
    twins = Twins(lambda p: at.Optimizer(p, FORMS[name], **options), dtype=dtype)
    if not makes_up(twins.opts[0]):
        before = twins.sparse.weight.detach().clone()
        with pytest.raises(ValueError, match=r"gradient"):
            twins.train(3)  # a mean that warms up may be short in the first step
        assert torch.equal(twins.sparse.weight, before) or "warm" in name
        return
    twins.train(150)
    assert any(rows.behind for rows in twins.opts[0]._lagging.values())
    assert twins.apart() < (1e-13 if dtype == torch.float64 else 2e-5)
    assert twins.opts[0].backend == "rows"


@pytest.mark.parametrize("name", [*CLASSES, *LAZY])
def test_every_optimizer_does(name: str) -> None:
    cls = (CLASSES | LAZY)[name]
    twins = Twins(lambda p: cls(p, lr=0.01, semantics="exact"))
    if not makes_up(twins.opts[0]):
        with pytest.raises(ValueError, match=r"gradient"):
            twins.train(1)
        return
    twins.train(60)
    assert twins.apart() < 1e-13


@dataclass(frozen=True)
class SignOfMean(Rule):
    """An inventor's rule, with what it does where there is no gradient."""

    lr: float = 1e-3
    beta: float = 0.75
    slots = {"mean": SIGNED}

    def scalars(self, t):
        return self.lr / t**0.5, self.beta, 1 - self.beta

    def coast(self, *scalars):
        lr, beta, _ = scalars
        return Coast({"mean": beta}, "mean", lr, signed=True)

    @staticmethod
    def update(p, g, mean, lr, beta, gain):
        mean = beta * mean + gain * g
        return p - lr * xp.sign(mean), mean


OPTIONS = {
    "own rule": lambda p: at.Optimizer(p, SignOfMean()),
    "clip": functools.partial(at.AdamW, clip_norm=0.3),
    "skip": functools.partial(at.AdamW, skip_nonfinite=True),
    "maximize": functools.partial(at.Adam, maximize=True),
    "a tensor as lr": lambda p: at.AdamW(p, lr=torch.tensor(1e-2)),
    "large eps": functools.partial(at.Adam, eps=0.1),
    "no eps": functools.partial(at.Adam, eps=0.0),
    "no momentum": functools.partial(at.Adam, betas=(0.0, 0.99)),
    "no memory": functools.partial(at.Adam, betas=(0.0, 0.0)),
    "short memory": functools.partial(at.Adam, betas=(0.5, 0.6)),
    "long memory": functools.partial(at.Adam, betas=(0.99, 0.9999)),
    "no step": functools.partial(at.AdamW, lr=0.0),
    "decay to nothing": functools.partial(at.AdamW, lr=0.5, weight_decay=2.0),
    "decay beyond it": functools.partial(at.AdamW, lr=0.5, weight_decay=3.0),
}


@pytest.mark.filterwarnings("ignore:.*betas")
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_means_what_it_means_for_dense_gradients(name: str) -> None:
    twins = Twins(OPTIONS[name])
    twins.train(100)
    for embedding, _ in twins.both:
        assert not embedding.weight.isnan().all()
        embedding.weight.data.nan_to_num_(7.0)  # without ε rows that never had a gradient are 0/0
    assert twins.apart() < 1e-13
    assert twins.opts[0].last_step == pytest.approx(twins.opts[1].last_step)


def test_the_smallest_eps_leaves_rows_that_do_not_move() -> None:
    for eps in (1e-38, 1e-40):
        twins = Twins(functools.partial(at.Adam, eps=eps), dtype=torch.float32)
        twins.train(20)
        assert twins.apart() < 2e-5


def test_a_v_of_infinity_stays() -> None:
    twins = Twins(functools.partial(at.Adam, betas=(0.3, 0.5)), dtype=torch.float32)
    for t in range(400):
        row, size = (3, 1e30) if t == 0 else (9, 1.0)
        grad = torch.full((1, 4), size)
        twins.give(torch.sparse_coo_tensor([[row]], grad, (50, 4), check_invariants=True))
    states = [opt.state_dict()["state"][0]["exp_avg_sq"] for opt in twins.opts]
    assert states[0][3].isinf().all()
    assert torch.equal(states[0].isinf(), states[1].isinf())
    assert apart(twins.sparse.weight.detach(), twins.dense.weight.detach()) < 2e-5


def test_a_skipped_step_is_none() -> None:
    twins = Twins(functools.partial(at.AdamW, skip_nonfinite=True))
    twins.train(20)
    index, values = torch.tensor([[3, 4]]), torch.full((2, 4), math.nan, dtype=torch.float64)
    twins.give(torch.sparse_coo_tensor(index, values, (50, 4), check_invariants=True))
    twins.train(20)
    assert [opt.skipped_steps for opt in twins.opts] == [1, 1]
    assert twins.apart() < 1e-13


def test_options_may_change_at_every_step() -> None:
    twins = Twins(at.AdamW)
    for t in range(120):
        for opt in twins.opts:
            group = opt.param_groups[0]
            group["lr"] = 0.01 * (1 + math.sin(t))
            group["betas"] = 0.9 - 0.005 * (t % 40), 0.999 - 0.002 * (t % 30)
            group["weight_decay"], group["amsgrad"] = 0.1 * (t % 3), t > 60
        twins.train(1)
    assert twins.apart() < 1e-13


def test_gradients_of_every_layout() -> None:
    twins, random = Twins(functools.partial(at.AdamW, lr=0.01)), torch.Generator().manual_seed(3)
    for t in range(40):
        count = (3, 0, 8, 1)[t % 4]
        index = torch.randint(0, 50 if t % 3 else 4, (1, count), generator=random)  # duplicates among them
        values = torch.randn(count, 4, dtype=torch.float64, generator=random)
        grad = torch.sparse_coo_tensor(index, values, (50, 4), check_invariants=True)
        grad = grad.coalesce() if t % 5 == 4 else grad.to_dense() if t % 11 == 7 else grad
        before = grad.to_dense().clone()
        twins.give(None if t % 7 == 6 else grad)
        assert torch.equal(grad.to_dense(), before)
    assert twins.apart() < 1e-13


def test_rows_of_every_shape() -> None:
    for shape in ((30,), (30, 1), (30, 2, 3), (1, 5), (30, 200)):
        params = [leaf(randn(*shape, dtype=torch.float64)) for _ in range(2)]
        modules = [nn.Embedding(1, 1, sparse=True) for _ in params]
        modules[0].weight = nn.Parameter(params[0].detach())
        opts = at.AdamW([modules[0].weight], lr=0.01), at.AdamW([params[1]], lr=0.01)
        opts[0].track(modules[0])
        for t in range(30):
            index = torch.tensor([[t * t % shape[0], 0]])
            values = randn(2, *shape[1:], seed=t, dtype=torch.float64)
            grad = torch.sparse_coo_tensor(index, values, shape, check_invariants=True)
            modules[0].weight.grad, params[1].grad = grad, grad.to_dense()
            for opt in opts:
                opt.step()
        assert apart(modules[0].weight.detach(), params[1].detach()) < 1e-13


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(mode: str) -> None:
    torch.manual_seed(0)
    bags = [nn.EmbeddingBag(40, 3, sparse=mode != "max", mode=mode, dtype=torch.float64) for _ in range(2)]
    bags[1].load_state_dict(bags[0].state_dict())
    opts = [at.AdamW(bag.parameters(), lr=0.01) for bag in bags]
    if mode != "max":
        bags[1].sparse = False
        opts[0].track(bags[0])
    for _ in range(60):
        index, offsets = torch.randint(0, 40, (9,)), torch.tensor([0, 2, 2, 5])
        for bag, opt in zip(bags, opts, strict=True):
            opt.zero_grad()
            bag(index, offsets).square().sum().backward()
            opt.step()
    assert apart(bags[0].weight.detach(), bags[1].weight.detach()) < 1e-13


def test_an_embedding_that_renormalizes_and_pads() -> None:
    twins = Twins(functools.partial(at.AdamW, lr=0.1), padding_idx=0, max_norm=1.0)
    twins.train(100)
    assert twins.apart() < 1e-12


def test_a_model_of_many_parts() -> None:
    models = []
    for sparse in (True, False):
        torch.manual_seed(0)
        parts = [nn.Embedding(n, 6, sparse=sparse, dtype=torch.float64) for n in (30, 200)]
        models.append(nn.ModuleList([*parts, nn.Linear(12, 1, dtype=torch.float64)]))
    opts = [at.AdamW(at.groups(model, {"0.*": {"lr": 0.1}}), lr=0.01, clip_norm=0.5) for model in models]
    opts[0].track(models[0])
    for t in range(80):
        index = torch.from_numpy(zipf(np.random.default_rng(t), 30, 8))
        for model, opt in zip(models, opts, strict=True):
            opt.zero_grad()
            # The second table is left out at times: it then takes no step.
            second = model[1](index * 6) if t % 3 else model[1](index * 6).detach()
            (model[2](torch.cat([model[0](index), second], 1)) ** 2).mean().backward()
            opt.step()
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert apart(p.detach(), q.detach()) < 1e-12
    assert opts[0].last_step == pytest.approx(opts[1].last_step)
    assert opts[0].backend == "numba and rows"


def test_a_step_costs_the_rows_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = nn.Embedding(100_000, 2, sparse=True)
    opt = at.AdamW(embedding.parameters())
    opt.track(embedding)
    touched: list[int] = []
    before = LaggingRows._catch_up

    def counted(self: LaggingRows, wanted: np.ndarray) -> None:
        touched.append(len(wanted))
        before(self, wanted)

    monkeypatch.setattr(LaggingRows, "_catch_up", counted)
    for t in range(10):
        opt.zero_grad()
        embedding(torch.tensor([t, 50])).sum().backward()
        opt.step()
        # The first step is taken by all; then two rows in the forward pass, and two at the step, which are up
        # to date already.
        assert sum(touched) == (100_000, 0, 4)[min(t, 2)]
        touched.clear()


def test_steps_beyond_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adamas.backends.numba.history.LONGEST", 20)
    twins = Twins(functools.partial(at.AdamW, lr=0.01))
    twins.train(70)
    assert twins.apart() < 1e-13


def test_ten_thousand_steps_of_zipf_rows() -> None:
    """Recorded gradients, a schedule and decay: float64 within 1e-10, float32 as near as dense float32."""
    rows, columns, steps, batch = 400, 4, 10_000, 4
    random = np.random.default_rng(0)
    indices = zipf(random, rows, steps * batch).reshape(steps, batch)
    sizes = 10.0 ** random.uniform(-7, 0, (rows, columns))
    grads = random.standard_normal((steps, batch, columns)) * sizes[indices]
    start = torch.from_numpy(random.standard_normal((rows, columns)))

    def trained(dtype: torch.dtype, sparse: bool) -> torch.Tensor:
        table = nn.Embedding(rows, columns, sparse=sparse, dtype=dtype)
        table.weight.data.copy_(start)
        opt = at.AdamW(table.parameters(), lr=1e-3, weight_decay=0.1)
        if sparse:
            opt.track(table)
        for t in range(steps):
            opt.param_groups[0]["lr"] = 1e-3 * min(1, (t + 1) / 500) * (1 - t / steps)
            index, values = torch.from_numpy(indices[t])[None], torch.from_numpy(grads[t]).to(dtype)
            g = torch.sparse_coo_tensor(index, values, (rows, columns), check_invariants=False)
            table.weight.grad = g if sparse else g.to_dense()
            opt.step()
        return table.weight.detach().double()

    right = trained(torch.float64, False)
    assert (trained(torch.float64, True) - right).abs().max() < 1e-10
    assert (right - start).abs().max() > 0.1
    errors = [(trained(torch.float32, sparse) - right).abs() for sparse in (True, False)]
    assert errors[0].max() <= errors[1].max()
    assert errors[0].mean() <= errors[1].mean()


def test_the_rule_of_the_optimizer_may_be_told_by_its_eps() -> None:
    twins = Twins(lambda p: at.Optimizer(p, Adam(lr=0.01, eps=1e-30)))
    twins.train(60)
    assert twins.apart() < 1e-13
