"""A step on the device, in Triton's interpreter on the CPU: the numbers of other steps, and no waiting."""

from __future__ import annotations

import copy
import functools
import io
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from gpu_support import OF_GPUS
from torch import Tensor
from torch_support import (
    DROP_IN,
    OPTIMIZERS,
    Make,
    assorted,
    bits,
    copies,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
)

import adamas.torch
from adamas.torch import Adam, AdamW, Lion

pytestmark = pytest.mark.skipif(not OF_GPUS, reason="there is no Triton for this system")
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
ULPS = 8
GPU: dict[str, Any] = {"backend": "triton"}


def on_gpu(make: Make) -> Make:
    return functools.partial(make, **GPU)


def assert_close(mine: Any, theirs: Any) -> None:
    """Every tensor within some spacings of its own numbers: kernels of the CPU fuse products and sums."""
    for x, y in zip(mine, theirs, strict=True):
        eps = torch.finfo(x.dtype).eps
        largest = float(y.abs().max()) if y.numel() else 0.0
        torch.testing.assert_close(x, y, rtol=ULPS * eps, atol=ULPS * eps * largest)


def states(opt: torch.optim.Optimizer, params: list[Tensor]) -> list[Tensor]:
    return [value for p in params for value in opt.state[p].values()]


def train(opt: torch.optim.Optimizer, params: list[Tensor], steps: range) -> None:
    """Steps with another stepsize each, in some of which a parameter has no gradient."""
    for t in steps:
        give_gradients(params, t)
        if t == 2:
            params[0].grad = None
        opt.param_groups[0]["lr"] = 0.01 / (1 + t)
        opt.step()


@every_optimizer
def test_every_optimizer_steps_as_on_the_cpu(make: Make) -> None:
    params, others = simple(), simple()
    opt, other = on_gpu(make)(params), make(others)
    train(opt, params, range(5))
    train(other, others, range(5))
    assert opt.backend == "triton"  # type: ignore[attr-defined]
    assert_close([p.detach() for p in params], [p.detach() for p in others])
    assert_close(states(opt, params), states(other, others))


