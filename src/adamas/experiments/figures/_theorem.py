"""The bound of Theorem 4.1 (Kingma & Ba 2014, section 4), evaluated as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from adamas.rules import Adam

__all__ = ["Terms", "gamma", "theorem_bound"]


class Terms(NamedTuple):
    """The three terms of the bound on R(T), in the order of the paper."""

    distance: float
    gradients: float
    momentum: float


def gamma(rule: Adam) -> float:
    """Return γ = β1² / √β2; the theorem requires γ < 1."""
    return float(rule.beta1**2 / rule.beta2**0.5)


def theorem_bound(
    rule: Adam, decay: float, rounds: float, measured: Mapping[str, float], gradient_bound: float
) -> Terms:
    r"""Return the three terms of the theorem's bound on R(T), which is their sum.

    .. math::
        \frac{D^2}{2 \alpha (1 - \beta_1)} \sum_i \sqrt{T \hat v_{T,i}}
        + \frac{\alpha (1 + \beta_1) G_\infty}{(1 - \beta_1) \sqrt{1 - \beta_2} (1 - \gamma)^2}
          \sum_i \|g_{1:T,i}\|_2
        + \sum_i \frac{D_\infty^2 G_\infty \sqrt{1 - \beta_2}}{2 \alpha (1 - \beta_1) (1 - \lambda)^2}

    The third term comes from the decay of β1; as printed it does not vanish where β1 = 0, and then any λ will
    do. Its sum over i is d times the same number.

    Args:
        rule: α, β1 and β2.
        decay: λ in (0, 1).
        rounds: T.
        measured: the measures of an `Online` run at T: "root_v", "gradient_norms", "diameter", "widest" and
            "dimensions", d.
        gradient_bound: G∞.
    """
    alpha, beta1, beta2 = rule.lr, rule.beta1, rule.beta2
    rest = (1 - beta2) ** 0.5
    distance = measured["diameter"] ** 2 / (2 * alpha * (1 - beta1)) * rounds**0.5 * measured["root_v"]
    gradients = alpha * (1 + beta1) * gradient_bound / ((1 - beta1) * rest * (1 - gamma(rule)) ** 2)
    momentum = measured["widest"] ** 2 * gradient_bound * rest / (2 * alpha * (1 - beta1) * (1 - decay) ** 2)
    return Terms(distance, gradients * measured["gradient_norms"], measured["dimensions"] * momentum)
