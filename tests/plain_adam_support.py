"""Algorithm 1 on plain floats: the judge of simulations that run on arrays."""

import math
from collections.abc import Callable


def adam(
    x: float,
    slope: Callable[[int, float], float],
    steps: int,
    lr: Callable[[int], float],
    betas: tuple[float, float],
    eps: float = 1e-8,
    *,
    corrected: bool = True,
    kept: float = 1.0,
    largest: bool = False,
    reach: float = math.inf,
) -> list[float]:
    """Return x before the first and after each step of Algorithm 1, on plain floats.

    Args:
        kept: what weight decay leaves of x in a step.
        largest: whether v is the largest so far, as AMSGrad has it.
        reach: |x| is at most this, by projection.
    """
    m, v, most, path = 0.0, 0.0 if corrected else 1.0, 0.0, [x]
    one, two = betas
    for t in range(1, steps + 1):
        g = slope(t, x)
        m, v = one * m + (1 - one) * g, two * v + (1 - two) * g * g
        most = max(most, v) if largest else v
        first, second = (1 - one**t, 1 - two**t) if corrected else (1.0, 1.0)
        x = kept * x - lr(t) * m / first / (math.sqrt(most / second) + eps)
        x = min(max(x, -reach), reach)
        path.append(x)
    return path
