"""Measures of a softmax classifier."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import cross_entropy

Answers = tuple[torch.Tensor, torch.Tensor]
"""Outputs before the softmax (n, classes), and the classes that were right, int64 (n,)."""


def mean_losses(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean negative log-likelihood of each of a stack of classifiers.

    Args:
        outputs: before the softmax, (models, n, classes).
        targets: the classes that were right, int64 (n,).

    Returns:
        (models,), each the same bits whatever the others are.
    """
    models, n, _ = outputs.shape
    losses = cross_entropy(outputs.flatten(0, 1), targets.repeat(models), reduction="none")
    return losses.view(models, n).mean(dim=1)


def measures(train: Answers, test: Answers) -> Mapping[str, float]:
    """Return the mean negative log-likelihood on training and test examples; the share of test errors."""
    outputs, targets = test
    return {
        "train_nll": cross_entropy(*train).item(),
        "test_nll": cross_entropy(outputs, targets).item(),
        "test_error": (outputs.argmax(dim=1) != targets).double().mean().item(),
    }
