"""Layouts, dtypes and backends: the same numbers however a tensor lies in memory, no write outside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
    simple,
    train,
)

import adamas.torch

GUARD = 123.0


def guarded(shape: tuple[int, ...], view: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Memory full of guard values, a view of it, and where in the memory the view is not."""
    memory = torch.full((math.prod(shape),), GUARD)
    inside = view(torch.arange(memory.numel()).view(shape)).reshape(-1)
    outside = torch.ones(memory.numel(), dtype=torch.bool)
    outside[inside] = False
    p = view(memory.view(shape))
    p.copy_(randn(*p.shape, seed=1))
    return memory, leaf(p), outside


VIEWS: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "every other column": ((6, 8), lambda x: x[:, ::2]),
    "a block": ((7, 9), lambda x: x[2:5, 3:7]),
    "a column": ((7, 9), lambda x: x[:, 4]),
    "a row": ((7, 9), lambda x: x[3]),
    "the middle": ((50,), lambda x: x[7:40]),
    "one element": ((9,), lambda x: x[4]),
    "nothing": ((9,), lambda x: x[4:4]),
    "transposed": ((7, 9), lambda x: x[2:5].t()),
    "a transposed block": ((7, 9), lambda x: x[2:5, 3:7].t()),
    "channels last": ((3, 4, 5, 2), lambda x: x[1:].permute(0, 3, 1, 2)),
    "channels first": ((3, 2, 4, 5), lambda x: x[1:2]),
    "diagonal": ((6, 6), lambda x: x.diagonal()),
    "windows that do not overlap": ((24,), lambda x: x.unfold(0, 3, 5)),
}


@pytest.mark.parametrize("make", [OPTIMIZERS[name] for name in ("Adam", "SGD-momentum", "Lion")])
@pytest.mark.parametrize(("shape", "view"), VIEWS.values(), ids=VIEWS)
def test_nothing_is_written_outside_a_view(
    shape: tuple[int, ...], view: Callable[[Tensor], Tensor], make: Make
) -> None:
    memory, p, outside = guarded(shape, view)
    plain = leaf(p.detach().clone().contiguous())
    opt, other = make([p]), make([plain])
    for seed in range(3):
        plain.grad = randn(*p.shape, seed=seed)
        p.grad = plain.grad.clone()
        opt.step()
        other.step()
    assert_rounding([p], [plain], ulps=4)
    assert bool((memory[outside] == GUARD).all())


def laid_out(g: Tensor, layout: str) -> Tensor:
    """The values of g in another layout."""
    match layout:
        case "contiguous":
            return g.clone(memory_format=torch.contiguous_format)
        case "reversed dimensions":
            return g.permute(*reversed(range(g.dim()))).contiguous().permute(*reversed(range(g.dim())))
        case "with gaps":
            wide = torch.zeros(*g.shape, 3, dtype=g.dtype)
            wide[..., 1] = g
            return wide[..., 1]
        case "lazily negated":
            return torch.complex(torch.zeros_like(g), -g).conj().imag
        case "with a graph":
            return g.clone().requires_grad_() * 1
    raise ValueError(layout)


LAYOUTS = ["contiguous", "reversed dimensions", "with gaps", "lazily negated", "with a graph"]
PARAMETERS = {
    "contiguous": lambda: randn(2, 3, 4, 5),
    "channels last": lambda: randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "permuted": lambda: randn(4, 2, 5, 3).permute(1, 3, 0, 2),
    "strided": lambda: randn(2, 3, 4, 10)[..., ::2],
}


@pytest.mark.parametrize("make", [OPTIMIZERS[name] for name in ("Adam", "SGD", "RMSprop-both")])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_may_be_laid_out_otherwise(
    layout: str, parameter: Callable[[], Tensor], backend: str, make: Make
) -> None:
    p, plain = leaf(parameter()), leaf(parameter().contiguous())
    opt, other = make([p], backend=backend), make([plain])
    for seed in range(4):
        g = randn(*p.shape, seed=seed)
        p.grad = laid_out(g, layout if seed != 2 else "contiguous")
        plain.grad = g
        opt.step()
        other.step()
    assert_rounding([p], [plain], ulps=4)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_an_expanded_gradient(backend: str) -> None:
    """What the backward pass of sum() gives, and of bias gradients."""
    p, plain = leaf(randn(4, 5)), leaf(randn(4, 5))
    opt, other = adamas.torch.Adam([p], backend=backend), adamas.torch.Adam([plain])
    for seed in range(3):
        p.grad = randn(4, 1, seed=seed).expand(4, 5)
        plain.grad = p.grad.contiguous()
        opt.step()
        other.step()
    assert_rounding([p], [plain], ulps=4)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_one_element_lazily_negated(shape: tuple[int, ...]) -> None:
    """`z.conj().imag` of one element is contiguous, and its memory has the other sign."""
    p = leaf(torch.zeros(shape))
    opt = adamas.torch.SGD([p], lr=1.0)
    for _ in range(2):
        p.grad = torch.full(shape, 2 + 3j).conj().imag
        assert p.grad.is_contiguous()
        assert p.grad.is_neg()
        opt.step()
    assert p.item() == 6.0


