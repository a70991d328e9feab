"""What a format says of itself: names, the dtype of torch, and the byte by which packed state knows it."""

import numpy as np
import pytest

from adamas import formats

every_format = pytest.mark.parametrize("name", formats.names())


@every_format
def test_both_signs_say_the_same(name: str) -> None:
    one, other = formats.get(name, True), formats.get(name, False)
    assert (one.name, one.id, one.torch_dtype, one.aliases) == (
        name,
        other.id,
        other.torch_dtype,
        other.aliases,
    )


def test_ids_are_bytes_and_no_two_are_the_same() -> None:
    ids = [formats.get(name).id for name in formats.names()]
    assert len(set(ids)) == len(ids)
    assert all(0 <= x < 256 for x in ids)


def test_ids_in_checkpoints_stay() -> None:
    """Packed state was written with them."""
    assert formats.get("float8").id == 0


def test_no_alias_means_two_formats() -> None:
    written = [x for name in formats.names() for x in (name, *formats.get(name).aliases)]
    assert len(set(written)) == len(written)


@every_format
def test_names_and_aliases_are_found(name: str) -> None:
    for written in (name, *formats.get(name).aliases):
        assert formats.find(written) == name


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
    found = [formats.find(x) for x in ("bf16", "fp16", "half", "fp32", "fp8", np.dtype(np.float32))]
    assert found == ["bfloat16", "float16", "float16", "float32", "float8", "float32"]


@pytest.mark.parametrize("wrong", ["float7", "", None, 8, "FLOAT8 "])
def test_another_name_is_an_error_that_lists_all(wrong: object) -> None:
    with pytest.raises(ValueError, match="unknown format") as caught:
        formats.find(wrong)
    assert all(name in str(caught.value) for name in formats.names())
