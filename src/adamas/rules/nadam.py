"""NAdam (Dozat 2016, "Incorporating Nesterov Momentum into Adam"), Algorithm 2; ε outside the root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class NAdam(Rule):
    r"""NAdam: Adam with Nesterov's look-ahead in the first moment.

    .. math::
        \mu_t = \beta_1 (1 - \tfrac12 0.96^{t \psi}), \quad
        \bar m_t = \frac{\mu_{t+1} m_t}{1 - \prod_{i=1}^{t+1} \mu_i}
            + \frac{(1 - \mu_t) g_t}{1 - \prod_{i=1}^t \mu_i}, \quad
        \theta_t = \theta_{t-1} - \alpha \, \bar m_t / (\sqrt{\hat v_t} + \epsilon)

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m, and the limit of the momentum schedule μ.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root of v̂.
        momentum_decay: ψ, how fast μ approaches β1.
    """

    lr: NonNegative = 2e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    momentum_decay: NonNegative = 4e-3

    slots = {"m": SIGNED, "v": NONNEGATIVE}
    # A product over the steps taken, not a function of t: a schedule may change beta1 on the way.
    carried = {"mu_product": 1.0}

    def mu(self, t: int) -> float:
        """The momentum μ_t of step t."""
        mu: float = self.beta1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))
        return mu

    def carry(self, t: int, mu_product: float) -> tuple[float, ...]:
        return (mu_product * self.mu(t),)

    def scalars(self, t: int, mu_product: float) -> Scalars:
        ahead = self.mu(t + 1)
        root = (1 - self.beta2**t) ** 0.5
        step_g = self.lr * root * (1 - self.mu(t)) / (1 - mu_product)
        step_m = self.lr * root * ahead / (1 - mu_product * ahead)
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step_g, step_m, self.eps * root

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, _, step, eps = scalars
        return Coast({"m": beta1, "v": beta2}, "m", step, over="v", add=eps)

    def gauge(self, t: int) -> Gauge:
        corrections = 1 - self.beta1**t, 1 - self.beta2**t
        return Gauge("m", 1 / corrections[0], "v", 1 / corrections[1], eps=self.eps, bound=self.lr)

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step_g, step_m, eps):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - (step_g * g + step_m * m) / (xp.sqrt(v) + eps), m, v
