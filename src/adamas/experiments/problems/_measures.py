"""Measures of a softmax classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def stacked_measures(
    train: Callable[[slice], torch.Tensor],
    train_labels: torch.Tensor,
    test: Callable[[slice], torch.Tensor],
    test_labels: torch.Tensor,
    chunk: int,
) -> list[Mapping[str, float]]:
    """Return the measures of each of a stack of classifiers, the same bits whatever the others are.

    Args:
        train, test: map a slice of examples to outputs before the softmax, (models, n, classes).
        train_labels, test_labels: the classes that are right, int64.
        chunk: the number of examples at once, for the caches.
    """
    train_nll, _ = _means(train, train_labels, chunk)
    test_nll, test_error = _means(test, test_labels, chunk)
    names = ("train_nll", "test_nll", "test_error")
    models = torch.stack([train_nll, test_nll, test_error], dim=1).tolist()
    return [dict(zip(names, each, strict=True)) for each in models]


def _means(
    outputs: Callable[[slice], torch.Tensor], labels: torch.Tensor, chunk: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each model's mean loss and share of errors, (models,)."""
    losses, errors = [], []
    for start in range(0, len(labels), chunk):
        some = slice(start, start + chunk)
        found, targets = outputs(some), labels[some]
        each = cross_entropy(found.flatten(0, 1), targets.repeat(len(found)), reduction="none")
        losses.append(each.view(len(found), -1))
        errors.append(found.argmax(dim=2) != targets)
    return torch.cat(losses, 1).double().mean(dim=1), torch.cat(errors, 1).double().mean(dim=1)


def measures(train: Answers, test: Answers) -> Mapping[str, float]:
    """Return the mean negative log-likelihood on training and test examples; the share of test errors."""
    outputs, targets = test
    return {
        "train_nll": cross_entropy(*train).item(),
        "test_nll": cross_entropy(outputs, targets).item(),
        "test_error": (outputs.argmax(dim=1) != targets).double().mean().item(),
    }
