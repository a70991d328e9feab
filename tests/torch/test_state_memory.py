"""The memory that state takes while it is made, loaded and converted: no wide copy of the whole, at any time.

Each case is a fresh process, which has compiled its kernels before it counts.
"""

from __future__ import annotations

import json

import pytest
from fresh_support import PEAKS, fresh_python, has_peaks
from state_support import SCALED_FOR_ADAM

from adamas import formats

pytestmark = pytest.mark.skipif(not has_peaks(), reason="the system does not say how much memory was used")
every_scaled = pytest.mark.parametrize("format", SCALED_FOR_ADAM)

N = 40 << 20  # elements: 40 MiB a byte of each
# What beside the arrays themselves may come and go: pieces of a million elements, and what the allocator
# keeps of them; measured at 2 and 40, whatever the number of elements.
SLACK, PIECES = 16, 48
START = """
import io, json, sys
import torch
from adamas.torch import Adam

N = 40 << 20


def stepped(n, dtype, layout=lambda x: x, **options):
    p = layout(torch.zeros(n // 64, 64, dtype=dtype)).requires_grad_()
    p.grad = torch.full_like(p, 0.5)
    return p, Adam([p], **options)


def warm(**options):
    p, opt = stepped(1 << 17, **options)
    opt.step()
    return p, opt
"""


def state_of(format: str) -> float:
    """Of both moments, in MiB."""
    return 2 * formats.get(format).bytes * N / 2**20


def measured(program: str, **values: object) -> dict[str, float]:
    names = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    found: dict[str, float] = json.loads(fresh_python(PEAKS + START + names + program))
    return found


@every_scaled
def test_the_first_step_makes_the_state_and_nothing_else(format: str) -> None:
    """Of one bfloat16 parameter: 2 or 1 bytes an element, where float32 zeros would be 8."""
    found = measured(
        """
options = {"dtype": torch.bfloat16, "state_format": format}
warm(**options)
p, opt = stepped(N, **options)
before = reset()
opt.step()
first = peak_since(before)
before = reset()
opt.step()
print(json.dumps({"first": first, "second": peak_since(before)}))
""",
        format=format,
    )
    assert found["first"] <= state_of(format) + SLACK
    assert found["second"] <= SLACK


@every_scaled
def test_loading_adds_at_most_the_state(format: str) -> None:
    """Beyond the dictionary that is loaded; nor does the first step after it."""
    found = measured(
        """
options = {"dtype": torch.bfloat16, "state_format": format}
warm(**options)
p, opt = stepped(N, **options)
opt.step()
file = io.BytesIO()
torch.save(opt.state_dict(), file)
del opt
other = Adam([p], state_format=format)
file.seek(0)
loaded = torch.load(file, weights_only=True)
before = reset()
other.load_state_dict(loaded)
load = peak_since(before)
other.step()
print(json.dumps({"load": load, "step": peak_since(before)}))
""",
        format=format,
    )
    assert found["load"] <= 1.1 * state_of(format)
    assert found["step"] <= 1.1 * state_of(format) + SLACK


@pytest.mark.parametrize("source", ["float32", "bfloat16", *SCALED_FOR_ADAM])
@pytest.mark.parametrize("target", ["float32", "bfloat16", *SCALED_FOR_ADAM])
def test_a_conversion_makes_the_new_state_in_pieces(source: str, target: str) -> None:
    """At the step after loading; a slot's old tensors go before the next is made, but for the loaded ones."""
    if source == target:
        return
    found = measured(
        """
for format in (source, target):
    warm(dtype=torch.bfloat16, state_format=format)
small, first = warm(dtype=torch.bfloat16, state_format=source)
again = Adam([small], state_format=target)
again.load_state_dict(first.state_dict())
again.step()
p, opt = stepped(N, torch.bfloat16, state_format=source)
opt.step()
saved = opt.state_dict()
other = Adam([p], state_format=target)
other.load_state_dict(saved)
before = reset()
other.step()
print(json.dumps({"step": peak_since(before)}))
""",
        source=source,
        target=target,
    )
    assert found["step"] <= state_of(target) + PIECES


@every_scaled
def test_what_goes_to_torch_is_all_that_is_made(format: str) -> None:
    """Two float32 tensors."""
    found = measured(
        """
options = {"dtype": torch.bfloat16, "state_format": format}
warm(**options)[1].torch_state_dict()
p, opt = stepped(N, **options)
opt.step()
before = reset()
wide = opt.torch_state_dict()
print(json.dumps({"made": peak_since(before)}))
""",
        format=format,
    )
    assert found["made"] <= 8 * N / 2**20 + SLACK


@pytest.mark.slow
@every_scaled
def test_another_layout_is_made_in_pieces(format: str) -> None:
    """Element by element, of a hundred thousand at a time with their indices; a wide copy would add 160."""
    found = measured(
        """
options = {"dtype": torch.bfloat16, "state_format": format}
warm(layout=lambda x: x.t().contiguous().t(), **options)
p, opt = stepped(N, layout=lambda x: x.t().contiguous().t(), **options)
opt.step()
saved = opt.state_dict()
q, other = stepped(N, **options)
del p
other.load_state_dict(saved)
before = reset()
other.step()
print(json.dumps({"step": peak_since(before)}))
""",
        format=format,
    )
    assert found["step"] <= state_of(format) + PIECES


@pytest.mark.huge
def test_two_billion_elements_step_within_14_gib() -> None:
    """Of one bfloat16 parameter with float8 state, and right beyond element 2^31: 13.4 GiB are its own."""
    found = measured(
        """
n, middle = 2_200_000_000, 1 << 31
options = {"dtype": torch.bfloat16, "state_format": "float8", "lr": 1.0}
warm(**options)
reset()
p = torch.zeros(n, dtype=torch.bfloat16).requires_grad_()
p.grad = torch.full_like(p, 0.5)
p.grad[middle:] = -0.25
p.grad[-1] = 4.0
opt = Adam([p], lr=1.0, state_format="float8")
opt.step()
opt.step()
state = opt.state[p]
places = {"first": slice(0, 500), "before": slice(middle - 500, middle), "after": slice(middle, middle + 500)}
places["last"] = slice(n - 1, n)
out = {"peak": peak_since(0)}
for name, place in places.items():
    out[name] = [p.detach()[place].float().min().item(), p.detach()[place].float().max().item()]
scales = state["exp_avg_float8_scale"]
out["scales"] = [x.item() for x in (scales[0], scales[middle // 128 - 1], scales[middle // 128], scales[-1])]
out["codes"] = [state["exp_avg_float8"][x].item() for x in (0, middle - 1, middle, n - 1)]
print(json.dumps(out))
"""
    )
    assert found["peak"] <= 14 * 1024
    lowest = {"first": -2.0, "before": -2.0, "after": 1.984, "last": -2.0}
    for name, low in lowest.items():
        smallest, largest = found[name]
        assert low - 0.02 <= smallest <= largest <= low + 0.04, name
    factor = formats.get("float8", True).scale_factor
    exact = [0.19 * g * factor / 2 for g in (1.0, 1.0, 0.5, 8.0)]
    assert found["scales"] == pytest.approx(exact, rel=1e-3)
    assert found["codes"] == [127, 127, 255, 127]