@pytest.mark.parametrize("name", DROP_IN)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("conjugated", [False, True], ids=["", "conjugated gradient"])
def test_complex_parameters(name: str, dtype: torch.dtype, conjugated: bool) -> None:
    def make() -> list[Tensor]:
        return [
            leaf(randn(4, 3, seed=1, dtype=dtype)),
            leaf(randn(3, 4, seed=2, dtype=dtype).t()),
            leaf(randn(seed=3, dtype=dtype)),
        ]

    ours, theirs = make(), make()
    opt, reference = DROP_IN[name](ours), getattr(torch.optim, name)(theirs, foreach=False)
    for seed in range(4):
        for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            g = randn(*p.shape, seed=10 * seed + k, dtype=dtype)
            p.grad = g.conj() if conjugated else g
            q.grad = p.grad.resolve_conj()
        opt.step()
        reference.step()
    assert opt.backend == "numba"
    # Torch's NAdam keeps its product of momenta in float32.
    tolerance = 1e-9 if name == "NAdam" and dtype == torch.complex128 else 64 * torch.finfo(dtype).eps
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)


def test_complex_parameters_update_as_pairs_of_reals() -> None:
    z, pairs = (
        leaf(randn(5, seed=1, dtype=torch.complex64)),
        leaf(torch.view_as_real(randn(5, seed=1, dtype=torch.complex64)).clone()),
    )
    opt, other = adamas.torch.AdaBelief([z]), adamas.torch.AdaBelief([pairs])
    for seed in range(3):
        z.grad = randn(5, seed=seed, dtype=torch.complex64)
        pairs.grad = torch.view_as_real(z.grad)
        opt.step()
        other.step()
    assert bits(torch.view_as_real(z.detach())) == bits(pairs)


@pytest.mark.parametrize("lazy", [torch.conj, torch._neg_view], ids=["conjugated", "negated"])
def test_a_parameter_that_is_lazily_conjugated_or_negated(lazy: Callable[[Tensor], Tensor]) -> None:
    dtype = torch.complex64 if lazy is torch.conj else torch.float32
    p, plain = (
        leaf(lazy(randn(4, seed=1, dtype=dtype))),
        leaf(lazy(randn(4, seed=1, dtype=dtype)).resolve_conj().resolve_neg()),
    )
    assert p.is_conj() or p.is_neg()
    opt, other = adamas.torch.Adam([p]), adamas.torch.Adam([plain])
    train(opt, [p], range(3))
    train(other, [plain], range(3))
    assert_rounding([p.resolve_conj().resolve_neg()], [plain], ulps=4)
    assert bits(p) != bits(lazy(randn(4, seed=1, dtype=dtype)))


@pytest.mark.parametrize("backend", ["auto", "reference", "numba"])
@pytest.mark.parametrize("steps", [0, 2], ids=["first step", "later"])
def test_an_expanded_parameter_is_refused(steps: int, backend: str) -> None:
    """Its elements share memory, so that there is no right answer."""
    p = leaf(randn(4, 5))
    opt = adamas.torch.Adam([p], backend=backend)
    train(opt, [p], range(steps))
    p.data = torch.ones(4, 1).expand(4, 5)
    p.grad = torch.ones(4, 5)
    before = everything(opt)
    with pytest.raises(RuntimeError, match=r"shape \(4, 5\).*share memory.*make it contiguous"):
        opt.step()
    assert everything(opt) == before


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_empty_and_0d_parameters_beside_others(make: Make) -> None:
    """They change nothing about the others."""
    assorted_params, alone = (
        [leaf(randn(0)), leaf(randn(3, seed=1)), leaf(randn(2, 0)), leaf(randn(seed=2))],
        leaf(randn(3, seed=1)),
    )
    opt, other = make(assorted_params), make([alone])
    for seed in range(3):
        give_gradients(assorted_params, seed)
        assert assorted_params[1].grad is not None
        alone.grad = assorted_params[1].grad.clone()
        opt.step()
        other.step()
    assert bits(assorted_params[1]) == bits(alone)


