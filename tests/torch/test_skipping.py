"""`skip_spikes`: which norms are spikes, what a skipped step leaves alone, and where the window survives."""

from __future__ import annotations

import copy
import io
import math
import pickle
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from hypothesis import assume, given
from hypothesis import strategies as st
from state_support import through_a_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch_support import DROP_IN, OPTIMIZERS, Make, bits, everything, leaf, randn

from adamas.torch import SGD, Adam
from adamas.torch.skips import WINDOW_KEY, is_spike

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)

# Norms.

DEVIATIONS = st.floats(1, 20)
WINDOWS = st.lists(st.floats(0.5, 2), min_size=32, max_size=128)
ORDINARY = [1 + 0.1 * math.sin(k) for k in range(40)]


@given(WINDOWS, st.floats(0.25, 50), DEVIATIONS)
def test_a_spike_lies_so_many_deviations_above_the_mean(
    window: list[float], norm: float, deviations: float
) -> None:
    mean, deviation = statistics.fmean(window), statistics.pstdev(window)
    limit = mean + deviations * max(deviation, 0.01 * mean)
    assume(abs(norm - limit) > 1e-9)
    assert is_spike(norm, window, deviations) == (norm > limit)


@given(WINDOWS, st.floats(0.25, 50), DEVIATIONS, st.sampled_from([-1000, -100, 100, 1000]))
def test_the_unit_of_the_norms_does_not_matter(
    window: list[float], norm: float, deviations: float, exponent: int
) -> None:
    unit = 2.0**exponent
    scaled = [unit * x for x in window]
    assert is_spike(unit * norm, scaled, deviations) == is_spike(norm, window, deviations)


def test_none_is_before_there_are_32() -> None:
    assert not is_spike(1e9, ORDINARY[:31], 6.0)
    assert is_spike(1e9, ORDINARY[:32], 6.0)


