"""Adan (Xie et al. 2022), Algorithm 1, with decays where the paper has weights of gradients; ε outside."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class Adan(Rule):
    r"""Adan: Nesterov's momentum by running means of gradients and of their differences.

    .. math::
        d_t = g_t - g_{t-1}, \quad d_1 = 0, \quad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        u_t = \beta_2 u_{t-1} + (1 - \beta_2) d_t \\
        n_t = \beta_3 n_{t-1} + (1 - \beta_3) (g_t + \beta_2 d_t)^2, \quad
        \theta_t = \left( \theta_{t-1} - \alpha \, (\hat m_t + \beta_2 \hat u_t)
            / (\sqrt{\hat n_t} + \epsilon) \right) / (1 + \lambda \alpha)

    The weight of a difference is β2, the paper's 1 - β2 in its own notation, as in the authors' code; optax
    has 1 - β2 of the decay. The corrections of bias are those of the authors' code, which the paper's box
    leaves out.

    Args:
        lr: the stepsize α.
        beta1: decay of the mean m of gradients.
        beta2: decay of the mean u of their differences, and the weight of a difference.
        beta3: decay of the second moment n.
        eps: ε, outside the root of n̂.
        weight_decay: λ, a proximal step: the parameter is divided by 1 + λ α after the step.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.98
    beta2: Decay = 0.92
    beta3: Decay = 0.99
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0

    slots = {"m": SIGNED, "u": SIGNED, "n": NONNEGATIVE, "last": SIGNED.of_at_least(16)}

    def scalars(self, t: int) -> Scalars:
        root = (1 - self.beta3**t) ** 0.5
        step_m = self.lr * root / (1 - self.beta1**t)
        step_u = self.lr * root * self.beta2 / (1 - self.beta2**t)
        betas = self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, self.beta3, 1 - self.beta3
        later = xp.where(t == 1, 0.0, 1.0)
        return *betas, later, step_m, step_u, self.eps * root, 1 / (1 + self.weight_decay * self.lr)

    def gauge(self, t: int) -> Gauge:
        corrections = 1 - self.beta1**t, 1 - self.beta3**t
        return Gauge("m", 1 / corrections[0], "n", 1 / corrections[1], eps=self.eps, bound=self.lr)

    @staticmethod
    def update(
        p, g, m, u, n, last,
        beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, one_minus_beta3, later, step_m, step_u, eps,
        shrink,
    ):  # fmt: skip
        d = later * (g - last)
        m = beta1 * m + one_minus_beta1 * g
        u = beta2 * u + one_minus_beta2 * d
        ahead = g + beta2 * d
        n = beta3 * n + one_minus_beta3 * ahead * ahead
        return shrink * (p - (step_m * m + step_u * u) / (xp.sqrt(n) + eps)), m, u, n, g