OPTIONS: dict[str, dict[str, Any]] = {
    "clip": {"clip_norm": 0.5},
    "measure": {"clip_norm": math.inf},
    "skip": {"skip_nonfinite": True},
    "average": {"average": 0.75},
    "all": {"clip_norm": 0.5, "skip_nonfinite": True, "average": 0.75, "weight_decay": 0.1, "maximize": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_options_of_the_step(options: dict[str, Any], dtype: torch.dtype) -> None:
    """The norm and the clip factor to the bit, the rest to rounding."""
    params, others = simple(dtype), simple(dtype)
    opt, other = AdamW(params, lr=0.1, **options, **GPU), AdamW(others, lr=0.1, **options)
    for t in range(4):
        for each in (params, others):
            give_gradients(each, t)
        opt.step()
        other.step()
        assert opt.last_step == other.last_step
    assert_close([p.detach() for p in params], [p.detach() for p in others])
    assert_close(states(opt, params), states(other, others))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_skipped_step_changes_nothing_and_is_counted(value: float) -> None:
    params = simple()
    opt = Adam(params, skip_nonfinite=True, average=0.9, warn_after_skips=None, **GPU)
    give_gradients(params, 0)
    opt.step()
    before, kept = [p.detach().clone() for p in params], bits(opt.state_dict()["state"])
    for _ in range(2):
        params[1].grad[0] = value  # type: ignore[index]
        opt.step()
    assert opt.last_step.skipped
    assert opt.last_step.reason == "nonfinite"
    assert opt.skipped_steps == 2
    assert all(torch.equal(p, x) for p, x in zip(params, before, strict=True))
    assert bits(opt.state_dict()["state"]) == kept
    give_gradients(params, 1)
    opt.step()
    assert not opt.last_step.skipped
    assert [float(opt.state[p]["step"]) for p in params] == [2, 2]


def test_many_skips_in_a_row_are_told() -> None:
    params = simple()
    opt = Adam(params, skip_nonfinite=True, warn_after_skips=2, **GPU)
    for p in params:
        p.grad = torch.full_like(p, math.nan)
    opt.step()
    with pytest.warns(UserWarning, match="2 steps in a row were skipped"):
        opt.step()
    opt.step()  # once


@pytest.mark.parametrize("make", [Adam, functools.partial(Lion, state_format="float8")], ids=["Adam", "Lion"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_parameters_of_every_shape_and_layout(make: Make, dtype: torch.dtype) -> None:
    """Empty ones, scalars, transposed and channels_last ones, with gaps, complex."""
    params, others = everything_like(dtype), everything_like(dtype)
    opt, other = on_gpu(make)(params), make(others)
    for t in range(2):
        for each in (params, others):
            give_gradients(each, t)
        opt.step()
        other.step()
    assert opt.backend == "triton"  # type: ignore[attr-defined]
    assert_close(map(real, params), map(real, others))


def everything_like(dtype: torch.dtype) -> list[Tensor]:
    found = assorted(torch.float32 if dtype == torch.bfloat16 else dtype)
    return [p if p.is_complex() else leaf(p.detach().to(dtype)) for p in found] + [
        leaf(randn(30, 150, seed=3).to(dtype))
    ]


def real(p: Tensor) -> Tensor:
    x = p.detach()
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def test_a_step_without_gradients() -> None:
    params = simple()
    opt = Adam(params, clip_norm=1.0, **GPU)
    give_gradients(params, 0)
    opt.step()
    opt.zero_grad()
    opt.step()
    assert opt.last_step == (0.0, 1.0, False, None)
    assert [float(opt.state[p]["step"]) for p in params] == [1, 1]


def test_under_torchs_own_grad_scaler() -> None:
    """It leaves unscaling and skipping to the step, where fused=True says that the step can."""
    params, others = simple(), simple()
    opt, other = Adam(params, fused=True, **GPU), torch.optim.Adam(others)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for t in range(3):
        for each in (params, others):
            give_gradients(each, t)
        for p in params:
            p.grad *= scaler.get_scale() if t == 0 else float(scaler._scale)  # type: ignore[arg-type, operator]
        if t == 0:
            scaler.scale(torch.zeros(1))
        if t == 1:
            params[0].grad[0] = math.inf  # type: ignore[index]
        scaler.step(opt)
        scaler.update()
        if t != 1:
            other.step()
        assert opt.last_step.skipped == (t == 1)
    assert_close([p.detach() for p in params], [p.detach() for p in others])


READS = ("item", "tolist", "__float__", "__int__", "__bool__", "__index__", "cpu")


@pytest.fixture
def no_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A switch, from which on the host reads no number of a tensor: on a GPU it would wait for it."""

    def refuse(name: str) -> Callable[..., Any]:
        def method(*_: Any) -> Any:
            raise AssertionError(f"Tensor.{name} waits for the device")

        return method

    def switch() -> None:
        for name in READS:
            monkeypatch.setattr(Tensor, name, refuse(name))

    yield switch
    monkeypatch.undo()


def test_a_step_reads_nothing_from_the_device(no_reads: Callable[[], None]) -> None:
    """Clipping, skipping, averaging, a GradScaler's numbers, and hyperparameters that are tensors."""
    params = simple()
    lr, beta, beta2 = torch.tensor(0.1), torch.tensor(0.8), torch.tensor(0.99)
    options = {"clip_norm": 1.0, "skip_nonfinite": True, "average": 0.9, "warn_after_skips": None}
    opt = Adam(params, lr=lr, betas=(beta, beta2), capturable=True, **options, **GPU)  # type: ignore[arg-type]
    give_gradients(params, 0)
    opt.step()
    opt.grad_scale, opt.found_inf = torch.tensor(4.0), torch.tensor(0.0)  # type: ignore[attr-defined]
    lr.fill_(0.05)
    beta.fill_(0.7)
    no_reads()
    opt.step()
    opt.step()


def test_hyperparameters_may_be_tensors() -> None:
    params, others = simple(), simple()
    lr, beta, beta2 = (torch.tensor(x, dtype=torch.float64) for x in (0.1, 0.8, 0.99))
    opt = AdamW(params, lr=lr, betas=(beta, beta2), weight_decay=0.1, **GPU)  # type: ignore[arg-type]
    other = AdamW(others, lr=0.1, betas=(0.8, 0.99), weight_decay=0.1)
    for t in range(4):
        lr.fill_(0.1 / (1 + t))
        beta.fill_(0.8 - 0.1 * t)
        other.param_groups[0] |= {"lr": 0.1 / (1 + t), "betas": (0.8 - 0.1 * t, 0.99)}
        for each in (params, others):
            give_gradients(each, t)
        opt.step()
        other.step()
    assert_close([p.detach() for p in params], [p.detach() for p in others])


def test_a_grad_scaler_on_the_device() -> None:
    """Gradients times the scale step as they do without it, and a found infinity skips."""
    params, others = simple(), simple()
    opt, other = Adam(params, clip_norm=0.5, **GPU), Adam(others, clip_norm=0.5)
    for each in (params, others):
        give_gradients(each, 0)
    for p in params:
        p.grad *= 1024  # type: ignore[operator]
    opt.grad_scale, opt.found_inf = torch.tensor(1024.0), torch.tensor(0.0)  # type: ignore[attr-defined]
    opt.step()
    other.step()
    assert opt.last_step == other.last_step
    assert_close([p.detach() for p in params], [p.detach() for p in others])
    before = bits([everything(opt), params])
    opt.found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]
    opt.step()
    assert opt.last_step.skipped
    assert bits([everything(opt), params]) == before


def test_more_parameters_than_a_program_has_threads() -> None:
    params = [leaf(randn(3, seed=k)) for k in range(300)]
    others = copies(params)
    opt, other = Lion(params, lr=0.1, **GPU), Lion(others, lr=0.1)
    for t in range(2):
        for each in (params, others):
            give_gradients(each, t)
            for p in each[:: t + 2]:
                p.grad = None
        opt.step()
        other.step()
    assert_close([p.detach() for p in params], [p.detach() for p in others])


@pytest.mark.parametrize("name", DROP_IN)
def test_checkpoints_go_to_the_cpu_and_to_torch_and_back(name: str) -> None:
    params, others = simple(), simple()
    opt, other = DROP_IN[name](params, **GPU), getattr(torch.optim, name)(others)
    for t in range(6):
        if t == 2:
            other.load_state_dict(copy.deepcopy(opt.state_dict()))
        if t == 4:
            opt.load_state_dict(copy.deepcopy(other.state_dict()))
        for each in (params, others):
            give_gradients(each, t)
        if t < 2:
            for p, q in zip(params, others, strict=True):
                q.data.copy_(p.data)
            opt.step()
            for p, q in zip(params, others, strict=True):
                q.data.copy_(p.data)
            continue
        opt.step()
        other.step()
    assert_close([p.detach() for p in params], [p.detach() for p in others])


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "torch.save": lambda x: torch.load(_saved(x), weights_only=False),
}


def _saved(x: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copies_go_on_by_themselves(duplicate: Callable[[Any], Any]) -> None:
    params = simple()
    opt = Adam(params, skip_nonfinite=True, **GPU)
    train(opt, params, range(2))
    params[0].grad = torch.full_like(params[0], math.nan)
    opt.step()
    other, others = duplicate((opt, params))
    assert other.skipped_steps == opt.skipped_steps == 1
    assert other.last_step.skipped
    train(other, others, range(2, 4))
    assert float(opt.state[params[1]]["step"]) == 2
    train(opt, params, range(2, 4))
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))


def test_a_group_with_another_branch_of_the_rule() -> None:
    """Whether there is a momentum decides which code is run, in two groups of one optimizer."""
    params, others = simple(), simple()

    def groups(each: list[Tensor]) -> list[dict[str, Any]]:
        return [{"params": each[:1], "momentum": 0.9}, {"params": each[1:]}]

    opt, other = adamas.torch.SGD(groups(params), lr=0.1, **GPU), adamas.torch.SGD(groups(others), lr=0.1)
    for t in range(4):
        if t == 2:
            for each in (opt, other):
                each.param_groups[1]["momentum"] = 0.5
        for each_params in (params, others):
            give_gradients(each_params, t)
        opt.step()
        other.step()
    assert_close([p.detach() for p in params], [p.detach() for p in others])


def test_what_is_not_on_one_device_is_not_capturable() -> None:
    params = simple()
    opt = Adam(params, capturable=True, backend="numba")
    give_gradients(params, 0)
    with pytest.raises(ValueError, match=r"capturable=True needs a step without the host"):
        opt.step()
    assert not opt.state


def test_spikes_are_found_by_the_host() -> None:
    """The step goes the other way, and finds the same."""
    params, others = simple(), simple()
    opt, other = Adam(params, skip_spikes=3.0, **GPU), Adam(others, skip_spikes=3.0)
    for t in range(3):
        for each in (params, others):
            give_gradients(each, t)
        opt.step()
        other.step()
        assert opt.last_step == other.last_step
    assert_close([p.detach() for p in params], [p.detach() for p in others])


class Graph:
    """What a CUDA graph is to our code: the launches of a step, recorded, and run again as they were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from adamas.backends.triton import launch
        from adamas.torch import device_info, device_step
        from adamas.torch.launchers import _sent, triton

        self._launch, self._recorded, self._on = launch.launch, list[tuple[Any, ...]](), False
        monkeypatch.setattr(launch, "launch", self._take)
        for module in (device_info, device_step, _sent, triton):
            monkeypatch.setattr(module, "capturing", lambda _: self._on)

    def _take(self, *arguments: Any) -> None:
        if self._on:
            self._recorded.append(arguments)
        else:
            self._launch(*arguments)

    def capture(self, opt: torch.optim.Optimizer) -> None:
        self._on = True
        opt.step()
        self._on = False

    def replay(self) -> None:
        for arguments in self._recorded:
            self._launch(*arguments)


def test_a_graph_steps_with_its_own_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever steps outside of it read meanwhile, and with other active parameters."""
    params, others = simple(), simple()
    opt, other = Adam(params, capturable=True, **GPU), Adam(others, capturable=True, **GPU)
    graph = Graph(monkeypatch)
    give_gradients(params, 0)
    give_gradients(others, 0)
    opt.step()
    other.step()
    give_gradients(params, 1)
    kept = [p.grad for p in params]
    graph.capture(opt)
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True)), "nothing ran yet"
    for seed in (1, 2, 1, 3, 1):
        give_gradients(others, seed)
        if seed == 1:
            graph.replay()
        else:
            give_gradients(params, seed)
            if seed == 3:
                params[0].grad = others[0].grad = None
            opt.step()
        other.step()
        assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))
    assert [float(opt.state[p]["step"]) for p in params] == [float(other.state[p]["step"]) for p in others]
    assert kept[0] is not params[0].grad


