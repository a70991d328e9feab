"""Checkpoints of an earlier version, whose float8 slots were codes and scales in one flat tensor."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from state_support import FOR_ADAM, formats_in, loss_to, through_a_file
from torch import Tensor
from torch_support import bits, leaf, train

from adamas.torch import SGD, Adam

# One step of Adam(lr=.5, betas=(.5, .5), state_format="float8") from zeros, with gradients ±2^-(k % 24) of
# element k, as commit bccb251 saved it: the bytes of each tensor, compressed, their number, and the hash of
# its values in float32, row-major.
SAVED = {
    ("vector", "exp_avg"): (
        4234,
        "9daffa0480e39845",
        "c-s44p8q^P{JgvUc765v;{5H53=Iq*^nX-*RD4u?RD4u?RD4u?RD4u?RD4u?RD4u?RD4u?*ofDczh~&|=&&1LY{tL<08nkVng",
    ),
    ("vector", "exp_avg_sq"): (
        4234,
        "2f67ddf005b2106d",
        "c-s5_{{H#>>*x2^=g0fo>&x>qLc#x0@lo+n@lo+n@lo+n@lo+n@lo+n@lo+n@lo+n@nItl<TFg{=&&1LtjE9r0HdVn=l",
    ),
    ("transposed", "exp_avg"): (
        4295,
        "e503f553964e76e0",
        "c-qC6JraU25Js1d+fb(PC#A=sObJ$o(^y)1BumSPKRXVCNcc7zW?l-)<z@CwLScglM;8fA;aVf(Miowi5ggTRg<_jy&z+2nn"
        "$8#pI=v9y0vlle*AGT|5n%tq5x&6w86&+2uzyCn4lL}Sk*)&+`v*rD1N&#B>%hSNnUJXqWB*K^E-0ogstdpUGx}Ya@}H{<)B"
        "f{xK{0JnUHI=`zYBBzwYxCyU$+a2X^ZMYoPWJ8#QN9jLcD*SF0An68FXQp|MXp0>OXZCmitfJg%zGWgDznH({%y=|8F|)_nj"
        "}FXV;%?{_k>A5Iq1BCy3e",
    ),
    ("transposed", "exp_avg_sq"): (
        4295,
        "ac42e8f69a6e56e9",
        "c-qC6Q3}F93`Cm~^f*#Pui_CrLVo*KJfTPE5!OYNmX>1NNis0`*q`voEE!Tn3#3`@h~NgZJmm&Rxdbjl1PCVS-vWPumS+FK2"
        "8$2_Xap`p1PH$V_g){N+5g4{dm#p-6Sxc!AlUi;QAx^$uwb$7MCB5MhO2?#$p5Td2n!bLPE;;IXt){(e)%7r3t_=x-HFO22n"
        "|;Qf!Y6{Tu47SwmVU|1eBv|Mewix-no!|aBO#?atSC$*NOnO@iC6qT9;bqS_9#IlCFCJAlZ;x",
    ),
}
SHAPES = {"vector": torch.zeros(4099), "transposed": torch.zeros(64, 65).t()}
# The first of such checkpoints had no byte for the format at their end.
every_saved = pytest.mark.parametrize(
    ("name", "whole"), [(name, whole) for name in SHAPES for whole in (True, False)]
)
KEYS = ("exp_avg", "exp_avg_sq")


def packed(name: str, key: str, whole: bool = True) -> Tensor:
    size, _, text = SAVED[name, key]
    data = zlib.decompress(base64.b85decode(text))
    assert len(data) == size
    return torch.from_numpy(np.frombuffer(data if whole else data[:-1], np.uint8).copy())


def checkpoint(name: str, whole: bool) -> dict[str, Any]:
    opt = Adam([leaf(SHAPES[name].clone())], lr=0.5, betas=(0.5, 0.5))
    state = {"step": torch.tensor(1.0), **{key: packed(name, key, whole) for key in KEYS}}
    return through_a_file({**opt.state_dict(), "state": {0: state}})


def gradient(p: Tensor) -> Tensor:
    k = torch.arange(p.numel())
    return (torch.where(k % 3 == 0, -1.0, 1.0) * 2.0 ** -(k % 24).float()).reshape(p.shape)


@every_saved
def test_its_values_are_read(name: str, whole: bool) -> None:
    """To the bit; and they are what a step makes, but for the roundings to 8 bits."""
    p = leaf(SHAPES[name].clone())
    opt = Adam([p], state_format="float8")
    opt.load_state_dict(checkpoint(name, whole))
    wide = opt.torch_state_dict()["state"][0]
    g = gradient(p)
    for key, expected in zip(KEYS, (g / 2, g * g / 2), strict=True):
        found = hashlib.sha256(wide[key].contiguous().numpy().tobytes()).hexdigest()[:16]
        assert found == SAVED[name, key][1]
        torch.testing.assert_close(wide[key], expected, rtol=2.0**-3, atol=2.0**-15)


@every_saved
@pytest.mark.parametrize("layout", ["own", "row-major", "transposed"])
@pytest.mark.parametrize("format", FOR_ADAM)
def test_it_loads_into_every_format_and_layout(name: str, whole: bool, layout: str, format: str) -> None:
    p = leaf(SHAPES[name].clone())
    if layout != "own":
        p = leaf(p.detach().contiguous() if layout == "row-major" else p.detach().t().contiguous().t())
    opt = Adam([p], state_format=format)
    opt.load_state_dict(checkpoint(name, whole))
    before = opt.torch_state_dict()["state"][0]
    # A step that leaves the state as it is, but for the conversion.
    opt.param_groups[0].update(lr=0.0, betas=(1 - 2**-50, 1 - 2**-50))
    p.grad = torch.zeros_like(p)
    opt.step()
    assert formats_in(opt, p) == dict.fromkeys(KEYS, format)
    after = opt.torch_state_dict()["state"][0]
    for key in KEYS:
        relative, absolute = loss_to(format, before[key], signed=key == "exp_avg")
        torch.testing.assert_close(after[key], before[key], rtol=relative, atol=absolute, check_stride=False)
    assert not any(x.dtype == torch.uint8 for key, x in opt.state[p].items() if key in KEYS)


def test_it_is_kept_as_it_is_until_a_step_uses_it() -> None:
    p = leaf(SHAPES["vector"].clone())
    opt = Adam([p], state_format="float8")
    saved = checkpoint("vector", True)
    opt.load_state_dict(saved)
    assert bits(opt.state_dict()["state"]) == bits(saved["state"])
    train(opt, [p], range(1))
    assert formats_in(opt, p) == dict.fromkeys(KEYS, "float8")
    # A checkpoint of ours is read again.
    other = Adam([leaf(p.detach().clone())], state_format="float8")
    other.load_state_dict(through_a_file(opt.state_dict()))
    assert bits(other.state_dict()["state"]) == bits(opt.state_dict()["state"])


@pytest.mark.parametrize("p", [torch.zeros(4200), torch.zeros(64, 66), torch.zeros(4160), torch.zeros(9)])
def test_that_of_another_shape_is_refused(p: Tensor) -> None:
    for name in SHAPES:
        if p.numel() == SHAPES[name].numel() and p.dim() == SHAPES[name].dim():
            continue
        opt = Adam([leaf(p.clone())], state_format="float8")
        with pytest.raises(ValueError, match="nothing was loaded"):
            opt.load_state_dict(checkpoint(name, True))
        assert not opt.state


def test_the_codes_of_a_slot_that_is_switched_off_do_not_go_to_torch() -> None:
    """Nobody could read them without the slot."""
    p = leaf(SHAPES["vector"].clone())
    opt = SGD([p], momentum=0.0)
    saved = {**opt.state_dict(), "state": {0: {"momentum_buffer": packed("vector", "exp_avg")}}}
    opt.load_state_dict(saved)
    assert opt.torch_state_dict()["state"].get(0, {}) == {}
