"""Stepping in backward: the bits of a plain step, parameter by parameter, and no gradient left after it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from in_backward_support import backward, loss_of, model, train_in_backward
from state_support import FORMATS, fits, large
from torch import Tensor, nn
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
from adamas.torch import SGD, Adam, NAdam

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


# The same numbers.


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{}, {"average": 0.75, "seed": 3}], ids=["plain", "average"])
def test_it_has_the_bits_of_plain_steps(make: Make, dtype: torch.dtype, options: dict[str, Any]) -> None:
    """In every layout; random rounding too, which is keyed by a parameter's number in the optimizer."""
    ours = assorted(torch.float32) if dtype == torch.bfloat16 else assorted(dtype)
    if dtype == torch.bfloat16:
        ours = [leaf(p.detach().to(dtype)) for p in ours if not p.is_complex()]
    theirs = [leaf(p.detach().clone(memory_format=torch.preserve_format)) for p in ours]
    opt, plain = make(ours, **options), make(theirs, **options)
    opt.step_in_backward()
    train_in_backward(opt, ours, range(4))
    train(plain, theirs, range(4))
    assert everything(opt) == everything(plain)


@every_optimizer
@pytest.mark.parametrize("format", FORMATS)
def test_it_has_the_bits_of_plain_steps_in_every_format(make: Make, format: str) -> None:
    if not fits(make, format):
        pytest.skip(f"{format} is refused for it")
    ours, theirs = large(torch.bfloat16), large(torch.bfloat16)
    opt, plain = make(ours, state_format=format), make(theirs, state_format=format)
    opt.step_in_backward()
    train_in_backward(opt, ours, range(3))
    train(plain, theirs, range(3))
    assert everything(opt) == everything(plain)


@every_optimizer
def test_groups_keep_their_options_and_numbers(make: Make) -> None:
    """A parameter's number goes through all groups, and options are read at each step."""

    def trained(in_backward: bool) -> Any:
        params = [leaf(p.detach().to(torch.bfloat16)) for p in (*simple(), *simple())]
        opt = make([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}])
        if in_backward:
            opt.step_in_backward()
        for seed in range(4):
            backward(params, seed)
            opt.step()
            opt.zero_grad()
            opt.param_groups[0]["lr"] *= 0.5
            opt.param_groups[1]["weight_decay"] = 0.125 * seed
        return everything(opt)

    assert trained(True) == trained(False)


def test_a_parameter_moves_as_soon_as_its_gradient_is_complete() -> None:
    """Before the backward of the layers below it, and never by a part of its gradient."""
    net = model()
    opt, weights, seen = SGD(net.parameters(), lr=0.5), list(net.parameters()), []
    plain, start = copy.deepcopy(net), [p.detach().clone() for p in net.parameters()]
    opt.step_in_backward()
    for p in weights:
        p.register_hook(
            lambda _: seen.append([bits(p) != bits(q) for p, q in zip(weights, start, strict=True)])
        )
    loss_of(net, 0).backward()
    assert sum(map(sum, seen)) > 0
    assert seen[0] == [False] * 6
    assert all(p.grad is None for p in weights)
    loss_of(plain, 0).backward()
    SGD(plain.parameters(), lr=0.5).step()
    assert bits(list(net.parameters())) == bits(list(plain.parameters()))


def test_a_tied_weight_waits_for_all_its_gradient() -> None:
    def trained(in_backward: bool) -> Any:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
        net[2].weight = net[0].weight
        opt = Adam(net.parameters(), lr=0.1)
        if in_backward:
            opt.step_in_backward()
        for seed in range(3):
            loss_of(net, seed).backward()
            opt.step()
            opt.zero_grad()
        return everything(opt)

    assert trained(True) == trained(False)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_layers_step(reentrant: bool) -> None:
    """Each in the backward of its own segment, which with `use_reentrant` is one within another."""

    def trained(in_backward: bool) -> Any:
        net = model()
        opt = Adam(net.parameters(), lr=0.1)
        if in_backward:
            opt.step_in_backward()
        for seed in range(3):
            x = randn(8, 6, seed=seed).requires_grad_()
            for layers in (net[:2], net[2:4], net[4:]):
                x = torch.utils.checkpoint.checkpoint(layers, x, use_reentrant=reentrant)
            x.square().mean().backward()
            assert not in_backward or all(p.grad is None for p in net.parameters())
            opt.step()
            opt.zero_grad()
        return everything(opt)

    assert trained(True) == trained(False)


