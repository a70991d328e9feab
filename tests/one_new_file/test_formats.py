"""One new file is enough for a storage format: Adam keeps its state in it, and loads and saves it."""

import json
from typing import Any

import pytest
from scratch_support import Scratch

pytest.importorskip("torch", reason="the newcomers are used with torch")

UNSCALED = '''
"""16 bits of which 12 are significant, rounded stochastically: the range is what is left."""

import numpy as np

from ._base import Format, xp


# The bits that stay of the smallest number: the exponent and 11 bits of the fraction.
SIGNED, NONNEGATIVE = (127 - 12) << 11, (127 - 28) << 11


def decode_signed(code):
    code = xp.u32(code)
    low = xp.u32(code & xp.u32(0x7FFF))
    bits = xp.u32(xp.u32(low + xp.u32(SIGNED)) << xp.u32(12))
    sign = xp.u32(xp.u32(code & xp.u32(0x8000)) << xp.u32(16))
    return xp.from_bits(xp.where(low == xp.u32(0), xp.u32(0), xp.u32(bits | sign)))


def encode_signed(x, random):
    bits = xp.bits(x)
    kept = xp.u32(xp.u32(xp.u32(bits & xp.u32(0x7FFFFFFF)) + xp.u32(random >> xp.u32(20))) >> xp.u32(12))
    low = xp.u32(xp.minimum(xp.maximum(kept, xp.u32(SIGNED)), xp.u32(SIGNED + 0x7FFF)) - xp.u32(SIGNED))
    return xp.u16(xp.u32(low | xp.u32(xp.u32(bits >> xp.u32(16)) & xp.u32(0x8000))))


def decode_nonnegative(code):
    code = xp.u32(code)
    bits = xp.u32(xp.u32(code + xp.u32(NONNEGATIVE)) << xp.u32(12))
    return xp.from_bits(xp.where(code == xp.u32(0), xp.u32(0), bits))


def encode_nonnegative(x, random):
    bits = xp.bits(x)
    kept = xp.u32(xp.u32(bits + xp.u32(random >> xp.u32(20))) >> xp.u32(12))
    kept = xp.minimum(xp.maximum(kept, xp.u32(NONNEGATIVE + 1)), xp.u32(NONNEGATIVE + 0xFFFF))
    return xp.u16(xp.where(bits == xp.u32(0), xp.u32(0), xp.u32(kept - xp.u32(NONNEGATIVE))))


_COMMON = ("newcomer", np.dtype(np.uint16), np.dtype(np.float32))
_OPTIONS = {"rounds": True, "torch_dtype": "int16", "aliases": ("new",)}
FORMATS = {
    True: Format(*_COMMON, decode_signed, encode_signed, **_OPTIONS),
    False: Format(*_COMMON, decode_nonnegative, encode_nonnegative, signed=False, **_OPTIONS),
}
'''


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_an_unscaled_format_has_a_dtype_of_its_own(scratch: Scratch, dtype: str) -> None:
    """Its state would be read as another format's, or not at all: an error says so at once."""
    scratch.add("formats/newcomer.py", UNSCALED.replace('"int16"', repr(dtype)))
    output = scratch.python(
        """
        import torch
        from adamas.torch import Adam

        try:
            Adam([torch.nn.Parameter(torch.ones(3))], state_format="newcomer")
        except TypeError as error:
            print(error)
        """
    )
    assert "newcomer" in output
    assert f"torch.{dtype}" in output
    assert "torch_dtype of its own" in output


# A linear code with a scale a block; `BITS` is 8 or 16.
SCALED = '''
"""Multiples of the largest magnitude of a block over the largest code, rounded stochastically."""

import numpy as np

from ._base import Format, xp

TOP, MIDDLE = 2**BITS - 1, 2 ** (BITS - 1)


def decode_signed(code, scale):
    return (xp.f32(xp.u32(code)) - xp.f32(MIDDLE)) * xp.f32(1 / (MIDDLE - 1)) * scale


def encode_signed(x, inverse, random):
    noise = xp.f32(xp.u32(random >> xp.u32(9))) * xp.f32(2.0**-23)
    scaled = x * inverse * xp.f32(MIDDLE - 1) + xp.f32(MIDDLE) + noise
    return xp.uBITS(xp.u32(xp.minimum(scaled, xp.f32(TOP))))


def decode_nonnegative(code, scale):
    return xp.f32(xp.u32(code)) * xp.f32(1 / TOP) * scale


def encode_nonnegative(x, inverse, random):
    noise = xp.f32(xp.u32(random >> xp.u32(9))) * xp.f32(2.0**-23)
    raised = xp.minimum(xp.maximum(x * inverse * xp.f32(TOP) + noise, xp.f32(1)), xp.f32(TOP))
    return xp.uBITS(xp.u32(xp.where(x > xp.f32(0), raised, xp.f32(0))))


_COMMON = ("newcomer", np.dtype(np.uintBITS), np.dtype(np.float32))
_OPTIONS = {"rounds": True, "scaled": True, "scale_factor": 1 + 2.0**-20, "aliases": ("new",)}
FORMATS = {
    True: Format(*_COMMON, decode_signed, encode_signed, **_OPTIONS),
    False: Format(*_COMMON, decode_nonnegative, encode_nonnegative, signed=False, **_OPTIONS),
}
'''

