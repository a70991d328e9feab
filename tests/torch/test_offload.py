"""Offload: the numbers of a plain step to the bit, from masters and state that the host keeps."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from in_backward_support import backward, loss_of, model, train_in_backward
from offload_support import Late
from state_support import FORMATS, fits, large, through_a_file
from torch import Tensor
from torch_support import (
    OPTIMIZERS,
    Make,
    assorted,
    bits,
    everything,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch
from adamas.formats import get
from adamas.torch import SGD, AdaBelief, Adam, AdamW, Lion, transfers

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
halves = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


@pytest.fixture(params=["here", "late"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Late | None:
    """The CPU's own memory, or a device whose copies are late."""
    if request.param == "here":
        return None
    late = Late()
    monkeypatch.setattr(transfers, "transfers_of", lambda device: late)
    return late


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    made = Late()
    monkeypatch.setattr(transfers, "transfers_of", lambda device: made)
    return made


def half(params: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [leaf(p.detach().to(dtype)) for p in params if not p.is_complex()]


def widened(params: Sequence[Tensor]) -> list[Tensor]:
    return [leaf(p.detach().float()) for p in params]


def train_wide(opt: Any, params: Sequence[Tensor], like: Sequence[Tensor], seeds: Any) -> None:
    """Train in float32 with the gradients that parameters of 16 bits have."""
    for seed in seeds:
        for k, (p, q) in enumerate(zip(params, like, strict=True)):
            g = randn(*q.shape, seed=1000 * seed + k, dtype=q.dtype)
            p.grad = torch.empty_like(p).copy_(g)
        opt.step()


def train_half(opt: Any, params: Sequence[Tensor], seeds: Any) -> None:
    train_wide(opt, params, params, seeds)


def masters(opt: Any, params: Sequence[Tensor]) -> list[Tensor]:
    return [opt.state[p]["master"] for p in params]


def slots(opt: Any, params: Sequence[Tensor]) -> Any:
    """The bits of all that a state holds but for masters and counters."""
    names = ("master", "step")
    return [bits({key: x for key, x in opt.state[p].items() if key not in names}) for p in params]


# The same numbers.


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", [{}, {"average": 0.75, "clip_norm": 0.5}], ids=["plain", "clipped"])
def test_it_has_the_bits_of_plain_steps(
    make: Make, dtype: torch.dtype, options: dict[str, Any], late: Late
) -> None:
    """In every layout, complex and empty parameters too; the state has no more than that of a plain one."""
    ours, theirs = assorted(dtype), assorted(dtype)
    opt, plain = make(ours, offload=True, **options), make(theirs, **options)
    train(opt, ours, range(3))
    train(plain, theirs, range(3))
    assert everything(opt) == everything(plain)
    assert opt.backend == plain.backend


@every_optimizer
@pytest.mark.parametrize("format", FORMATS)
def test_it_has_the_bits_of_plain_steps_in_every_format(make: Make, format: str, late: Late) -> None:
    if not fits(make, format):
        pytest.skip(f"{format} is refused for it")
    ours, theirs = large(), large()
    opt, plain = make(ours, state_format=format, offload=True), make(theirs, state_format=format)
    train(opt, ours, range(3))
    train(plain, theirs, range(3))
    assert everything(opt) == everything(plain)


@every_optimizer
@halves
def test_masters_are_those_of_float32_with_the_same_gradients(make: Make, dtype: torch.dtype) -> None:
    """And the parameters are those rounded to nearest, as torch rounds; on whole arrays for every rule."""
    ours = half(assorted(torch.float32), dtype)
    theirs = widened(ours)
    options: dict[str, Any] = {"average": 0.75, "backend": "reference"}
    opt, plain = make(ours, offload=True, **options), make(theirs, **options)
    train_half(opt, ours, range(3))
    train_wide(plain, theirs, ours, range(3))
    assert bits(masters(opt, ours)) == bits(theirs)
    assert slots(opt, ours) == slots(plain, theirs)
    assert bits(ours) == bits([p.to(dtype) for p in theirs])


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_so_are_those_of_kernels_in_every_format(format: str) -> None:
    """Up to the last bit: which product of a sum is fused with it is the compiler's choice in each kernel."""
    cls = Adam if fits(Adam, format) else AdaBelief if fits(AdaBelief, format) else Lion
    ours = large(torch.bfloat16)
    theirs = widened(ours)
    options: dict[str, Any] = {"state_format": format, "average": 0.75, "lr": 1e-3}
    opt, plain = cls(ours, offload=True, **options), cls(theirs, **options)
    train_half(opt, ours, range(3))
    train_wide(plain, theirs, ours, range(3))
    for master, q in zip(masters(opt, ours), theirs, strict=True):
        other = (master - q).abs() > 2**-22 * q.abs().clamp(min=1)
        assert int(other.sum()) <= q.numel() // 500  # of another code where a last bit decided
    assert bits(ours) == bits([master.bfloat16() for master in masters(opt, ours)])


@halves
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_copies_on_a_device_are_the_same(dtype: torch.dtype, backend: str, device: Late | None) -> None:
    """In every layout: a parameter with gaps in memory has a master without."""
    ours = half(assorted(torch.float32), dtype)
    theirs = widened(ours)
    opt, plain = Adam(ours, lr=0.1, offload=True, backend=backend), Adam(theirs, lr=0.1, backend=backend)
    train_half(opt, ours, range(3))
    train_wide(plain, theirs, ours, range(3))
    assert bits(masters(opt, ours)) == bits(theirs)
    assert bits(ours) == bits([p.to(dtype) for p in theirs])
    assert opt.backend == backend


@halves
def test_parameters_are_rounded_as_torch_rounds(dtype: torch.dtype) -> None:
    """At ties, at both ends, and at NaN; SGD with a gradient of 0 leaves a master as it is."""
    words = torch.arange(-(2**31), 2**31, 4099, dtype=torch.int64).to(torch.int32)
    ties = (torch.arange(0, 1 << 16) << 16 | 0x8000).to(torch.int32)
    halves_of_float16 = (torch.arange(0x3800, 0x4780) << 16 | 0x1000).to(torch.int32)
    values = torch.cat([words, ties, halves_of_float16]).view(torch.float32)
    for name in ("bfloat16", "float16"):
        encode: Any = get(name).nearest
        with np.errstate(over="ignore"):
            codes = torch.from_numpy(encode(values.numpy(), None).astype("int16"))
        rounded, expected = codes.view(getattr(torch, name)), values.to(getattr(torch, name))
        assert bool(((rounded == expected) | (rounded.isnan() & expected.isnan())).all())
    p = leaf(torch.zeros(values.shape, dtype=dtype))
    opt = SGD([p], lr=1.0, offload=True)
    p.grad = torch.zeros_like(p)
    opt.step()
    opt.state[p]["master"].copy_(values)
    opt.step()
    expected = opt.state[p]["master"].to(dtype)
    assert bool(((p == expected) | (p.isnan() & expected.isnan())).all())


def test_small_steps_add_up_in_a_master() -> None:
    p = leaf(torch.ones(3, dtype=torch.bfloat16))
    opt = SGD([p], lr=1e-4, offload=True)
    for _ in range(200):
        p.grad = torch.ones_like(p)
        opt.step()
    torch.testing.assert_close(p.float(), torch.full((3,), 0.98), rtol=2**-8, atol=0)


# What obeys the loop.


@halves
def test_schedules_and_groups_are_obeyed(dtype: torch.dtype, device: Late | None) -> None:
    ours = half([*simple(), *simple()], dtype)
    theirs = widened(ours)
    pairs = []
    for params, options in ((ours, {"offload": True}), (theirs, {})):
        groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.5, "maximize": True}]
        opt = AdamW(groups, lr=0.1, **options)
        pairs.append((opt, torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)))
    for seed in range(4):
        for (opt, schedule), params in zip(pairs, (ours, theirs), strict=True):
            opt.param_groups[1]["weight_decay"] = 0.125 * seed
            train_wide(opt, params, ours, [seed])
            schedule.step()
    assert bits(masters(pairs[0][0], ours)) == bits(theirs)


