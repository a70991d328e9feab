"""A step that is measured is the step that is not, to the bit, and what is measured is what it did."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_support import (
    OPTIMIZERS,
    assorted,
    copies,
    everything,
    give_gradients,
    leaf,
    randn,
    train,
)

import adamas.torch
from adamas import formats
from adamas.rules import Adam, Gauge
from adamas.torch.measured import QUANTILES, Measured

STATE_FORMATS = [None, *(name for name in formats.names() if name != "float64")]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


# Each kernel that measures is compiled anew: every rule in one format and dtype, the first in all of them.
RULES = list(OPTIMIZERS)
IN_FORMATS = [(name, STATE_FORMATS[k % len(STATE_FORMATS)]) for k, name in enumerate(RULES)]
IN_FORMATS += [("AdamW", name) for name in STATE_FORMATS if ("AdamW", name) not in IN_FORMATS]
IN_DTYPES = [(name, DTYPES[k % len(DTYPES)]) for k, name in enumerate(RULES)]
IN_DTYPES += [("AdamW", dtype) for dtype in DTYPES if ("AdamW", dtype) not in IN_DTYPES]


class EveryStep:
    """What watches every step."""

    def __init__(self) -> None:
        self.found: list[dict[Tensor, Measured]] = []

    def due(self, optimizer: Any) -> bool:
        return True

    def take(self, optimizer: Any, measured: dict[Tensor, Measured]) -> None:
        self.found.append(measured)


def watched(opt: Any) -> EveryStep:
    opt._watch = watch = EveryStep()
    return watch


def made(name: str, params: list[Tensor], **options: Any) -> Any:
    try:
        return OPTIMIZERS[name](params, **options)
    except ValueError as error:
        pytest.skip(str(error)[:60])


def large(dtype: torch.dtype) -> list[Tensor]:
    """Parameters of one block, of several with a rest, and of several chunks."""
    return [leaf(randn(*shape, seed=k).to(dtype)) for k, shape in enumerate([(70, 90), (130,), (3, 25_000)])]


@pytest.mark.parametrize(("name", "state_format"), IN_FORMATS)
def test_measuring_changes_no_bit(name: str, state_format: str | None) -> None:
    params = large(torch.float32)
    plain = made(name, params, state_format=state_format, average=0.9 if state_format is None else None)
    other = copies(params)
    seen = made(name, other, state_format=state_format, average=0.9 if state_format is None else None)
    watch = watched(seen)
    for seed in range(1, 4):
        train(plain, params, [seed])
        train(seen, other, [seed])
    assert everything(plain) == everything(seen)
    assert [len(found) for found in watch.found] == [3, 3, 3]


@pytest.mark.parametrize(("name", "dtype"), IN_DTYPES, ids=str)
def test_measuring_changes_no_bit_of_assorted_parameters(name: str, dtype: torch.dtype) -> None:
    params = assorted(dtype) if dtype.itemsize > 2 else large(dtype)
    other = copies(params)
    options = {"weight_decay": 0.1} if "weight_decay" in OPTIMIZERS[name](copies(params)).defaults else {}
    plain, seen = OPTIMIZERS[name](params, **options), OPTIMIZERS[name](other, **options)
    watched(seen)
    for seed in range(1, 4):
        train(plain, params, [seed])
        train(seen, other, [seed])
    assert everything(plain) == everything(seen)


def expected(before: Tensor, p: Tensor, g: Tensor, lr: float) -> dict[str, float]:
    """What the definitions of `Measured` say, in float64."""
    before, p, g = (
        (torch.view_as_real(x) if x.is_complex() else x).detach().to(torch.float64) for x in (before, p, g)
    )
    d = p - before
    return {
        "elements": p.numel(),
        "lr": lr,
        "grad_norm": float(g.norm()),
        "param_norm": float(p.norm()),
        "update_norm": float(d.norm()),
        "largest_update": float(d.abs().max()) if d.numel() else 0.0,
        "nonfinite": int((~g.isfinite()).sum()),
        "zeros": int((g == 0).sum()),
        "unmoved": int(((d == 0) & (g != 0)).sum()),
    }


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize(("name", "dtype"), IN_DTYPES, ids=str)
def test_what_is_measured_is_what_the_step_did(name: str, dtype: torch.dtype, backend: str) -> None:
    params = assorted(dtype) if dtype.itemsize > 2 else large(dtype)
    if backend == "numba":
        params = [p for p in params if p.numel()]
    opt = OPTIMIZERS[name](params, lr=1e-2, backend=backend)
    watch = watched(opt)
    for seed in (1, 2, 3):
        give_gradients(params, seed)
        before = copies(params)
        opt.step()
        for p, old in zip(params, before, strict=True):
            assert p.grad is not None
            found = dataclasses.asdict(watch.found[-1][p])
            assert found["step"] == seed or not opt.counts_steps
            for key, value in expected(old, p, p.grad, 1e-2).items():
                assert found[key] == pytest.approx(value, rel=3e-6, abs=1e-30), key


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_the_state_is_read_as_the_rule_says(backend: str) -> None:
    p = leaf(randn(40, 50, seed=3))
    opt = adamas.torch.Adam([p], lr=1e-2, eps=0.5, betas=(0.8, 0.9), backend=backend)
    watch = watched(opt)
    for seed in range(1, 6):
        give_gradients([p], seed)
        before = p.detach().clone()
        opt.step()
        found, state = watch.found[-1][p], opt.state[p]
        m = state["exp_avg"].double() / (1 - 0.8**seed)
        v = state["exp_avg_sq"].double() / (1 - 0.9**seed)
        moved = (p.detach() - before).abs()
        assert found.hidden == int((v.sqrt() < 0.5).sum())
        assert found.at_bound == int((moved >= np.float32(0.9 * 1e-2)).sum())
        assert found.mean_square == pytest.approx(float(v.mean()), rel=1e-5)
        ratio = torch.where(v > 0, m.abs() / v.sqrt(), 0.0).flatten().numpy()
        # 32 runs of 8 of 2,000 elements.
        some = np.sort(np.concatenate([ratio[56 * k : 56 * k + 8] for k in range(32)]))
        assert found.signal == pytest.approx([some[round(q * 255)] for q in QUANTILES], rel=1e-5)


@pytest.mark.parametrize("state_format", STATE_FORMATS)
def test_low_bit_state_is_read_too(state_format: str | None) -> None:
    params = large(torch.float32)
    wide, narrow = copies(params), copies(params)
    opts = [adamas.torch.AdamW(wide, eps=1e-1), made("AdamW", narrow, eps=1e-1, state_format=state_format)]
    watches = [watched(opt) for opt in opts]
    for seed in range(1, 6):
        train(opts[0], wide, [seed])
        train(opts[1], narrow, [seed])
    for p, q in zip(wide, narrow, strict=True):
        a, b = watches[0].found[-1][p], watches[1].found[-1][q]
        assert b.mean_square == pytest.approx(a.mean_square, rel=0.1)
        assert b.hidden is not None
        assert a.hidden is not None
        assert abs(b.hidden - a.hidden) <= 0.02 * a.elements
        assert b.signal == pytest.approx(a.signal, rel=0.35, abs=0.05)


@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e15, 1e17])
def test_squares_beyond_float32_are_summed_all_the_same(size: float) -> None:
    p = leaf(randn(300, 20))
    with torch.no_grad():
        p.mul_(size)
    opt = adamas.torch.AdamW([p], lr=1e-3 * size, weight_decay=0.0, eps=1e-8 * size)
    watch = watched(opt)
    p.grad = size * randn(300, 20, seed=2)
    before = p.detach().clone()
    opt.step()
    found = dataclasses.asdict(watch.found[-1][p])
    for key, value in expected(before, p, p.grad, 1e-3 * size).items():
        assert found[key] == pytest.approx(value, rel=1e-4), key


@pytest.mark.parametrize("options", [{}, {"backend": "reference"}, {"state_format": "float8"}], ids=str)
def test_gradients_that_are_not_finite_are_counted(options: dict[str, Any]) -> None:
    p = leaf(randn(300, 20))
    opt = adamas.torch.Adam([p], **options)
    watch = watched(opt)
    p.grad = randn(300, 20, seed=2)
    p.grad[7, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    opt.step()
    assert watch.found[-1][p].nonfinite == 3


def test_a_loss_scale_is_divided_out_and_clipping_is_not() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    p = leaf(randn(30, 20))
    opt = adamas.torch.Adam([p], clip_norm=1e-3)
    watch = watched(opt)
    scaler.scale((p * randn(30, 20, seed=1)).sum()).backward()
    scaler.step(opt)
    assert watch.found[-1][p].grad_norm == pytest.approx(float(randn(30, 20, seed=1).norm()), rel=1e-5)


def test_parameters_without_gradient_and_skipped_steps_are_not_measured() -> None:
    params = large(torch.float32)
    opt = adamas.torch.Adam(params, skip_nonfinite=True, warn_after_skips=None)
    watch = watched(opt)
    give_gradients(params, 1)
    opt.step()
    params[1].grad = None
    opt.step()
    assert set(watch.found[-1]) == {params[0], params[2]}
    assert params[0].grad is not None
    params[0].grad.fill_(math.nan)
    opt.step()
    assert len(watch.found) == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_measures_the_same(threads: int) -> None:
    found = []
    before = torch.get_num_threads()
    for count in (1, threads):
        torch.set_num_threads(count)
        try:
            p = leaf(randn(400, 1000))
            opt = adamas.torch.AdamW([p])
            watch = watched(opt)
            train(opt, [p], [1, 2])
            found.append([list(each.values()) for each in watch.found])
        finally:
            torch.set_num_threads(before)
    assert found[0] == found[1]


def test_offloaded_parameters_are_measured_by_their_own_name() -> None:
    params = large(torch.float32)
    opt = adamas.torch.AdamW(params, offload=True)
    watch = watched(opt)
    train(opt, params, [1, 2])
    assert set(watch.found[-1]) == set(params)


def test_a_gauge_that_names_no_slot_is_an_error_before_any_change() -> None:
    class Wrong(Adam):
        def gauge(self, t: int) -> Gauge:
            return Gauge("momentum")

    p = leaf(randn(5, 3))
    opt = adamas.torch.Optimizer([p], Wrong())
    watched(opt)
    give_gradients([p], 1)
    before = p.detach().clone()
    with pytest.raises(TypeError, match=r"Wrong\.gauge names the slot 'momentum', and its slots are m, v"):
        opt.step()
    assert torch.equal(p, before)
    assert not opt.state


def test_a_copy_of_an_optimizer_that_is_watched_steps() -> None:
    p = leaf(randn(5, 3))
    opt = adamas.torch.Adam([p])
    watched(opt)
    train(opt, [p], [1])
    other = copy.deepcopy(opt)
    train(other, other.param_groups[0]["params"], [2])


class Rare:
    """Watches one step in three."""

    def __init__(self) -> None:
        self.asked = 0
        self.oldest: Any = None

    def due(self, optimizer: Any) -> bool:
        self.asked += 1
        return self.asked % 3 == 0

    def take(self, optimizer: Any, measured: dict[Tensor, Measured]) -> None:
        (found,) = measured.values()
        self.oldest = found.oldest_row


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in ("Adam", "AdamW", "RMSprop", "NAdam", "SGD-momentum")),
        ("Adam", {"backend": "reference"}),
        *(("Adam", {"state_format": name}) for name in STATE_FORMATS if name not in (None, "float16")),
    ],
    ids=str,
)
def test_rows_age_while_they_have_no_gradient(name: str, options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(3)
    p = leaf(randn(12, 512))
    opt = OPTIMIZERS[name]([p], lr=1e-2, **options)
    opt._watch = watch = Rare()  # type: ignore[attr-defined]
    last = torch.zeros(12, dtype=torch.int64)
    for step in range(1, 121):
        # Rows 0 to 5 are common, the others rare; row 11 comes first at step 50.
        touched = torch.rand(12, generator=generator) < torch.tensor([0.9] * 6 + [0.05] * 6)
        touched[11] &= step > 50
        touched |= torch.tensor(step == 50)
        last[touched] = step
        p.grad = randn(12, 512, seed=step) * touched[:, None]
        opt.step()
        if step % 3 == 0:
            wanted = step - int(last.min())
            # A row touched between two measured steps counts from the last of these.
            assert watch.oldest is None if wanted == 0 else abs(watch.oldest - wanted) <= 2


def test_a_rule_that_does_not_say_how_rows_coast_has_no_ages() -> None:
    p = leaf(randn(12, 5))
    opt = adamas.torch.Lion([p])
    watch = watched(opt)
    p.grad = torch.zeros(12, 5)
    p.grad[:3] = 1
    opt.step()
    assert watch.found[-1][p].oldest_row == 1