# Adam with state in the new format, beside float32: while it trains, and through checkpoints both ways.
USE_FORMAT = """
    import io, json
    import torch
    from adamas.torch import Adam

    target = torch.linspace(-1, 1, 4103).roll(1000)

    def optimizer(p, **options):
        return Adam([p], lr=0.05, **options)

    def train(p, opt, steps):
        for _ in range(steps):
            p.grad = p.detach() - target
            opt.step()

    def parameter(values=None):
        values = torch.zeros(4103) if values is None else values.detach().clone()
        return torch.nn.Parameter(values)

    def through_a_file(saved):
        file = io.BytesIO()
        torch.save(saved, file)
        file.seek(0)
        return torch.load(file)

    def error(opt, wide):
        (state,), (wide,) = (x.torch_state_dict()["state"].values() for x in (opt, wide))
        keys = ("exp_avg", "exp_avg_sq")
        return {k: float((state[k] - wide[k]).abs().max() / wide[k].abs().max()) for k in keys}

    p, q = parameter(), parameter()
    new, wide = optimizer(p, state_format="new"), optimizer(q)
    train(p, new, 10)
    train(q, wide, 10)
    found = {"state": {k: [str(x.dtype), list(x.shape)] for k, x in new.state[p].items()}}
    # Into float32, with the values of the codes; those are near the ones of a run in float32.
    r = parameter(p)
    other = optimizer(r)
    other.load_state_dict(through_a_file(new.state_dict()))
    train(r, other, 1)
    train(p, new, 1)
    found["moved"] = float((p - r).detach().abs().max())
    train(q, wide, 1)
    found["beside float32"] = error(other, wide)
    # Back into the new format.
    s = parameter(r)
    again = optimizer(s, state_format="newcomer")
    again.load_state_dict(through_a_file(other.state_dict()))
    train(s, again, 1)
    found["back"] = {k: [str(x.dtype), list(x.shape)] for k, x in again.state[s].items()}
    wide_again = optimizer(parameter(s))
    wide_again.load_state_dict(again.torch_state_dict())
    train(r, other, 1)
    found["there and back"] = error(wide_again, other)
    # To the bit from one optimizer in the new format to another.
    t = parameter(p)
    twin = optimizer(t, state_format="new")
    twin.load_state_dict(through_a_file(new.state_dict()))
    train(p, new, 3)
    train(t, twin, 3)
    found["resumed"] = bool(torch.equal(p, t))
    train(p, new, 100)
    found["distance"] = float((p - target).detach().abs().mean())
    print(json.dumps(found))
"""


def check_format(scratch: Scratch, within: float) -> dict[str, Any]:
    """Use the newcomer as the format of Adam's state; return what its state tensors are."""
    found = json.loads(scratch.python(USE_FORMAT))
    assert found["distance"] < 0.05
    assert found["resumed"]
    # The same values were decoded by the kernel and by the loading: the step is that of rounding alone.
    assert found["moved"] < 0.05 * within
    for pair in ("beside float32", "there and back"):
        assert max(found[pair].values()) < within, pair
    assert found["back"] == found["state"]
    return dict(found["state"])


def test_an_unscaled_format(scratch: Scratch) -> None:
    scratch.add("formats/newcomer.py", UNSCALED)
    state = check_format(scratch, within=2e-3)
    assert state["exp_avg_newcomer"] == state["exp_avg_sq_newcomer"] == ["torch.int16", [4103]]
    assert not state.keys() & {"exp_avg", "exp_avg_sq"}  # into which torch would copy values


@pytest.mark.parametrize(("bits", "within"), [(8, 0.05), (16, 2e-4)])
def test_a_scaled_format(scratch: Scratch, bits: int, within: float) -> None:
    scratch.add("formats/newcomer.py", SCALED.replace("BITS", str(bits)))
    state = check_format(scratch, within)
    for key in ("exp_avg", "exp_avg_sq"):
        assert key not in state
        assert state[f"{key}_newcomer"][1] == [4103]
        assert state[f"{key}_newcomer_scale"] == ["torch.float32", [33]]