def test_averages_are_swapped_in_and_out(device: Late | None) -> None:
    ours = half(simple(), torch.bfloat16)
    theirs = widened(ours)
    opt, plain = Adam(ours, lr=0.1, average=0.5, offload=True), Adam(theirs, lr=0.1, average=0.5)
    for seed in range(3):
        train_half(opt, ours, [seed])
        train_wide(plain, theirs, ours, [seed])
        kept = bits(ours)
        with opt.averaged_parameters(), plain.averaged_parameters():
            assert bits(ours) == bits([p.to(torch.bfloat16) for p in theirs])
        assert bits(ours) == kept
    assert bits(masters(opt, ours)) == bits(theirs)


def test_steps_are_clipped_and_skipped(device: Late | None) -> None:
    """A step that is skipped, the first one too, leaves nothing behind."""
    ours = half(simple(), torch.bfloat16)
    opt = Adam(ours, lr=0.1, clip_norm=0.5, skip_nonfinite=True, skip_spikes=6.0, offload=True)
    before = everything(opt)
    for p in ours:
        p.grad = torch.full_like(p, torch.inf)
    opt.step()
    assert opt.last_step.skipped
    assert everything(opt) == before
    assert opt.state == {}
    theirs = widened(ours)
    plain = Adam(theirs, lr=0.1, clip_norm=0.5, skip_nonfinite=True, skip_spikes=6.0)
    train_half(opt, ours, range(36))
    train_wide(plain, theirs, ours, range(36))
    assert opt.last_step == plain.last_step
    assert opt.last_step.clip_factor < 1
    assert bits(masters(opt, ours)) == bits(theirs)
    assert opt.param_groups[0]["recent_grad_norms"] == plain.param_groups[0]["recent_grad_norms"]
    kept = everything(opt)
    for p in ours:
        p.grad = torch.full_like(p, 1000.0)
    opt.step()
    assert opt.last_step.reason == "spike"
    ours_now, kept_now = everything(opt), kept
    assert ours_now[0] == kept_now[0]
    assert ours_now[1]["state"] == kept_now[1]["state"]


