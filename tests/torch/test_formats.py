"""State in storage formats through the torch optimizers: memory, conversions, checkpoints, refusals."""

from __future__ import annotations

import copy
import functools
import io
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_support import (
    DROP_IN,
    OPTIMIZERS,
    Make,
    assert_rounding,
    bits,
    copies,
    everything,
    give_gradients,
    leaf,
    randn,
    train,
)

from adamas import formats
from adamas.torch import SGD, Adam, AdamW

# All that `state_format` takes: a format that is added is tested without being named here.
FORMATS = [name for name in formats.names() if name != "float64"]
STORED = [name for name in FORMATS if name != "float32"]
SCALED = [name for name in FORMATS if formats.get(name).scaled]
every_format = pytest.mark.parametrize("format", FORMATS)
every_stored = pytest.mark.parametrize("format", STORED)
# Of a tensor of state: what the format stores, of which NumPy has no bfloat16.
DTYPES = {name: torch.uint8 if name in SCALED else getattr(torch, name, torch.uint8) for name in FORMATS}
# A rule of each kind (each is a compilation, and test_formats_rules.py has them all): with two moments,
# without a count of steps, with a carried value, and a user's own.
KINDS = ["Adam", "SGD-nesterov", "NAdam", "Optimizer"]
every_kind = pytest.mark.parametrize("make", [OPTIMIZERS[name] for name in KINDS], ids=KINDS)
LARGE, SMALL = 4096, 4095  # where scales begin


def large(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """A matrix laid out otherwise, a vector with a part of a block, and one too small for scales."""
    return [
        leaf(randn(70, 60, seed=1, dtype=torch.float32).to(dtype).t()),
        leaf(randn(4999, seed=2).to(dtype)),
        leaf(randn(9, seed=3).to(dtype)),
    ]


def slots_of(opt: torch.optim.Optimizer, p: Tensor) -> dict[str, Tensor]:
    return {key: x for key, x in opt.state[p].items() if torch.is_tensor(x) and x.dim()}


def through_a_file(state_dict: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# What is stored.


@every_format
def test_memory_of_adams_state(format: str) -> None:
    """Two slots of what the format stores, and the scales of blocks, where it has them."""
    n = 1_000_000
    p = leaf(torch.zeros(1000, 1000))
    opt = Adam([p], state_format=format)
    train(opt, [p], range(1))
    used = sum(x.untyped_storage().nbytes() for x in slots_of(opt, p).values()) / n
    codes = 2 * formats.get(format).stored.itemsize
    assert codes <= used <= codes * (1.05 if format in SCALED else 1)


@every_format
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_small_tensors_are_not_scaled(format: str, dtype: torch.dtype) -> None:
    sizes = {LARGE: DTYPES[format], SMALL: torch.float32 if format in SCALED else DTYPES[format]}
    params = [leaf(torch.zeros(n, dtype=dtype)) for n in sizes]
    opt = Adam(params, state_format=format)
    train(opt, params, range(2))
    for p, expected in zip(params, sizes.values(), strict=True):
        assert {x.dtype for x in slots_of(opt, p).values()} == {expected}


def test_a_format_for_each_slot() -> None:
    p = leaf(randn(LARGE))
    opt = Adam([p], amsgrad=True, state_format={"exp_avg": "float8", "exp_avg_sq": "bfloat16"})
    train(opt, [p], range(2))
    assert {key: x.dtype for key, x in slots_of(opt, p).items()} == {
        "exp_avg": torch.uint8,
        "exp_avg_sq": torch.bfloat16,
        "max_exp_avg_sq": torch.float32,
    }


@every_stored
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.complex128], ids=str)
def test_wide_and_complex_parameters_keep_state_of_their_own_type(format: str, dtype: torch.dtype) -> None:
    params = [leaf(randn(5000, seed=1, dtype=dtype))]
    plain = copies(params)
    opt = Adam(params, state_format=format)
    train(opt, params, range(3))
    train(Adam(plain), plain, range(3))
    assert {x.dtype for x in slots_of(opt, params[0]).values()} == {dtype}
    assert bits(params) == bits(plain)


@every_kind
def test_float32_by_name_is_the_default(make: Make) -> None:
    params, plain = large(), large()
    opt, other = make(params, state_format="float32"), make(plain)
    train(opt, params, range(3))
    train(other, plain, range(3))
    assert everything(opt) == everything(other)


