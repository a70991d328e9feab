"""Schedule-Free SGD and AdamW (Defazio et al. 2024, "The Road Less Scheduled"), Algorithm 1; ε outside.

The parameter is y, where gradients are taken. The paper keeps z and x; here e = z - x is kept, which begins
at 0: with y = x + (1 - β) e and w = e - γ u, the step to z = z - γ u and x = (1 - c) x + c z is

    y += (c + (1 - β)(1 - c)) w - (1 - β) e,    e = (1 - c) w.
"""

from dataclasses import dataclass
from typing import Any

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge
from ._warmup import part_of


@dataclass(frozen=True)
class ScheduleFreeSGD(Rule):
    r"""ScheduleFreeSGD: gradient descent whose running average of iterates replaces a schedule.

    .. math::
        y_t = (1 - \beta) z_t + \beta x_t, \quad
        z_{t+1} = z_t - \gamma_t (\nabla f(y_t) + \lambda y_t), \quad
        x_{t+1} = (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}

    with :math:`c_t = w_t / \sum_{i \le t} w_i`, :math:`w_t = t^r \max_{i \le t} \gamma_i^q`. Parameters are y
    while training; x is what to evaluate and to ship: `averaged_parameters()` of an optimizer for PyTorch.

    Args:
        lr: the stepsize γ after the warm-up.
        momentum: β, where between z and x gradients are taken.
        weight_decay: λ, which acts at y.
        warmup: the number of steps over which γ grows linearly to `lr`; 0 for none.
        r: the power of t in the weights of the average.
        weight_lr_power: q, the power of the largest γ so far in them.
    """

    lr: NonNegative = 1.0
    momentum: Decay = 0.9
    weight_decay: NonNegative = 0.0
    warmup: NonNegative = 0.0
    r: NonNegative = 0.0
    weight_lr_power: NonNegative = 2.0

    slots = {"e": SIGNED.of_at_least(16)}
    carried = {"lr_max": 0.0, "weight_sum": 0.0}
    carried_bits = 64

    def carry(self, t: int, lr_max: float, weight_sum: float) -> tuple[float, ...]:
        lr_max = xp.maximum(lr_max, self.lr * part_of(t, self.warmup))
        return lr_max, weight_sum + weight(self, t, lr_max)

    def scalars(self, t: int, lr_max: float, weight_sum: float) -> Scalars:
        step = self.lr * part_of(t, self.warmup)
        return step, step * self.weight_decay, *mixing(self, self.momentum, t, lr_max, weight_sum)

    def coast(self, *scalars: float) -> Coast | None:
        return drift({}, *scalars[1:])

    def averaged(self, p: Any, *slots: Any) -> Any:
        return p - (1 - self.momentum) * slots[0]

    @staticmethod
    def update(p, g, e, step, decay, along, one_minus_beta, one_minus_c):
        w = e - step * g - decay * p
        return p - (one_minus_beta * e - along * w), one_minus_c * w


@dataclass(frozen=True)
class ScheduleFreeAdamW(Rule):
    r"""ScheduleFreeAdamW: Adam without first moment, whose running average of iterates replaces a schedule.

    .. math::
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        z_{t+1} = z_t - \gamma_t \left( g_t / (\sqrt{\hat v_t} + \epsilon) + \lambda y_t \right)

    and y, x and c as of `ScheduleFreeSGD`. Parameters are y while training; x is what to evaluate and to
    ship: `averaged_parameters()` of an optimizer for PyTorch. The decay acts at y, as in the authors' code.

    Args:
        lr: the stepsize γ after the warm-up.
        beta1: β, where between z and x gradients are taken.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root of v̂.
        weight_decay: λ, which acts at y.
        warmup: the number of steps over which γ grows linearly to `lr`; 0 for none.
        r: the power of t in the weights of the average.
        weight_lr_power: q, the power of the largest γ so far in them.
    """

    lr: NonNegative = 2.5e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    warmup: NonNegative = 0.0
    r: NonNegative = 0.0
    weight_lr_power: NonNegative = 2.0

    slots = {"e": SIGNED.of_at_least(16), "v": NONNEGATIVE}
    carried = {"lr_max": 0.0, "weight_sum": 0.0}
    carried_bits = 64

    def carry(self, t: int, lr_max: float, weight_sum: float) -> tuple[float, ...]:
        lr_max = xp.maximum(lr_max, self.lr * part_of(t, self.warmup))
        return lr_max, weight_sum + weight(self, t, lr_max)

    def scalars(self, t: int, lr_max: float, weight_sum: float) -> Scalars:
        lr = self.lr * part_of(t, self.warmup)
        root = (1 - self.beta2**t) ** 0.5
        mixed = mixing(self, self.beta1, t, lr_max, weight_sum)
        return self.beta2, 1 - self.beta2, lr * root, self.eps * root, lr * self.weight_decay, *mixed

    def coast(self, *scalars: float) -> Coast | None:
        return drift({"v": scalars[0]}, *scalars[4:])

    def gauge(self, t: int) -> Gauge:
        return Gauge(root="v", root_factor=1 / (1 - self.beta2**t), eps=self.eps)

    def averaged(self, p: Any, *slots: Any) -> Any:
        return p - (1 - self.beta1) * slots[0]

    @staticmethod
    def update(p, g, e, v, beta2, one_minus_beta2, step, eps, decay, along, one_minus_beta1, one_minus_c):
        v = beta2 * v + one_minus_beta2 * g * g
        w = e - step * g / (xp.sqrt(v) + eps) - decay * p
        return p - (one_minus_beta1 * e - along * w), one_minus_c * w, v


def weight(rule: Any, t: int, lr_max: float) -> Any:
    """The weight w of step t in the average."""
    # No power of what is far beyond any stepsize overflows.
    return xp.minimum(lr_max, 1e30) ** rule.weight_lr_power * t**rule.r


def mixing(rule: Any, beta: float, t: int, lr_max: float, weight_sum: float) -> tuple[Any, Any, Any]:
    """c + (1 - β)(1 - c), 1 - β and 1 - c."""
    c = xp.where(weight_sum > 0, weight(rule, t, lr_max) / xp.where(weight_sum > 0, weight_sum, 1.0), 0.0)
    return c + (1 - beta) * (1 - c), 1 - beta, 1 - c


def drift(
    factors: dict[str, float], decay: float, along: float, rest: float, one_minus_c: float
) -> Coast | None:
    """A step without a gradient; nothing is said of one in which y decays, and e with it."""
    if decay > 0:
        return None
    factors = {"e": one_minus_c, **factors}
    # y moves by along - rest times e before the step. Where c is 1 there has been none, and e is 0.
    return Coast(factors, "e", (rest - along) / one_minus_c) if one_minus_c > 0 else Coast(factors)
