"""The paper's claims on bias correction, judged by the losses of Figure 4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..bootstrap import Estimate, caveat, share
from ..findings import Finding, every, verdict
from ._losses import Array, Losses, estimates

BETA1, BETA2 = (0.0, 0.9), (0.99, 0.999, 0.9999)

# The threshold for "alike", for a loss and for its fall, is our choice, made beforehand: losses that differ
# by two nats in a hundred look the same in the paper's figure.
MARGIN = 0.02
MOST = 0.75  # share of the settings: with fewer the claim does not hold even in part
# The first epochs and the end are compared only where training lasts at least until the paper's early look:
# shorter training is all beginning.
ENOUGH = 10  # epochs
SOURCE = "section 6.4, Figure 4"
NAMES = {True: "with bias correction", False: "without"}
# The losses by epoch: an early one and the last.
ByEpoch = Mapping[int, Losses]


@dataclass(frozen=True)
class Judgement:
    """A measurement, whether each part of the claim holds, and what the numbers were estimated from.

    Without parts nothing can be concluded.
    """

    text: str
    parts: Sequence[bool | None]
    estimates: Sequence[Estimate]


def judge(by_epoch: ByEpoch, stepsizes: Sequence[float]) -> list[Finding]:
    """Judge the paper's claims by the losses after an early epoch and the last, at these α.

    Losses of the seeds are paired: with and without bias correction they start alike. What lies within the
    intervals over seeds is undecided.
    """
    claims = {
        "with bias correction Adam does as well or better at every setting": _as_well,
        "without bias correction β2 close to 1 makes training unstable": _unstable,
        "without bias correction training is least stable in the first epochs": _at_first,
        "the best results are those of small 1 - β2 with bias correction, more so towards the end": _best,
    }
    if not all(losses.complete for losses in by_epoch.values()):
        return [Finding(claim, SOURCE, "runs are missing", "not measured") for claim in claims]
    found = []
    for claim, measure in claims.items():
        judged = measure(by_epoch, stepsizes)
        reached = verdict(judged.parts) if judged.parts else "not measured"
        finding = Finding(claim, SOURCE, judged.text + caveat(judged.estimates), reached)
        over_time = measure in (_at_first, _best)
        found.append(finding.unless("too early to tell" if over_time and max(by_epoch) < ENOUGH else ""))
    return found


def _as_well(by_epoch: ByEpoch, stepsizes: Sequence[float]) -> Judgement:
    """Compare at each setting; also, without a verdict, with the best α of each."""
    lines, every_setting, most, ratios = [], [], [], []
    for epoch, losses in by_epoch.items():
        judged = losses.judged
        if not judged.any():
            lines.append(f"after epoch {epoch} both failed at all {judged.size} settings")
            continue
        found = _ratios(losses)
        # The condition b ≤ (1 + margin) a, in terms of a / b.
        held = [each.within(1 / (1 + MARGIN), math.inf) for each in found]
        every_setting.append(every(held))
        most.append(share(held).within(MOST, 1.0))
        ratios += found
        lines.append(f"after epoch {epoch} {_counted(losses, found, held, stepsizes)}")
    parts = [every(every_setting), every(most)] if most else []
    return Judgement("; ".join(lines), parts, ratios)


def _ratios(losses: Losses) -> list[Estimate]:
    """Estimate the loss without correction over that with it, at the settings that are judged."""
    judged = losses.judged
    return estimates(lambda drawn: (1 + drawn[0].gaps())[..., judged], [losses], ratio=True)


def _counted(
    losses: Losses, ratios: Sequence[Estimate], held: Sequence[bool | None], stepsizes: Sequence[float]
) -> str:
    judged = losses.judged
    left_out = "" if judged.all() else f", where not both failed, as at {(~judged).sum()} more"
    undecided = f", undecided at {held.count(None)}" if None in held else ""
    place = min(range(len(ratios)), key=lambda k: ratios[k].value)
    worst = _setting(np.argwhere(judged)[place], stepsizes)
    best = losses.loss.mean(axis=-1).min(axis=2)
    best = best[np.isfinite(best).any(axis=-1)]
    good_at_best = best[..., 1] <= (1 + MARGIN) * best[..., 0]
    return (
        f"at {held.count(True)} of {len(held)} settings{left_out}{undecided} (lowest without it, beside that "
        f"with it, at {worst}: {ratios[place] - 1:+.1%}); with the best α of each, at "
        f"{good_at_best.sum()} of {good_at_best.size} pairs of β"
    )


def _unstable(by_epoch: ByEpoch, stepsizes: Sequence[float]) -> Judgement:
    """Compare the harm for each β1 after the epoch where it is larger.

    It must exceed the margin at the largest β2, and be larger there than at the smallest.
    """

    def harms(drawn: Sequence[Losses]) -> Array:
        largest = np.max([losses.harm() for losses in drawn], axis=0)
        more = largest[..., -1:] - largest[..., :1]
        return np.concatenate([largest, more], axis=-1).reshape(len(largest), -1)

    found = estimates(harms, list(by_epoch.values()))
    lines, parts = [], []
    for place, beta1 in enumerate(BETA1):
        *of_beta2, more = found[place * (len(BETA2) + 1) :][: len(BETA2) + 1]
        each = ", ".join(f"{harm:.1%} at β2 {beta2:g}" for beta2, harm in zip(BETA2, of_beta2, strict=True))
        lines.append(f"lost without it, of the fall in loss, mean over α, β1 {beta1:g}: {each}")
        parts.append(every([of_beta2[-1].above(MARGIN), more.above(0)]))
    for epoch, losses in by_epoch.items():
        without, corrected = np.isinf(losses.loss).sum(axis=(0, 1, 2, 4))
        lines.append(f"failed after epoch {epoch}: {without} runs without it, {corrected} with")
    return Judgement("; ".join(lines), parts, found)


def _at_first(by_epoch: ByEpoch, stepsizes: Sequence[float]) -> Judgement:
    """Compare the harm at the largest β2 for each β1: beyond the margin early, and smaller late."""

    def harms(drawn: Sequence[Losses]) -> Array:
        early, late = (losses.harm()[..., -1] for losses in drawn)
        return np.concatenate([early, late, early - late], axis=-1)

    found = estimates(harms, list(by_epoch.values()))
    n = len(BETA1)
    first, last = by_epoch
    lines, parts = [], []
    for beta1, early, late, fall in zip(BETA1, found[:n], found[n : 2 * n], found[2 * n :], strict=True):
        lines.append(
            f"lost without it, of the fall in loss, mean over α, β1 {beta1:g}, β2 {BETA2[-1]:g}: "
            f"{early:.1%} after epoch {first}, {late:.1%} after epoch {last}"
        )
        parts.append(every([early.above(MARGIN), fall.above(0)]))
    return Judgement("; ".join(lines), parts, found)


def _best(by_epoch: ByEpoch, stepsizes: Sequence[float]) -> Judgement:
    """Compare the best settings: the last has both, and leads the others by more than the early one."""
    whole = {epoch: losses.where_all_succeeded() for epoch, losses in by_epoch.items()}
    lines, failed = [], []
    for epoch, losses in whole.items():
        sides = dict(zip((f"with it and β2 > {BETA2[0]:g}", "of the others"), _sides(losses), strict=True))
        failed += [
            f"after epoch {epoch} none {name}" for name, loss in sides.items() if not np.isfinite(loss)
        ]
    if failed:
        return Judgement(f"{' and '.join(failed)} succeeded: there is no lead to measure", [], [])

    def leads(drawn: Sequence[Losses]) -> Array:
        early, late = (others / claimed for claimed, others in map(_sides, drawn))
        return np.stack([early, late, late / np.maximum(early, 1)], axis=-1)

    *of_epochs, growth = estimates(leads, list(whole.values()), ratio=True)
    for (epoch, losses), lead in zip(whole.items(), of_epochs, strict=True):
        mean = losses.loss.mean(axis=-1)
        i = np.unravel_index(mean.argmin(), mean.shape)
        lines.append(
            f"after epoch {epoch} the best, {mean[i]:.1f} nats, is {_setting(i[:3], stepsizes)} "
            f"{NAMES[bool(i[3])]}; β2 > {BETA2[0]:g} with it leads all others by {lead - 1:+.2%}"
        )
    return Judgement("; ".join(lines), [of_epochs[-1].above(1), growth.above(1)], of_epochs)


def _sides(losses: Losses) -> tuple[Array, Array]:
    """Return the best loss with both, and that of all others, (...)."""
    mean = losses.loss.mean(axis=-1)
    claimed = mean[..., :, 1:, :, 1].min(axis=(-3, -2, -1))
    others = np.minimum(mean[..., 0, :, :].min(axis=(-3, -2, -1)), mean[..., 0].min(axis=(-3, -2, -1)))
    return claimed, others


def _setting(place: Iterable[np.intp], stepsizes: Sequence[float]) -> str:
    i, j, k = map(int, place)
    return f"β1 {BETA1[i]:g}, β2 {BETA2[j]:g}, α {stepsizes[k]:.3g}"
