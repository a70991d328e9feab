"""`report()`: what it says of options, backends and formats is what a step does, in 80 columns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from state_support import FOR_ADAM, FORMATS, fits, formats_in
from torch import nn
from torch_support import OPTIMIZERS, Make, assorted, everything, leaf, randn, train

from adamas.torch import Adam, AdamW, groups
from adamas.torch.report import Report


def static(report: Report) -> list[str]:
    """The lines of what parameters are stepped with, without those of what was measured or read."""
    lines = str(report).splitlines()
    return lines[: lines.index("", lines.index("") + 1)]


every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def parameters() -> list[torch.Tensor]:
    """All layouts and types, and some large enough for every format."""
    return [*assorted(torch.float32), leaf(randn(64, 70)), leaf(randn(5000)), leaf(randn(64, 70).double())]


@every_optimizer
@pytest.mark.parametrize("format", [None, *FORMATS])
def test_the_formats_are_those_of_the_state(make: Make, format: str | None) -> None:
    if format is not None and not fits(make, format):
        pytest.skip("refused for this rule")
    params = parameters()
    opt: Any = make(params, state_format=format)
    before = opt.report()
    train(opt, params, [1])
    for report in (before, opt.report()):
        assert [param.shape for param in report.params] == [tuple(p.shape) for p in params]
        for p, param in zip(params, report.params, strict=True):
            assert not p.numel() or p.is_complex() or dict(param.formats) == formats_in(opt, p)
            wide = set(param.formats.values()) - {format} if format else set()
            assert bool(wide) == any("not" in note for note in param.notes)
    assert static(before) == static(opt.report())


@every_optimizer
def test_it_changes_nothing(make: Make) -> None:
    params = parameters()
    opt: Any = make(params)
    before = everything(opt)
    str(opt.report())
    assert everything(opt) == before
    assert opt.backend == "auto"


def test_averages_are_among_the_formats() -> None:
    opt = Adam([leaf(randn(64, 70))], state_format="float8", average=0.9)
    assert opt.report().params[0].formats == {
        "exp_avg": "float8",
        "exp_avg_sq": "float8",
        "average": "float32",
    }


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_backend_is_that_of_the_step(device: str, dtype: torch.dtype) -> None:
    p = torch.nn.Parameter(torch.empty(3, device=device, dtype=dtype))
    opt = Adam([p])
    before = opt.report()
    p.grad = torch.zeros_like(p)
    opt.step()
    assert before.backend == opt.report().backend == before.params[0].backend == opt.backend
    assert any("it is on meta" in note for note in before.params[0].notes) == (device == "meta")


def test_what_cannot_be_stepped_says_so() -> None:
    p = torch.nn.Parameter(torch.empty(3, device="meta"))
    opt = Adam([p], state_format="bfloat16")
    report = opt.report()
    assert report.params[0].backend is None
    assert report.backend == "none"
    p.grad = torch.zeros_like(p)
    with pytest.raises(ValueError, match="cannot update") as error:
        opt.step()
    assert report.params[0].notes == (str(error.value),)


def test_frozen_and_lazy_parameters_are_named() -> None:
    frozen, lazy = leaf(torch.ones(3)).requires_grad_(False), nn.LazyLinear(3).weight
    first, second = Adam([frozen, lazy]).report().params
    assert (first.frozen, second.frozen) == (True, False)
    assert "frozen" in first.notes[0]
    assert "lazy" in second.notes[0]


# The groups.


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(80)
        self.a_name_that_is_longer_than_most_names_that_are_given_to_modules = nn.Linear(80, 80)
        self.volume = nn.Parameter(torch.zeros((2, 1) * 8))


def model() -> nn.Sequential:
    return nn.Sequential(*(Block() for _ in range(12)))


def test_options_that_differ_and_those_that_do_not() -> None:
    net = model()
    opt = AdamW(groups(net, {"0.*": {"lr": 0.5}}, no_decay=True), lr=torch.tensor(0.25), clip_norm=2.0)
    report = opt.report()
    assert [set(group.differing) for group in report.groups] == [{"lr", "weight_decay"}] * 4
    assert [group.options["lr"] for group in report.groups] == [group["lr"] for group in opt.param_groups]
    assert report.options == {"clip_norm": 2.0}
    names = [param.name for group in report.groups for param in group.params]
    assert names == [name for group in opt.param_groups for name in group["param_names"]]
    assert [param.index for param in report.params] == list(range(len(names)))
    text = str(report)
    assert "betas (0.9, 0.999)" in text.splitlines()[0]
    assert "clip_norm 2" in text.splitlines()[0]
    assert "group 1: lr 0.5, weight_decay 0; 3 tensors of 240 elements" in text
    assert "group 2: lr 0.25, weight_decay 0.01; 22 tensors" in text


def test_an_option_that_one_group_alone_has_is_shown() -> None:
    text = str(Adam([{"params": simple()}, {"params": simple(), "misspelt": 3}]).report())
    assert "group 1: misspelt 3;" in text


def simple() -> list[torch.Tensor]:
    return [leaf(torch.ones(3))]


def test_layers_that_are_alike_share_a_line() -> None:
    lines = static(AdamW(groups(model(), no_decay=True)).report())
    (line,) = [line for line in lines if "norm.weight" in line]
    assert line.split()[1:] == ["*.norm.weight", "12", "80", "960", "float32"]


@pytest.mark.parametrize("format", FOR_ADAM)
@pytest.mark.parametrize("named", [True, False])
def test_it_fits_80_columns(format: str, named: bool) -> None:
    net = model()
    opt = AdamW(net.named_parameters() if named else net.parameters(), state_format=format, average=0.5)
    text = repr(opt.report())
    assert max(map(len, text.splitlines())) <= 80
    assert ("volume" in text) == named
    assert f"{sum(p.numel() for p in net.parameters()):,}" in text


def test_slots_in_different_formats_are_listed() -> None:
    text = str(Adam([leaf(randn(64, 70))], state_format={"exp_avg": "bfloat16"}).report())
    assert "[1] exp_avg in bfloat16, exp_avg_sq in float32" in text


def test_every_note_has_its_mark() -> None:
    opt = Adam([leaf(randn(3)), leaf(randn(3).double()), leaf(randn(64, 70))], state_format="float8")
    lines = static(opt.report())
    rows = {line.split()[0]: line.split()[-1] for line in lines if line.startswith("  #")}
    assert rows == {"#0": "[1]", "#1": "[2]", "#2": "float8"}
    assert any(line.startswith("[1] state in float32, not float8: tensors of fewer than") for line in lines)
    assert any(line.startswith("[2] state in float64, not float8: float64 and complex") for line in lines)
