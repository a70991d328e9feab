"""States: what training goes on from, as bytes."""

from __future__ import annotations

import hashlib
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
VERSION = 2
DIGEST = hashlib.sha256().digest_size


def _origin(run: Training, device: str) -> str:
    """Return what a state must be of, so that this run can go on from it: all but the length."""
    plain = {**run.configuration(), "epochs": None}
    return json.dumps([VERSION, plain, device, installed()], sort_keys=True)


def save(trainee: Trainee, done: int, order: torch.Generator, noise: torch.Generator, device: str) -> bytes:
    """Return the state after so many epochs of a run on the device of that name, for records."""
    state = {
        "origin": _origin(trainee.run, device),
        "done": done,
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
    return hashlib.sha256(content.getvalue()).digest() + content.getvalue()


def load(run: Training, content: bytes | None, device: str) -> dict[str, Any] | None:
    """Return the state; None where there is none that this run can go on from on this device.

    It is no state of this run, or of another device or other versions, or broken: then the run begins at its
    beginning, which gives the same.
    """
    # The digest comes first: torch reads a file with a wrong bit as if nothing were wrong.
    if content is None or hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content[DIGEST:]), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError):  # tensors of a GPU that is not there, or other types
        return None
    return state if state["origin"] == _origin(run, device) and state["done"] < run.epochs else None


@torch.no_grad()
def restore(trainee: Trainee, parameters: Sequence[torch.Tensor], state: dict[str, Any]) -> None:
    """Set a run that has just begun to a state."""
    for p, saved in zip(parameters, state["parameters"], strict=True):
        p.copy_(saved)
    trainee.optimizer.load_state_dict(state["optimizer"])
    trainee.taken, trainee.seconds = state["taken"], state["seconds"]
    trainee.epochs, trainee.clock = list(state["epochs"]), list(state["clock"])