@pytest.mark.parametrize("norm", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_none(norm: float) -> None:
    assert not is_spike(norm, ORDINARY, 6.0)


def test_norms_that_differ_by_rounding_are_none() -> None:
    """As those after `clip_grad_norm_`: their deviation counts as 1 % of their mean."""
    window = [1.0] * 127 + [1 - 1e-7]
    assert not is_spike(1.0, window, 6.0)
    assert not is_spike(1.059, window, 6.0)
    assert is_spike(1.061, window, 6.0)


# Steps.


def make_step(opt: Any, params: Iterable[Tensor], norm: float) -> None:
    """A step with gradients of this norm."""
    params = list(params)
    for k, p in enumerate(params):
        p.grad = torch.full_like(p, 1 + k)
    total = math.sqrt(sum(float(p.grad.square().sum()) for p in params if p.grad is not None))
    for p in params:
        assert p.grad is not None
        p.grad *= norm / total
    opt.step()


def run(opt: Any, params: Iterable[Tensor], norms: Iterable[float]) -> list[bool]:
    """Whether each step of these norms was skipped."""
    found = []
    for norm in norms:
        make_step(opt, params, norm)
        found.append(opt.last_step.skipped)
    return found


def window_of(opt: torch.optim.Optimizer) -> list[float]:
    return list(opt.param_groups[0][WINDOW_KEY])


def two() -> list[Tensor]:
    return [leaf(randn(5, 3, seed=1)), leaf(randn(4, seed=2))]


@every_optimizer
def test_a_spike_changes_nothing_but_the_window(make: Make) -> None:
    params, others = two(), two()
    opt: Any = make(params, skip_spikes=6.0)
    other: Any = make(others)
    assert not any(run(opt, params, ORDINARY))
    run(other, others, ORDINARY)
    before = everything(opt)
    make_step(opt, params, 50.0)
    assert (opt.last_step.skipped, opt.last_step.reason, opt.skipped_steps) == (True, "spike", 1)
    assert window_of(opt) == pytest.approx([*ORDINARY, 50.0], rel=1e-6)
    opt.param_groups[0][WINDOW_KEY] = opt.param_groups[0][WINDOW_KEY][:-1]
    assert everything(opt) == before
    make_step(opt, params, 1.0)
    make_step(other, others, 1.0)
    assert (opt.last_step.skipped, opt.last_step.reason, opt.skipped_steps) == (False, None, 1)
    assert bits(params) == bits(others)


def test_a_first_step_that_is_skipped_leaves_no_state() -> None:
    """Of a parameter that has no gradient until then."""
    p, late = two()
    opt = Adam([p, late], skip_spikes=6.0)
    run(opt, [p], ORDINARY)
    make_step(opt, [p, late], 50.0)
    assert opt.last_step.skipped
    assert late not in opt.state


@given(st.floats(2, 20), st.integers(32, 128))
def test_a_level_that_lasts_is_skipped_a_few_times(deviations: float, before: int) -> None:
    """The window learns it: among norms of two values, the higher is no spike once it is 1 of 1 + c²."""
    p = leaf(torch.zeros(3))
    opt = SGD([p], lr=0.0, skip_spikes=deviations, warn_after_skips=None)
    opt.param_groups[0][WINDOW_KEY] = (1.0,) * before
    skips = run(opt, [p], [100.0] * 60)
    assert skips[0]
    assert sum(skips) <= 1 + 128 / (1 + deviations**2)
    assert skips == sorted(skips, reverse=True)


def test_the_window_has_the_last_128() -> None:
    p = leaf(torch.zeros(3))
    opt = SGD([p], lr=0.1, skip_spikes=1e9)
    run(opt, [p], range(1, 201))
    assert window_of(opt) == pytest.approx(range(73, 201))


def test_the_norm_is_that_before_clipping() -> None:
    params = two()
    opt = Adam(params, skip_spikes=6.0, clip_norm=0.01)
    assert run(opt, params, [*ORDINARY, 50.0]) == [False] * 40 + [True]
    assert window_of(opt) == pytest.approx([*ORDINARY, 50.0], rel=1e-6)


@pytest.mark.parametrize("fused", [False, True])
def test_the_norm_is_unscaled_and_a_step_that_overflowed_has_none(fused: bool) -> None:
    p = leaf(torch.zeros(1))
    opt = Adam([p], skip_spikes=6.0, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7)
    for norm in [*ORDINARY, math.inf, 50.0, 1.0]:
        opt.zero_grad()
        scaler.scale((p * norm).sum()).backward()
        scaler.step(opt)
        scaler.update()
    assert window_of(opt) == pytest.approx([*ORDINARY, 50.0, 1.0], rel=1e-6)
    assert opt.skipped_steps == 1 + fused  # by default the scaler does not call the step


def test_the_norm_of_a_step_that_the_scaler_skips_is_not_counted() -> None:
    """Found by another process, say: the gradients here are finite."""
    p = leaf(torch.zeros(2))
    opt = Adam([p], skip_spikes=6.0)
    run(opt, [p], ORDINARY)
    before = window_of(opt)
    opt.found_inf = torch.tensor(1.0)
    make_step(opt, [p], 1.0)
    assert opt.last_step.reason == "nonfinite"
    assert window_of(opt) == before


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_a_norm_that_says_nothing_is_not_counted(bad: float) -> None:
    p = leaf(torch.zeros(2))
    opt = Adam([p], skip_spikes=6.0, skip_nonfinite=True)
    run(opt, [p], ORDINARY)
    before = window_of(opt)
    p.grad = torch.full_like(p, bad)
    opt.step()
    assert opt.last_step.reason == (None if bad == 0 else "nonfinite")
    assert window_of(opt) == before


def test_a_step_that_raises_is_not_counted() -> None:
    p = leaf(torch.zeros(2))
    opt = SGD([p], lr=0.1, skip_spikes=6.0)
    run(opt, [p], ORDINARY)
    before = window_of(opt)
    opt.param_groups[0]["lr"] = 1e300
    with pytest.raises(ValueError, match="too large"):
        make_step(opt, [p], 1.0)
    assert window_of(opt) == before


def test_the_warning_names_the_spike() -> None:
    p = leaf(torch.zeros(2))
    opt = SGD([p], lr=0.1, skip_spikes=6.0, warn_after_skips=2)
    run(opt, [p], [*ORDINARY, 50.0])
    with pytest.warns(UserWarning, match=r"2 steps in a row were skipped, the last .* 5000, is a spike"):
        make_step(opt, [p], 5000.0)


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, True, "6"])
def test_a_bad_number_of_deviations_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="skip_spikes must lie in"):
        Adam(two(), skip_spikes=value)


def test_without_the_option_nothing_is_kept_or_skipped() -> None:
    params = two()
    opt = Adam(params, clip_norm=1.0)
    assert not any(run(opt, params, [*ORDINARY, 50.0]))
    assert WINDOW_KEY not in opt.param_groups[0]


def test_the_window_is_no_option() -> None:
    first, second = two()
    opt = Adam([{"params": [first]}, {"params": [second]}], skip_spikes=6.0)
    run(opt, [first, second], ORDINARY)
    opt.add_param_group({"params": [leaf(torch.zeros(2))]})
    assert [WINDOW_KEY in group for group in opt.param_groups] == [True, False, False]
    assert WINDOW_KEY not in repr(opt) + str(opt.report())
    assert "skip_spikes: 6.0" in repr(opt)


# The window survives.