@contextmanager
def compiled_backward() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, as it traces
        with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
            yield


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True], ids=["model", "backward"])
def test_compiled_models_step(whole: bool) -> None:
    """Also where the backward is compiled too, with the hooks in it."""

    def trained(in_backward: bool) -> Any:
        net = model()
        compiled = torch.compile(net, backend="aot_eager")
        opt = Adam(net.parameters(), lr=0.1)
        if in_backward:
            opt.step_in_backward()
        for seed in range(3):
            loss = loss_of(compiled, seed)
            with compiled_backward() if whole else nullcontext():
                loss.backward()
            assert not in_backward or all(p.grad is None for p in net.parameters())
            opt.step()
            opt.zero_grad()
        return everything(opt)

    assert trained(True) == trained(False)


def test_two_threads_step_one_model() -> None:
    """Autograd runs hooks on a thread a device; here each thread has a part of the parameters."""
    ours, theirs = (
        [leaf(randn(300, seed=k)) for k in range(40)],
        [leaf(randn(300, seed=k)) for k in range(40)],
    )
    opt, plain = Adam(ours), Adam(theirs)
    opt.step_in_backward()
    for seed in range(3):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda part: backward(part, seed), (ours[:20], ours[20:])))  # noqa: B023
        opt.step()
        plain.zero_grad()
        for part in (theirs[:20], theirs[20:]):
            backward(part, seed)
        plain.step()
    assert everything(opt) == everything(plain)


# One step a backward.


def test_micro_batches_are_one_step() -> None:
    """The last one steps with the sum, and takes along what only the earlier ones brought."""

    def trained(in_backward: bool, on: bool) -> Any:
        net = model()
        extra = leaf(torch.ones(3))
        opt = Adam([*net.parameters(), extra], lr=0.1)
        stepper = opt.step_in_backward() if in_backward else None
        for step in range(3):
            for k in range(4):
                loss = loss_of(net, 4 * step + k) + (extra.sum() if k == 1 else 0)
                if stepper is None:
                    loss.backward()
                elif on:
                    with stepper.accumulate(k < 3):
                        loss.backward()
                elif k < 3:
                    with stepper.accumulate():
                        loss.backward()
                else:
                    loss.backward()
            if stepper is not None:
                assert [p.grad is not None for p in net.parameters()] == [False] * 6
            opt.step()
            opt.zero_grad()
        assert extra.grad is None
        return everything(opt)

    assert trained(True, True) == trained(True, False) == trained(False, False)


def test_a_second_backward_in_a_step_is_refused() -> None:
    """It would be another step, where a plain loop sums the gradients."""
    params = simple()
    opt = Adam(params)
    opt.step_in_backward()
    backward(params, 0)
    before = everything(opt)
    with pytest.raises(RuntimeError, match=r"shape \(5, 3\).*accumulate\(\)"):
        backward(params, 1)
    with pytest.raises(RuntimeError, match=r"zero_grad\(\) drops"):
        opt.step()
    assert everything(opt) == before
    opt.zero_grad()
    opt.step()
    assert everything(opt) == before
    train_in_backward(opt, params, [2])


def test_two_losses_with_parameters_of_their_own_are_one_step() -> None:
    def trained(in_backward: bool) -> Any:
        params = simple()
        opt = Adam(params)
        if in_backward:
            opt.step_in_backward()
        for seed in range(3):
            for p in params:
                backward([p], seed)
            opt.step()
            opt.zero_grad()
        return everything(opt)

    assert trained(True) == trained(False)


def test_a_loss_that_goes_through_another_models_parameters_is_refused_or_held_back() -> None:
    """As a generator's does: its gradients of the discriminator are dropped."""

    def trained(in_backward: bool, hold: bool) -> Any:
        (d, g) = simple()[1], leaf(randn(4, seed=5))
        opt_d, opt_g = Adam([d], lr=0.1), Adam([g], lr=0.1)
        if in_backward:
            stepper, _ = opt_d.step_in_backward(), opt_g.step_in_backward()
        for _ in range(3):
            (d * g.detach()).sum().square().backward()
            opt_d.step()
            opt_d.zero_grad()
            if in_backward:
                with stepper.accumulate(hold):
                    (d * g).sum().square().backward()
            else:
                (d * g).sum().square().backward()
            opt_g.step()
            opt_g.zero_grad()
            opt_d.zero_grad()
        return everything(opt_d), everything(opt_g)

    assert trained(True, True) == trained(False, False)
    with pytest.raises(RuntimeError, match=r"accumulate\(\)"):
        trained(True, False)


def test_the_graph_of_a_step_cannot_be_used_again() -> None:
    """Torch itself says so, as after any step: the weights that it saved have changed."""
    net = model()
    opt = SGD(net.parameters(), lr=0.1)
    opt.step_in_backward()
    loss = loss_of(net, 0)
    loss.backward(retain_graph=True)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# What a step also does.


