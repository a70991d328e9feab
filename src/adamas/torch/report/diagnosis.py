"""What is wrong with a training, told from what was measured of it: one function for each kind of fault.

Thresholds lie between trainings that go well, of every problem and rule of the experiments, and trainings
with one fault each; the tests hold both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ..measured import Measured
from .evidence import Evidence, listed, second_decay
from .remedies import REMEDIES
from .values import Diagnosis, ParamReport, Report

__all__ = ["MEMORY", "diagnose"]

# The reports that are remembered.
MEMORY = 16
# A fault that may pass is told when so many reports in a row have it.
_IN_A_ROW = 3
# The steps in which weights that grow are a sign of a learning rate that is too high.
_EARLY = 2000

# The parameters that have a fault, and what is seen; None where it is not there.
_Found = tuple[tuple[str, ...], str] | None


def diagnose(reports: Sequence[Report], start: Report | None = None) -> tuple[Diagnosis, ...]:
    """What is wrong, the likeliest cause first.

    Args:
        reports: from the oldest to the newest.
        start: the report of the beginning of a watch.
    """
    if not reports:
        return ()
    evidence = Evidence(reports, start)
    found = {kind: _CHECKS[kind](evidence) for kind in REMEDIES}
    return tuple(
        Diagnosis(kind, each[0], each[1], REMEDIES[kind].format(**_values(evidence)))
        for kind, each in found.items()
        if each is not None
    )


def _values(e: Evidence) -> dict[str, str]:
    """What remedies name."""
    beta2 = max((b for group in e.now.groups if (b := second_decay(group.options)) is not None), default=0.0)
    memory = f"{1 / (1 - beta2):,.0f}" if beta2 < 1 else "all"
    decay = e.option("weight_decay")
    return {
        "lr": e.option("lr"),
        "eps": e.option("eps"),
        "decay": decay,
        "beta2": f"{beta2:g}",
        "memory": memory,
    }


# What makes everything else meaningless.


def _nonfinite(e: Evidence) -> _Found:
    if names := e.of_measured(lambda m: m.nonfinite > 0):
        first = next(p for p in e.measured[-1].params if p.label == names[0])
        m = first.measured
        assert m is not None
        whole = (
            f"{m.nonfinite:,} of {m.elements:,} elements of {names[0]}, the first of {len(names)} parameters"
        )
        return names, f"The gradient is not finite: {whole}."
    if names := e.of_measured(lambda m: not math.isfinite(m.param_norm)):
        return names, f"{listed(names)}: values are no longer finite."
    return None


# Parameters that are not trained.


def _replaced(e: Evidence) -> _Found:
    names = e.now.foreign
    return (
        (names, f"{listed(names)}: the optimizer has it, and the model no longer has it.") if names else None
    )


def _missing(e: Evidence) -> _Found:
    names = e.now.missing
    return (names, f"{listed(names)}: the model trains it, and the optimizer lacks it.") if names else None


def _unused(e: Evidence) -> _Found:
    most = max((p.steps or 0 for p in e.now.params), default=0)
    seen = {p.index for report in e.measured for p in report.params if p.measured is not None}
    watched = len(e.measured) >= 2

    def idle(p: ParamReport) -> bool:
        if p.frozen or p.measured is not None or p.elements == 0:
            return False
        if p.steps is None:
            return watched and p.index not in seen
        return p.steps == 0 and (watched or most >= 10)

    names = tuple(p.label for p in e.now.params if idle(p))
    return (names, f"{listed(names)}: no gradient has come yet.") if names else None


# Options.


def _clipped(e: Evidence) -> _Found:
    factors = [report.clip_factor for report in e.measured[-_IN_A_ROW:]]
    if len(factors) < _IN_A_ROW or not all(0 < factor < 0.01 for factor in factors):
        return None
    return (), f"Clipping leaves {factors[-1]:.1e} of the gradient, step after step."


def _lr_high(e: Evidence) -> _Found:
    last, grown = e.last(_IN_A_ROW), e.growth or 1.0
    bounds = [t.bound for t in last if t.bound is not None]
    at_bound = len(bounds) == _IN_A_ROW and min(bounds) > 0.5
    if not grown > (2 if at_bound else 4) or e.since(e.totals[-1]) > _EARLY:
        return None
    share = f", and {bounds[-1]:.0%} of elements move by all of the learning rate" if at_bound else ""
    steps = e.since(e.totals[-1])
    return (), f"Within {steps:,} steps weights have grown to {grown:.3g} times what they were{share}."


def _decay(e: Evidence) -> _Found:
    def strong(p: ParamReport) -> bool:
        if not p.weight_decay or p.measured is None:
            return False
        if p.decay == "decoupled":
            return (p.lr or 0.0) * p.weight_decay > 0.01
        if p.decay == "independent":
            return p.weight_decay > 0.01
        decayed = p.weight_decay * p.measured.param_norm
        return len(p.shape) > 1 and decayed > 10 * p.measured.grad_norm > 0

    names = e.names(strong, _IN_A_ROW)
    return (names, f"{listed(names)}: weight decay outweighs the gradient.") if names else None


def _lr_low(e: Evidence) -> _Found:
    last = e.last(_IN_A_ROW)
    if not last or not all(t.update < 1e-7 * t.param and t.grad > 0 for t in last):
        return None
    return (), f"A step moves the parameters by {last[-1].update / last[-1].param:.1e} of themselves."


def _stuck(e: Evidence) -> _Found:
    def still(p: ParamReport) -> bool:
        m = p.measured
        if m is None or p.dtype not in ("bfloat16", "float16") or m.zeros == m.elements:
            return False
        return m.unmoved > 0.95 * (m.elements - m.zeros)

    names = e.names(still, _IN_A_ROW)
    if not names:
        return None
    dtype = next(p.dtype for p in e.now.params if p.label == names[0])
    return names, f"{listed(names)}: a step moves fewer than 5 % of weights, so little is it in {dtype}."


# The course of gradients.


def _accumulating(e: Evidence) -> _Found:
    steps = [e.since(t) for t in e.totals]
    if len(steps) < 5 or min(steps) < 1 or steps[-1] < 4 * steps[0]:
        return None
    slopes = [t.grad / step for t, step in zip(e.totals, steps, strict=True)]
    # A sum of gradients keeps its direction; where a rule does not tell, it has to be closer to the line.
    signals = [t.signal for t in e.totals if t.signal is not None]
    spread = 1.6 if signals else 1.3
    keeps = not signals or min(signals) > 0.7
    if not keeps or not all(map(math.isfinite, slopes)) or not 0 < max(slopes) < spread * min(slopes):
        return None
    course = f"{e.totals[0].grad:.3g} at step {steps[0]:,}, {e.totals[-1].grad:.3g} at step {steps[-1]:,}"
    return (), f"The norm of the gradient grows in proportion to the step: {course}."


def _exploding(e: Evidence) -> _Found:
    last = [t.grad for t in e.last(_IN_A_ROW)]
    least = min((t.grad for t in e.totals if t.grad > 0), default=0.0)
    if not last or last != sorted(last) or not last[-1] > 100 * least > 0:
        return None
    return (), f"The norm of the gradient has grown from {least:.3g} to {last[-1]:.3g}, and grows."


def _epsilon(e: Evidence) -> _Found:
    shares = [t.hidden or 0.0 for t in e.last(2)]
    # Adadelta has eps in its numerator too: it begins with steps that eps sets.
    by_design = any("rho" in group.options for group in e.now.groups)
    if by_design or not shares or min(shares) <= 0.5:
        return None
    names = e.of_measured(lambda m: (m.hidden or 0) - m.zeros > 0.5 * (m.elements - m.zeros))
    return names, f"For {shares[-1]:.0%} of elements sqrt(v) is less than eps, which sets their steps."


def _beta2(e: Evidence) -> _Found:
    betas = [b for group in e.now.groups if (b := second_decay(group.options)) is not None]
    # Where the denominator is a variance, a mean is beyond it, whatever it remembers.
    ratios = [t.shortfall for t in e.last(_IN_A_ROW) if t.shortfall is not None and (t.signal or 0) < 3]
    if len(ratios) < _IN_A_ROW or not betas or min(betas) < 0.999:
        return None
    if max(ratios) >= 1e-4 and min(ratios) <= 12:
        return None
    times = (max(ratios[-1], 1 / ratios[-1]) if ratios[-1] else math.inf) ** 0.5
    how = "larger" if ratios[-1] < 1 else "smaller"
    return (), f"sqrt(v) is {times:.3g} times {how} than the gradient: it remembers gradients that are past."


def _dead(e: Evidence) -> _Found:
    def silent(m: Measured) -> bool:
        return m.zeros == m.elements > 0

    names = e.of_measured(silent, _IN_A_ROW)
    return (names, f"{listed(names)}: every gradient is exactly 0.") if names else None


_CHECKS: Mapping[str, Callable[[Evidence], _Found]] = {
    "nonfinite": _nonfinite,
    "replaced": _replaced,
    "missing": _missing,
    "unused": _unused,
    "clipped": _clipped,
    "lr-high": _lr_high,
    "decay": _decay,
    "lr-low": _lr_low,
    "stuck": _stuck,
    "accumulating": _accumulating,
    "exploding": _exploding,
    "epsilon": _epsilon,
    "beta2": _beta2,
    "dead": _dead,
}