@every_kind
@every_stored
def test_training_stays_near_that_in_float32(make: Make, format: str) -> None:
    """Ten steps in one direction with noise; as close as the derivation in test_formats_rules.py says."""
    params, plain = large(), large()
    start = copies(params)
    opt, other = make(params, state_format=format), make(plain)
    for seed in range(10):
        for ps in (params, plain):
            give_gradients(ps, seed)
            for p in ps:
                p.grad = 0.05 + 0.05 * p.grad
        opt.step()
        other.step()
    for p, q, s in zip(params, plain, start, strict=True):
        error = (p - q).norm() / (q - s).norm()
        assert error.item() <= {"float8": 0.12, "bfloat16": 0.025, "float16": 0.01}[format]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_kind
def test_half_precision_parameters_keep_float32_state(make: Make, dtype: torch.dtype) -> None:
    params = large(dtype)
    opt = make(params)
    train(opt, params, range(2))
    assert all(x.dtype == torch.float32 for p in params for x in slots_of(opt, p).values())
    assert opt.backend == "numba"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_half_precision_model_learns_and_counts(dtype: torch.dtype) -> None:
    """At a stepsize of a fortieth of a spacing, for more steps than a bfloat16 counter could count."""
    p = leaf(torch.ones(LARGE, dtype=dtype))
    opt = Adam([p], lr=1e-4, state_format="bfloat16")
    for _ in range(300):
        p.grad = p.detach().clone()
        opt.step()
    assert opt.state[p]["step"].item() == 300
    assert p.detach().double().mean().item() == pytest.approx(1 - 300e-4, abs=2e-3)


# Seeds.


def updates(seed: int) -> list[list[Tensor]]:
    """Three equal tensors after each of three steps, which only rounding tells apart."""
    params = [leaf(torch.ones(500, dtype=torch.bfloat16)) for _ in range(3)]
    opt, history = SGD(params, lr=2**-9, seed=seed), []
    for _ in range(3):
        for p in params:
            p.detach().fill_(1)
            p.grad = torch.ones(500, dtype=torch.bfloat16)
        opt.step()
        history.append([p.detach().clone() for p in params])
    return history


def test_rounding_depends_on_the_seed_the_step_and_the_tensor() -> None:
    """No two of them alike: seeds two apart must not round neighbouring tensors alike, either."""
    seen = [bits(x) for seed in range(6) for step in updates(seed) for x in step]
    assert len(seen) == 54
    assert all(a != b for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("seed", [0, 7, -3, 2**70])
def test_a_seed_is_a_run(seed: int) -> None:
    assert bits(updates(seed)) == bits(updates(seed))


def test_rounding_does_not_depend_on_what_else_has_a_gradient() -> None:
    params = [leaf(torch.ones(500, dtype=torch.bfloat16)) for _ in range(2)]
    opt = SGD(params, lr=2**-9)
    params[1].grad = torch.ones(500, dtype=torch.bfloat16)
    opt.step()
    assert bits(params[1].detach()) == bits(updates(0)[0][1])


# Checkpoints.


@pytest.mark.parametrize("format", [*STORED, None])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float32) for name in KINDS), ("SGD", torch.bfloat16), ("SGD-nesterov", torch.bfloat16)],
    ids=str,
)
def test_resuming_changes_no_bit(name: str, dtype: torch.dtype, format: str | None) -> None:
    """Rounding depends on the step, so that is kept where a rule itself does not count."""
    make = functools.partial(OPTIMIZERS[name], state_format=format, seed=3)
    through, resumed = large(dtype), large(dtype)
    whole, first = make(through), make(resumed)
    train(whole, through, range(6))
    train(first, resumed, range(3))
    second = make(resumed)
    second.load_state_dict(through_a_file(first.state_dict()))
    train(second, resumed, range(3, 6))
    assert everything(second) == everything(whole)


