"""Stepsize schedules: pure functions from how many steps were taken to the factor on the stepsize."""

from __future__ import annotations

import math

__all__ = ["inverse_sqrt"]


def inverse_sqrt(taken: int) -> float:
    r"""The factor of :math:`\alpha_t = \alpha / \sqrt{t}` (Kingma & Ba 2014, sections 4 and 6.1).

    The paper counts steps t = 1, 2, ...; `torch.optim.lr_scheduler.LambdaLR` hands its function the
    number of steps already taken, 0, 1, .... So t = taken + 1, and the first step uses α itself:

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, inverse_sqrt)

    Args:
        taken: steps taken before this one, 0 or more.

    Returns:
        1 / sqrt(taken + 1), in (0, 1].

    Raises:
        ValueError: `taken` is negative.
    """
    if taken < 0:
        raise ValueError(f"inverse_sqrt: taken must be 0 or more, got {taken!r}")
    return 1 / math.sqrt(taken + 1)
