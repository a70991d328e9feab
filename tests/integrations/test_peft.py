"""PEFT's LoRA: a few matrices train, the model below them stays, and their state may be in 8 bits."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from state_support import formats_in
from trainer_support import (
    Losses,
    Make,
    assert_as_torch,
    assert_same_state,
    every_option,
    sentences,
    tiny_gpt2,
    trainer,
)

import adamas.torch

peft = trainer("peft")

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # by PEFT

RANK, STEPS = 64, 6  # 64 × 64: large enough for the scales of float8


def adapted() -> Any:
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=RANK, lora_alpha=RANK, target_modules=["c_attn"], fan_in_fan_out=True
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return peft.get_peft_model(tiny_gpt2(), config).eval()  # no dropout


def batches() -> list[dict[str, torch.Tensor]]:
    rows = sentences(4 * STEPS)
    parts = [rows[k::STEPS] for k in range(STEPS)]
    return [{key: torch.stack([row[key] for row in part]) for key in part[0]} for part in parts]


def train(model: Any, opt: torch.optim.Optimizer) -> Losses:
    losses = []
    for batch in batches():
        opt.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def of_all(make: Make) -> tuple[Any, Any]:
    """An adapted model, and an optimizer that is given all of its parameters."""
    model = adapted()
    return model, make(model.parameters(), lr=1e-2)


def test_losses_are_those_of_torch() -> None:
    losses = assert_as_torch(lambda make: train(*of_all(make)))
    assert losses[-1] < losses[0]


@every_option
def test_only_adapters_train_and_have_state(options: dict[str, Any]) -> None:
    model, opt = of_all(functools.partial(adamas.torch.AdamW, **options))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, opt)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != p.requires_grad, name
        assert (p in opt.state) == p.requires_grad == ("lora" in name), name
        if p.requires_grad:
            assert set(formats_in(opt, p).values()) == {options.get("state_format", "float32")}


@every_option
def test_resuming_goes_on_with_the_same_losses(options: dict[str, Any], tmp_path: Path) -> None:
    """The adapters are saved by PEFT, the optimizer as ever."""
    make = functools.partial(adamas.torch.AdamW, **options)
    model, opt = of_all(make)
    train(model, opt)
    model.save_pretrained(tmp_path)
    torch.save(opt.state_dict(), tmp_path / "optimizer.pt")
    other = peft.PeftModel.from_pretrained(tiny_gpt2(), tmp_path, is_trainable=True).eval()
    again = make(other.parameters(), lr=1e-2)
    again.load_state_dict(torch.load(tmp_path / "optimizer.pt"))
    assert train(other, again) == train(model, opt)
    assert_same_state(again, opt)


def test_averaged_adapters_are_saved(tmp_path: Path) -> None:
    model, opt = of_all(functools.partial(adamas.torch.AdamW, average=0.9))
    train(model, opt)
    raw = {name: p.detach().clone() for name, p in model.named_parameters()}
    with opt.averaged_parameters():
        model.save_pretrained(tmp_path)
    other = peft.PeftModel.from_pretrained(tiny_gpt2(), tmp_path)
    for name, p in other.named_parameters():
        assert torch.equal(p, raw[name]) != ("lora" in name), name
    assert all(torch.equal(p, raw[name]) for name, p in model.named_parameters())


def test_two_adapters_take_turns() -> None:
    """The one that rests keeps its values, state and count of steps."""
    model = adapted()
    model.add_adapter("other", model.peft_config["default"])
    opt = adamas.torch.AdamW([p for n, p in model.named_parameters() if "lora" in n], lr=1e-2)
    for name in ("default", "other", "default"):
        model.set_adapter(name)
        train(model, opt)
    taken = {name: int(opt.state[p]["step"]) for name, p in model.named_parameters() if p in opt.state}
    assert {name.split(".")[-2]: n for name, n in taken.items()} == {"default": 2 * STEPS, "other": STEPS}


@pytest.mark.parametrize("format", ["float8", "float4"])
def test_few_bits_train_as_well(format: str) -> None:
    wide, narrow = (
        train(*of_all(functools.partial(adamas.torch.AdamW, state_format=name)))
        for name in ("float32", format)
    )
    assert narrow != wide
    assert narrow[-1] == pytest.approx(wide[-1], rel=0.05)
