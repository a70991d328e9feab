"""AdaBelief (Zhuang et al. 2020), Algorithm 2: the variance around m; ε inside s and outside its root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class AdaBelief(Rule):
    r"""AdaBelief: large steps where the gradient is as its running mean foretold, small ones where it is not.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        s_t = \beta_2 s_{t-1} + (1 - \beta_2)(g_t - m_t)^2 + \epsilon, \quad
        \theta_t = \theta_{t-1} - \alpha \, \hat m_t / (\sqrt{\hat s_t} + \epsilon)

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the variance s.
        eps: ε, both in s and outside its root.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-16

    # s is of squares of g - m, which the rounding of a coarse m would outweigh.
    slots = {"m": SIGNED.of_at_least(8), "s": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        root = (1 - self.beta2**t) ** 0.5
        step = self.lr * root / (1 - self.beta1**t)
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, self.eps, self.eps * root

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, _, eps_inside, _ = scalars
        # While m lasts, its square is added to s; when it is gone, ε alone is.
        return Coast({"m": beta1, "s": beta2}, "m", over="s", offsets={"s": eps_inside}, stepwise=True)

    def gauge(self, t: int) -> Gauge:
        corrections = 1 - self.beta1**t, 1 - self.beta2**t
        # ε is added to s at every step: where nothing else is, ŝ is ε / (1 - β2).
        eps = (2 * self.eps / (1 - self.beta2)) ** 0.5
        return Gauge("m", 1 / corrections[0], "s", 1 / corrections[1], eps=eps)

    @staticmethod
    def update(p, g, m, s, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps_inside, eps):
        m = beta1 * m + one_minus_beta1 * g
        s = beta2 * s + one_minus_beta2 * (g - m) * (g - m) + eps_inside
        return p - step * m / (xp.sqrt(s) + eps), m, s
