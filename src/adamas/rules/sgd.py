"""Gradient descent: plain, with Polyak's heavy ball (1964) or Nesterov's momentum (Sutskever et al. 2013)."""

from dataclasses import dataclass

from ._base import SIGNED, Finite, Form, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class SGD(Rule):
    r"""Stochastic gradient descent.

    .. math::
        b_t = \mu b_{t-1} + (1 - \tau) g_t, \quad b_1 = g_1, \quad
        \theta_t = \theta_{t-1} - \alpha b_t \quad \text{or, Nesterov's,} \quad
        \theta_t = \theta_{t-1} - \alpha (g_t + \mu b_t)

    Args:
        lr: the stepsize α.
        momentum: μ; with 0 nothing is stored.
        dampening: τ, from the second step on, as in PyTorch.
        nesterov: Nesterov's momentum instead of the heavy ball; needs a momentum and no dampening.

    Raises:
        ValueError: `nesterov` without momentum, or with dampening.
    """

    lr: NonNegative = 1e-3
    momentum: NonNegative = 0.0
    dampening: Finite = 0.0
    nesterov: bool = False

    counts_steps = False  # of t, only whether it is 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"SGD: nesterov=True needs momentum > 0 and dampening = 0, "
                f"got momentum={self.momentum!r}, dampening={self.dampening!r}"
            )

    def form(self) -> Form:
        if self.momentum == 0:
            return Form({}, plain)
        return Form({"b": SIGNED}, nesterov if self.nesterov else heavy_ball)

    def scalars(self, t: int) -> Scalars:
        if self.momentum == 0:
            return (self.lr,)
        return self.lr, self.momentum, xp.where(t == 1, 1.0, 1 - self.dampening)

    def coast(self, *scalars: float) -> Coast:
        lr, *others = scalars
        if not others:
            return Coast()
        momentum = others[0]
        return Coast({"b": momentum}, "b", lr * momentum if self.nesterov else lr)

    def gauge(self, t: int) -> Gauge:
        return Gauge("b" if self.momentum != 0 else None)


def plain(p, g, lr):
    """Gradient descent."""
    return (p - lr * g,)


def heavy_ball(p, g, b, lr, momentum, undamped):
    """Polyak's momentum."""
    b = momentum * b + undamped * g
    return p - lr * b, b


def nesterov(p, g, b, lr, momentum, undamped):
    """Nesterov's momentum: the gradient seen from where the momentum leads."""
    b = momentum * b + undamped * g
    return p - lr * (g + momentum * b), b
