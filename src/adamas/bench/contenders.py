"""Optimizers to time: ours, torch's, and those of other libraries where they can be had."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import adamas.torch
from adamas import formats

from .measure import Call
from .pairs import Contender, UnavailableError, parameters
from .workloads import Shape

__all__ = ["Peer", "float32_fused", "low_bit", "other", "ours", "peers", "theirs", "torch_peers"]

# Reads of p, g, m and v, and writes of p, m and v, all float32.
_FLOAT32_BYTES = 28.0

Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def theirs(
    name: str,
    make: Make,
    dtype: torch.dtype = torch.float32,
    bytes: float | None = None,
    device: str = "cpu",
) -> Contender:
    """Return the `step` of an optimizer as a contender."""

    def build(shapes: Sequence[Shape]) -> Call:
        params = parameters(shapes, dtype, device)
        grads = [p.grad for p in params]
        optimizer = make(params)
        optimizer.step()
        if params[0].grad is not None:
            return optimizer.step

        def step() -> None:  # some libraries delete the gradients
            for p, g in zip(params, grads, strict=True):
                p.grad = g
            optimizer.step()

        return step

    return Contender(name, build, bytes)


def ours(
    name: str = "adamas", dtype: torch.dtype = torch.float32, bytes: float = _FLOAT32_BYTES, **options: Any
) -> Contender:
    """Return `adamas.torch.Adam` with these options, as a contender."""
    return theirs(name, lambda params: adamas.torch.Adam(params, **options), dtype, bytes)


def torch_peers() -> list[Contender]:
    """Return torch's own Adam in its forms."""
    return [
        theirs("torch default", lambda params: torch.optim.Adam(params)),
        theirs("torch foreach", lambda params: torch.optim.Adam(params, foreach=True)),
        theirs("torch fused", lambda params: torch.optim.Adam(params, fused=True)),
    ]


def float32_fused() -> Contender:
    """Return torch's fused step in float32, by that name."""
    return theirs("torch fused float32", lambda params: torch.optim.Adam(params, fused=True))


def low_bit() -> list[Contender]:
    """Return our Adam with float32 parameters and state in each format of less than 16 bits."""
    found = []
    for name in formats.names():
        state = [formats.get(name, signed).bytes for signed in (True, False)]
        if max(state) < 2:
            # Reads p, g and state; writes p and state.
            moved = 12.0 + 2 * sum(state)
            found.append(ours(f"adamas {name} state", bytes=moved, state_format=name))
    return found


@dataclass(frozen=True)
class Peer:
    """Another library's Adam.

    Attributes:
        module: where it is.
        make: returns the optimizer of these parameters, with the module.
        install: the packages for pip.
        needs: what else it takes, as the end of an error message.
    """

    module: str
    make: Callable[[Any, list[torch.nn.Parameter]], torch.optim.Optimizer]
    install: str
    needs: str = ""


# Names with "8" store 8 bits.
_OTHERS: dict[str, Peer] = {
    "torchao 8-bit": Peer("torchao.optim", lambda module, params: module.Adam8bit(params), "torchao"),
    "torchao fp8": Peer("torchao.optim", lambda module, params: module.AdamFp8(params), "torchao"),
    "bitsandbytes 8-bit": Peer(
        "bitsandbytes.optim", lambda module, params: module.Adam8bit(params), "bitsandbytes"
    ),
    "pytorch_optimizer AdaBelief": Peer(
        "pytorch_optimizer", lambda module, params: module.AdaBelief(params, lr=1e-3), "pytorch_optimizer"
    ),
    "optimi": Peer("optimi", lambda module, params: module.Adam(params, lr=1e-3), "torch-optimi"),
    "heavyball": Peer("heavyball", lambda module, params: module.AdamW(params, lr=1e-3), "heavyball"),
    # Compiled when it is first made, which takes minutes.
    "DeepSpeed CPUAdam": Peer(
        "deepspeed.ops.adam",
        lambda module, params: module.DeepSpeedCPUAdam(params, adamw_mode=False),
        "deepspeed ninja",
        "; it needs ninja and a C++ compiler",
    ),
}


def peers() -> list[Contender]:
    """Return a torch.compile'd step, and the Adam of each other library; one that is not here says so."""
    return [Contender("torch compiled", _compiled), *(other(name, peer) for name, peer in _OTHERS.items())]


def _compiled(shapes: Sequence[Shape]) -> Call:
    step = torch.compile(torch.optim.Adam(parameters(shapes)).step)
    with _building("; it needs a C++ compiler"):
        step()
    return step


def other(
    name: str, peer: Peer, dtype: torch.dtype = torch.float32, bytes: float | None = None, device: str = "cpu"
) -> Contender:
    """Return another library's Adam as a contender, which says so where it cannot be had."""

    def build(shapes: Sequence[Shape]) -> Call:
        with _building(peer.needs):
            try:
                module = importlib.import_module(peer.module)
            except ImportError as error:
                raise UnavailableError(f"{error}; pip install {peer.install}") from error
            made = theirs(name, lambda params: peer.make(module, params), dtype, bytes, device)
            return made.make(shapes)

    return Contender(name, build, bytes)


@contextlib.contextmanager
def _building(needs: str) -> Iterator[None]:
    """Within, what others write to standard output, also below Python, goes to standard error.

    Standard output may be JSON, and compilers and loggers write to it.

    Raises:
        UnavailableError: anything fails: a compiler that is missing, a device that is not supported.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except UnavailableError:
        raise
    except Exception as error:
        raise UnavailableError(f"{_in_short(error)}{needs}") from error
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _in_short(error: BaseException) -> str:
    """The error and its first cause, a line each, in one."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [str(each).strip().partition("\n")[0] for each in (error, cause)]
    return ": ".join(dict.fromkeys(line for line in lines if line)) or type(error).__name__
