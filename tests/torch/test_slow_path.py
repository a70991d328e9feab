"""The slow path is never silent: what no kernel takes is said once; what only lies badly is staged."""

from __future__ import annotations

import functools
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from code_support import coarseness
from state_support import STORED_FOR_ADAM
from torch import Tensor
from torch_support import (
    OPTIMIZERS,
    Make,
    assert_rounding,
    bits,
    copies,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch
from adamas.rules import SIGNED, Rule

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


@dataclass(frozen=True)
class Squashed(Rule):
    """A user's rule whose update calls a function of torch, which no kernel can compile."""

    lr: float = 0.1
    beta: float = 0.9

    slots = {"m": SIGNED}

    def scalars(self, t: int) -> tuple[float, ...]:
        return self.lr, self.beta, 1 - self.beta

    @staticmethod
    def update(p, g, m, lr, beta, gain):
        m = beta * m + gain * g
        return p - lr * torch.tanh(m), m


def squashed(params: Any, **options: Any) -> adamas.torch.Optimizer:
    return adamas.torch.Optimizer(params, Squashed(), **options)


def warnings_of(run: Callable[[], Any]) -> list[str]:
    """The texts of the slow-path warnings that it gives, each as often as it is given."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run()
    assert all(issubclass(w.category, adamas.torch.SlowPathWarning) for w in seen)
    return [str(w.message) for w in seen]


# What no kernel takes.


def test_the_category_is_public_and_a_user_warning() -> None:
    assert "SlowPathWarning" in adamas.torch.__all__
    assert issubclass(adamas.torch.SlowPathWarning, UserWarning)


def test_a_rule_that_cannot_be_compiled_says_why_and_what_to_do() -> None:
    params = simple()
    (text,) = warnings_of(lambda: train(squashed(params), params, range(1)))
    assert "Squashed" in text
    assert "tanh" in text
    assert "xp" in text or 'backend="reference"' in text
    assert len(text) < 600
    assert text.count("\n") <= 2


def test_it_is_said_once_per_optimizer() -> None:
    """Whatever changes afterwards, and however many parameters there are."""
    params = [leaf(randn(5, seed=k)) for k in range(4)]
    opt = squashed([{"params": params[:2]}, {"params": params[2:3], "lr": 0.5}])
    assert len(warnings_of(lambda: train(opt, params[:2], range(2)))) == 1

    def go_on() -> None:
        train(opt, params[1:3], range(2, 4))
        opt.add_param_group({"params": params[3:], "beta": 0.5})
        train(opt, params, range(4, 6))
        opt.load_state_dict(opt.state_dict())
        params[0].data = params[0].data.clone()
        train(opt, params, range(6, 8))

    assert warnings_of(go_on) == []
    others = simple()
    assert len(warnings_of(lambda: train(squashed(others), others, range(2)))) == 1


def test_it_is_not_said_where_the_reference_is_asked_for() -> None:
    params = simple()
    opt = squashed(params, backend="reference")
    assert warnings_of(lambda: train(opt, params, range(2))) == []
    assert opt.backend == "reference"


def test_it_can_be_filtered() -> None:
    params, plain = simple(), simple()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=adamas.torch.SlowPathWarning)
        train(squashed(params), params, range(3))
    train(squashed(plain, backend="reference"), plain, range(3))
    assert bits(params) == bits(plain)


def test_as_an_error_it_comes_before_anything_has_changed() -> None:
    params = simple()
    opt = squashed(params)
    give_gradients(params, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", adamas.torch.SlowPathWarning)
        with pytest.raises(adamas.torch.SlowPathWarning, match="tanh"):
            opt.step()
    assert bits(params) == bits(simple())
    assert not opt.state


def test_a_copy_does_not_say_it_again() -> None:
    params = simple()
    opt = squashed(params)
    assert len(warnings_of(lambda: train(opt, params, range(1)))) == 1
    opt.zero_grad()
    other, others = pickle.loads(pickle.dumps((opt, params)))
    assert len(warnings_of(lambda: train(other, others, range(2)))) <= 1


@every_optimizer
def test_nothing_is_said_where_kernels_take_all(make: Make) -> None:
    params = simple()
    opt = make(params)
    assert warnings_of(lambda: train(opt, params, range(2))) == []
    assert opt.backend == "numba"


def test_a_differentiable_step_was_asked_for_by_name() -> None:
    p = leaf(randn(4))
    moved = p.clone()
    moved.grad = torch.ones(4)
    opt = OPTIMIZERS["Adam"]([moved], differentiable=True)
    assert warnings_of(opt.step) == []


# What only lies badly in memory is staged through dense copies.


def gaps(dtype: torch.dtype) -> Tensor:
    return randn(6, 6, seed=1, dtype=dtype)[:, ::2]


def gaps_everywhere(dtype: torch.dtype) -> Tensor:
    return randn(7, 9, 5, seed=1, dtype=dtype)[::2, 1::3, :4]


def transposed_gaps(dtype: torch.dtype) -> Tensor:
    return randn(6, 8, seed=1, dtype=dtype)[:, ::2].t()


def channels_last(dtype: torch.dtype) -> Tensor:
    return randn(2, 3, 4, 5, seed=1, dtype=dtype).to(memory_format=torch.channels_last)


def channels_last_gaps(dtype: torch.dtype) -> Tensor:
    return randn(2, 6, 4, 5, seed=1, dtype=dtype).to(memory_format=torch.channels_last)[:, ::2]


LAYOUTS = [gaps, gaps_everywhere, transposed_gaps, channels_last, channels_last_gaps]
every_layout = pytest.mark.parametrize("layout", LAYOUTS)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    # The norm is measured and does not clip: its last bit depends on the order of the elements in memory.
    "phase": {"clip_norm": 1e6, "skip_nonfinite": True, "average": 0.75},
}


@every_layout
@every_optimizer
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64], ids=str)
def test_a_layout_changes_no_number(
    make: Make, layout: Callable[[torch.dtype], Tensor], options: dict[str, Any], dtype: torch.dtype
) -> None:
    """To the bit those of a dense parameter; what lies between the elements stays."""
    params = [leaf(layout(dtype)), leaf(randn(4, seed=2, dtype=dtype))]
    dense = [leaf(p.detach().clone(memory_format=torch.contiguous_format)) for p in params]
    size = params[0].untyped_storage().nbytes() // dtype.itemsize
    memory = torch.as_strided(params[0].detach(), (size,), (1,), 0)
    between = untouched(memory, params[0])
    before = bits(memory[between])
    opt, other = make(params, **options), make(dense, **options)
    assert warnings_of(lambda: train(opt, params, range(3))) == []
    train(other, dense, range(3))
    assert opt.backend == "numba"
    assert [x.tolist() for x in params] == [x.tolist() for x in dense]
    for p, q in zip(params, dense, strict=True):
        assert {key: x.tolist() for key, x in opt.state[p].items()} == {
            key: x.tolist() for key, x in other.state[q].items()
        }
    assert bits(memory[between]) == before
    if "clip_norm" in options:
        assert float(opt.last_step.grad_norm) == pytest.approx(float(other.last_step.grad_norm), rel=1e-12)


def untouched(memory: Tensor, p: Tensor) -> Tensor:
    """Where in this memory there is no element of `p`."""
    marks = torch.ones(memory.shape, dtype=torch.bool)
    marks.as_strided(p.shape, p.stride(), p.storage_offset()).fill_(False)
    return marks


@every_layout
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_layout_of_a_half_is_rounded_within_a_spacing(
    dtype: torch.dtype, layout: Callable[[torch.dtype], Tensor]
) -> None:
    p = leaf(layout(torch.float32).to(dtype)) if layout is not gaps else leaf(randn(6, 6).to(dtype)[:, ::2])
    wide = leaf(p.detach().float())
    opt, other = OPTIMIZERS["Adam"]([p], lr=0.1), OPTIMIZERS["Adam"]([wide], lr=0.1)
    g = randn(*p.shape, seed=3).to(dtype)
    p.grad, wide.grad = g.clone(), g.float()
    assert warnings_of(opt.step) == []
    other.step()
    assert opt.backend == "numba"
    assert_rounding([opt.state[p]["exp_avg"]], [other.state[wide]["exp_avg"]], ulps=4)
    torch.testing.assert_close(p.float(), wide, rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("format", STORED_FOR_ADAM)
def test_state_formats_of_a_parameter_with_gaps(format: str) -> None:
    """It has them as any other, and they go into a checkpoint and out of it."""
    p = leaf(randn(90, 120, seed=1)[:, ::2])
    wide = leaf(p.detach().contiguous())
    opt, other = OPTIMIZERS["Adam"]([p], state_format=format), OPTIMIZERS["Adam"]([wide])
    assert warnings_of(lambda: train(opt, [p], range(3))) == []
    train(other, [wide], range(3))
    assert opt.backend == "numba"
    start = randn(90, 120, seed=1)[:, ::2]
    assert ((p - wide).norm() / (wide - start).norm()).item() <= coarseness(format) ** 0.5 / 3
    assert sum(x.nbytes for x in opt.state[p].values()) < sum(x.nbytes for x in other.state[wide].values())
    q = leaf(p.detach().clone())
    again = OPTIMIZERS["Adam"]([q], state_format=format)
    again.load_state_dict(opt.state_dict())
    train(again, [q], range(3, 4))


@every_optimizer
def test_gradients_may_lie_otherwise_than_their_parameters(make: Make) -> None:
    params = [leaf(randn(6, 8, seed=1)[:, ::2]), leaf(randn(5, 4, seed=2))]
    dense = copies(p.detach().contiguous() for p in params)
    opt, other = make(params), make(dense)
    for seed in range(3):
        give_gradients(dense, seed)
        for p, q in zip(params, dense, strict=True):
            wide = torch.zeros(*reversed(p.shape), 2)
            wide[..., 1] = q.grad.t()  # type: ignore[union-attr]
            p.grad = wide[..., 1].t()
        assert warnings_of(opt.step) == []
        other.step()
    assert [x.tolist() for x in params] == [x.tolist() for x in dense]


@pytest.mark.parametrize("factory", [functools.partial(torch.zeros, 1), functools.partial(torch.zeros, 3, 1)])
def test_elements_that_share_memory_are_still_refused(factory: Callable[[], Tensor]) -> None:
    x = factory()
    opt = OPTIMIZERS["Adam"]([leaf(x.expand(*x.shape[:-1], 4))])
    opt.param_groups[0]["params"][0].grad = torch.ones(*x.shape[:-1], 4)
    before = everything(opt)
    with pytest.raises(RuntimeError, match="share memory"):
        opt.step()
    assert everything(opt) == before
