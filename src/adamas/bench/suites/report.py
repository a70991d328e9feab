"""A step that is measured (`watch(every=1)`) beside one that is not: .9 is a tenth more time."""

from collections.abc import Sequence

import torch

import adamas.torch
from adamas import formats

from ..contenders import theirs
from ..pairs import Bench, Contender, Pair, compare

WORKLOADS = ("mnist-mlp", "gpt2-small")


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure AdamW in float32 and with scaled state, watched and not; there are no peers."""
    scaled = [name for name in formats.names() if formats.get(name).scaled]
    pairs = [
        Pair(name, _contender(chosen, watched=True), _contender(chosen, watched=False))
        for name in workloads
        for chosen in (None, *scaled)
    ]
    return compare("A measured step of AdamW: one that is not, over it", pairs, rounds)


def _contender(state_format: str | None, watched: bool) -> Contender:
    def make(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = adamas.torch.AdamW(params, state_format=state_format)
        if watched:
            optimizer.watch(every=1)
        return optimizer

    name = f"{'measured' if watched else 'plain'}, {state_format or 'float32'} state"
    return theirs(name, make)
