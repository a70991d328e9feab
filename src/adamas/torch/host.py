"""What the host holds of an offloaded parameter: its wide master, and the memory that copies go through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import transfers
from ._compat import is_dense, version_of
from .gradients import dense_grad

__all__ = ["MASTER", "Host", "Hosts", "Master", "host_of", "wide_dtype"]

# The key in `state[p]` of the master of a parameter of 16 bits.
MASTER = "master"


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """That of the master: float32, or the parameter's own where that is wider, or complex."""
    return torch.promote_types(dtype, torch.float32)


class Master(nn.Parameter):
    """A parameter on the host, as a plan takes one.

    Attributes:
        grad: its gradient, of any dtype: torch's own attribute refuses one of 16 bits on float32.
        copy: a tensor of the parameter's dtype that a step writes too, rounded to nearest; None where the
            master itself is of that dtype.
    """

    grad: Tensor | None = None
    copy: Tensor | None = None


class Host:
    """One offloaded parameter.

    The master of a parameter on the CPU that is float32 itself is the parameter; no other memory is made.
    """

    def __init__(self, p: Tensor) -> None:
        self.p, self.moves = p, transfers.transfers_of(p.device)
        values, wide = p.detach(), wide_dtype(p.dtype)
        plain = is_dense(p) and not p.is_conj() and not p.is_neg()
        copy = None
        if wide != p.dtype:
            copy = values if self.moves.shared and plain else self.moves.empty(values, p.dtype)
            values = torch.empty_like(copy, dtype=wide)
        elif not self.moves.shared:
            values = self.moves.empty(values, wide)
        self.master = Master(values, requires_grad=False)
        self.master.copy = copy
        # The master as the state has it.
        self.kept = self.master.detach() if copy is not None else None
        self._written = values if copy is None else copy
        self._sends = self._written.data_ptr() != p.data_ptr()
        self._arrived: Callable[[], object] | None = None
        self._buffer: Tensor | None = None
        self._kind = _kind(p)
        self.read(None)

    def holds(self) -> bool:
        """Whether the parameter has the memory, dtype and layout that it had."""
        return self._kind == _kind(self.p)

    def read(self, stored: Tensor | None) -> None:
        """Take a master from a state, and the elements in which it is not the parameter's; without one, all.

        Args:
            stored: of the parameter's shape.
        """
        self._seen: Any = None
        if stored is None:
            self._take(self.p.detach())
        elif stored is not self.kept and self.kept is not None:
            self._take(stored)
            self._seen = None
        self.refresh()

    def refresh(self) -> None:
        """Take the elements of the parameter that others have written since the last step."""
        seen = version_of(self.p)
        if seen is not None and seen == self._seen:
            return
        if self.kept is None:
            self._take(self.p.detach())
        else:
            now, values = self.p.detach().to("cpu"), self.master.detach()
            same = now == values.to(now.dtype)
            self._take(torch.where(same, values, now.to(values.dtype)))

    def _take(self, values: Tensor) -> None:
        if self._sends or self.kept is not None:
            self.master.detach().copy_(values)
        self._seen = version_of(self.p)

    def fetch(self, takes_sparse: bool) -> None:
        """Begin to copy the gradient to the host, where the master then has it.

        Raises:
            RuntimeError: it is sparse, and the rule cannot take it.
        """
        g = self.p.grad
        assert g is not None
        self.refresh()
        if not self.moves.shared:
            g = dense_grad(g.detach(), takes_sparse)
            if self._buffer is None or _kind(self._buffer)[1:] != _kind(g)[1:]:
                self._buffer = self.moves.empty(g, g.dtype)
            self._arrived = self.moves.fetch(g, self._buffer)
            g = self._buffer
        self.master.grad = g

    def wait(self) -> None:
        """Wait until the gradient is here."""
        if self._arrived is not None:
            self._arrived()
            self._arrived = None

    def forget(self) -> None:
        """Let go of the gradient."""
        self.master.grad = self._arrived = None

    def send(self) -> None:
        """Begin to copy what a step wrote to the parameter."""
        if self._sends:
            self.moves.send(self._written, self.p.detach())
        elif self.kept is not None:
            torch.autograd.graph.increment_version((self.p,))
        self._seen = version_of(self.p)


# Those of an optimizer, made when a parameter has its first gradient.
Hosts = dict[Tensor, Host]


def host_of(p: Tensor, hosts: Hosts) -> Host:
    """What the host holds of a parameter: made where missing, or where the parameter has moved."""
    found = hosts.get(p)
    if found is None or not found.holds():
        found = hosts[p] = Host(p)
    return found


def _kind(x: Tensor) -> tuple[Any, ...]:
    return x.data_ptr(), x.dtype, x.shape, x.stride(), x.is_conj(), x.is_neg()
