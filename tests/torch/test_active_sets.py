"""Which parameters have a gradient may change at every step: the same bits, and no plan made anew."""

from __future__ import annotations

import copy
import functools
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from code_support import SCALED, STORED
from state_support import fits
from torch import Tensor
from torch_support import DROP_IN, OPTIMIZERS, Make, assert_rounding, bits, everything, leaf, randn

import adamas.torch

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
STEPS, PARAMS = 8, 9
Sets = list[list[int]]


def alternating(n: int, steps: int) -> Sets:
    """A GAN: one half, then the other."""
    return [list(range(n // 2)) if t % 2 else list(range(n // 2, n)) for t in range(steps)]


def random_halves(n: int, steps: int) -> Sets:
    """A mixture of experts, or LayerDrop."""
    chosen = random.Random(0)
    return [sorted(chosen.sample(range(n), n // 2)) for _ in range(steps)]


def nearly_all(n: int, steps: int) -> Sets:
    return [[k for k in range(n) if k != (5 * t) % n] for t in range(steps)]


def disjoint(n: int, steps: int) -> Sets:
    """One at a time, in turn, and at times none."""
    return [[t % n] if t % 4 < 3 else [] for t in range(steps)]


def growing(n: int, steps: int) -> Sets:
    """Layers that thaw one by one."""
    return [list(range(min(n, t + 1))) for t in range(steps)]


SETS = [alternating, random_halves, nearly_all, disjoint, growing]
every_set = pytest.mark.parametrize("sets", SETS)


def params_of(dtype: torch.dtype, first: int = 40) -> list[Tensor]:
    """Small ones, some of several dimensions."""
    shapes = [(first,), (5, 3), (), (17,), (2, 3, 4), (1,), (33,), (6, 6), (9,)]
    return [leaf(randn(*shape, seed=k).to(dtype)) for k, shape in enumerate(shapes)]


def give(params: Sequence[Tensor], active: Sequence[int], t: int) -> None:
    for k, p in enumerate(params):
        p.grad = randn(*p.shape, seed=100 * t + k).to(p.dtype) if k in active else None


def run(opt: torch.optim.Optimizer, params: Sequence[Tensor], sets: Sets, start: int = 0) -> None:
    for t, active in enumerate(sets, start):
        give(params, active, t)
        opt.step()


def beside_one_each(make: Make, dtype: torch.dtype, sets: Sets, groups: int = 1, first: int = 40) -> None:
    """An optimizer for each parameter, which sees the others too (rounding depends on a parameter's place),
    but never with a gradient. State that is not active does not change by a bit."""

    def grouped(params: list[Tensor]) -> Any:
        return [{"params": params[k::groups], "lr": 0.01 * (k + 1)} for k in range(groups)]

    together = params_of(dtype, first)
    apart = [params_of(dtype, first) for _ in together]
    opt = make(grouped(together))
    others = [make(grouped(params)) for params in apart]
    for t, active in enumerate(sets):
        give(together, active, t)
        idle = [p for k, p in enumerate(together) if k not in active]
        before = bits([idle, [opt.state.get(p, {}) for p in idle]])
        opt.step()
        assert bits([idle, [opt.state.get(p, {}) for p in idle]]) == before
        for k in active:
            apart[k][k].grad = together[k].grad
            others[k].step()
    for k, p in enumerate(together):
        q = apart[k][k]
        assert bits(p) == bits(q)
        assert bits(opt.state.get(p, {})) == bits(others[k].state.get(q, {}))


@every_set
@every_optimizer
@pytest.mark.parametrize("groups", [1, 3])
def test_each_parameter_steps_as_if_alone(make: Make, sets: Callable[[int, int], Sets], groups: int) -> None:
    beside_one_each(make, torch.float32, sets(PARAMS, STEPS), groups)


FORMATS: list[tuple[torch.dtype, dict[str, Any]]] = [
    (torch.bfloat16, {}),
    (torch.float16, {}),
    (torch.bfloat16, {"state_format": "bfloat16"}),
    *((torch.float32, {"state_format": name}) for name in STORED if name != "bfloat16"),
    (torch.float32, {"state_format": "bfloat16", "average": 0.75}),
    (torch.float32, {"average": 0.75}),
    (torch.float64, {}),
    (torch.complex64, {}),
    (torch.float32, {"backend": "reference"}),
]


# A plan treats these in ways of their own: a first step told by missing state, a value that is carried on, a
# rule that is not ours. They are crossed with all formats; each of the others takes two in turn, for each
# pair is a compilation, and what a kernel makes of a format is proved in tests/backends.
KINDS = ("Adam", "SGD-momentum", "NAdam", "Optimizer")
CROSSED = [
    pytest.param(make, *format, id=f"{name}-{'-'.join(map(str, format))}")
    for k, (name, make) in enumerate(OPTIMIZERS.items())
    for n, format in enumerate(FORMATS)
    if name in KINDS or (n - k) % len(FORMATS) in (0, 4)
    if "state_format" not in format[1] or fits(make, format[1]["state_format"])
]


@pytest.mark.parametrize(("make", "dtype", "options"), CROSSED)
def test_each_parameter_steps_as_if_alone_in_every_format(
    make: Make, dtype: torch.dtype, options: dict[str, Any]
) -> None:
    first = 4200 if options.get("state_format") in SCALED else 40  # large enough for scales
    beside_one_each(functools.partial(make, **options), dtype, random_halves(PARAMS, 5), first=first)


@every_set
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name.partition("-")[0] in DROP_IN])
@pytest.mark.parametrize("clip", [None, 0.5], ids=["plain", "clip"])
def test_the_numbers_are_torchs(name: str, sets: Callable[[int, int], Sets], clip: float | None) -> None:
    """Clipping measures the gradients that are there, and no others."""
    make = OPTIMIZERS[name]
    keywords = make.keywords if isinstance(make, functools.partial) else {}
    ours, theirs = params_of(torch.float32), params_of(torch.float32)
    opt = make(ours, **({} if clip is None else {"clip_norm": clip}))
    reference = getattr(torch.optim, name.partition("-")[0])(theirs, foreach=False, **keywords)
    for t, active in enumerate(sets(PARAMS, STEPS)):
        give(ours, active, t)
        give(theirs, active, t)
        norm = 0.0
        if clip is not None:
            norm = float(torch.nn.utils.clip_grad_norm_(theirs, clip))
        opt.step()
        reference.step()
        if clip is not None:
            assert float(opt.last_step.grad_norm) == pytest.approx(norm, rel=1e-5)
    assert_rounding(ours, theirs)


@every_set
@every_optimizer
def test_a_checkpoint_in_between_changes_no_bit(make: Make, sets: Callable[[int, int], Sets]) -> None:
    through, resumed = params_of(torch.float32), params_of(torch.float32)
    make = functools.partial(make, average=0.75)
    whole, opt = make(through), make(resumed)
    chosen = sets(PARAMS, STEPS)
    run(whole, through, chosen)
    for t, active in enumerate(chosen):
        run(opt, resumed, [active], t)
        saved = copy.deepcopy(opt.state_dict())
        if t % 3 == 2:
            opt = make(resumed)
        opt.load_state_dict(saved)
    assert everything(opt) == everything(whole)


@every_set
@every_optimizer
def test_a_step_that_is_skipped_in_between_changes_nothing(
    make: Make, sets: Callable[[int, int], Sets]
) -> None:
    """Also where it would have been the first step of some parameters."""
    params, undisturbed = params_of(torch.float32), params_of(torch.float32)
    opt, other = make(params, skip_nonfinite=True), make(undisturbed)
    chosen = sets(PARAMS, STEPS)
    for t, active in enumerate(chosen):
        give(params, chosen[-1 - t], 50 + t)
        bad = [p.grad for p in params if p.grad is not None]
        if bad:
            bad[-1].fill_(float("nan"))
            before = everything(opt)
            opt.step()
            assert opt.last_step.skipped
            assert everything(opt) == before
        run(opt, params, [active], t)
        run(other, undisturbed, [active], t)
    assert everything(opt) == everything(other)


# What a step costs, counted in calls of Python functions.


def calls_of(function: Callable[[], Any]) -> int:
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def costs(make: Make, n: int, sets: Sets) -> Iterator[int]:
    params = [leaf(randn(3, seed=k)) for k in range(n)]
    opt = make(params)
    run(opt, params, [list(range(n))])
    for t, active in enumerate(sets):
        give(params, active, t)
        yield calls_of(opt.step)


@every_set
@pytest.mark.parametrize("name", ["Adam", "SGD-momentum", "NAdam", "Lion"])
def test_a_change_of_the_set_makes_no_plan_anew(name: str, sets: Callable[[int, int], Sets]) -> None:
    """A plan is some calls a parameter: here there are 300. A steady step is about two dozen calls, and one
    with another set some ten for each count of steps that differs, of which there are 13 in the end."""
    n = 300
    counts = list(costs(OPTIMIZERS[name], n, sets(n, 12)))
    # By then the parameters have taken 1 to 13 different numbers of steps.
    assert max(counts[4:]) < 250


def test_the_count_of_calls_sees_a_plan() -> None:
    """The test above would notice one: a first step is more than a call a parameter."""
    params = [leaf(randn(3, seed=k)) for k in range(300)]
    opt = adamas.torch.Adam(params)
    give(params, range(300), 0)
    assert calls_of(opt.step) > 300
