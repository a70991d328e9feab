"""What to do about each kind of fault; in braces are values of the training."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["REMEDIES"]

# The likeliest cause first: what stands above may be the cause of what stands below.
REMEDIES: Mapping[str, str] = {
    "nonfinite": (
        "Look for an overflow, a division by 0 or the logarithm of 0 in the loss, and go back to a "
        "checkpoint; skip_nonfinite=True skips such steps."
    ),
    "replaced": (
        "Make the optimizer after the model is in its final form: a layer that is replaced or moved "
        "(to_empty, from_pretrained, tied weights) has new parameters."
    ),
    "missing": (
        "Pass them to the optimizer, add them with add_param_group, or set requires_grad=False where "
        "they are to stay as they are."
    ),
    "unused": (
        "Use them in the forward pass, look for a detach() or no_grad() on the way to the loss, or leave "
        "them out of the optimizer."
    ),
    "clipped": (
        "Raise clip_norm, or unscale the gradients before the step (GradScaler.unscale_) if the loss was "
        "scaled."
    ),
    "lr-high": "Lower the learning rate (it is {lr}), or raise it slowly from 0.",
    "decay": (
        "Lower weight_decay (it is {decay}); with decoupled decay a step takes the part lr * "
        "weight_decay of a weight, or weight_decay with decay_scaling='independent', and 1e-5 is usual."
    ),
    "lr-low": "Raise the learning rate (it is {lr}); look at the schedule.",
    "stuck": (
        "Keep the parameters in float32 and compute in 16 bits (torch.autocast), or raise the learning "
        "rate (it is {lr})."
    ),
    "accumulating": "Call optimizer.zero_grad() before each backward pass.",
    "exploding": (
        "Clip it (clip_norm=1.0), lower the learning rate (it is {lr}), and look for a loss that is not "
        "a mean, or for layers without normalization."
    ),
    "epsilon": "Lower eps (it is {eps}), or scale the loss up: eps is in the unit of a gradient.",
    "beta2": (
        "Lower beta2 (it is {beta2}, which remembers {memory} steps), or begin a new optimizer where the "
        "loss changes."
    ),
    "dead": (
        "Look for units that are never active (a ReLU below 0, a saturated sigmoid), or a factor of 0 "
        "behind them."
    ),
}