def test_only_empty_parameters() -> None:
    params = [leaf(randn(0)), leaf(randn(2, 0))]
    opt = adamas.torch.Adam(params)
    train(opt, params, range(2))
    assert [s["step"].item() for s in opt.state.values()] == [2, 2]


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_any_mixture_of_shapes_and_layouts(shapes: list[list[int]], seed: int, data: st.DataObject) -> None:
    ours = []
    for k, shape in enumerate(shapes):
        order = data.draw(st.permutations(range(len(shape))))
        step = data.draw(st.sampled_from([1, 2]))
        x = randn(*shape, step, seed=seed + k)[..., 0].permute(order)
        ours.append(leaf(x))
    theirs = copies(ours)
    opt = adamas.torch.Adam(ours, lr=0.1)
    reference = torch.optim.Adam(theirs, lr=0.1, foreach=False)
    train(opt, ours, range(2))
    train(reference, theirs, range(2))
    assert_rounding(ours, theirs)


# Sparse gradients

# Torch says so whenever it makes a sparse tensor; some versions also where the checks are asked for.
SPARSE_WARNS = pytest.mark.filterwarnings(
    "ignore:Sparse invariant checks are implicitly disabled:UserWarning"
)


@SPARSE_WARNS
@pytest.mark.parametrize("name", ["SGD", "SGD-momentum", "SGD-nesterov", "Adagrad"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"maximize": True}], ids=str)
def test_a_sparse_gradient_is_the_dense_one(name: str, backend: str, options: dict[str, Any]) -> None:
    p, plain = leaf(randn(10, 3)), leaf(randn(10, 3))
    opt = OPTIMIZERS[name]([p], lr=0.1, backend=backend, **options)
    other = OPTIMIZERS[name]([plain], lr=0.1, backend=backend, **options)
    for seed in range(4):
        rows = torch.tensor([[1, 7, 1, seed]])  # one row twice: its values add up
        sparse = torch.sparse_coo_tensor(rows, randn(4, 3, seed=seed), (10, 3), check_invariants=True)
        p.grad = sparse if seed != 2 else sparse.to_dense()
        plain.grad = sparse.to_dense()
        opt.step()
        other.step()
    assert bits(p) == bits(plain)


@SPARSE_WARNS
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_a_sparse_embedding_trains_as_torch_s(name: str) -> None:
    torch.manual_seed(0)
    models = [torch.nn.Embedding(8, 3, sparse=True), torch.nn.Embedding(8, 3, sparse=True)]
    models[1].load_state_dict(models[0].state_dict())
    opts = [
        DROP_IN[name](models[0].parameters(), lr=0.1),
        getattr(torch.optim, name)(models[1].parameters(), lr=0.1),
    ]
    for words in ([1, 2, 2], [5], [0, 7, 1]):
        for model, opt in zip(models, opts, strict=True):
            opt.zero_grad()
            model(torch.tensor(words)).square().sum().backward()
            opt.step()
    assert_rounding([models[0].weight], [models[1].weight])


# Other dtypes


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_takes_one_step_as_float32_does(make: Make, dtype: torch.dtype) -> None:
    """To within one rounding of the parameter: half precision is what it is stored in, not computed in."""
    half = [leaf(p.detach().to(dtype)) for p in simple()]
    single = [leaf(p.detach().float()) for p in half]
    opt, other = make(half, lr=0.1), make(single, lr=0.1)
    for k, (p, q) in enumerate(zip(half, single, strict=True)):
        p.grad = randn(*p.shape, seed=k, dtype=torch.float32).to(dtype)
        q.grad = p.grad.float()
    opt.step()
    other.step()
    for p, q in zip(half, single, strict=True):
        assert p.dtype == dtype
        torch.testing.assert_close(p.float(), q, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_parameters_of_many_dtypes_in_one_group() -> None:
    dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.complex64]
    params = [leaf(randn(6, seed=k, dtype=dtype)) for k, dtype in enumerate(dtypes)]
    opt = adamas.torch.Adam(params)
    apart = [copies(params) for _ in params]
    train(opt, params, range(3))
    for k, alone in enumerate(apart):
        other = adamas.torch.Adam(alone)  # of all, for the random bits depend on a parameter's place
        for seed in range(3):
            give_gradients(alone, seed)
            for p in alone[:k] + alone[k + 1 :]:
                p.grad = None
            other.step()
        assert bits(alone[k]) == bits(params[k])
    assert "numba" in opt.backend