def test_a_graph_goes_on_where_the_plan_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another parameter's first gradient makes another plan, and both count the same steps."""
    params, others = simple(), simple()
    opt, other = Adam(params, capturable=True, **GPU), Adam(others, capturable=True, **GPU)
    graph = Graph(monkeypatch)
    for each in (params, others):
        give_gradients(each, 0)
        each[1].grad = None
    opt.step()
    other.step()
    graph.capture(opt)
    plan, kept = opt._plan, params[0].grad  # which a graph would keep
    for each in (params, others):
        give_gradients(each, 1)
    opt.step()
    other.step()
    assert opt._plan is not plan
    give_gradients(others, 0)
    others[1].grad = None
    assert kept is not params[0].grad
    for _ in range(2):
        graph.replay()
        other.step()
    assert [float(opt.state[p]["step"]) for p in params] == [4, 1]
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))


def test_a_first_step_that_is_skipped_is_none() -> None:
    """Though the slots stay, and another plan is made: SGD's momentum begins undamped."""
    params, others = simple(), simple()
    sgd = functools.partial(adamas.torch.SGD, lr=1.0, momentum=0.9, dampening=0.5, skip_nonfinite=True)
    opt, other = sgd(params, **GPU), sgd(others)
    for each in (params, others):
        each[0].grad = torch.full_like(each[0], math.nan)
    opt.step()
    other.step()
    for t in range(2):
        for each in (params, others):
            give_gradients(each, t)
        opt.step()
        other.step()
    assert_close([p.detach() for p in params], [p.detach() for p in others])


