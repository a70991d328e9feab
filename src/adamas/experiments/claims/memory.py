"""Abstract and section 1: little memory, measured on the optimizer of `adamas.torch`."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from adamas.torch import Adam

from ..findings import Preset, verdict
from . import Claim, Measured

# Two numbers a parameter, and a hundredth for the rest: a counter a tensor.
LITTLE = 2.02
# (inputs, outputs) of the layers: those of the paper's network of section 6.2 on MNIST.
LAYERS = ((784, 1000), (1000, 1000), (1000, 10))


def size(tensors: Iterable[torch.Tensor]) -> int:
    """Return the bytes of the storages, so that a view is charged with everything it keeps alive."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
    return sum(storage.nbytes() for storage in storages.values())


def measure(preset: Preset) -> Measured:
    """Measure one network, at every preset."""
    shapes = [shape for layer in LAYERS for shape in (layer, layer[1:])]
    parameters = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    optimizer = Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = [value for each in optimizer.state.values() for value in each.values()]
    counters = [value for value in state if value.ndim == 0]
    kept, own = size(state), size(parameters)
    return Measured(
        f"{kept:,} bytes of state for {own:,} of parameters: {kept / own:.5f} ×, of which {size(counters)} "
        f"bytes count the steps of {len(parameters)} tensors (our threshold: at most {LITTLE:g} ×)",
        verdict([kept <= LITTLE * own]),
    )


CLAIM = Claim(
    "Adam needs little memory: a first and a second moment for each parameter",
    "abstract; section 1; Algorithm 1",
    measure,
)
