import numpy as np
import pytest
import torch

from adamas.experiments.runs._metrics import vanished
from adamas.rules import Adam
from adamas.torch import Optimizer


class Fixed:
    """A problem whose gradients are what they are set to."""

    examples = 1

    def __init__(self, *sizes: int) -> None:
        self.parameters = [torch.zeros(size, requires_grad=True) for size in sizes]

    def cost(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        raise NotImplementedError

    def evaluate(self) -> dict[str, float]:
        return {}


def test_before_the_first_step_nothing_is_observed() -> None:
    problem = Fixed(2)
    optimizer = Optimizer(problem.parameters, Adam())
    assert vanished(optimizer, problem) == {"vanished": 0, "median_root_v": 0}


@pytest.mark.parametrize("steps", [1, 7])
def test_what_vanishes_is_the_root_of_the_corrected_second_moment(steps: int) -> None:
    problem = Fixed(3, 2)
    optimizer = Optimizer(problem.parameters, Adam(eps=1e-3))
    # With the same gradients at every step, √v̂ is their absolute value; v itself is much smaller at first.
    gradients = [torch.tensor([1e-2, -2e-3, 5e-4]), torch.tensor([0.0, 0.5])]
    for _ in range(steps):
        for p, gradient in zip(problem.parameters, gradients, strict=True):
            p.grad = gradient.clone()
        optimizer.step()
    found = vanished(optimizer, problem)
    assert found["vanished"] == pytest.approx(2 / 5)
    assert found["median_root_v"] == pytest.approx(np.float32(2e-3), rel=1e-4)
