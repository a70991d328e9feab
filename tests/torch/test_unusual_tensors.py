"""Tensors without memory of their own, mixed types, and steps that raise: never a crash, nor a half step."""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import pytest
import torch
from code_support import SCALED
from state_support import fits
from torch import Tensor
from torch.masked import masked_tensor
from torch_support import bits, leaf, randn

import adamas.torch
from adamas.backends.numba import compile_rule
from adamas.rules import SIGNED, Adam, Rule


class Wrapper(torch.Tensor):
    """A tensor that is another one inside, as those of masked or distributed tensors."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapper:
        made: Wrapper = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, dtype=inner.dtype, strides=inner.stride(), device=inner.device
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*(x.inner if isinstance(x, Wrapper) else x for x in args), **(kwargs or {}))


@pytest.mark.parametrize("wrap", [Wrapper, lambda g: torch._efficientzerotensor(g.shape)])
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_gradient_without_memory_of_its_own(wrap: Any, steps_before: int) -> None:
    stepped = []
    for other in (False, True):
        p = leaf(randn(1000))
        opt = adamas.torch.Adam([p], lr=0.1)
        for _ in range(steps_before):
            p.grad = torch.ones(1000)
            opt.step()
        g = torch.zeros(1000) if wrap is not Wrapper else randn(1000, seed=1)
        p.grad = wrap(g) if other else g
        opt.step()
        stepped.append(bits(p))
    assert stepped[0] == stepped[1]


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_a_gradient_that_cannot_be_copied_is_refused_and_changes_nothing() -> None:
    p = leaf(randn(10))
    opt = adamas.torch.Adam([p])
    before = bits(p)
    p.grad = masked_tensor(torch.ones(10), torch.ones(10, dtype=torch.bool))
    with pytest.raises(RuntimeError, match=r"gradient of type MaskedTensor, which cannot be copied"):
        opt.step()
    assert bits(p) == before
    assert not opt.state[p]


def test_state_without_memory_of_its_own() -> None:
    p = leaf(randn(1000))
    opt = adamas.torch.SGD([p], lr=0.1, momentum=0.9)
    opt.state[p]["momentum_buffer"] = torch._efficientzerotensor((1000,))
    p.grad = torch.ones(1000)
    opt.step()
    torch.testing.assert_close(opt.state[p]["momentum_buffer"], torch.ones(1000))


def test_scaled_state_is_refused_where_anything_is_float64() -> None:
    with pytest.raises(ValueError, match="cannot be float8 where anything is float64"):
        compile_rule(Adam(), "float64", slots={"m": "float8"})
    with pytest.raises(ValueError, match="cannot be float8 where anything is float64"):
        compile_rule(Adam(), "float32", g="float64", slots={"v": "float8"})


@dataclasses.dataclass(frozen=True)
class Anchor(Rule):
    """Keeps its first gradient."""

    lr: float = 0.1
    slots = {"x": SIGNED}

    def scalars(self, t: int) -> tuple[float, ...]:
        return (1.0 if t == 1 else 0.0,)

    @staticmethod
    def update(p, g, x, first):
        return p, x + first * g


def anchored(params: Any, **options: Any) -> torch.optim.Optimizer:
    return adamas.torch.Optimizer(params, Anchor(), **options)


@pytest.mark.parametrize("format", [name for name in SCALED if fits(anchored, name)])
def test_what_a_rule_keeps_keeps_its_mean(format: str) -> None:
    """Its scale is larger by 2^-20 at every step, and few elements fall to the code below in return."""
    p = leaf(torch.zeros(1 << 18))
    opt = anchored([p], state_format=format)
    p.grad = randn(1 << 18)
    opt.step()
    first = opt.torch_state_dict()["state"][0]["x"]
    for _ in range(500):
        opt.step()
    kept = opt.torch_state_dict()["state"][0]["x"]
    ratio = (kept[first != 0] / first[first != 0]).double()
    # Of the steps alone it would be 1.00048; an element falls once in 2^16 steps, by a tenth.
    assert ratio.mean().item() == pytest.approx(1, abs=1e-4)
    assert ((ratio - 1).abs() > 1e-3).double().mean().item() < 0.02


def test_a_first_step_that_raises_leaves_no_state_and_no_gradient_behind() -> None:
    results = []
    for fails in (False, True):
        a, b = leaf(randn(4)), leaf(randn(4, seed=1))
        opt = adamas.torch.SGD([a, b], lr=0.1, momentum=0.9, dampening=0.5)
        if fails:
            a.grad = torch.ones(4)
            alive = weakref.ref(a.grad)
            opt.param_groups[0]["lr"] = 1e300
            with pytest.raises(ValueError, match="too large for float32"):
                opt.step()
            assert not opt.state
            a.grad = None
            assert alive() is None
            opt.param_groups[0]["lr"] = 0.1
        a.grad, b.grad = torch.ones(4), torch.ones(4)
        opt.step()
        results.append(opt.state[a]["momentum_buffer"].tolist())
    assert results[0] == results[1] == [1.0] * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_model_cast_down_goes_on_with_its_float64_state(dtype: torch.dtype) -> None:
    model = torch.nn.Linear(3, 3).double()
    opt = adamas.torch.Adam(model.parameters(), backend="reference")
    for cast in (torch.float64, dtype):
        model.to(cast)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        opt.step()
    assert all(p.dtype == dtype and p.isfinite().all() for p in model.parameters())
    assert all(state["step"] == 2 for state in opt.state.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_differentiable_step_passes_gradients_through_the_rounding(dtype: torch.dtype) -> None:
    weight = torch.ones(4, dtype=dtype, requires_grad=True)
    opt = adamas.torch.SGD([leaf(torch.zeros(1))], lr=0.5, differentiable=True)
    p = weight.clone()
    p.retain_grad()
    p.grad = weight * 3
    opt.param_groups[0]["params"] = [p]
    opt.step()
    (gradient,) = torch.autograd.grad(p.sum(), weight)
    torch.testing.assert_close(gradient, torch.full((4,), 1 - 0.5 * 3, dtype=dtype))
