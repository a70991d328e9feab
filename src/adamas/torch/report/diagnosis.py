"""What is wrong with a training, told from what was measured of it: one function for each kind.

Thresholds lie between trainings that go well, of every problem and rule of the experiments, and trainings
with one fault each; the tests hold both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from .evidence import Evidence, listed, second_decay
from .values import Diagnosis, ParamReport, Report

__all__ = ["MEMORY", "diagnose"]

# The reports that are remembered.
MEMORY = 16

# The steps in which weights that grow are a sign of a learning rate that is too high.
_EARLY = 2000

# A fault that may pass is told when so many reports in a row have it.
_IN_A_ROW = 3


def diagnose(reports: Sequence[Report], start: Report | None = None) -> tuple[Diagnosis, ...]:
    """What is wrong, the likeliest cause first.

    Args:
        reports: from the oldest to the newest.
        start: the report of the beginning of a watch.
    """
    if not reports:
        return ()
    evidence = Evidence(reports, start)
    return tuple(found for check in _CHECKS for found in check(evidence))


_Check = Callable[[Evidence], Iterator[Diagnosis]]


# What makes everything else meaningless.


def _nonfinite(e: Evidence) -> Iterator[Diagnosis]:
    names = e.of_measured(lambda m: m.nonfinite > 0)
    if names:
        first = next(p for p in e.measured[-1].params if p.label == names[0])
        count = first.measured.nonfinite if first.measured else 0
        message = (
            f"The gradient is not finite: {count:,} of {first.elements:,} elements of {names[0]}, the first "
            f"of {len(names)} parameters."
        )
        yield Diagnosis(
            "nonfinite",
            names,
            message,
            "Look for an overflow, a division by 0 or the logarithm of "
            "0 in the loss; skip_nonfinite=True skips such steps.",
        )
    lost = e.of_measured(lambda m: not m.param_norm < float("inf"))
    if lost and not names:
        yield Diagnosis(
            "nonfinite",
            lost,
            f"{listed(lost)}: values are no longer finite.",
            "Go back to a checkpoint; skip_nonfinite=True would have skipped the step that did it.",
        )


# Parameters that are not trained.


def _replaced(e: Evidence) -> Iterator[Diagnosis]:
    if names := e.now.foreign:
        message = f"{listed(names)}: the optimizer steps it, and the model no longer has it."
        yield Diagnosis(
            "replaced",
            names,
            message,
            "Make the optimizer after the model is in its final form: "
            "a layer that is replaced or moved (to_empty, from_pretrained, tied weights) has new parameters.",
        )


def _missing(e: Evidence) -> Iterator[Diagnosis]:
    if names := e.now.missing:
        message = f"{listed(names)}: the model trains it, and the optimizer lacks it."
        yield Diagnosis(
            "missing",
            names,
            message,
            "Pass it to the optimizer, add it with add_param_group, or "
            "set requires_grad=False where it is to stay as it is.",
        )


def _unused(e: Evidence) -> Iterator[Diagnosis]:
    most = max((p.steps or 0 for p in e.now.params), default=0)
    ever = {p.index for report in e.measured for p in report.params if p.measured is not None}
    watched = len(e.measured) >= 2

    def idle(p: ParamReport) -> bool:
        if p.frozen or p.measured is not None or p.elements == 0:
            return False
        return (p.steps == 0 and (watched or most >= 10)) or (
            p.steps is None and watched and p.index not in ever
        )

    names = tuple(p.label for p in e.now.params if idle(p))
    if names:
        yield Diagnosis(
            "unused",
            names,
            f"{listed(names)}: no gradient has come yet.",
            "Use it in the forward pass, "
            "look for a detach() or no_grad() on the way to the loss, or leave it out of the optimizer.",
        )


# Options.


def _clipped(e: Evidence) -> Iterator[Diagnosis]:
    last = e.measured[-_IN_A_ROW:]
    if len(last) == _IN_A_ROW and all(0 < report.clip_factor < 0.01 for report in last):
        message = f"Clipping leaves {last[-1].clip_factor:.1e} of the gradient, step after step."
        yield Diagnosis(
            "clipped",
            (),
            message,
            "Raise clip_norm, or unscale the gradients before the step "
            "(GradScaler.unscale_) if the loss was scaled.",
        )


def _decay(e: Evidence) -> Iterator[Diagnosis]:
    def strong(p: ParamReport) -> bool:
        if not p.weight_decay or p.measured is None:
            return False
        if p.decay == "decoupled":
            return (p.lr or 0.0) * p.weight_decay > 0.01
        return p.weight_decay * p.measured.param_norm > 10 * p.measured.grad_norm > 0 and len(p.shape) > 1

    if names := e.names(strong, _IN_A_ROW):
        first = next(p for p in e.now.params if p.label == names[0])
        message = f"{listed(names)}: weight decay ({first.weight_decay:g}) outweighs the gradient."
        yield Diagnosis(
            "decay",
            names,
            message,
            "Lower weight_decay; with decoupled decay a step takes the part "
            "lr * weight_decay of a weight, and 1e-5 is usual.",
        )


def _lr_low(e: Evidence) -> Iterator[Diagnosis]:
    last = e.last(_IN_A_ROW)
    if last and all(t.update < 1e-7 * t.param and t.grad > 0 for t in last):
        message = f"A step moves the parameters by {last[-1].update / last[-1].param:.1e} of themselves."
        yield Diagnosis(
            "lr-low", (), message, f"Raise the learning rate (it is {e.option('lr')}); look at the schedule."
        )


def _stuck(e: Evidence) -> Iterator[Diagnosis]:
    def still(p: ParamReport) -> bool:
        m = p.measured
        if m is None or p.dtype not in ("bfloat16", "float16") or m.zeros == m.elements:
            return False
        return m.unmoved > 0.95 * (m.elements - m.zeros)

    if names := e.names(still, _IN_A_ROW):
        dtype = next(p.dtype for p in e.now.params if p.label == names[0])
        message = f"{listed(names)}: a step moves fewer than 5 % of weights, so little is it in {dtype}."
        yield Diagnosis(
            "stuck",
            names,
            message,
            "Keep the parameters in float32 and compute in 16 bits "
            f"(torch.autocast), or raise the learning rate (it is {e.option('lr')}).",
        )


def _lr_high(e: Evidence) -> Iterator[Diagnosis]:
    last, grown = e.last(_IN_A_ROW), e.growth or 1.0
    bounds = [t.bound for t in last if t.bound is not None]
    at_bound = len(bounds) == _IN_A_ROW and min(bounds) > 0.5
    if not grown > (2 if at_bound else 4) or e.since(e.totals[-1]) > _EARLY:
        return
    share = f", and {bounds[-1]:.0%} of elements move by all of the learning rate" if at_bound else ""
    steps = e.since(e.totals[-1])
    message = f"Within {steps:,} steps weights have grown to {grown:.3g} times what they were{share}."
    remedy = f"Lower the learning rate (it is {e.option('lr')}), or raise it slowly from 0."
    yield Diagnosis("lr-high", (), message, remedy)


# The course of gradients.


def _accumulating(e: Evidence) -> Iterator[Diagnosis]:
    steps = [e.since(t) for t in e.totals]
    if len(steps) < 5 or steps[0] < 1 or steps[-1] < 4 * steps[0]:
        return
    slopes = [t.grad / step for t, step in zip(e.totals, steps, strict=True)]
    # A sum of gradients keeps its direction; a rule that does not tell has to be closer to the line.
    signals = [t.signal for t in e.totals if t.signal is not None]
    spread = 1.6 if signals else 1.3
    if signals and min(signals) < 0.7:
        return
    if all(map(math.isfinite, slopes)) and 0 < max(slopes) < spread * min(slopes):
        message = (
            f"The gradient grows in proportion to the step: norm {e.totals[0].grad:.3g} at step "
            f"{steps[0]:,}, {e.totals[-1].grad:.3g} at step {steps[-1]:,}."
        )
        yield Diagnosis("accumulating", (), message, "Call optimizer.zero_grad() before each backward pass.")


def _exploding(e: Evidence) -> Iterator[Diagnosis]:
    last = [t.grad for t in e.last(_IN_A_ROW)]
    least = min((t.grad for t in e.totals if t.grad > 0), default=0.0)
    if last and last == sorted(last) and last[-1] > 100 * least > 0:
        message = f"The norm of the gradient has grown from {least:.3g} to {last[-1]:.3g}, and grows."
        yield Diagnosis(
            "exploding",
            (),
            message,
            "Clip it (clip_norm=1.0), lower the learning rate, and look "
            "for a loss that is not a mean, or for layers without normalization.",
        )


def _epsilon(e: Evidence) -> Iterator[Diagnosis]:
    last = e.last(2)
    # Adadelta has eps in its numerator too: it begins with steps that eps sets.
    by_design = any("rho" in group.options for group in e.now.groups)
    if last and not by_design and all(t.hidden is not None and t.hidden > 0.5 for t in last):
        names = e.of_measured(lambda m: (m.hidden or 0) - m.zeros > 0.5 * (m.elements - m.zeros))
        message = f"For {last[-1].hidden:.0%} of elements sqrt(v) is less than eps, which sets their steps."
        yield Diagnosis(
            "epsilon",
            names,
            message,
            f"Lower eps (it is {e.option('eps')}), or scale the loss up: eps is in the unit of a gradient.",
        )


def _beta2(e: Evidence) -> Iterator[Diagnosis]:
    # Where the denominator is a variance, a mean is beyond it, whatever it remembers.
    last = [t.shortfall if (t.signal or 0) < 3 else None for t in e.last(_IN_A_ROW)]
    betas = [b for group in e.now.groups if (b := second_decay(group.options)) is not None]
    known = [x for x in last if x is not None]
    if len(known) < _IN_A_ROW or not betas or min(betas) < 0.999:
        return
    if max(known) < 1e-4 or min(known) > 12:
        lags = "larger" if max(known) < 1 else "smaller"
        ratio = max(known[-1], 1 / known[-1]) ** 0.5 if known[-1] else float("inf")
        message = (
            f"sqrt(v) is {ratio:.3g} times {lags} than the gradient: it remembers gradients that are past."
        )
        yield Diagnosis(
            "beta2",
            (),
            message,
            f"Lower beta2 (it is {max(betas):g}, which remembers "
            f"{1 / (1 - max(betas)):,.0f} steps), or begin a new optimizer where the loss changes.",
        )


def _dead(e: Evidence) -> Iterator[Diagnosis]:
    if names := e.of_measured(lambda m: m.elements > 0 and m.zeros == m.elements, _IN_A_ROW):
        yield Diagnosis(
            "dead",
            names,
            f"{listed(names)}: every gradient is exactly 0.",
            "Look for units that "
            "are never active (a ReLU below 0, a saturated sigmoid) or a factor of 0 behind it.",
        )


# The likeliest cause first: what is above may be the cause of what is below.
_CHECKS: tuple[_Check, ...] = (
    _nonfinite,
    _replaced,
    _missing,
    _unused,
    _clipped,
    _lr_high,
    _decay,
    _lr_low,
    _stuck,
    _accumulating,
    _exploding,
    _epsilon,
    _beta2,
    _dead,
)
