"""What a user may change between two steps is noticed at the next one: ours after the change equals a
judge that never kept anything, which is torch's own class where torch allows the change."""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_support import (
    OPTIMIZERS,
    Make,
    assert_rounding,
    bits,
    copies,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch

Change = Callable[[torch.optim.Optimizer, list[Tensor]], None]


def beside_torch(
    change: Change, make: Callable[[], list[Tensor]] = simple, name: str = "Adam", **options: Any
) -> None:
    """Three steps, the change, three more: ours and torch's must agree."""
    ours, theirs = make(), make()
    opt = getattr(adamas.torch, name)(ours, **options)
    reference = getattr(torch.optim, name)(theirs, foreach=False, **options)
    for optimizer, params in ((opt, ours), (reference, theirs)):
        train(optimizer, params, range(3))
        change(optimizer, params)
        train(optimizer, params, range(3, 6))
    assert_rounding(ours, theirs)


def beside_itself(make: Make, change: Change, redo: Change) -> None:
    """The change equals a fresh optimizer with the state loaded, to the bit."""
    params, fresh = simple(), simple()
    opt, other = make(params), make(fresh)
    for optimizer, ps in ((opt, params), (other, fresh)):
        train(optimizer, ps, range(3))
    change(opt, params)
    redo(other, fresh)
    again = make(fresh)
    again.load_state_dict(copy.deepcopy(other.state_dict()))
    train(opt, params, range(3, 6))
    train(again, fresh, range(3, 6))
    assert everything(opt) == everything(again)


# Gradients


def test_a_gradient_tensor_that_is_replaced() -> None:
    params, fresh = simple(), simple()
    opt, reference = adamas.torch.Adam(params), torch.optim.Adam(fresh)
    for seed in range(4):
        for optimizer, ps in ((opt, params), (reference, fresh)):
            for k, p in enumerate(ps):
                p.grad = randn(*p.shape, seed=10 * seed + k)
            optimizer.step()
    assert_rounding(params, fresh)


def test_a_gradient_that_is_changed_in_place() -> None:
    params, fresh = simple(), simple()
    opt, reference = adamas.torch.Adam(params), torch.optim.Adam(fresh)
    for optimizer, ps in ((opt, params), (reference, fresh)):
        give_gradients(ps, 0)
        for _ in range(3):
            optimizer.step()
            for p in ps:
                assert p.grad is not None
                p.grad.mul_(-1.5)
    assert_rounding(params, fresh)


def test_a_gradient_whose_data_moves() -> None:
    params, fresh = simple(), simple()
    opt, reference = adamas.torch.Adam(params), torch.optim.Adam(fresh)
    for optimizer, ps in ((opt, params), (reference, fresh)):
        give_gradients(ps, 0)
        kept = []
        for seed in range(3):
            optimizer.step()
            for p in ps:
                assert p.grad is not None
                kept.append(p.grad.data)  # so that the old memory is not given out again
                p.grad.data = randn(*p.shape, seed=seed)
    assert_rounding(params, fresh)


ODD_GRADIENTS: dict[str, Callable[[list[Tensor]], Any]] = {
    "of another": lambda params: setattr(params[1], "grad", params[0].grad),
    "with a graph": lambda params: setattr(params[1], "grad", params[1].exp()),
    "a parameter": lambda params: setattr(params[1], "grad", torch.nn.Parameter(randn(4, 2, seed=9))),
    "expanded": lambda params: setattr(params[1], "grad", randn(4, 1, seed=9).expand(4, 2)),
    "negated": lambda params: setattr(params[1], "grad", torch._neg_view(randn(4, 2, seed=9))),
}


@pytest.mark.parametrize("odd", ODD_GRADIENTS.values(), ids=ODD_GRADIENTS)
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}], ids=["plain", "clipped"])
def test_a_gradient_tensor_unlike_the_others(
    odd: Callable[[list[Tensor]], Any], options: dict[str, Any]
) -> None:
    """It is read as any other, to the bit, and so are those of the steps before and after it."""
    params, fresh = ([leaf(randn(4, 2, seed=1)), leaf(randn(4, 2, seed=2))] for _ in range(2))
    opt, other = adamas.torch.Adam(params, **options), adamas.torch.Adam(fresh, **options)
    for seed in range(4):
        for optimizer, ps in ((opt, params), (other, fresh)):
            give_gradients(ps, seed)
            if seed % 2:
                odd(ps)
            if optimizer is other:
                for p in ps:
                    assert p.grad is not None
                    p.grad = p.grad.detach().clone(memory_format=torch.contiguous_format)
            optimizer.step()
        assert bits(params) == bits(fresh)
    assert opt.last_step == other.last_step


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_parameter_without_a_gradient_is_left_alone(make: Make) -> None:
    params, alone = simple(), simple()
    opt, other = make(params), make(alone[:1])
    for seed in range(6):
        give_gradients(params, seed)
        give_gradients(alone, seed)
        if seed in (1, 2, 4):
            params[1].grad = None
        before = bits([params[1], opt.state.get(params[1], {})])
        opt.step()
        other.step()
        if params[1].grad is None:
            assert bits([params[1], opt.state.get(params[1], {})]) == before
    assert bits(params[0]) == bits(alone[0])