def test_a_grad_scaler_unscales_and_skips(device: Late | None) -> None:
    p = leaf(torch.ones(3))
    opt = SGD([p], lr=0.25, offload=True, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    for factor, expected in ((1.0, 0.75), (torch.inf, 0.75), (2.0, 0.25)):
        opt.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(opt)
        scaler.update()
        assert bits(p) == bits(torch.full((3,), expected))


def test_several_backwards_make_one_step(device: Late | None) -> None:
    nets = model(), model()
    opt, plain = Adam(nets[0].parameters(), offload=True), Adam(nets[1].parameters())
    for net, each in zip(nets, (opt, plain), strict=True):
        for seed in range(4):
            for part in range(2):
                loss_of(net, 2 * seed + part).backward()
            each.step()
            each.zero_grad()
    assert everything(opt) == everything(plain)


def test_parameters_take_turns(device: Late | None) -> None:
    """Those that have their first gradient late, and those that have none in a step."""
    ours, theirs = half([*simple(), *simple()], torch.bfloat16), None
    theirs = widened(ours)
    opt, plain = Adam(ours, lr=0.1, offload=True), Adam(theirs, lr=0.1)
    for seed, active in enumerate(([0, 1], [1, 2], [0], [0, 1, 2, 3], [3])):
        for each, params in ((opt, ours), (plain, theirs)):
            each.zero_grad()
            for k in active:
                g = randn(*ours[k].shape, seed=10 * seed + k, dtype=torch.bfloat16)
                params[k].grad = g.to(params[k].dtype)
            each.step()
    assert bits(masters(opt, ours)) == bits(theirs)
    assert bits(ours) == bits([p.to(torch.bfloat16) for p in theirs])


def test_random_bits_are_keyed_by_the_number_in_the_optimizer(device: Late | None) -> None:
    """Not by that among the parameters that have had a gradient."""
    ours, theirs = simple(), simple()
    for params, options in ((ours, {"offload": True}), (theirs, {})):
        opt = Adam(params, lr=0.1, state_format="bfloat16", **options)
        for seed in range(3):
            params[1].grad = randn(4, seed=seed)
            opt.step()
    assert bits(ours) == bits(theirs)


def test_parameters_of_both_kinds_of_16_bits_keep_theirs() -> None:
    """Also where a plan is made, for a third one, in a step in which they have no gradient."""
    ours = [
        leaf(randn(5, seed=k).to(x)) for k, x in enumerate((torch.bfloat16, torch.float16, torch.bfloat16))
    ]
    opt = SGD(ours, lr=0.5, offload=True)
    for active in ([0, 1], [2], [0, 1, 2]):
        for k, p in enumerate(ours):
            p.grad = torch.ones_like(p) if k in active else None
        opt.step()
    assert bits(ours) == bits([opt.state[p]["master"].to(p.dtype) for p in ours])
    assert bits(opt.state[ours[1]]["master"]) == bits(randn(5, seed=1).half().float() - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_others_write_to_a_parameter_counts(dtype: torch.dtype, device: Late | None) -> None:
    """Weights that are loaded or clamped, element by element: the others keep all bits of their masters."""
    ours = half(simple(), dtype)
    opt = SGD(ours, lr=0.001, offload=True)
    train_half(opt, ours, range(3))
    p = ours[0]
    wide = [opt.state[p]["master"].clone()] if dtype != torch.float32 else [p.detach().clone()]
    with torch.no_grad():
        p[0] = 0.75
    wide[0][0] = 0.75
    plain = SGD([leaf(wide[0])], lr=0.001)
    train_half(opt, ours[:1], [7])
    train_wide(plain, [plain.param_groups[0]["params"][0]], ours[:1], [7])
    expected = plain.param_groups[0]["params"][0]
    assert bits(p) == bits(expected.to(dtype))
    if dtype != torch.float32:
        assert bits(opt.state[p]["master"]) == bits(expected)


def test_what_others_write_to_a_parameter_that_rests_stays(device: Late | None) -> None:
    ours = half(simple(), torch.bfloat16)
    opt = SGD(ours, lr=0.5, offload=True)
    train_half(opt, ours, range(2))
    with torch.no_grad():
        ours[1].fill_(3.0)
    ours[0].grad, ours[1].grad = torch.ones_like(ours[0]), None
    opt.step()
    assert bool((ours[1] == 3.0).all())


def test_a_master_that_was_replaced_is_taken(device: Late | None) -> None:
    """As long as it is the parameter when it is rounded."""
    p = leaf(torch.ones(3, dtype=torch.bfloat16))
    opt = SGD([p], lr=0.0, offload=True)
    for master in (1.0, 1.001):
        p.grad = torch.ones_like(p)
        opt.step()
        opt.state[p]["master"] = torch.full((3,), master)
    p.grad = torch.ones_like(p)
    opt.step()
    assert bits(opt.state[p]["master"]) == bits(torch.full((3,), 1.001))


def test_memory_that_was_replaced_is_seen(device: Late | None) -> None:
    ours = half(simple(), torch.bfloat16)
    opt = SGD(ours, lr=0.5, offload=True)
    train_half(opt, ours, range(2))
    ours[0].data = torch.full((5, 3), 2.0, dtype=torch.bfloat16)
    ours[0].grad = torch.ones_like(ours[0])
    opt.step()
    assert bits(ours[0]) == bits(torch.full((5, 3), 1.5, dtype=torch.bfloat16))
    assert bits(opt.state[ours[0]]["master"]) == bits(torch.full((5, 3), 1.5))


# Checkpoints.


def _loaded(ours: Sequence[Tensor], saved: Any, **options: Any) -> tuple[Any, list[Tensor]]:
    params = [leaf(p.detach().clone(memory_format=torch.preserve_format)) for p in ours]
    opt = Adam(params, lr=0.1, **options)
    opt.load_state_dict(saved)
    return opt, params


def test_a_checkpoint_goes_on_to_the_bit(device: Late | None) -> None:
    ours = half(simple(), torch.bfloat16)
    opt = Adam(ours, lr=0.1, offload=True)
    train_half(opt, ours, range(3))
    other, params = _loaded(ours, through_a_file(opt.state_dict()), offload=True)
    for each, mine in ((opt, ours), (other, params)):
        train_half(each, mine, range(3, 6))
    assert everything(other) == everything(opt)


def test_a_checkpoint_replaces_what_an_optimizer_has(device: Late | None) -> None:
    ours = half(simple(), torch.bfloat16)
    opt = Adam(ours, lr=0.1, offload=True)
    train_half(opt, ours, range(3))
    saved, weights = through_a_file(opt.state_dict()), [p.detach().clone() for p in ours]
    train_half(opt, ours, range(3, 6))
    after = everything(opt)
    with torch.no_grad():
        for p, q in zip(ours, weights, strict=True):
            p.copy_(q)
    opt.load_state_dict(saved)
    train_half(opt, ours, range(3, 6))
    assert everything(opt) == after


def test_a_checkpoint_serves_a_plain_optimizer_and_comes_back(device: Late | None) -> None:
    """Which drops masters, rather than let them grow old; back, they begin from the parameters."""
    ours = half(simple(), torch.bfloat16)
    opt = Adam(ours, lr=0.1, offload=True)
    train_half(opt, ours, range(3))
    plain, params = _loaded(ours, opt.state_dict())
    assert all("master" not in plain.state[p] for p in params)
    assert slots(plain, params) == slots(opt, ours)
    train_half(plain, params, [3])
    back, again = _loaded(params, plain.state_dict(), offload=True)
    theirs = widened(params)
    wide = Adam(theirs, lr=0.1)
    wide.load_state_dict(copy.deepcopy(plain.state_dict()))
    train_half(back, again, [4])
    train_wide(wide, theirs, again, [4])
    assert bits(masters(back, again)) == bits(theirs)


def test_an_old_master_gives_way_to_newer_weights(device: Late | None) -> None:
    ours = half(simple(), torch.bfloat16)
    opt = SGD(ours, lr=0.5, offload=True)
    train_half(opt, ours, range(3))
    params = [leaf(torch.full_like(p, 3.0)) for p in ours]
    other = SGD(params, lr=0.5, offload=True)
    other.load_state_dict(opt.state_dict())
    for p in params:
        p.grad = torch.ones_like(p)
    other.step()
    assert all(bool((master == 2.5).all()) for master in masters(other, params))


def test_state_is_loaded_to_the_host_wherever_the_parameter_is() -> None:
    ours = half(simple(), torch.bfloat16)
    opt = Adam(ours, lr=0.1, offload=True)
    train_half(opt, ours, range(1))
    for offload, place in ((True, "cpu"), (False, "meta")):
        there = [leaf(torch.empty_like(p, device="meta")) for p in ours]
        other = Adam(there, offload=offload)
        other.load_state_dict(opt.state_dict())
        assert {x.device.type for s in other.state.values() for x in s.values() if x.dim()} == {place}


def test_torch_gets_no_masters() -> None:
    ours = half(simple(), torch.bfloat16)
    opt = Adam(ours, lr=0.1, offload=True)
    train_half(opt, ours, range(2))
    theirs = torch.optim.Adam(half(simple(), torch.bfloat16))
    theirs.load_state_dict(opt.torch_state_dict())
    assert all(set(state) == {"step", "exp_avg", "exp_avg_sq"} for state in theirs.state.values())


def test_a_master_of_another_shape_is_refused() -> None:
    ours = half(simple(), torch.bfloat16)
    opt = Adam(ours, offload=True)
    train_half(opt, ours, range(1))
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][0]["master"] = torch.zeros(2)
    before = everything(opt)
    with pytest.raises(ValueError, match="'master' of parameter 0 has shape"):
        opt.load_state_dict(saved)
    assert everything(opt) == before


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_by_themselves(make_copy: Callable[[Any], Any], device: Late | None) -> None:
    ours = half(simple(), torch.bfloat16)
    opt = Adam(ours, lr=0.1, offload=True)
    train_half(opt, ours, range(2))
    other, params = make_copy((opt, ours))
    train_half(other, params, range(2, 4))
    kept = everything(other)
    train_half(opt, ours, range(2, 4))
    assert everything(other) == kept == everything(opt)


# In backward.


@every_optimizer
def test_in_backward_it_has_the_same_bits(make: Make, device: Late | None) -> None:
    def trained(in_backward: bool) -> Any:
        params = half(assorted(torch.float32), torch.bfloat16)
        opt = make(params, offload=True, backend="reference")
        if in_backward:
            opt.step_in_backward()
            train_in_backward(opt, params, range(4))
        else:
            for seed in range(4):
                backward(params, seed)
                opt.step()
                opt.zero_grad()
        return everything(opt)

    assert trained(True) == trained(False)


def test_a_backward_pass_does_not_wait_for_steps(late: Late) -> None:
    net, plain = model(), model()
    opt, ended = Adam(net.parameters(), offload=True), threading.Event()
    late.before_wait = lambda: ended.wait(60)
    opt.step_in_backward()
    loss_of(net, 0).backward()
    assert late.log == ["fetch"] * 6
    ended.set()
    opt.step()
    assert late.log.count("send") == 6
    assert late.log.index("order") == len(late.log) - 1  # the stream of the backward waits for nothing
    loss_of(plain, 0).backward()
    Adam(plain.parameters()).step()
    assert bits(list(net.parameters())) == bits(list(plain.parameters()))


def test_steps_are_taken_while_the_backward_goes_on(late: Late) -> None:
    net = model()
    opt, sent, seen = Adam(net.parameters(), offload=True), threading.Event(), []
    late.after_send = sent.set
    net[0].weight.register_hook(lambda g: seen.append(sent.wait(60)))
    opt.step_in_backward()
    loss_of(net, 0).backward()
    assert seen == [True]
    opt.step()


def test_a_schedule_is_read_when_a_gradient_arrives(late: Late) -> None:
    p, ended = leaf(torch.ones(3)), threading.Event()
    opt = SGD([p], lr=0.5, offload=True)
    late.before_wait = lambda: ended.wait(60)
    opt.step_in_backward()
    p.sum().backward()
    opt.param_groups[0]["lr"] = 4.0
    ended.set()
    opt.step()
    assert bits(p) == bits(torch.full((3,), 0.5))


def test_gradients_accumulate_until_the_last_backward(device: Late | None) -> None:
    nets = model(), model()
    opt, plain = Adam(nets[0].parameters(), offload=True), Adam(nets[1].parameters())
    stepper = opt.step_in_backward()
    for net, each in zip(nets, (opt, plain), strict=True):
        for seed in range(6):
            with stepper.accumulate(seed % 2 == 0):
                loss_of(net, seed).backward()
            if seed % 2:
                each.step()
                each.zero_grad()
    assert everything(opt) == everything(plain)


def test_it_clips_by_a_running_norm(device: Late | None) -> None:
    def trained(**options: Any) -> Any:
        params = simple()
        opt = Adam(params, lr=0.1, clip_norm=0.5, **options)
        opt.step_in_backward(clip="running")
        train_in_backward(opt, params, range(4))
        return opt.last_step, everything(opt)

    assert trained(offload=True) == trained()


def test_an_error_on_the_host_is_raised_by_step(device: Late | None) -> None:
    params = simple()
    opt = Adam(params, lr=0.1, offload=True)
    opt.step_in_backward()
    opt.param_groups[0]["eps"] = 1e300
    backward(params, 0)
    with pytest.raises(ValueError, match="too large"):
        opt.step()
    opt.param_groups[0]["eps"] = 1e-8
    opt.zero_grad()
    opt.step()
    train_in_backward(opt, params, [1])
    other = simple()
    train(Adam(other, lr=0.1), other, [1])
    assert bits(params) == bits(other)


def test_it_goes_back_to_plain_steps(device: Late | None) -> None:
    ours = half(simple(), torch.bfloat16)
    theirs = widened(ours)
    opt, plain = Adam(ours, lr=0.1, offload=True), Adam(theirs, lr=0.1)
    for seed in range(4):
        stepper = opt.step_in_backward() if seed % 2 else None
        train_half(opt, ours, [seed])
        train_wide(plain, theirs, ours, [seed])
        if stepper is not None:
            stepper.remove()
    assert bits(masters(opt, ours)) == bits(theirs)


# Memory, and what it says.


def test_a_float32_parameter_of_the_cpu_is_its_own_master() -> None:
    (p,) = params = [leaf(randn(5, 3))]
    opt = Adam(params, offload=True)
    version = p._version
    train(opt, params, range(1))
    (host,) = opt._hosts.values()
    assert host.master.data_ptr() == p.data_ptr()
    assert p._version > version


def test_a_parameter_of_16_bits_is_written_in_the_pass_of_the_step() -> None:
    (p,) = params = half([leaf(randn(5, 3))], torch.bfloat16)
    opt = Adam(params, offload=True)
    version = p._version
    train_half(opt, params, range(1))
    (host,) = opt._hosts.values()
    assert host.master.copy is not None
    assert host.master.copy.data_ptr() == p.data_ptr()
    assert p._version > version


def test_all_copies_begin_before_the_first_is_waited_for(late: Late) -> None:
    params = simple()
    opt = Adam(params, offload=True)
    train(opt, params, range(2))
    assert late.log == ["fetch", "fetch", "wait", "wait", "send", "send", "order"] * 2


def test_a_report_names_the_backend_of_the_host() -> None:
    params = half(large(), torch.bfloat16)
    opt = Adam(params, offload=True, state_format="float8")
    assert {each.backend for each in opt.report().params} == {"numba"}
    assert "offload True" in str(opt.report())


# Refusals.


@pytest.mark.parametrize("value", [1, None, "cpu"])
def test_it_is_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match="offload must be True or False"):
        Adam(simple(), offload=value)