def model_of(**options: Any) -> tuple[nn.Module, Any]:
    """A model, and an optimizer with two groups."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(randn(2, 3, seed=1))
        model.bias.zero_()
    return model, Adam([{"params": [model.weight], "lr": 0.1}, {"params": [model.bias]}], **options)


def trained(norms: Iterable[float] = ORDINARY, **options: Any) -> tuple[nn.Module, Any]:
    model, opt = model_of(**options)
    run(opt, model.parameters(), norms)
    return model, opt


def pickled(opt: Any) -> Any:
    return pickle.loads(pickle.dumps(opt))


def saved(opt: Any) -> Any:
    file = io.BytesIO()
    torch.save(opt, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled, saved])
def test_in_a_copy(copied: Callable[[Any], Any]) -> None:
    _, opt = trained(skip_spikes=6.0)
    other = copied(opt)
    params = [p for group in other.param_groups for p in group["params"]]
    assert window_of(other) == window_of(opt)
    assert run(other, params, [50.0]) == [True]
    assert len(window_of(opt)) == len(ORDINARY), "two windows, not one"


def test_in_a_checkpoint_which_replaces_what_was_there() -> None:
    _, opt = trained(skip_spikes=6.0)
    state = through_a_file(opt.state_dict())
    model, other = trained([3.0, 4.0], skip_spikes=6.0)
    other.load_state_dict(state)
    assert window_of(other) == window_of(opt)
    assert run(other, model.parameters(), [50.0]) == [True]


def test_a_state_dictionary_stays_as_it_was_taken() -> None:
    model, opt = trained(skip_spikes=6.0)
    state = opt.state_dict()
    run(opt, model.parameters(), [1.0])
    assert len(state["param_groups"][0][WINDOW_KEY]) == len(ORDINARY)


def test_an_old_checkpoint_empties_it() -> None:
    _, old = trained(clip_norm=1.0)
    model, opt = trained(skip_spikes=6.0)
    opt.load_state_dict(through_a_file(old.state_dict()))
    assert window_of(opt) == []
    assert not any(run(opt, model.parameters(), [50.0, 1.0]))
    assert len(window_of(opt)) == 2


def test_loaded_without_the_option_it_is_dropped() -> None:
    _, opt = trained(skip_spikes=6.0)
    model, other = model_of()
    other.load_state_dict(opt.state_dict())
    assert WINDOW_KEY not in other.param_groups[0]
    assert not any(run(other, model.parameters(), [50.0]))


@pytest.mark.parametrize("name", DROP_IN)
def test_torch_loads_our_checkpoints(name: str) -> None:
    params = two()
    opt: Any = DROP_IN[name](params, skip_spikes=6.0)
    run(opt, params, ORDINARY)
    theirs = getattr(torch.optim, name)(two())
    keys = set(theirs.param_groups[0])
    theirs.load_state_dict(opt.torch_state_dict())
    assert set(theirs.param_groups[0]) == keys
    assert len(window_of(opt)) == len(ORDINARY), "still there"


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


every_layout = pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])


@pytest.mark.usefixtures("one_process")
@every_layout
def test_in_a_distributed_checkpoint(tmp_path: Path, flat: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, opt = trained(skip_spikes=6.0)
    dcp.save({"optim": get_optimizer_state_dict(model, opt, options=options)}, checkpoint_id=tmp_path)
    fresh, other = model_of(skip_spikes=6.0)
    state = {"optim": get_optimizer_state_dict(fresh, other, options=options)}
    dcp.load(state, checkpoint_id=tmp_path)
    set_optimizer_state_dict(fresh, other, state["optim"], options=options)
    assert window_of(other) == window_of(opt)
    assert run(other, fresh.parameters(), [50.0]) == [True]


@pytest.mark.usefixtures("one_process")
@every_layout
def test_an_old_distributed_checkpoint_loads_in_part(tmp_path: Path, flat: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, opt = trained()
    dcp.save({"optim": get_optimizer_state_dict(model, opt, options=options)}, checkpoint_id=tmp_path)
    fresh, other = model_of(skip_spikes=6.0)
    state = {"optim": get_optimizer_state_dict(fresh, other, options=options)}
    planner = dcp.DefaultLoadPlanner(allow_partial_load=True)
    dcp.load(state, checkpoint_id=tmp_path, planner=planner)
    set_optimizer_state_dict(fresh, other, state["optim"], options=options)
    assert window_of(other) == []
    for p, q in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(opt.state[p]["exp_avg"], other.state[q]["exp_avg"])


@pytest.mark.parametrize("make", [Adam, SGD])
def test_the_step_that_makes_state_for_it_is_not_counted(make: Any) -> None:
    model = nn.Linear(3, 2)
    opt = make(model.parameters(), skip_spikes=6.0, lr=0.1)
    get_optimizer_state_dict(model, opt)
    assert window_of(opt) == []
