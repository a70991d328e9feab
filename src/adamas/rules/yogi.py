"""Yogi (Zaheer et al. 2018, "Adaptive Methods for Nonconvex Optimization"), Algorithm 2; ε outside."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, Form, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class Yogi(Rule):
    r"""Yogi: Adam whose second moment changes by no more than the square of a gradient.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        v_t = v_{t-1} - (1 - \beta_2) \, \mathrm{sign}(v_{t-1} - g_t^2) \, g_t^2, \quad
        \theta_t = \theta_{t-1} - \alpha \, \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    v begins at the 1e-6 of the paper's experiments and m at 0, as in TensorFlow Addons; optax and
    pytorch_optimizer begin m at that value as well.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: 1 less the part of a squared gradient that v changes by.
        eps: ε, outside the root.
        initial_accumulator_value: v before the first step.
        bias_correction: True divides m by 1 - β1^t and v by 1 - β2^t, as all known implementations do; False
            is the paper's algorithm.
    """

    lr: NonNegative = 1e-2
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-3
    initial_accumulator_value: NonNegative = 1e-6
    bias_correction: bool = True

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def form(self) -> Form:
        v = NONNEGATIVE.filled(self.initial_accumulator_value)
        return Form({"m": SIGNED, "v": v}, type(self).update)

    def scalars(self, t: int) -> Scalars:
        correction1 = 1 - self.beta1**t if self.bias_correction else 1.0
        root = (1 - self.beta2**t) ** 0.5 if self.bias_correction else 1.0
        return self.beta1, 1 - self.beta1, 1 - self.beta2, self.lr * root / correction1, self.eps * root

    def coast(self, *scalars: float) -> Coast:
        beta1, _, _, step, eps = scalars
        return Coast({"m": beta1}, "m", step, over="v", add=eps)

    def gauge(self, t: int) -> Gauge:
        correction1 = 1 - self.beta1**t if self.bias_correction else 1.0
        correction2 = 1 - self.beta2**t if self.bias_correction else 1.0
        return Gauge("m", 1 / correction1, "v", 1 / correction2, eps=self.eps)

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, one_minus_beta2, step, eps):
        m = beta1 * m + one_minus_beta1 * g
        v = v - one_minus_beta2 * xp.sign(v - g * g) * (g * g)
        return p - step * m / (xp.sqrt(v) + eps), m, v
