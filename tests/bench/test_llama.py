"""The sizes of Llama are those that were published, and the model has their shapes."""

import pytest

pytest.importorskip("torch", reason="the model is one of torch")

import torch

from adamas.bench.llama import PUBLISHED, Llama, LlamaSize, sized

TINY = LlamaSize("tiny", 3, 64, 4, 2, 100, 300)


def test_the_sizes_are_those_of_llama() -> None:
    assert [size.elements() for size in PUBLISHED] == [6_738_415_616, 68_976_648_192, 405_853_388_800]


def test_the_model_has_the_shapes_and_sees_no_later_token() -> None:
    model = Llama(TINY)
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == TINY.shapes()
    codes = torch.arange(8)[None]
    changed = codes.clone()
    changed[0, 5] = 9
    before, after = model(codes), model(changed)
    torch.testing.assert_close(after[:, :5], before[:, :5])
    assert not torch.allclose(after[:, 5:], before[:, 5:])


def test_other_sizes_have_more_or_fewer_layers() -> None:
    for size, wanted in zip(PUBLISHED, (7e9, 70e9, 405e9), strict=True):
        assert sized(wanted) is size
    found = sized(20e9)
    assert (found.name, found.width, found.layers) == ("Llama 2 7B with 98 layers", 4096, 98)
    assert abs(found.elements() / 20e9 - 1) < 0.05
    with pytest.raises(ValueError, match="fewer than one layer"):
        sized(1e6)
    with pytest.raises(ValueError, match="must be positive"):
        sized(-1)
