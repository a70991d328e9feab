"""The parameters of one step that one backend updates together."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch._C._dynamo.guards import TensorGuards

from ..backends import Envelope, reference
from ..backends.numba import Job, Kernel, NormJob
from ..rules import Rule
from ._pool import default_pool
from ._storage import FORMATS, round_to

__all__ = ["Batch", "Entry", "KernelBatch", "ReferenceBatch", "Step"]

_grad = operator.attrgetter("grad")


class Step(NamedTuple):
    """Step t, with all that it is computed from, of parameters that have taken t - 1 steps.

    `key` is that of the random bits of stochastic rounding, the same for all parameters.
    """

    group: int
    t: int
    carried: tuple[float, ...]
    rule: Rule
    envelope: Envelope
    key: int


@dataclass(eq=False)
class Entry:
    """A parameter, its state, and what is known of them.

    `slots` are the keys in the state of the rule's slots, in the rule's order, and last that of the
    average if one is kept; `step` is the row of its step, `ordinal` its number in the optimizer.
    """

    p: Tensor
    state: dict[str, Any]
    slots: Sequence[str]
    step: int
    ordinal: int
    takes_sparse: bool

    def dense_grad(self) -> Tensor:
        """The gradient as a strided tensor.

        Raises:
            RuntimeError: it is sparse, and a rule must leave elements without gradient alone to take it so.
        """
        g = self.p.grad
        assert g is not None
        if g.layout == torch.strided:
            return g
        if not self.takes_sparse:
            raise RuntimeError(
                f"a parameter of shape {tuple(self.p.shape)} has a {g.layout} gradient, and this "
                f"optimizer does not support sparse gradients; make it dense, or use SGD or Adagrad"
            )
        return g.to_dense()

    def aligned_grad(self) -> Tensor:
        """The gradient in the parameter's dtype and memory layout, copied where it has another one."""
        g = self.dense_grad()
        lazy = g.is_conj() or g.is_neg()
        if g.stride() == self.p.stride() and g.dtype == self.p.dtype and not lazy:
            return g
        return torch.empty_like(self.p).copy_(g)


class Batch(Protocol):
    """Parameters that one backend updates."""

    name: str
    entries: list[Entry]

    def gather(self) -> bool:
        """Read the gradients; False where the parameters are no longer what the batch was made for."""
        ...

    def sum_of_squares(self) -> float:
        """Of all elements of the gradients, in float64; not finite where an element is not."""
        ...

    def prepare(self, steps: Sequence[Step]) -> None:
        """Compute the scalars of this step; raises where that fails, before anything has changed."""
        ...

    def run(self) -> None:
        """Update the parameters and their state."""
        ...


class KernelBatch:
    """One compiled pass over the memory of all its parameters.

    Addresses are read anew at every step, and what they are read from is checked to be of the type,
    size, strides and dtype it had, so that no address is ever used with a size that is not its own.
    """

    name = "numba"

    def __init__(self, kernel: Kernel, entries: list[Entry], measured: bool) -> None:
        """`measured`: whether the norm of the gradients will be asked for."""
        self.entries = entries
        self._params = params = [entry.p for entry in entries]
        kept = [[entry.state[name] for name in entry.slots] for entry in entries]
        self._width = len(kernel.arrays)
        self._tensors = [tensor for p, state in zip(params, kept, strict=True) for tensor in (p, p, *state)]
        self._kept = [*params, *chain.from_iterable(kept)]
        self._kept_as_they_were = _guard(self._kept)
        self._grads_as_params = _guard([p.detach() for p in params])
        floats = [p.numel() * (2 if p.is_complex() else 1) for p in params]
        ordinals = [entry.ordinal for entry in entries]
        self._job = Job(kernel, floats, [entry.step for entry in entries], ordinals=ordinals)
        self._norm = NormJob(FORMATS[params[0].dtype], floats) if measured else None
        self._rounds = kernel.rounds
        self._rows = sorted({entry.step for entry in entries})
        self._pool = default_pool()

    def gather(self) -> bool:
        if not self._kept_as_they_were(*self._kept):
            return False
        grads = list(map(_grad, self._params))
        if not self._grads_as_params(*grads):
            if any(g is None or g.shape != p.shape for g, p in zip(grads, self._params, strict=True)):
                return False
            grads = [entry.aligned_grad() for entry in self.entries]
        self._tensors[1 :: self._width] = grads
        self._job.write_table(list(map(Tensor.data_ptr, self._tensors)))
        return True

    def sum_of_squares(self) -> float:
        assert self._norm is not None
        grads = self._tensors[1 :: self._width]
        return self._norm.run(list(map(Tensor.data_ptr, grads)), self._pool)

    def prepare(self, steps: Sequence[Step]) -> None:
        for row in self._rows:
            step = steps[row]
            self._job.write_scalars(row, *step.envelope, *step.rule.scalars(step.t, *step.carried))
            if self._rounds:
                self._job.write_key(row, step.key)

    def run(self) -> None:
        self._job.run(self._pool)
        self._tensors[1 :: self._width] = self._params  # lets go of the gradients
        torch.autograd.graph.increment_version(self._params)


