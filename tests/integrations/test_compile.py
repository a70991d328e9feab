"""torch.compile: a compiled model trains, and a step may stand inside what is compiled."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from trainer_support import (
    Losses,
    Make,
    assert_as_torch,
    assert_same_state,
    every_option,
    examples,
    missing,
    network,
)

import adamas.torch

STEPS = 6
every_compiler = pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
pytestmark = [
    # By torch, of itself.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),
]


@pytest.fixture(autouse=True)
def _compilers() -> Iterator[None]:
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        missing(f"torch.compile has no C++ compiler: {error}")
    yield
    torch.compiler.reset()


def batches(n: int = STEPS) -> Any:
    x, y = examples(16 * n)
    return zip(x.split(16), y.split(16), strict=True)


def train(model: Any, opt: torch.optim.Optimizer, n: int = STEPS) -> Losses:
    losses = []
    for x, y in batches(n):
        opt.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


@every_compiler
def test_losses_are_those_of_torch(compiler: str) -> None:
    model = torch.compile(network(), backend=compiler)
    start = copy.deepcopy(model.state_dict())

    def run(make: Make) -> Losses:
        model.load_state_dict(start)
        return train(model, make(model.parameters(), lr=1e-2))

    losses = assert_as_torch(run)
    assert losses[-1] < losses[0]


@every_option
def test_no_step_compiles_the_model_again(options: dict[str, Any]) -> None:
    """Nor does looking at its averages: parameters stay the tensors that they are."""
    model = torch.compile(network(), backend="aot_eager")
    opt = adamas.torch.AdamW(model.parameters(), lr=1e-2, **options)
    train(model, opt, 1)
    with torch.compiler.set_stance("fail_on_recompile"):
        train(model, opt)
        if "average" in options:
            x = examples(16)[0]
            before = model(x)
            with opt.averaged_parameters():
                assert not torch.equal(model(x), before)
            assert torch.equal(model(x), before)


@every_option
def test_a_step_inside_what_is_compiled_gives_the_same_losses(options: dict[str, Any]) -> None:
    """The graph ends before it: it is compiled already."""
    losses = []
    for compiled in (True, False):
        model = network()
        opt = adamas.torch.AdamW(model.parameters(), lr=1e-2, **options)

        def iteration(x: Any, y: Any, model: Any = model, opt: Any = opt) -> Any:
            opt.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss.detach()

        step = torch.compile(iteration, backend="aot_eager") if compiled else iteration
        losses.append([step(x, y).item() for x, y in batches()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@every_option
def test_resuming_goes_on_with_the_same_losses(options: dict[str, Any], tmp_path: Path) -> None:
    """A checkpoint of a compiled model goes into one that is compiled anew."""

    def make() -> tuple[Any, Any]:
        model = torch.compile(network(), backend="aot_eager")
        return model, adamas.torch.AdamW(model.parameters(), lr=1e-2, **options)

    model, opt = make()
    train(model, opt)
    torch.save((model.state_dict(), opt.state_dict()), tmp_path / "checkpoint")
    other, again = make()
    for part, saved in zip((other, again), torch.load(tmp_path / "checkpoint"), strict=True):
        part.load_state_dict(saved)
    assert train(other, again) == train(model, opt)
    assert_same_state(again, opt)
