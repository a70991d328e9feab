"""State is ordinary tensors: their keys, shapes and sizes for every layout, and what no reader may take them
for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from state_support import FOR_ADAM, LARGE, SCALED_FOR_ADAM, formats_in, stored_bytes, tensors_of
from torch import Tensor
from torch_support import DROP_IN, bits, leaf, randn, train

from adamas import formats
from adamas.torch import Adam

every_scaled = pytest.mark.parametrize("format", SCALED_FOR_ADAM)
# A parameter, and its shape from the slowest dimension in memory to the fastest.
LAYOUTS: dict[str, tuple[Tensor, tuple[int, ...], list[int] | None]] = {
    "vector": (randn(5001), (5001,), None),
    "matrix": (randn(100, 150), (100, 150), None),
    "whole blocks": (randn(64, 256), (64, 256), None),
    "convolution": (randn(64, 3, 7, 7), (64, 3, 7, 7), None),
    "short rows": (randn(4096, 16), (4096, 16), None),
    "half blocks": (randn(300, 64), (300, 64), None),
    "odd rows": (randn(600, 9), (600, 9), None),
    "transposed": (randn(70, 61).t(), (70, 61), [1, 0]),
    "channels_last": (
        randn(16, 8, 6, 7).to(memory_format=torch.channels_last),
        (16, 6, 7, 8),
        [0, 2, 3, 1],
    ),
    "size one": (randn(1, 64, 1, 80), (1, 64, 1, 80), None),
    "one row": (randn(1, 5000), (1, 5000), None),
    "one column": (randn(5000, 1), (5000, 1), None),
}
every_layout = pytest.mark.parametrize(("values", "shape", "order"), LAYOUTS.values(), ids=LAYOUTS)


def scales_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks of a vector; rows and blocks a row; of short rows as many as a block holds at once."""
    if len(shape) == 1:
        return (math.ceil(shape[0] / 128),)
    row = math.prod(shape[1:])
    rows = max(1, 128 // row)
    return math.ceil(shape[0] / rows), math.ceil(rows * row / 128)


@every_scaled
@every_layout
def test_keys_shapes_and_dtypes(format: str, values: Tensor, shape: Any, order: list[int] | None) -> None:
    p = leaf(values)
    opt = Adam([p], state_format=format)
    train(opt, [p], range(2))
    state, known = opt.state[p], formats.get(format)
    order_keys = {f"{key}_{format}_order" for key in ("exp_avg", "exp_avg_sq")} if order else set()
    names = {f"{key}_{format}{end}" for key in ("exp_avg", "exp_avg_sq") for end in ("", "_scale")}
    assert state.keys() == {"step"} | names | order_keys
    for key in ("exp_avg", "exp_avg_sq"):
        codes, scales = state[f"{key}_{format}"], state[f"{key}_{format}_scale"]
        if known.packs == 1:
            assert (codes.shape, codes.stride()) == (p.shape, p.stride())
        else:
            together = max(1, 128 // math.prod(shape[1:])) if len(shape) > 1 else 1
            length = together * math.prod(shape[1:]) if len(shape) > 1 else shape[0]
            rows = math.ceil(shape[0] / together)
            stored = math.ceil(length / known.packs)
            assert tuple(codes.shape) == ((rows, stored) if len(shape) > 1 else (stored,))
        assert codes.dtype == getattr(torch, known.stored.name)
        assert tuple(scales.shape) == scales_of(shape)
        assert scales.dtype == torch.float32
        assert all(x.untyped_storage().nbytes() == x.nbytes for x in (codes, scales))
        if order:
            assert state[f"{key}_{format}_order"].tolist() == order


@every_scaled
@every_layout
def test_a_scale_is_that_of_the_largest_of_its_block(
    format: str, values: Tensor, shape: Any, order: Any
) -> None:
    """In the rows that the layout has: a shard of whole rows has whole blocks."""
    p = leaf(values)
    opt = Adam([p], state_format=format, betas=(0.0, 0.999))
    p.grad = torch.empty_like(p).copy_(randn(*p.shape, seed=5))
    opt.step()
    rows = (p.grad if order is None else p.grad.permute(order)).reshape(shape).float()
    length = formats.row_length(shape)
    flat = rows.reshape(-1)
    expected = []
    for start in range(0, flat.numel(), length):
        row = flat[start : start + length]
        expected += [row[k : k + 128].abs().max() for k in range(0, min(length, row.numel()), 128)]
    factor = formats.get(format).scale_factor
    scales = opt.state[p][f"exp_avg_{format}_scale"].flatten()
    torch.testing.assert_close(scales, torch.stack(expected) * factor, rtol=1e-6, atol=0)


@every_scaled
def test_bytes_a_parameter(format: str) -> None:
    """Both moments: 2.07 in 8 bits and 1.1 in 4, where rows are whole blocks."""
    p = leaf(torch.zeros(1024, 1024, dtype=torch.bfloat16))
    opt = Adam([p], state_format=format)
    train(opt, [p], range(1))
    used = stored_bytes(opt, p) / p.numel()
    assert used == 2 * formats.get(format).bytes
    bits_of_a_code = 8 * formats.get(format).stored.itemsize / formats.get(format).packs
    assert used <= {8: 2.07, 4: 1.1}.get(bits_of_a_code, 2.07)


@every_scaled
@pytest.mark.parametrize("shape", [(LARGE,), (LARGE - 1,), (64, 64), (63, 65), (2, 3, 700), (2, 3, 600)])
def test_the_number_of_elements_says_what_is_scaled(format: str, shape: tuple[int, ...]) -> None:
    """All of them, whatever the shape: 4,096 and more."""
    p = leaf(randn(*shape))
    opt = Adam([p], state_format=format)
    train(opt, [p], range(1))
    expected = format if math.prod(shape) >= LARGE else "float32"
    assert formats_in(opt, p) == {"exp_avg": expected, "exp_avg_sq": expected}


@every_scaled
def test_state_of_equal_shapes_shares_no_memory(format: str) -> None:
    params = [leaf(randn(5000, seed=k)) for k in range(3)]
    opt = Adam(params, state_format=format)
    train(opt, params, range(1))
    places = [x.data_ptr() for p in params for x in tensors_of(opt, p).values()]
    assert len(set(places)) == len(places)


# No reader takes codes for values.


@pytest.mark.parametrize("name", sorted(DROP_IN))
def test_torch_does_not_step_with_codes(name: str) -> None:
    """Torch's own class finds none of its keys, and says so; `torch_state_dict` is for it."""
    p = leaf(randn(5000))
    options: dict[str, Any] = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    opt = DROP_IN[name]([p], state_format="float8", **options)
    train(opt, [p], range(2))
    q = leaf(p.detach().clone())
    theirs = getattr(torch.optim, name)([q], foreach=False, **options)
    theirs.load_state_dict(opt.state_dict())
    before = bits(q)
    q.grad = torch.ones_like(q)
    if name == "SGD":  # which begins anew where it finds no buffer
        theirs.step()
        torch.testing.assert_close(q, p - 1e-3)
    else:
        with pytest.raises(KeyError):
            theirs.step()
        assert bits(q) == before
    theirs.load_state_dict(opt.torch_state_dict())
    theirs.step()


@pytest.mark.parametrize("format", FOR_ADAM)
def test_what_goes_to_torch_has_torchs_keys(format: str) -> None:
    p = leaf(randn(70, 61).t())
    opt = Adam([p], state_format=format)
    train(opt, [p], range(2))
    (state,) = opt.torch_state_dict()["state"].values()
    assert {key: (x.dtype, x.shape) for key, x in state.items()} == {
        "step": (torch.float32, torch.Size([])),
        "exp_avg": (torch.float32, p.shape),
        "exp_avg_sq": (torch.float32, p.shape),
    }