def assert_kept(actual: dict[str, Any], expected: dict[str, Any], formats: set[str], p: Tensor) -> None:
    """State of one parameter in float32, up to the roundings of the formats that it went through.

    To nearest: half a spacing each; in float8, where the scale and hence all codes move, half of the
    smallest code of a block on top, for which the largest of all elements stands here.
    """
    for key, value in expected.items():
        if not torch.is_tensor(value) or not value.dim():
            continue
        relative = 2.0**-8 * ("bfloat16" in formats) + 2.0**-11 * ("float16" in formats)
        absolute = 2.0**-24 * ("float16" in formats)
        if "float8" in formats and p.numel() >= LARGE:
            relative += 2.0**-4 * 1.01
            absolute += value.abs().max().item() * 2.0**-15
        torch.testing.assert_close(actual[key], value, rtol=relative, atol=absolute, msg=key)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FORMATS, FORMATS)))
def test_every_format_loads_into_every_other(source: str, target: str) -> None:
    params = large()
    opt = Adam(params, state_format=source)
    train(opt, params, range(3))
    saved = through_a_file(opt.state_dict())
    other = Adam(params, state_format=target)
    other.load_state_dict(saved)
    for p in params:
        p.grad = None
    params[2].grad = torch.zeros(9)
    other.step()  # converts what it uses, and leaves the rest for later
    before, after = opt.torch_state_dict()["state"], other.torch_state_dict()["state"]
    for k, p in enumerate(params[:2]):
        assert bits(after[k]) == bits(before[k])
        assert slots_of(other, p)["exp_avg"].dtype == DTYPES[source]
    # Rules do not change their state at β = 1, so that what is left is the conversion.
    other.param_groups[0].update(lr=0.0, betas=(1 - 2**-50, 1 - 2**-50))
    for p in params:
        p.grad = torch.zeros_like(p)
    other.step()
    after = other.torch_state_dict()["state"]
    for k, p in enumerate(params[:2]):
        assert {x.dtype for x in slots_of(other, p).values()} == {DTYPES[target]}
        # A block of float8 is scaled anew at every step, by next to nothing.
        assert_kept(after[k], before[k], {target} if source != target or target == "float8" else set(), p)


def test_float8_is_loaded_code_by_code() -> None:
    params = large()
    opt = Adam(params, state_format="float8")
    train(opt, params, range(3))
    other = Adam(params, state_format="float8")
    other.load_state_dict(through_a_file(opt.state_dict()))
    assert bits(other.state_dict()) == bits(opt.state_dict())


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"amsgrad": True}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    *((name, {}) for name in DROP_IN),
]


TO_TORCH = [(*variant, format) for variant in VARIANTS for format in ("float8", None)]
TO_TORCH += [(name, {}, format) for name in ("Adam", "Adagrad") for format in ("bfloat16", "float16")]


@pytest.mark.parametrize(("name", "options", "format"), TO_TORCH, ids=str)
def test_the_state_goes_to_torch(name: str, options: dict[str, Any], format: str | None) -> None:
    """Torch's next step from it is ours from the same state in float32."""
    params = large()
    opt = DROP_IN[name](params, state_format=format, **options)
    train(opt, params, range(3))
    before = everything(opt)
    saved = through_a_file(opt.torch_state_dict())
    assert everything(opt) == before
    theirs, ours = copies(params), copies(params)
    reference = getattr(torch.optim, name)(theirs, foreach=False, **options)
    expected = getattr(torch.optim, name)(copies(params), foreach=False, **options)
    train(expected, expected.param_groups[0]["params"], range(1))
    for k, state in saved["state"].items():
        known = expected.state[expected.param_groups[0]["params"][k]]
        assert {key: (x.dtype, x.shape) for key, x in state.items()} == {
            key: (x.dtype, x.shape) for key, x in known.items() if x is not None
        }
    reference.load_state_dict(copy.deepcopy(saved))
    other = DROP_IN[name](ours, **options)
    other.load_state_dict(saved)
    train(reference, theirs, range(3, 5))
    train(other, ours, range(3, 5))
    assert_rounding(ours, theirs)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_averages_do_not_go_to_torch(name: str) -> None:
    params = large()
    opt = DROP_IN[name](params, average=0.5)
    train(opt, params, range(2))
    plain = DROP_IN[name](copies(params))
    train(plain, plain.param_groups[0]["params"], range(2))
    sent, known = opt.torch_state_dict()["state"], plain.state_dict()["state"]
    assert [state.keys() for state in sent.values() if state] == [state.keys() for state in known.values()]