def test_a_parameter_that_never_had_a_gradient_has_no_state() -> None:
    params = simple()
    opt = adamas.torch.Adam(params)
    train(opt, params[:1], range(2))
    assert params[1] not in set(opt.state)
    assert list(opt.state_dict()["state"]) == [0]


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_without_any_gradient_does_nothing(make: Make) -> None:
    params = simple()
    opt = make(params)
    opt.step()
    assert bits(params) == bits(simple())
    train(opt, params, range(2))
    before = everything(opt)
    opt.zero_grad()
    opt.step()
    assert everything(opt) == before
    train(opt, params, range(2, 3))
    assert everything(opt) != before


# Parameters


def replaced(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for k, p in enumerate(params):
        p.data = randn(*p.shape, seed=50 + k)


def shared(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for p in params:
        p.detach().share_memory_()


def transposed(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for p in params:
        p.data = p.data.t()


def channels_last(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for p in params:
        p.data = p.data.to(memory_format=torch.channels_last)


def strided(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
    for p in params:
        wide = torch.zeros(*p.shape, 2)
        wide[..., 0] = p.data
        p.data = wide[..., 0]


@pytest.mark.parametrize("change", [replaced, shared, strided])
def test_a_parameter_whose_data_moves(change: Change) -> None:
    beside_torch(change)


def test_a_square_parameter_that_is_transposed() -> None:
    """The state's layout is the parameter's old one: element by element it still belongs together."""
    beside_torch(transposed, lambda: [leaf(randn(4, 4, seed=1))])


def test_a_parameter_that_becomes_channels_last() -> None:
    beside_torch(channels_last, lambda: [leaf(randn(2, 3, 4, 5, seed=1))])


def test_a_module_that_becomes_double() -> None:
    """Torch's class stops with an error here; ours goes on in float64 from the state it has."""
    module, twin = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2).double()
    params = list(module.parameters())
    opt = adamas.torch.Adam(params)
    train(opt, params, range(3))
    module.double()
    twin.load_state_dict(module.state_dict())
    other = adamas.torch.Adam(twin.parameters())
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    train(opt, params, range(3, 6))
    train(other, list(twin.parameters()), range(3, 6))
    assert bits(params) == bits(list(twin.parameters()))
    assert opt.backend == "numba"


def test_a_module_that_becomes_bfloat16_trains_on() -> None:
    module = torch.nn.Linear(3, 2)
    params = list(module.parameters())
    opt = adamas.torch.Adam(params)
    train(opt, params, range(3))
    module.bfloat16()
    before = bits(params)
    train(opt, params, range(3, 4))
    assert bits(params) != before
    assert {p.dtype for p in params} == {torch.bfloat16}


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("size", [3, 20], ids=["smaller", "larger"])
def test_a_parameter_of_another_size_is_refused_while_its_state_has_the_old_one(
    size: int, backend: str
) -> None:
    """At the same address or not: no element beyond the parameter or its state is touched."""
    memory = torch.zeros(64)
    p = leaf(memory[:10])
    opt = adamas.torch.Adam([p], backend=backend)
    train(opt, [p], range(3))
    p.data = memory[:size]
    p.grad = torch.ones(size)
    before, state = memory.clone(), bits(opt.state_dict())
    with pytest.raises(ValueError, match=rf"'exp_avg'.*\(10,\).*\({size},\)"):
        opt.step()
    assert bits(memory) == bits(before)
    assert bits(opt.state_dict()) == state
    del opt.state[p]
    opt.step()
    assert bool((memory[:size] != before[:size]).all())
    assert bits(memory[size:]) == bits(before[size:])


@pytest.mark.parametrize("make", [OPTIMIZERS["Adam"], OPTIMIZERS["SGD"]], ids=["Adam", "SGD"])
@pytest.mark.parametrize(
    ("steps", "shape"), [(0, (7,)), (0, (13,)), (0, (1,)), (0, (2, 5)), (2, (7,)), (2, (13,)), (2, (1,))]
)
def test_a_gradient_of_another_shape_is_refused(make: Make, steps: int, shape: tuple[int, ...]) -> None:
    """Torch checks the shape when a gradient is set, but `.data` and `resize_` get past that."""
    p = leaf(randn(10))
    opt = make([p])
    train(opt, [p], range(steps))
    p.grad = torch.ones(10)
    p.grad.data = torch.ones(shape)
    before = everything(opt)
    with pytest.raises(RuntimeError, match="gradient"):
        opt.step()
    assert everything(opt) == before


# State


def slots(opt: torch.optim.Optimizer, p: Tensor) -> list[str]:
    return [key for key, value in opt.state[p].items() if isinstance(value, Tensor) and value.dim() > 0]


STATEFUL = {name: make for name, make in OPTIMIZERS.items() if name != "SGD"}


@pytest.mark.parametrize("make", STATEFUL.values(), ids=STATEFUL)
def test_a_state_tensor_that_the_user_replaces(make: Make) -> None:
    def replace(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        for key in slots(opt, params[0]):
            opt.state[params[0]][key] = opt.state[params[0]][key].abs() * 2

    def edit(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        for key in slots(opt, params[0]):
            opt.state[params[0]][key].abs_().mul_(2)

    beside_itself(make, replace, edit)
    beside_itself(make, edit, replace)


@pytest.mark.parametrize("make", STATEFUL.values(), ids=STATEFUL)
def test_a_state_tensor_whose_data_moves(make: Make) -> None:
    def move(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        for p in params:
            for key in slots(opt, p):
                opt.state[p][key].data = opt.state[p][key] * 2

    def edit(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        for p in params:
            for key in slots(opt, p):
                opt.state[p][key].mul_(2)

    beside_itself(make, move, edit)


@pytest.mark.parametrize("make", STATEFUL.values(), ids=STATEFUL)
def test_state_in_shared_memory(make: Make) -> None:
    """Hogwild training shares state and counters between processes; memory moves under our views."""

    def share(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        for state in opt.state.values():
            for value in state.values():
                value.share_memory_()

    def nothing(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        pass

    beside_itself(make, share, nothing)


def test_state_of_another_layout_or_sign_bit() -> None:
    def odd(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        state = opt.state[params[0]]
        wide = torch.empty(5, 6)[:, ::2]
        state["exp_avg"] = wide.copy_(state["exp_avg"])
        state["exp_avg_sq"] = torch._neg_view(-state["exp_avg_sq"])

    beside_torch(odd)


@pytest.mark.parametrize("in_place", [True, False], ids=["by data", "replaced"])
def test_state_of_another_shape_is_refused(in_place: bool) -> None:
    params = simple()
    opt = adamas.torch.Adam(params)
    train(opt, params, range(2))
    if in_place:
        opt.state[params[0]]["exp_avg"].data = torch.zeros(1)
    else:
        opt.state[params[0]]["exp_avg"] = torch.zeros(1)
    before = everything(opt)
    with pytest.raises(ValueError, match=r"'exp_avg'.*\(1,\).*\(5, 3\)"):
        opt.step()
    assert everything(opt) == before


@pytest.mark.parametrize("in_place", [True, False], ids=["by data", "replaced"])
def test_state_that_changes_its_dtype(in_place: bool) -> None:
    params, fresh = simple(), simple()
    opt, other = adamas.torch.Adam(params), adamas.torch.Adam(fresh)
    train(opt, params, range(2))
    train(other, fresh, range(2))
    state = opt.state[params[0]]
    if in_place:
        state["exp_avg"].data = state["exp_avg"].double()
    else:
        state["exp_avg"] = state["exp_avg"].double()
    train(opt, params, range(2, 4))
    train(other, fresh, range(2, 4))
    assert bits(params) == bits(fresh)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(
    "clear",
    [
        lambda opt: opt.state.clear(),
        lambda opt: setattr(opt, "state", collections.defaultdict(dict)),
        lambda opt: [state.clear() for state in opt.state.values()],
    ],
    ids=["cleared", "a new one", "each cleared"],
)
def test_state_that_is_cleared_starts_from_the_beginning(make: Make, clear: Callable) -> None:
    params = simple()
    opt = make(params)
    train(opt, params, range(3))
    clear(opt)
    fresh = copies(params)
    other = make(fresh)
    if isinstance(opt, torch.optim.Adagrad):
        other.state.clear()
    train(opt, params, range(3, 5))
    train(other, fresh, range(3, 5))
    assert bits(params) == bits(fresh)


def test_the_state_of_one_parameter_that_is_deleted() -> None:
    params = simple()
    opt = adamas.torch.Adam(params)
    train(opt, params, range(3))
    del opt.state[params[0]]
    train(opt, params, range(3, 4))
    assert [opt.state[p]["step"].item() for p in params] == [1, 4]


@pytest.mark.parametrize("name", ["NAdam", "SGD"])
def test_parameters_of_one_group_that_have_taken_different_numbers_of_steps(name: str) -> None:
    """Each has its own count, and its own product of momenta where there is one."""
    make = OPTIMIZERS[name]
    params, alone = simple(), simple()
    opt, others = make(params), [make([p]) for p in alone]
    for seed in range(6):
        for k in range(2):
            if seed > 2 * k:
                give_gradients(params[k : k + 1], seed)
                give_gradients(alone[k : k + 1], seed)
        opt.step()
        for other in others:
            other.step()
        for p, q, other in zip(params, alone, others, strict=True):
            assert bits([p, opt.state.get(p)]) == bits([q, other.state.get(q)])


def test_a_state_dict_of_dicts_replaced_by_its_copy() -> None:
    def swap(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        state = collections.defaultdict(dict)
        state.update({p: {key: 1 * value for key, value in s.items()} for p, s in opt.state.items()})
        opt.state = state

    beside_torch(swap)


def test_states_of_two_parameters_that_are_swapped() -> None:
    def swap(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        a, b = params
        opt.state = collections.defaultdict(dict, {b: opt.state[a], a: opt.state[b]})

    beside_torch(swap, lambda: [leaf(randn(4, seed=1)), leaf(randn(4, seed=2))])


EDITS: dict[str, Callable[[Tensor], Any]] = {
    "filled": lambda step: step.fill_(100),
    "added to": lambda step: step.add_(97),
    "filled by data": lambda step: step.data.fill_(100),
    "filled by numpy": lambda step: step.numpy().fill(100),
    "moved by data": lambda step: setattr(step, "data", torch.tensor(100.0)),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_step_counter_that_is_edited(edit: Callable[[Tensor], Any]) -> None:
    beside_torch(lambda opt, params: edit(opt.state[params[0]]["step"]))


def test_a_step_counter_that_is_replaced() -> None:
    for step in (100, 100.0, torch.tensor(100.0), torch.tensor(100)):
        params, fresh = simple(), simple()
        opt, reference = adamas.torch.Adam(params), torch.optim.Adam(fresh)
        train(opt, params, range(3))
        train(reference, fresh, range(3))
        opt.state[params[0]]["step"] = step
        reference.state[fresh[0]]["step"] = torch.tensor(100.0)
        train(opt, params, range(3, 5))
        train(reference, fresh, range(3, 5))
        assert_rounding(params, fresh)
        assert opt.state[params[0]]["step"] == 102


# Options and groups

GROUP_EDITS: dict[str, tuple[str, dict[str, Any]]] = {
    "lr": ("Adam", {"lr": 0.1}),
    "betas": ("Adam", {"betas": (0.5, 0.9)}),
    "eps": ("Adam", {"eps": 0.1}),
    "weight decay": ("Adam", {"weight_decay": 0.5}),
    "decoupled weight decay": ("AdamW", {"weight_decay": 0.5}),
    "decoupling": ("AdamW", {"decoupled_weight_decay": False}),
    "maximize": ("Adam", {"maximize": True}),
    "momentum set": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "momentum of RMSprop": ("RMSprop", {"alpha": 0.5}),
    "lr decay": ("Adagrad", {"lr_decay": 0.5}),
    "rho": ("Adadelta", {"rho": 0.5}),
    "momentum decay": ("NAdam", {"momentum_decay": 0.5}),
    "beta of NAdam": ("NAdam", {"betas": (0.5, 0.9)}),
}


@pytest.mark.parametrize(("name", "options"), GROUP_EDITS.values(), ids=GROUP_EDITS)
def test_an_option_of_a_group_that_is_edited(name: str, options: dict[str, Any]) -> None:
    beside_torch(lambda opt, params: opt.param_groups[0].update(options), name=name)


def test_amsgrad_toggled() -> None:
    """Switched on it starts from the moments there are, where torch's class stops with a KeyError."""
    params, fresh = simple(), simple()
    opt, reference = adamas.torch.Adam(params), torch.optim.Adam(fresh, foreach=False)
    train(opt, params, range(3))
    train(reference, fresh, range(3))
    for p in fresh:
        reference.state[p]["max_exp_avg_sq"] = torch.zeros_like(p)
    for on in (True, False, True):
        for optimizer, ps in ((opt, params), (reference, fresh)):
            optimizer.param_groups[0]["amsgrad"] = on
            train(optimizer, ps, range(3, 6))
    assert_rounding(params, fresh)


def test_momentum_switched_off_and_on_keeps_its_buffer() -> None:
    def toggle(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        for momentum in (0, 0.9):
            opt.param_groups[0]["momentum"] = momentum
            train(opt, params, range(3))

    beside_torch(toggle, name="SGD", momentum=0.9)


IN_PLACE: dict[str, tuple[str, Any, Callable[[Any], Any]]] = {
    "tensor": ("lr", torch.tensor(0.01), lambda lr: lr.fill_(0.25)),
    "array": ("lr", torch.tensor(0.01).numpy(), lambda lr: lr.fill(0.25)),
    "list": ("betas", [0.9, 0.99], lambda betas: betas.__setitem__(0, 0.5)),
    "tensors in a tuple": (
        "betas",
        (torch.tensor(0.9), torch.tensor(0.99)),
        lambda betas: betas[0].fill_(0.5),
    ),
}


@pytest.mark.parametrize(("option", "value", "edit"), IN_PLACE.values(), ids=IN_PLACE)
def test_an_option_that_changes_in_place(option: str, value: Any, edit: Callable[[Any], Any]) -> None:
    def change(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        opt.param_groups[0][option] = copy.deepcopy(value)
        train(opt, params, range(3))
        edit(opt.param_groups[0][option])

    beside_torch(change)


def test_a_parameter_added_with_a_group() -> None:
    def add(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        params.append(leaf(randn(6, seed=3)))
        opt.add_param_group({"params": [params[-1]], "lr": 0.1})

    beside_torch(add)


def test_a_parameter_appended_to_the_list_of_a_group() -> None:
    def add(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        params.append(leaf(randn(6, seed=3)))
        opt.param_groups[0]["params"].append(params[-1])

    beside_torch(add)


def test_a_parameter_taken_out_of_a_group() -> None:
    def remove(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        del opt.param_groups[0]["params"][1]

    beside_torch(remove)


def test_a_parameter_exchanged_for_another() -> None:
    def exchange(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        params[1] = opt.param_groups[0]["params"][1] = leaf(randn(4, seed=9))

    beside_torch(exchange)


def test_a_parameter_moved_between_groups() -> None:
    def move(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        opt.param_groups[1]["params"].append(opt.param_groups[0]["params"].pop())

    ours, theirs = simple(), simple()
    for cls, ps in ((adamas.torch.Adam, ours), (torch.optim.Adam, theirs)):
        opt = cls([{"params": ps, "lr": 0.1}, {"params": [], "lr": 0.01}])
        train(opt, ps, range(3))
        move(opt, ps)
        train(opt, ps, range(3, 6))
    assert_rounding(ours, theirs)


@pytest.mark.parametrize(
    "edit",
    [
        lambda groups: groups.pop(),
        lambda groups: groups.reverse(),
        lambda groups: groups.__setitem__(0, {**groups[0], "lr": 0.5}),
        lambda groups: groups[0].update(params=groups[0]["params"][::-1]),
    ],
    ids=["popped", "reversed", "replaced", "params replaced"],
)
def test_the_list_of_groups_that_is_edited(edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    ours, theirs = simple(), simple()
    for cls, ps in ((adamas.torch.Adam, ours), (torch.optim.Adam, theirs)):
        opt = cls([{"params": [ps[0]], "lr": 0.1}, {"params": [ps[1]], "lr": 0.01}])
        train(opt, ps, range(3))
        edit(opt.param_groups)
        train(opt, ps, range(3, 6))
    assert_rounding(ours, theirs)


def test_state_that_is_loaded() -> None:
    def load(opt: torch.optim.Optimizer, params: list[Tensor]) -> None:
        state_dict = copy.deepcopy(opt.state_dict())
        train(opt, params, range(10, 13))
        opt.load_state_dict(state_dict)

    beside_torch(load)


def test_only_what_changed_is_read_anew() -> None:
    """A steady run makes its tables once; this is what the speed of small steps rests on."""
    params = simple()
    opt = adamas.torch.Adam(params)
    train(opt, params, range(1))
    plan = opt._plan
    train(opt, params, range(1, 4))
    opt.param_groups[0]["lr"] = 0.5
    opt.zero_grad()
    train(opt, params, range(4, 6))
    assert opt._plan is plan