def test_a_grad_scaler_that_saw_no_gradient_of_this_optimizer() -> None:
    """It has summed the infinities of no device: the number 0."""
    params = simple()
    opt = Adam(params, fused=True, **GPU)
    give_gradients(params, 0)
    opt.step()
    opt.zero_grad()
    opt.grad_scale, opt.found_inf = torch.tensor(2.0), 0  # type: ignore[attr-defined]
    opt.step()
    assert not opt.last_step.skipped


def test_capturable_before_there_is_a_gradient() -> None:
    Adam(simple(), capturable=True, **GPU).step()


def test_where_triton_cannot_run_kernels_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without a C compiler."""
    from adamas.backends.triton import launch
    from adamas.torch.launchers import triton

    def fails(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(launch, "launch", fails)
    monkeypatch.setattr(triton, "_fault", triton._fault.__wrapped__)
    params = simple()
    give_gradients(params, 0)
    with pytest.raises(ValueError, match="Triton cannot run kernels on cpu: Failed to find C compiler"):
        Adam(params, **GPU).step()


def test_state_of_another_device_is_none_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel would take its address."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from adamas.torch import slots

    monkeypatch.setattr(slots, "has_own_memory", lambda _: True)
    with FakeTensorMode():
        p, near, far = (torch.empty(3, device=device) for device in ("cuda:0", "cuda:0", "cuda:1"))
    assert slots.same_layout(near, p, torch.float32)
    assert not slots.same_layout(far, p, torch.float32)


def test_more_graphs_than_were_prepared_for(monkeypatch: pytest.MonkeyPatch) -> None:
    params = simple()
    opt, graph = Adam(params, **GPU), Graph(monkeypatch)
    give_gradients(params, 0)
    opt.step()
    graph.capture(opt)
    graph.capture(opt)
    with pytest.raises(RuntimeError, match="take a step outside of a graph between them"):
        graph.capture(opt)