def test_state_that_no_option_uses_now_does_not_go_to_torch() -> None:
    params = large()
    opt = Adam(params, amsgrad=True, state_format="float8")
    train(opt, params, range(2))
    opt.param_groups[0]["amsgrad"] = False
    assert opt.torch_state_dict()["state"][0].keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert opt.state_dict()["state"][0].keys() == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}


@every_format
@pytest.mark.parametrize(("name", "options"), [*VARIANTS[:3], ("Adagrad", {})], ids=str)
def test_the_state_of_torch_loads_into_every_format(name: str, options: dict[str, Any], format: str) -> None:
    params = large()
    reference = getattr(torch.optim, name)(params, foreach=False, **options)
    train(reference, params, range(3))
    theirs, ours = copies(params), copies(params)
    start = copies(params)
    again = getattr(torch.optim, name)(theirs, foreach=False, **options)
    again.load_state_dict(copy.deepcopy(reference.state_dict()))
    opt = DROP_IN[name](ours, state_format=format, **options)
    opt.load_state_dict(reference.state_dict())
    train(again, theirs, [3])
    train(opt, ours, [3])
    for p, q, s in zip(ours, theirs, start, strict=True):
        lost = {"float8": 2.0**-4, "bfloat16": 2.0**-8, "float16": 2.0**-9, "float32": 1e-5}[format]
        assert ((p - q).norm() / (q - s).norm()).item() <= lost
    assert {x.dtype for x in slots_of(opt, ours[1]).values()} == {DTYPES[format]}


@every_format
def test_a_step_of_nothing_before_a_checkpoint_is_loaded(format: str) -> None:
    """What a distributed checkpoint does to have state to load into."""
    make = functools.partial(Adam, state_format=format)
    through, resumed = large(torch.bfloat16), large(torch.bfloat16)
    whole, first = make(through), make(resumed)
    train(whole, through, range(4))
    train(first, resumed, range(2))
    saved, before = copy.deepcopy(first.state_dict()), bits(resumed)
    second = make(resumed, lr=0.0)
    for p in resumed:
        p.grad = torch.zeros_like(p)
    second.step()
    assert bits(resumed) == before
    second.load_state_dict(saved)
    train(second, resumed, range(2, 4))
    assert everything(second) == everything(whole)


def test_infinite_state_is_loaded_as_what_it_is() -> None:
    p = leaf(randn(LARGE))
    opt = Adam([p], state_format="float32")
    train(opt, [p], range(1))
    opt.state[p]["exp_avg"][5] = float("inf")
    opt.state[p]["exp_avg_sq"][200] = float("nan")
    other = Adam([p], state_format="float8")
    other.load_state_dict(opt.state_dict())
    train(other, [p], range(1, 2))
    wide = other.torch_state_dict()["state"][0]
    assert not wide["exp_avg"][5].isfinite()
    assert not wide["exp_avg_sq"][200].isfinite()
    assert all(bool(wide[key][256:].isfinite().all()) for key in ("exp_avg", "exp_avg_sq"))


# What changes under way.


@every_stored
def test_options_that_change_under_way(format: str) -> None:
    """As if the new optimizer had been given the state."""
    params, fresh = large(), large()
    opt, other = Adam(params, state_format=format), Adam(fresh, state_format=format)
    train(opt, params, range(2))
    train(other, fresh, range(2))
    changed: dict[str, Any] = {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.1, "amsgrad": True}
    opt.param_groups[0].update(changed)
    again = Adam(fresh, state_format=format)
    again.load_state_dict(other.state_dict())
    again.param_groups[0].update(changed)
    train(opt, params, range(2, 4))
    train(again, fresh, range(2, 4))
    assert everything(opt) == everything(again)
    assert slots_of(opt, params[1])["max_exp_avg_sq"].dtype == DTYPES[format]


def test_a_group_that_is_added() -> None:
    params = large()
    opt = AdamW(params[:1], state_format="float8")
    train(opt, params[:1], range(2))
    before = bits(slots_of(opt, params[0]))
    opt.add_param_group({"params": params[1:], "lr": 0.5})
    assert bits(slots_of(opt, params[0])) == before
    train(opt, params, range(2, 4))
    dtypes = [{x.dtype for x in slots_of(opt, p).values()} for p in params]
    assert dtypes == [{torch.uint8}, {torch.uint8}, {torch.float32}]
    assert [opt.state[p]["step"].item() for p in params] == [4, 2, 2]


