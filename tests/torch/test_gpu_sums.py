"""Rules with sums on a GPU, in Triton's interpreter on the CPU: sums and steps of the CPU's kernels."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gpu_support import OF_GPUS
from sums_support import SCOPES, SUMS, gradients, parameters, step
from torch import Tensor
from torch_support import give_gradients, leaf, randn

import adamas.torch
from adamas.rules import xp
from adamas.torch import Optimizer
from adamas.torch.launchers import triton as launchers

pytestmark = pytest.mark.skipif(not OF_GPUS, reason="there is no Triton for this system")

# Several programs a tensor, whole tiles and parts, rows that end within a block, one element, none.
SHAPES = ((17, 130), (1200,), (3, 5, 7), (0, 4), ())
RULES = [name for name, rule in SUMS.items() if rule.form().reduction.scope != "row"]  # type: ignore[union-attr]
# One that leaves decay to the optimizer.
PLAIN = next(name for name in RULES if not hasattr(SUMS[name], "weight_decay"))
every_rule = pytest.mark.parametrize("name", RULES)
KERNELS = ("triton", "numba")


def numbers(opt: Any, params: list[Any]) -> list[Tensor]:
    """The parameters and all their state."""
    return [p.detach() for p in params] + [x for p in params for x in opt.state[p].values()]


def assert_agree(name: str, dtype: torch.dtype, *, idle: bool = True, **options: Any) -> None:
    """Steps on both, in the second of which a parameter has no gradient."""
    found = []
    for backend in KERNELS:
        params = parameters(dtype, SHAPES)
        opt = Optimizer(
            [{"params": params[:2]}, {"params": params[2:], "weight_decay": 0.1}],
            SUMS[name],
            backend=backend,
            **options,
        )
        for t in range(3):
            for k, (p, g) in enumerate(zip(params, gradients(params, t), strict=True)):
                p.grad = None if idle and (t, k) == (1, 1) else g
            opt.step()
        assert opt.backend == backend
        found.append(numbers(opt, params))
    wide = dtype == torch.float64
    for mine, theirs in zip(*found, strict=True):
        near = float(theirs.abs().max()) if theirs.numel() else 0.0
        torch.testing.assert_close(mine, theirs, rtol=0, atol=(1e-13 if wide else 1e-5) * near)


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_steps_are_those_of_the_cpu(name: str, dtype: torch.dtype) -> None:
    """Two groups, an idle tensor, and state that is compared too, of which the kept values are part."""
    assert_agree(name, dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.5, "maximize": True, "average": 0.75, "skip_nonfinite": True},
        {"cautious_decay": True, "decoupled_weight_decay": True},
    ],
    ids=str,
)
def test_options_of_the_step(options: dict[str, Any]) -> None:
    assert_agree(PLAIN, torch.float64, **options)


def test_parameters_of_every_layout() -> None:
    """Complex ones, transposed ones, and those with gaps, of which a copy is measured and stepped."""
    found = []
    for backend in KERNELS:
        wide = torch.nn.Parameter(randn(6, 40, seed=1)[:, ::2])
        params = [wide, leaf(randn(5, 7, seed=2).t()), leaf(torch.complex(randn(9), randn(9, seed=3)))]
        opt = Optimizer(params, SUMS["LAMB"], backend=backend)
        for t in range(2):
            give_gradients(params, t)
            opt.step()
        assert opt.backend == backend
        found.append(numbers(opt, params))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("p", "chosen"),
    [("bfloat16", None), ("float16", "bfloat16"), ("bfloat16", "float8"), ("float32", "float4")],
)
def test_what_is_measured_is_what_is_stored(
    p: str, chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one state, in whatever bits, both measure the same sums; a tensor without gradient has none."""
    params = parameters(getattr(torch, p), SHAPES)
    opt = Optimizer(params, SUMS["LAMB"], state_format=chosen)
    step(opt, params, 0, 1)
    sums: list[np.ndarray] = []
    for backend in KERNELS:
        mine = [torch.nn.Parameter(x.detach().clone()) for x in params]
        other = Optimizer(mine, SUMS["LAMB"], state_format=chosen, backend=backend)
        other.load_state_dict(copy.deepcopy(opt.state_dict()))
        for x, g in zip(mine, gradients(mine, 2), strict=True):
            x.grad = g
        plan = other._make_plan()
        (launcher,) = plan._launchers
        measure = launcher.measure_sums
        monkeypatch.setattr(
            launcher,
            "measure_sums",
            lambda *x, measure=measure: (sums.append(measure(*x)), sums[-1])[1],
        )
        mine[0].grad = None
        other.step()
    assert (sums[0][0] == 0).all()  # it is left alone
    assert (sums[0][1:3] != 0).all()
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-6)