class ReferenceBatch:
    """Whole-tensor arithmetic: any device, dtype and layout, and differentiable where that is asked for."""

    name = "reference"

    def __init__(self, entries: list[Entry], differentiable: bool) -> None:
        self.entries = entries
        self._differentiable = differentiable
        self._layouts = list(map(self._layout, entries))
        self._steps: Sequence[Step] = ()

    @staticmethod
    def _layout(entry: Entry) -> list[Any]:
        p, grad = entry.p, entry.p.grad
        states = [entry.state[name].shape for name in entry.slots]
        return [p.dtype, p.stride(), p.shape, None if grad is None else grad.shape, *states]

    def gather(self) -> bool:
        return self._layouts == list(map(self._layout, self.entries)) and all(
            entry.dense_grad() is not None for entry in self.entries
        )

    def sum_of_squares(self) -> float:
        with torch.no_grad():
            return sum(float(_real(entry.dense_grad()).double().square().sum()) for entry in self.entries)

    def prepare(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def run(self) -> None:
        with torch.set_grad_enabled(self._differentiable):
            for entry in self.entries:
                self._update(entry, self._steps[entry.step])

    def _update(self, entry: Entry, step: Step) -> None:
        slots = [entry.state[name] for name in entry.slots]
        dtype = torch.promote_types(entry.p.dtype, torch.float32)
        for slot in slots:
            dtype = torch.promote_types(dtype, slot.dtype)
        # A graph keeps what it was computed from, and p and the state are about to be overwritten.
        copy = self._differentiable
        arrays = [_real(x.to(dtype, copy=copy)) for x in (entry.p, entry.dense_grad(), *slots)]
        p, g, *values = arrays
        mean = values.pop() if len(slots) > len(step.rule.form().slots) else None
        new = reference.step(
            step.rule,
            step.t,
            p,
            g,
            values,
            carried=step.carried,
            envelope=step.envelope,
            mean=mean,
            xp=torch,
        )
        for target, value in zip((entry.p, *slots), new, strict=True):
            key = step.key + entry.ordinal
            target.copy_(
                torch.view_as_complex(value) if target.is_complex() else round_to(target, value, key)
            )


def _guard(tensors: Sequence[Tensor]) -> Callable[..., bool]:
    """Whether tensors given later have the type, dtype, device, sizes and strides of these, and no lazy bits.

    These are the guards of torch.compile: one call for all tensors, a fifth of the time of asking each.
    """
    guards: Any = cast(Any, TensorGuards)(
        *tensors,
        dynamic_dims_sizes=[list(x.size()) for x in tensors],
        dynamic_dims_strides=[list(x.stride()) for x in tensors],
    )
    check: Callable[..., bool] = guards.check
    return check


def _real(x: Tensor) -> Tensor:
    """A complex tensor as pairs of reals, which the rules update independently, as torch does."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
