"""What a format says of itself: names, the dtype of torch, sizes, and what it is fit for."""

import numpy as np
import pytest

from adamas import formats
from adamas.formats import BLOCK

every_format = pytest.mark.parametrize("name", formats.names())


@every_format
def test_both_signs_say_the_same(name: str) -> None:
    one, other = formats.get(name, True), formats.get(name, False)
    assert one.name == name
    same = ("name", "stored", "compute", "scaled", "packs", "bytes", "torch_dtype", "aliases")
    for attribute in (*same, "needs_divisor", "rounds"):
        assert getattr(one, attribute) == getattr(other, attribute), attribute


def test_no_alias_means_two_formats() -> None:
    written = [x for name in formats.names() for x in (name, *formats.get(name).aliases)]
    assert len(set(written)) == len(written)


@every_format
def test_names_and_aliases_are_found(name: str) -> None:
    for written in (name, *formats.get(name).aliases):
        assert formats.find(written) == name


@every_format
def test_the_size_of_an_element_has_its_share_of_a_scale(name: str) -> None:
    format = formats.get(name)
    bits = 8 * format.stored.itemsize / format.packs + (32 / BLOCK if format.scaled else 0)
    assert format.bytes == bits / 8
    assert format.scaled == (format.scale_factor != 1)


@every_format
def test_the_dtype_of_torch_has_the_codes(name: str) -> None:
    torch = pytest.importorskip("torch")
    format = formats.get(name)
    assert (format.torch_dtype is None) == format.scaled
    if format.torch_dtype is None:
        return
    dtype = getattr(torch, format.torch_dtype)
    assert formats.find(dtype) == name
    values = np.array([0.0, 1.0, -2.5, 2.0**-10], np.float32)
    codes = torch.tensor(values).to(dtype).view(torch.uint8).numpy().view(format.stored)
    decoded = codes if format.decode is None else format.decode(codes)
    np.testing.assert_array_equal(decoded, values)


def test_the_usual_short_names() -> None:
    found = [formats.find(x) for x in ("bf16", "fp16", "half", "fp32", "fp8", "fp4", np.dtype(np.float32))]
    assert found == ["bfloat16", "float16", "float16", "float32", "float8", "float4", "float32"]


@pytest.mark.parametrize("wrong", ["float7", "", None, 8, "FLOAT8 "])
def test_another_name_is_an_error_that_lists_all(wrong: object) -> None:
    with pytest.raises(ValueError, match="unknown format") as caught:
        formats.find(wrong)
    assert all(name in str(caught.value) for name in formats.names())


# Blocks.


@pytest.mark.parametrize(
    ("shape", "length", "scales"),
    [
        ((), 1, (1,)),
        ((0,), 1, (1,)),
        ((5000,), 5000, (40,)),
        ((300, 64), 128, (150, 1)),
        ((4096, 16), 128, (512, 1)),
        ((100, 150), 150, (100, 2)),
        ((64, 3, 7, 7), 147, (64, 2)),
        ((7, 9), 126, (1, 1)),
        ((7, 128), 128, (7, 1)),
        ((3, 129), 129, (3, 2)),
    ],
)
def test_rows_blocks_and_scales(shape: tuple[int, ...], length: int, scales: tuple[int, ...]) -> None:
    """A row is an index of the first dimension, or as many whole rows as a block holds."""
    assert formats.row_length(shape) == length
    assert formats.scales_shape(shape) == scales


@pytest.mark.parametrize(
    ("shape", "packed"), [((5000,), (2500,)), ((5001,), (2501,)), ((4, 151), (4, 76)), ((50, 9), (4, 63))]
)
def test_packed_codes_begin_anew_with_every_row(shape: tuple[int, ...], packed: tuple[int, ...]) -> None:
    assert formats.packed_shape(shape, 2) == packed
