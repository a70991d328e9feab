"""DoG (Ivgi, Hinder & Carmon 2023, "DoG is SGD's Best Friend"), its stepsize for all layers together."""

from dataclasses import dataclass

from ._base import SIGNED, NonNegative, Rule, Scalars, xp


@dataclass(frozen=True)
class DoG(Rule):
    r"""DoG: gradient descent by the distance from the start over the root of all squared gradients.

    .. math::
        \eta_t = \alpha \, \frac{\max_{i \le t} \lVert \theta_i - \theta_0 \rVert}
        {\sqrt{\epsilon + \sum_{i \le t} \lVert g_i \rVert^2}}, \quad
        \theta_{t} = \theta_{t-1} - \eta_t g_t

    All parameters of a group are one vector. The distance begins at r (1 + ‖θ0‖). The paper averages the
    iterates, and so should you: `average=` of the optimizer does.

    Args:
        lr: the factor α, called c in the paper; 1 in all its experiments.
        first: r, of the first distance; the paper has 1e-4 where there is batch normalization.
        eps: ε, beside the sum of squares.
        weight_decay: λ, added to the gradient as λ θ, as in the authors' code.
    """

    lr: NonNegative = 1.0
    first: NonNegative = 1e-6
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0

    # θ0 - θ, which begins at 0.
    slots = {"way": SIGNED.of_at_least(32)}
    scope = "group"
    kept = {"distance": 0.0, "seen": 0.0}

    def scalars(self, t: int) -> Scalars:
        begins = xp.where(t == 1, 1.0, 0.0)
        return self.lr, begins * self.first, begins * self.eps, self.weight_decay

    @staticmethod
    def measure(p, g, way, lr, first, eps, decay, distance, seen):
        u = g + decay * p
        return u * u, way * way, p * p

    @staticmethod
    def factors(gg, ww, pp, lr, first, eps, decay, distance, seen):
        distance = xp.maximum(xp.maximum(distance, xp.sqrt(ww)), first * (1 + xp.sqrt(pp)))
        seen = seen + gg + eps
        return distance, seen, lr * distance / xp.sqrt(xp.where(seen == 0, 1.0, seen))

    @staticmethod
    def update(p, g, way, lr, first, eps, decay, distance, seen, rate):
        u = g + decay * p
        return p - rate * u, way + rate * u