def test_a_gradient_of_another_dtype() -> None:
    """Torch refuses to set one, but `.data` of either may change."""
    p, plain = leaf(randn(6)), leaf(randn(6))
    opt, other = adamas.torch.Adam([p]), adamas.torch.Adam([plain])
    for seed in range(3):
        g = randn(6, seed=seed)
        p.grad, plain.grad = g.clone(), g
        p.grad.data = g.double()
        opt.step()
        other.step()
    assert bits(p) == bits(plain)


# Backends


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_all_backends_give_the_same(make: Make, dtype: torch.dtype) -> None:
    compiled, whole = simple(dtype), simple(dtype)
    opt, other = make(compiled, backend="numba"), make(whole, backend="reference")
    train(opt, compiled, range(10))
    train(other, whole, range(10))
    assert (opt.backend, other.backend) == ("numba", "reference")
    assert_rounding(compiled, whole)
    for p, q in zip(compiled, whole, strict=True):
        assert_rounding(
            [opt.state[p][key] for key in other.state[q]] if q in set(other.state) else [],
            list(other.state[q].values()) if q in set(other.state) else [],
        )


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_backend_is_told(make: Make) -> None:
    params = simple()
    opt = make(params)
    assert opt.backend == "auto"
    train(opt, params, range(1))
    assert opt.backend == "numba"
    opt.zero_grad()
    opt.step()
    assert opt.backend == "none"


def test_both_backends_are_told() -> None:
    plain, graph = leaf(randn(3)), leaf(randn(4)).clone()
    groups = [{"params": [plain], "differentiable": False}, {"params": [graph]}]
    opt = adamas.torch.Adam(groups, differentiable=True)
    graph.retain_grad()
    train(opt, [plain, graph], range(1))
    assert opt.backend == "numba and reference"


@pytest.mark.parametrize(
    "p",
    [
        leaf(randn(6, 6)[:, ::2]),
        leaf(torch._neg_view(randn(3))),
        leaf(torch.conj(randn(3, dtype=torch.complex64))),
        leaf(randn(2, 3, 4, 5).to(memory_format=torch.channels_last)[:, ::2]),
    ],
    ids=["strided", "negated", "conjugated", "channels_last with gaps"],
)
def test_what_is_not_dense_is_stepped_by_kernels(p: Tensor) -> None:
    """Through a dense copy, beside an ordinary parameter; its gradient laid out in any way."""
    ordinary, dense = leaf(randn(3)), leaf(p.detach().resolve_conj().resolve_neg().contiguous())
    opt = adamas.torch.Adam([ordinary, p], lr=0.1, backend="numba")
    reference = torch.optim.Adam([dense], lr=0.1)
    for seed in range(3):
        give_gradients([ordinary, dense], seed)
        p.grad = dense.grad if seed % 2 else torch.empty_like(p.detach()).copy_(dense.grad)
        opt.step()
        reference.step()
    assert_rounding([p], [dense])


def test_a_backend_that_cannot_be_had_is_refused() -> None:
    ordinary, p = leaf(randn(3)), leaf(torch.empty(3, device="meta"))
    opt = adamas.torch.Adam([ordinary, p], backend="numba")
    give_gradients([ordinary], 0)
    p.grad = torch.empty_like(p)
    before = bits([ordinary])
    with pytest.raises(ValueError, match=r"backend='numba' cannot update a parameter of shape .*on meta"):
        opt.step()
    assert bits([ordinary]) == before
    assert opt.state_dict()["state"] == {}


def test_numba_cannot_be_differentiated() -> None:
    p = leaf(randn(3)).clone()
    opt = adamas.torch.Adam([p], differentiable=True, backend="numba")
    p.retain_grad()
    p.grad = torch.ones(3)
    with pytest.raises(ValueError, match=r"backend='numba' cannot update.*differentiable"):
        opt.step()
