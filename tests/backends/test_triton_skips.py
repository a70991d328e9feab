"""The norm, the clip factor and the skip of a step on the device, in Triton's interpreter."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
from gpu_support import OF_GPUS
from prepare_support import ONE, Device, traced

from adamas.backends import exact
from adamas.rules import Rule
from adamas.torch.keywords import StepOptions

pytestmark = pytest.mark.skipif(not OF_GPUS, reason="there is no Triton for this system")


@dataclasses.dataclass(frozen=True)
class Halving(Rule):
    """A rule that carries a value."""

    lr: float = 0.5
    carried = {"half": 1.0}

    def carry(self, t, half):
        return (half / 2,)

    def scalars(self, t, half):
        return (self.lr * half,)

    @staticmethod
    def update(p, g, lr):
        return (p - lr * g,)


def a_step(options: StepOptions, total: int | None, scaler: Sequence[float] = (1, 0)) -> Device:
    """A step with this sum of squares; None for one that is not a number."""
    device = Device(traced(Halving()), [[0.5]], [[3], [1], [0.5]], options)
    device.words = exact.words_of(0 if total is None else total)
    if total is None:
        device.words[exact.NAN] = 1
    device.scaler[:] = scaler
    device.prepare()
    return device


@pytest.mark.parametrize("scale", [1.0, 4.0, 2.0**-20, 3.0])
@pytest.mark.parametrize("total", [0, ONE, 25 * ONE, 10**30 * ONE, None], ids=["0", "1", "25", "1e30", "nan"])
@pytest.mark.parametrize("clip_norm", [0.5, 5.0, math.inf])
def test_clipping(clip_norm: float, total: int | None, scale: float) -> None:
    options = StepOptions(clip_norm=clip_norm)
    device = a_step(options, total, (scale, 0))
    norm = exact.root(device.words) * (1 / scale)
    factor = options.clip_factor(norm)
    np.testing.assert_array_equal(device.info, [norm, factor, 0, 0, 0])
    np.testing.assert_array_equal(device.control, [1 / scale * factor, 0])


SKIPPED = {
    "found": (StepOptions(), ONE, (1, 1)),
    "many found": (StepOptions(), ONE, (8, 3)),
    "scale of 0": (StepOptions(), ONE, (0, 0)),
    "not a number": (StepOptions(skip_nonfinite=True), None, (1, 0)),
    "overflow": (StepOptions(), ONE, (1e-39, 0)),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_a_skipped_step_counts_nothing_but_the_skip(name: str) -> None:
    options, total, scaler = SKIPPED[name]
    device = a_step(options, total, scaler)
    assert device.counters.tolist() == [[3], [1], [0.5]]
    assert device.control[1] == 1
    assert device.info[2:].tolist() == [1, 1, 1]
    device.prepare()
    assert device.info[2:].tolist() == [1, 2, 2]
    device.words, device.scaler = exact.words_of(ONE), np.array([1, 0], np.float32)
    device.prepare(first=False)  # of several launches one tells what was found
    assert device.info[2:].tolist() == [1, 2, 2]
    assert device.control.tolist() == [1, 0]
    device.prepare()
    assert device.info[2:].tolist() == [0, 2, 0]
    assert device.counters.tolist() == [[5], [1], [0.125]]
    assert device.rows[0, 4] == 0.0625


def test_a_norm_that_is_not_finite_skips_only_where_that_is_wanted() -> None:
    assert a_step(StepOptions(clip_norm=1.0), None).control[1] == 0
