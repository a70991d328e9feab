"""State through files, bit for bit: torch's own without pickled code, and safetensors; into any layout."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from fresh_support import fresh_python
from state_support import SCALED_FOR_ADAM, STORED_FOR_ADAM, formats_in, through_a_file
from torch import Tensor
from torch_support import bits, everything, leaf, randn, train

from adamas import formats
from adamas.torch import Adam

every_stored = pytest.mark.parametrize("format", STORED_FOR_ADAM)
every_scaled = pytest.mark.parametrize("format", SCALED_FOR_ADAM)
Layout = Any
LAYOUTS: dict[str, Layout] = {
    "row-major": lambda x: x.contiguous(),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "reversed": lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
SHAPE = (24, 10, 5, 7)


def laid_out(layout: Layout, seed: int = 1) -> Tensor:
    return leaf(layout(randn(*SHAPE, seed=seed)))


def through_safetensors(state_dict: dict[str, Any], folder: Path) -> dict[str, Any]:
    """As a user writes it: every tensor by a flat name, contiguous, for the file has no strides."""
    safetensors = pytest.importorskip("safetensors.torch")
    flat = {
        f"{index}.{key}": value.contiguous()
        for index, state in state_dict["state"].items()
        for key, value in state.items()
    }
    safetensors.save_file(flat, folder / "state.safetensors")
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in safetensors.load_file(folder / "state.safetensors").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": state_dict["param_groups"]}


def ways(folder: Path) -> list[Any]:
    return [through_a_file, functools.partial(through_safetensors, folder=folder)]


@every_stored
@every_layout
def test_training_goes_on_as_if_it_had_not_stopped(format: str, layout: Layout, tmp_path: Path) -> None:
    """In the same layout, whether the file keeps strides or not."""
    for way in ways(tmp_path):
        through, resumed = [laid_out(layout), leaf(randn(5001))], [laid_out(layout), leaf(randn(5001))]
        whole, first = Adam(through, state_format=format), Adam(resumed, state_format=format)
        train(whole, through, range(5))
        train(first, resumed, range(2))
        second = Adam(resumed, state_format=format)
        second.load_state_dict(way(first.state_dict()))
        assert bits(second.state_dict()) == bits(first.state_dict())
        train(second, resumed, range(2, 5))
        assert everything(second) == everything(whole)
        assert [set(formats_in(second, p).values()) for p in resumed] == [{format}] * 2


@every_scaled
@every_layout
@pytest.mark.parametrize("target", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_loads_into_every_other(
    format: str, layout: Layout, target: Layout, tmp_path: Path
) -> None:
    """Value by value before the first step; after it, within what the new blocks round."""
    p = laid_out(layout)
    opt = Adam([p], state_format=format)
    train(opt, [p], range(3))
    expected = opt.torch_state_dict()["state"][0]
    for way in ways(tmp_path):
        q = leaf(target(p.detach()))
        other = Adam([q], state_format=format)
        other.load_state_dict(way(opt.state_dict()))
        wide = other.torch_state_dict()["state"][0]
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(wide[key], expected[key], rtol=0, atol=0, check_stride=False)
        # In one step from both, only rounding differs: of the same codes none where the layout is the same.
        train(other, [q], [3])
        codes = other.state[q][f"exp_avg_{format}"]
        if formats.get(format).packs == 1:
            assert codes.stride() == q.stride()
        assert (f"exp_avg_{format}_order" in other.state[q]) == (not q.is_contiguous())


@every_scaled
def test_a_loaded_dictionary_is_not_changed(format: str) -> None:
    """Nor is the state of the optimizer that it was taken from."""
    p, q = laid_out(LAYOUTS["transposed"]), laid_out(LAYOUTS["row-major"])
    opt, other = Adam([p], state_format=format), Adam([q], state_format=format)
    train(opt, [p], range(2))
    saved = opt.state_dict()
    before = bits(saved["state"])
    other.load_state_dict(saved)
    train(other, [q], range(2, 4))
    assert bits(saved["state"]) == before


@every_scaled
def test_another_process_goes_on_where_this_one_stopped(format: str, tmp_path: Path) -> None:
    """By a file alone: nothing of a state is of this process."""
    p = laid_out(LAYOUTS["channels_last"])
    opt = Adam([p], state_format=format)
    train(opt, [p], range(2))
    torch.save({"p": p.detach(), "state": opt.state_dict()}, tmp_path / "checkpoint")
    train(opt, [p], range(2, 4))
    fresh_python(
        f"""
        import torch
        from torch_support import leaf, train
        from adamas.torch import Adam

        saved = torch.load({str(tmp_path / "checkpoint")!r}, weights_only=True)
        p = leaf(saved["p"])
        opt = Adam([p], state_format={format!r})
        opt.load_state_dict(saved["state"])
        train(opt, [p], range(2, 4))
        torch.save({{"p": p.detach(), "state": opt.state_dict()}}, {str(tmp_path / "after")!r})
        """
    )
    after = torch.load(tmp_path / "after", weights_only=True)
    assert bits([after["p"], after["state"]["state"]]) == bits([p, opt.state_dict()["state"]])