def test_a_differentiable_step_is_refused() -> None:
    params = simple()
    opt = Adam(params, differentiable=True, offload=True)
    before = everything(opt)
    with pytest.raises(ValueError, match="differentiable=True cannot go through copies"):
        train(opt, params, [0])
    assert everything(opt) == before


def test_a_parameter_without_values_is_refused() -> None:
    p = leaf(torch.empty(3, device="meta"))
    p.grad = torch.empty_like(p)
    opt = Adam([p], offload=True)
    with pytest.raises(ValueError, match="without memory of its own on meta"):
        opt.step()
    assert opt.state == {}


@pytest.mark.parametrize("takes", [True, False])
def test_sparse_gradients_are_as_in_a_plain_step(takes: bool, device: Late | None) -> None:
    (p,) = params = [leaf(randn(5, 3))]
    opt = SGD(params, lr=0.5, offload=True) if takes else Adam(params, offload=True)
    p.grad = torch.ones(5, 3).to_sparse()
    before = p.detach().clone()
    if takes:
        opt.step()
        assert bits(p) == bits(before - 0.5)
        return
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        opt.step()
    assert bits(p) == bits(before)
    assert opt.state == {}


def test_a_parameter_that_has_changed_its_shape_is_refused(device: Late | None) -> None:
    (p,) = params = [leaf(randn(5, 3).bfloat16())]
    opt = Adam(params, offload=True)
    train_half(opt, params, range(1))
    before = everything(opt)
    p.data = torch.zeros(4, dtype=torch.bfloat16)
    p.grad = torch.zeros(4, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="master of a parameter has shape"):
        opt.step()
    p.data = torch.zeros(5, 3, dtype=torch.bfloat16)
    assert everything(opt)[1] == before[1]


def test_what_has_no_kernel_is_said_once() -> None:
    params = half(simple(), torch.bfloat16)
    opt = Adam(params, offload=True, backend="reference")
    train_half(opt, params, range(2))
    assert opt.backend == "reference"
    torch_opt = Adam(params, offload=True, backend="torch")
    with pytest.raises(ValueError, match="gradient of 16 bits"):
        torch_opt.step()
    assert torch_opt.state == {}


def test_the_memory_of_two_places_is_not_counted_as_one() -> None:
    with pytest.raises(ValueError, match="uses two memories"):
        adamas.torch.memory({"weight": (4, 4)}, Adam, offload=True)


def test_flat_parameters_are_refused_and_stepping_in_backward_says_so_at_once() -> None:
    (p,) = params = [leaf(randn(5, 3))]
    p._fsdp_flattened = True  # type: ignore[attr-defined]  # as FullyShardedDataParallel marks its own
    opt = Adam(params, offload=True)
    with pytest.raises(ValueError, match="it is sharded; use fully_shard"):
        train(opt, params, [0])
    meta = Adam([leaf(torch.empty(3, device="meta"))], offload=True)
    with pytest.raises(ValueError, match="without memory of its own on meta"):
        meta.step_in_backward()