@dataclass(frozen=True)
class Heavy(adamas.rules.Rule):
    """Its terms are of what is kept, a condition, and a number."""

    lr: float = 0.1
    scope = "tensor"
    kept = {"a": 1.0, "b": 2.0}

    def scalars(self, t: int) -> tuple[float, ...]:
        return (self.lr,)

    @staticmethod
    def measure(p: Any, g: Any, lr: Any, a: Any, b: Any) -> Any:
        return a * abs(g) + b * lr, g > 0, 1.0

    @staticmethod
    def factors(length: Any, above: Any, count: Any, lr: Any, a: Any, b: Any) -> Any:
        share = above / xp.where(count > 0, count, 1.0)
        return length / xp.where(count > 0, count, 1.0), b + share, share

    @staticmethod
    def update(p: Any, g: Any, lr: Any, a: Any, b: Any, share: Any) -> Any:
        return (p - lr * share * a / b * g,)


def test_kept_values_are_those_of_each_tensor() -> None:
    """They differ from one to the next, and terms depend on them; a term may be a condition or a number."""
    found = []
    for backend in KERNELS:
        params = parameters(torch.float64, SHAPES)
        opt = Optimizer(params, Heavy(), backend=backend)
        step(opt, params, 0, 1, 2)
        assert opt.backend == backend
        found.append(numbers(opt, params))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    assert len({float(opt.state[p]["a"]) for p in params}) == len(params)


def test_many_chunks_are_added_up_in_their_order() -> None:
    """More than are added at once, and tensors without any."""
    from adamas.backends import triton

    random = np.random.default_rng(0)
    partial = random.standard_normal((400, 3))
    firsts = np.array([0, 0, 131, 132, 400, 400])
    sums = torch.full((5, 3), 7.0, dtype=torch.float64)
    arguments = [torch.from_numpy(partial), torch.from_numpy(firsts), sums, 3]
    triton.launch.launch(triton.add_chunks, 15, triton.sums.TOTAL_SIGNATURE, arguments, triton.THREADS)
    wanted = np.array([partial[a:b].sum(0) for a, b in itertools.pairwise(firsts)])
    np.testing.assert_allclose(sums.numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_a_step_cannot_be_in_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors are made on the host: the reason is told, and nothing changes."""
    params = parameters(shapes=((5,),))
    group = {"params": params, "capturable": True}
    refused = Optimizer([group], SUMS["LAMB"], backend="triton")
    with pytest.raises(ValueError, match="the host makes the factors of LAMB of sums over tensors"):
        step(refused, params, 0)
    opt = Optimizer(params, SUMS["LAMB"], backend="triton")
    step(opt, params, 0)
    before = [x.clone() for x in numbers(opt, params)]
    with monkeypatch.context() as patch:
        patch.setattr(launchers, "capturing", lambda _: True)
        with pytest.raises(RuntimeError, match="a step of LAMB cannot be in a CUDA graph: it needs sums"):
            step(opt, params, 1)
    assert all(map(torch.equal, numbers(opt, params), before))
    step(opt, params, 1)


def test_a_skipped_step_leaves_what_is_kept() -> None:
    params = parameters(shapes=((5,), (7,)))
    opt = Optimizer(params, SUMS["NovoGrad"], backend="triton", skip_nonfinite=True)
    step(opt, params, 0)
    before = [x.clone() for x in numbers(opt, params)]
    params[0].grad = torch.full_like(params[0], float("nan"))
    opt.step()
    assert opt.last_step.skipped
    assert all(map(torch.equal, numbers(opt, params), before))


def test_sums_over_rows_say_that_they_have_no_kernel() -> None:
    params = parameters()
    opt = Optimizer(params, SUMS[SCOPES["row"]], backend="triton")
    with pytest.raises(ValueError, match="needs sums over rows, which no kernel of a GPU measures yet"):
        step(opt, params, 0)


def test_a_rule_whose_terms_have_no_kernel_says_so() -> None:
    """When a launcher is chosen, not in a step."""

    @dataclass(frozen=True)
    class Rooted(Heavy):
        @staticmethod
        def measure(p: Any, g: Any, lr: Any, a: Any, b: Any) -> Any:
            return abs(g) ** 1.25, g > 0, 1.0

    params = parameters(shapes=((5,),))
    opt = Optimizer(params, Rooted(), backend="triton")
    with pytest.raises(ValueError, match=r"Rooted.measure: kernels for GPUs have the powers"):
        step(opt, params, 0)
