"""AdaMax (Kingma & Ba 2014), Algorithm 2, section 7.1: the infinity norm; no ε, as the paper prints it."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class AdaMax(Rule):
    r"""AdaMax: steps along the mean of the gradients over their exponentially weighted infinity norm.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon) \\
        \theta_t = \theta_{t-1} - \frac{\alpha}{1 - \beta_1^t} m_t / u_t

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the infinity norm u.
        eps: 0 as the paper prints it, and an element whose gradients were all 0 stays (0/0 is 0);
            PyTorch adds 1e-8 to |g|.
    """

    lr: NonNegative = 2e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 0.0

    slots = {"m": SIGNED, "u": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        return self.beta1, 1 - self.beta1, self.beta2, self.lr / (1 - self.beta1**t), self.eps

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, step, eps = scalars
        form = Coast({"m": beta1, "u": beta2}, "m", step, over="u", rooted=False)
        # With ε, u does not shrink below it.
        return form if eps == 0 else form._replace(least={"u": eps}, stepwise=True)

    def gauge(self, t: int) -> Gauge:
        # u is of |g| + ε: where ε is most of it, it is below twice that.
        mean = 1 / (1 - self.beta1**t)
        return Gauge("m", mean, "u", rooted=False, eps=2 * self.eps, bound=self.lr)

    @staticmethod
    def update(p, g, m, u, beta1, one_minus_beta1, beta2, step, eps):
        m = beta1 * m + one_minus_beta1 * g
        u = xp.maximum(beta2 * u, xp.abs(g) + eps)
        return p - step * m / xp.where(u == 0, 1, u), m, u
