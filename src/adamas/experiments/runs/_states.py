"""States: what training goes on from, as bytes."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from adamas._tools.versions import installed

if TYPE_CHECKING:
    from ._train import Trainee
    from .training import Training

# Bump when what a state holds changes: older ones are then ignored.
VERSION = 1


def _origin(run: Training) -> str:
    """Return what a state must be of, so that this run can go on from it: all but the length."""
    plain = {**run.configuration(), "epochs": None}
    return json.dumps([VERSION, plain, installed()], sort_keys=True)


def save(trainee: Trainee, order: torch.Generator, noise: torch.Generator) -> bytes:
    """Return the state after the last record of a run."""
    state = {
        "origin": _origin(trainee.run),
        "done": trainee.run.epochs,
        "parameters": [p.detach().cpu().clone() for p in trainee.optimizer.param_groups[0]["params"]],
        "optimizer": trainee.optimizer.state_dict(),
        "order": order.get_state(),
        "noise": noise.get_state(),
        "taken": trainee.taken,
        "epochs": trainee.epochs,
        "clock": trainee.clock,
        "seconds": trainee.seconds,
    }
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def load(run: Training, content: bytes | None) -> dict[str, Any] | None:
    """Return the state; None where there is none that this run can go on from.

    It is no state of this run, or of other versions, or broken: then the run begins at its beginning, which
    gives the same.
    """
    if content is None:
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return state if state.get("origin") == _origin(run) and state["done"] < run.epochs else None


@torch.no_grad()
def restore(trainee: Trainee, parameters: Sequence[torch.Tensor], state: dict[str, Any]) -> None:
    """Set a run that has just begun to a state."""
    for p, saved in zip(parameters, state["parameters"], strict=True):
        p.copy_(saved)
    trainee.optimizer.load_state_dict(state["optimizer"])
    trainee.taken, trainee.seconds = state["taken"], state["seconds"]
    trainee.epochs, trainee.clock = list(state["epochs"]), list(state["clock"])
