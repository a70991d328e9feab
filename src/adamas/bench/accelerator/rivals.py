"""The optimizers that are timed on a device: ours in each form, torch's, and those of libraries for GPUs."""

from __future__ import annotations

from typing import Any

import torch

import adamas.torch

from ..contenders import Peer, other, theirs
from ..pairs import Contender

__all__ = ["FUSED", "FUSED16", "backend_of", "mine", "others"]

FUSED, FUSED16 = "torch fused float32", "torch fused bfloat16"
# Bytes read and written a parameter: p, g and state are read, p and state written.
_SCALED = 1 + 4 / 128
_CLIP = 1.0

_LIBRARIES: dict[str, Peer] = {
    "bitsandbytes 8-bit": Peer("bitsandbytes.optim", lambda m, params: m.AdamW8bit(params), "bitsandbytes"),
    "torchao 8-bit": Peer("torchao.optim", lambda m, params: m.AdamW8bit(params), "torchao"),
    "torchao fp8": Peer("torchao.optim", lambda m, params: m.AdamWFp8(params), "torchao"),
    "FlashOptim": Peer("flashoptim", lambda m, params: m.FlashAdamW(params, lr=1e-3), "flashoptim"),
    "apex": Peer("apex.optimizers", lambda m, params: m.FusedAdam(params), "apex"),
    "TransformerEngine": Peer(
        "transformer_engine.pytorch.optimizers", lambda m, params: m.FusedAdam(params), "transformer_engine"
    ),
}


def mine(device: str) -> list[Contender]:
    """Return our AdamW: wide, with state and parameters in fewer bits, and clipping."""
    wide, half = torch.float32, torch.bfloat16
    clipped = {"clip_norm": _CLIP}
    forms: list[tuple[str, torch.dtype, float, dict[str, Any]]] = [
        ("adamas float32", wide, 28.0, {}),
        ("adamas bfloat16", half, 14.0, {"state_format": "bfloat16"}),
        ("adamas float8 state", wide, 12.0 + 4 * _SCALED, {"state_format": "float8"}),
        ("adamas bfloat16 state", wide, 20.0, {"state_format": "bfloat16"}),
        # The norm reads g once more.
        ("adamas float32 clipped", wide, 32.0, clipped),
        ("adamas bfloat16, float8 state", half, 6.0 + 4 * _SCALED, {"state_format": "float8"}),
        (
            "adamas bfloat16, float8 state, clipped",
            half,
            8.0 + 4 * _SCALED,
            {"state_format": "float8", **clipped},
        ),
    ]
    return [_own(name, dtype, moved, device, options) for name, dtype, moved, options in forms]


def _own(name: str, dtype: torch.dtype, moved: float, device: str, options: dict[str, Any]) -> Contender:
    return theirs(name, lambda params: adamas.torch.AdamW(params, **options), dtype, moved, device)


def others(device: str, peers: bool) -> list[Contender]:
    """Return torch's AdamW in its forms, and with `peers` that of each library, or why it is not here."""

    def fused(params: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(params, fused=True)

    found = [
        theirs(FUSED, fused, torch.float32, 28.0, device),
        theirs(FUSED16, fused, torch.bfloat16, 14.0, device),
        theirs(
            "torch foreach float32", lambda params: torch.optim.AdamW(params, foreach=True), device=device
        ),
        theirs("torch fused float32 clipped", _Clipped, torch.float32, None, device),
    ]
    if peers:
        found += [other(name, peer, device=device) for name, peer in _LIBRARIES.items()]
    return found


class _Clipped(torch.optim.AdamW):
    """Torch's fused step after torch's clipping."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, fused=True)
        self._all = [p for group in self.param_groups for p in group["params"]]

    def step(self, closure: Any = None) -> Any:
        torch.nn.utils.clip_grad_norm_(self._all, _CLIP)
        return super().step(closure)


def backend_of(step: Any) -> str | None:
    """Return the backend of our optimizer whose `step` this is; None for others."""
    found: str | None = getattr(getattr(step, "__self__", None), "backend", None)
    return found
