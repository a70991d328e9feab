"""Ours against optimizers of public packages: the same trajectory, of several tensors, in float64."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from package_cases import CASES, Case, module_of, quietly

torch = pytest.importorskip("torch", reason="torch is not installed")

STEPS = 100


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """What packages keep in the default dtype is of the parameters' own."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def trajectory(case: Case, make: Callable[[list[Any]], Any]) -> np.ndarray:
    """All elements of all parameters after each step, on a quadratic function with noise."""
    random = np.random.default_rng(0)
    start, best = ([random.standard_normal(shape) for shape in case.shapes] for _ in range(2))
    curvature = [10 ** random.uniform(-1, 0.5, shape) for shape in case.shapes]
    params = [torch.nn.Parameter(torch.tensor(p)) for p in start]
    optimizer, rows = make(params), []
    for _ in range(STEPS):
        for p, c, h in zip(params, best, curvature, strict=True):
            slope = h * (p.detach().numpy() - c) + 0.3 * random.standard_normal(c.shape)
            p.grad = torch.tensor(case.slope * slope)
        optimizer.step()
        rows.append(np.concatenate([p.detach().numpy().ravel() for p in params]))
    return np.array(rows)


@pytest.mark.parametrize("name", CASES)
def test_same_trajectory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import adamas.torch

    case = CASES[name]
    module = module_of(case.module)
    if case.module == "heavyball":
        monkeypatch.setattr(module.utils, "compile_mode", None)
    with quietly():
        expected = trajectory(case, lambda params: case.make(module, params))

    def ours(params: list[Any]) -> Any:
        return adamas.torch.Optimizer(params, case.rule, backend="reference", **case.options)

    actual = trajectory(case, ours)
    assert np.abs(expected[-1] - expected[0]).max() > 1e-3  # it moves
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