@every_optimizer
def test_step_takes_parameters_with_a_gradient_that_no_backward_brought(make: Make) -> None:
    """So a loop that sets gradients itself goes on as it is, but that they are freed."""
    ours, theirs = simple(), simple()
    opt, plain = make(ours), make(theirs)
    opt.step_in_backward()
    train(opt, ours, range(3))
    train(plain, theirs, range(3))
    assert [p.grad for p in ours] == [None, None]
    assert everything(opt) == everything(plain)


def test_parameters_without_a_gradient_rest() -> None:
    ours, theirs = simple(), simple()
    opt, plain = NAdam(ours), NAdam(theirs)
    opt.step_in_backward()
    for seed, chosen in enumerate(([0, 1], [1], [0], [], [0, 1])):
        backward([ours[k] for k in chosen], seed)
        opt.step()
        plain.zero_grad()
        backward([theirs[k] for k in chosen], seed)
        plain.step()
    assert everything(opt) == everything(plain)


def test_a_function_that_gives_no_gradient_gives_none() -> None:
    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> None:
            return None

    p, q = simple()
    opt = Adam([p, q])
    opt.step_in_backward()
    before = bits(p)
    (Nothing.apply(p).sum() + q.sum()).backward()
    opt.step()
    assert (bits(p), list(opt.state)) == (before, [q])


def test_frozen_parameters_join_when_they_thaw() -> None:
    """Their first gradient is stepped by `step`, the later ones in backward."""
    net, plain = model(), model()
    opt, other = Adam(net.parameters()), Adam(plain.parameters())
    for p in (net[0].weight, plain[0].weight):
        p.requires_grad_(False)
    opt.step_in_backward()
    for seed in range(4):
        for n, o in ((net, opt), (plain, other)):
            n[0].weight.requires_grad_(seed > 0)
            loss_of(n, seed).backward()
            assert o is other or (n[0].weight.grad is not None) == (seed == 1)
            o.step()
            o.zero_grad()
    assert everything(opt) == everything(other)


def test_a_closure_is_called_once_and_steps_in_its_backward() -> None:
    nets, calls = (model(), model()), []
    opts = [Adam(net.parameters(), lr=0.1) for net in nets]
    opts[0].step_in_backward()
    for seed in range(3):
        losses = []
        for net, opt in zip(nets, opts, strict=True):

            def closure(net: nn.Module = net, opt: Any = opt, seed: int = seed) -> Tensor:
                calls.append(1)
                opt.zero_grad()
                loss = loss_of(net, seed)
                loss.backward()
                return loss

            losses.append(opt.step(closure).item())
        assert losses[0] == losses[1]
    assert len(calls) == 6
    assert everything(opts[0]) == everything(opts[1])


@pytest.mark.parametrize("cls", [SGD, adamas.torch.Adagrad])
def test_sparse_gradients_step_where_the_rule_takes_them(cls: Make) -> None:
    results = []
    for in_backward in (True, False):
        torch.manual_seed(0)
        table = nn.Embedding(6, 3, sparse=True)
        opt = cls(table.parameters(), lr=0.1)
        if in_backward:
            opt.step_in_backward()
        for k in range(3):
            table(torch.tensor([k, 5])).square().sum().backward()
            assert (table.weight.grad is None) == in_backward
            opt.step()
            opt.zero_grad()
        results.append(everything(opt))
    assert results[0] == results[1]


def test_a_gradient_that_cannot_be_taken_stays() -> None:
    """The error is that of a plain step, and what it made is undone."""
    table = nn.Embedding(6, 3, sparse=True)
    opt = Adam(table.parameters())
    opt.step_in_backward()
    before = everything(opt)
    with pytest.raises(RuntimeError, match="sparse"):
        table(torch.tensor([1])).sum().backward()
    assert everything(opt) == before
    assert table.weight.grad is not None
    with pytest.raises(RuntimeError, match="sparse"):
        opt.step()
    opt.zero_grad()
    opt.step()


def test_after_an_error_in_backward_the_next_step_is_whole() -> None:
    """Those that came before it have taken the step, which nothing can undo; `step` closes it."""
    net = model()
    opt = Adam(net.parameters(), lr=0.1)
    opt.step_in_backward()

    def fail(_: Tensor) -> None:
        raise KeyboardInterrupt

    hook = net[2].weight.register_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        loss_of(net, 0).backward()
    hook.remove()
    taken = [p for p in net.parameters() if p in opt.state]
    assert 0 < len(taken) < 6
    opt.zero_grad()
    with pytest.raises(RuntimeError, match=r"Call opt.step\(\)"):
        loss_of(net, 1).backward()
    opt.zero_grad()
    opt.step()
    loss_of(net, 1).backward()
    opt.step()
    steps = {float(opt.state[p]["step"]) for p in net.parameters()}
    assert steps == {1.0, 2.0}
    assert {float(opt.state[p]["step"]) for p in taken} == {2.0}