@every_stored
def test_a_parameter_that_is_laid_out_anew(format: str) -> None:
    """A model is moved to channels_last between steps: each element keeps its own state."""
    p, q = leaf(randn(8, 16, 6, 7, seed=1)), leaf(randn(8, 16, 6, 7, seed=1))
    opt, other = Adam([p], state_format=format), Adam([q], state_format=format)
    train(opt, [p], range(2))
    train(other, [q], range(2))
    before = opt.torch_state_dict()["state"][0]
    p.data = p.data.to(memory_format=torch.channels_last)
    moved = opt.torch_state_dict()["state"][0]
    for key in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(moved[key], before[key], rtol=0, atol=0)
    train(opt, [p], [2])
    train(other, [q], [2])
    # Blocks are other elements now, and bits of rounding fall on others.
    lost = {"float8": 0.12, "bfloat16": 2.0**-6, "float16": 2.0**-8}[format]
    assert ((p - q).norm() / (q - randn(8, 16, 6, 7, seed=1)).norm()).item() <= lost


def test_a_checkpoint_of_another_layout() -> None:
    """Float8 codes are in the order of memory, and a checkpoint says which."""
    p = leaf(randn(70, 60, seed=1).t())
    opt = Adam([p], state_format="float8")
    train(opt, [p], range(2))
    q = leaf(p.detach().contiguous())
    other = Adam([q], state_format="float8")
    other.load_state_dict(through_a_file(opt.state_dict()))
    wide, expected = other.torch_state_dict()["state"][0], opt.torch_state_dict()["state"][0]
    for key in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(wide[key], expected[key], rtol=0, atol=0)
        assert wide[key].stride() == q.stride()
    assert bits(other.state_dict()["state"][0]["exp_avg"]) == bits(opt.state_dict()["state"][0]["exp_avg"])


def test_a_size_of_one_has_no_place_in_memory() -> None:
    """Its stride is anything; no code is rounded for it."""
    p = leaf(randn(64, 1, 80))
    opt = Adam([p], state_format="float8")
    train(opt, [p], range(2))
    before = opt.state[p]["exp_avg"]
    p.data = torch.as_strided(p.data, (64, 1, 80), (80, 1, 1))
    train(opt, [p], [2])
    assert opt.state[p]["exp_avg"] is before


def test_state_of_another_size_is_refused() -> None:
    params = large()
    opt = Adam(params, state_format="float8")
    train(opt, params, range(1))
    other = Adam([leaf(randn(60, 71)), *params[1:]], state_format="float8")
    with pytest.raises(ValueError, match=r"'exp_avg'.*nothing was loaded"):
        other.load_state_dict(opt.state_dict())


# What is refused.

REFERENCE_ONLY: dict[str, tuple[Any, dict[str, Any], str]] = {
    "meta": (lambda: leaf(torch.empty(5000, device="meta")), {}, "on meta"),
    "differentiable": (lambda: randn(5000), {"differentiable": True}, "differentiable"),
    "reference asked for": (lambda: leaf(randn(5000)), {"backend": "reference"}, "backend='reference'"),
}


@every_stored
@pytest.mark.parametrize(("make", "options", "reason"), REFERENCE_ONLY.values(), ids=REFERENCE_ONLY)
def test_what_only_the_reference_can_update_takes_no_format(
    make: Any, options: dict[str, Any], reason: str, format: str
) -> None:
    p = make()
    opt = Adam([p], state_format=format, **options)
    p.grad = torch.ones_like(p)
    with pytest.raises(
        ValueError, match=rf"(state_format='{format}'|backend='reference') cannot update.*{reason}"
    ):
        opt.step()
    assert not opt.state


def test_packed_state_moves_to_the_reference_backend() -> None:
    """Without a format asked for, it is widened and goes on."""
    p, q = leaf(randn(5000)), leaf(randn(5000))
    opt = Adam([p], state_format="float8")
    train(opt, [p], range(2))
    q.data.copy_(p.data)
    wide, narrow = Adam([q]), Adam([p], backend="reference")
    for other in (wide, narrow):
        other.load_state_dict(copy.deepcopy(opt.state_dict()))
    train(wide, [q], [2])
    train(narrow, [p], [2])
    assert_rounding([p], [q])
