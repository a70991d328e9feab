import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamas.schedules import inverse_sqrt


@given(st.integers(1, 10**9))
def test_the_factor_of_step_t_squared_times_t_is_one(t: int) -> None:
    assert math.isclose(inverse_sqrt(t - 1) ** 2 * t, 1)


def test_torch_schedulers_give_the_first_step_the_whole_stepsize() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, inverse_sqrt)
    used = []
    for _ in range(4):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert used == pytest.approx([0.3 / math.sqrt(t) for t in (1, 2, 3, 4)])


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 or more, got -1"):
        inverse_sqrt(-1)
