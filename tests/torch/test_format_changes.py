"""State in storage formats where something changes under way, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from code_support import coarseness
from state_support import STORED_FOR_ADAM, formats_in, large, tensors_of
from torch_support import assert_rounding, bits, everything, leaf, randn, train

from adamas.torch import Adam, AdamW

every_stored = pytest.mark.parametrize("format", STORED_FOR_ADAM)


# What changes under way.


@every_stored
def test_options_that_change_under_way(format: str) -> None:
    """As if the new optimizer had been given the state."""
    params, fresh = large(), large()
    opt, other = Adam(params, state_format=format), Adam(fresh, state_format=format)
    train(opt, params, range(2))
    train(other, fresh, range(2))
    changed: dict[str, Any] = {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.1, "amsgrad": True}
    opt.param_groups[0].update(changed)
    again = Adam(fresh, state_format=format)
    again.load_state_dict(other.state_dict())
    again.param_groups[0].update(changed)
    train(opt, params, range(2, 4))
    train(again, fresh, range(2, 4))
    assert everything(opt) == everything(again)
    assert formats_in(opt, params[1])["max_exp_avg_sq"] == format


def test_a_group_that_is_added() -> None:
    params = large()
    opt = AdamW(params[:1], state_format="float8")
    train(opt, params[:1], range(2))
    before = bits(tensors_of(opt, params[0]))
    opt.add_param_group({"params": params[1:], "lr": 0.5})
    assert bits(tensors_of(opt, params[0])) == before
    train(opt, params, range(2, 4))
    assert [set(formats_in(opt, p).values()) for p in params] == [{"float8"}, {"float8"}, {"float32"}]
    assert [opt.state[p]["step"].item() for p in params] == [4, 2, 2]


@every_stored
def test_a_parameter_that_is_laid_out_anew(format: str) -> None:
    """A model is moved to channels_last between steps: each element keeps its own state."""
    p, q = leaf(randn(8, 16, 6, 7, seed=1)), leaf(randn(8, 16, 6, 7, seed=1))
    opt, other = Adam([p], state_format=format), Adam([q], state_format=format)
    train(opt, [p], range(2))
    train(other, [q], range(2))
    before = opt.torch_state_dict()["state"][0]
    p.data = p.data.to(memory_format=torch.channels_last)
    moved = opt.torch_state_dict()["state"][0]
    for key in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(moved[key], before[key], rtol=0, atol=0)
    train(opt, [p], [2])
    train(other, [q], [2])
    # Blocks are other elements now, and bits of rounding fall on others.
    lost = coarseness(format) ** 0.5 / 3
    assert ((p - q).norm() / (q - randn(8, 16, 6, 7, seed=1)).norm()).item() <= lost


@every_stored
def test_a_size_of_one_has_no_place_in_memory(format: str) -> None:
    """Its stride is anything; no code is rounded for it."""
    p, q = leaf(randn(64, 1, 80)), leaf(randn(64, 1, 80))
    opt, other = Adam([p], state_format=format), Adam([q], state_format=format)
    train(opt, [p], range(2))
    train(other, [q], range(2))
    p.data = torch.as_strided(p.data, (64, 1, 80), (80, 1, 1))
    train(opt, [p], range(2, 4))
    train(other, [q], range(2, 4))
    assert everything(opt) == everything(other)


def test_state_of_another_size_is_refused() -> None:
    params = large()
    opt = Adam(params, state_format="float8")
    train(opt, params, range(1))
    other = Adam([leaf(randn(60, 71)), *params[1:]], state_format="float8")
    with pytest.raises(ValueError, match=r"'exp_avg'.*nothing was loaded"):
        other.load_state_dict(opt.state_dict())


# What is refused.

REFERENCE_ONLY: dict[str, tuple[Any, dict[str, Any], str]] = {
    "meta": (lambda: leaf(torch.empty(5000, device="meta")), {}, "on meta"),
    "differentiable": (lambda: randn(5000), {"differentiable": True}, "differentiable"),
    "reference asked for": (lambda: leaf(randn(5000)), {"backend": "reference"}, "backend='reference'"),
}


@every_stored
@pytest.mark.parametrize(("make", "options", "reason"), REFERENCE_ONLY.values(), ids=REFERENCE_ONLY)
def test_what_only_the_reference_can_update_takes_no_format(
    make: Any, options: dict[str, Any], reason: str, format: str
) -> None:
    p = make()
    opt = Adam([p], state_format=format, **options)
    p.grad = torch.ones_like(p)
    with pytest.raises(
        ValueError, match=rf"(state_format='{format}'|backend='reference') cannot update.*{reason}"
    ):
        opt.step()
    assert not opt.state


def test_scaled_state_moves_to_the_reference_backend() -> None:
    """Without a format asked for, it is widened and goes on."""
    p, q = leaf(randn(5000)), leaf(randn(5000))
    opt = Adam([p], state_format="float8")
    train(opt, [p], range(2))
    q.data.copy_(p.data)
    wide, narrow = Adam([q]), Adam([p], backend="reference")
    for other in (wide, narrow):
        other.load_state_dict(copy.deepcopy(opt.state_dict()))
    train(wide, [q], [2])
    train(narrow, [p], [2])
    assert_rounding([p], [q])
