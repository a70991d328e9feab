"""The parameters of one step that one backend updates together."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch._C._dynamo.guards import TensorGuards

from ..backends import Envelope, reference
from ..backends.numba import Job, Kernel, NormJob
from ..rules import Rule
from ._phase import Phase
from ._pool import default_pool
from ._storage import has_own_memory, round_to

__all__ = ["Batch", "Entry", "KernelBatch", "ReferenceBatch", "Step"]

_grad = operator.attrgetter("grad")


class Step(NamedTuple):
    """Step t, with all that it is computed from, of parameters that have taken t - 1 steps."""

    group: int
    t: int
    carried: tuple[float, ...]
    rule: Rule
    envelope: Envelope


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
        lazy = g.is_conj() or g.is_neg() or not has_own_memory(g)
        if g.stride() == self.p.stride() and g.dtype == self.p.dtype and not lazy:
            return g
        copied = torch.empty_like(self.p).copy_(g)
        if not has_own_memory(copied):
            raise RuntimeError(
                f"a parameter of shape {tuple(self.p.shape)} has a gradient of type {type(g).__name__}, "
                f"which cannot be copied into an ordinary tensor; make it one"
            )
        return copied


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

    def release(self) -> None:
        """Let go of the gradients that `gather` has read: their memory is for the next forward pass."""
        ...


class KernelBatch:
    """One compiled pass over the memory of all its parameters.

    Addresses are read anew at every step, and what they are read from is checked to be of the type,
    size, strides and dtype it had, so that no address is ever used with a size that is not its own.
    """

    name = "numba"

    def __init__(self, kernel: Kernel, entries: list[Entry], phase: Phase) -> None:
        self.entries = entries
        self._params = params = [entry.p for entry in entries]
        self._width = len(kernel.arrays)
        # The rows of the table; between steps the parameters stand for their gradients.
        self._tensors = [x for e in entries for x in (e.p, e.p, *map(e.state.__getitem__, e.slots))]
        self._place(p.detach() for p in params)
        self._as_they_were = _guard(self._tensors)
        floats = [p.numel() * (2 if p.is_complex() else 1) for p in params]
        ordinals = [entry.ordinal for entry in entries]
        self._job = Job(kernel, floats, [entry.step for entry in entries], ordinals=ordinals)
        self._norm = NormJob(self._job) if phase.measures else None
        self._key = phase.key if kernel.rounds else None
        self._rows = sorted({entry.step for entry in entries})
        self._pool = default_pool()

    def _place(self, grads: Iterable[Tensor]) -> None:
        self._tensors[1 :: self._width] = grads

    def gather(self) -> bool:
        self._place(map(_grad, self._params))
        if not self._as_they_were(*self._tensors) and not self._align():
            return False
        self._job.write_table(list(map(Tensor.data_ptr, self._tensors)))
        return True

    def _align(self) -> bool:
        """Copy gradients of another layout or dtype; False where that is not all that has changed."""
        if any(p.grad is None or p.grad.shape != p.shape for p in self._params):
            return False
        self._place(p.detach() for p in self._params)
        if not self._as_they_were(*self._tensors):
            return False
        self._place(entry.aligned_grad() for entry in self.entries)
        return True

    def sum_of_squares(self) -> float:
        assert self._norm is not None
        return self._norm.sum(self._pool)

    def prepare(self, steps: Sequence[Step]) -> None:
        for row in self._rows:
            step = steps[row]
            self._job.write_scalars(row, *step.envelope, *step.rule.scalars(step.t, *step.carried))
            if self._key:
                self._job.write_key(row, self._key(step.t))

    def run(self) -> None:
        self._job.run(self._pool)
        torch.autograd.graph.increment_version(self._params)

    def release(self) -> None:
        self._place(self._params)


class ReferenceBatch:
    """Whole-tensor arithmetic: any device, dtype and layout, and differentiable where that is asked for."""

    name = "reference"

    def __init__(self, entries: list[Entry], phase: Phase, differentiable: bool) -> None:
        self.entries = entries
        self._key = phase.key
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

    def release(self) -> None:
        pass

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
            key = self._key(step.t) + entry.ordinal
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
