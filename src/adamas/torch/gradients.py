"""The gradient of a parameter as a launcher can read it: dense, of one layout, with memory of its own."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._compat import has_overlap, is_zero_tensor

__all__ = ["aligned_grad", "check_grad", "dense_grad", "has_own_memory", "shares_elements"]


# The bound on the search for a common element. NumPy's annotations know only two special values of it.
_MOST_WORK: Any = 1_000_000


def has_own_memory(x: Tensor) -> bool:
    """Whether `data_ptr()` addresses the elements: not so for wrapper subclasses and zero tensors."""
    return not is_zero_tensor(x) and type(x).__torch_dispatch__ is Tensor.__torch_dispatch__


def shares_elements(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors on the CPU have an element of memory in common; interleaved views have none."""
    if x.untyped_storage().data_ptr() != y.untyped_storage().data_ptr() or x.numel() == 0 or y.numel() == 0:
        return False
    try:
        return np.shares_memory(_as_bytes(x), _as_bytes(y), max_work=_MOST_WORK)
    except np.exceptions.TooHardError:
        return True


def _as_bytes(x: Tensor) -> np.ndarray[Any, Any]:
    """The memory of a tensor as an array of NumPy, which need not know the type: of its size alone."""
    pointer: Any = (ctypes.c_byte * x.element_size()).from_address(x.data_ptr())
    element = np.frombuffer(pointer, f"V{x.element_size()}")
    strides = [stride * x.element_size() for stride in x.stride()]
    return np.lib.stride_tricks.as_strided(element[:1], x.shape, strides)


def dense_grad(g: Tensor, takes_sparse: bool) -> Tensor:
    """A gradient as a strided tensor.

    Raises:
        RuntimeError: it is sparse, and the rule changes elements that have no gradient.
    """
    if g.layout == torch.strided:
        return g
    if not takes_sparse:
        raise RuntimeError(
            f"a parameter of shape {tuple(g.shape)} has a {g.layout} gradient, and this optimizer does not "
            f"support sparse gradients of parameters that it does not track: call opt.track(embedding) "
            f"before training, for exact steps; or pass semantics='lazy', or make it dense (sparse=False)"
        )
    return g.to_dense()


def aligned_grad(g: Tensor, like: Tensor, dtype: torch.dtype, takes_sparse: bool) -> Tensor:
    """A gradient in this dtype and the layout of `like`, copied where it has another one."""
    g = dense_grad(g, takes_sparse)
    lazy = g.is_conj() or g.is_neg() or not has_own_memory(g)
    if g.stride() == like.stride() and g.dtype == dtype and not lazy:
        return g
    copied = torch.empty_like(like, dtype=dtype).copy_(g)
    if not has_own_memory(copied):
        raise RuntimeError(
            f"a parameter of shape {tuple(like.shape)} has a gradient of type {type(g).__name__}, "
            f"which cannot be copied into an ordinary tensor; make it one"
        )
    return copied


def check_grad(p: Tensor, g: Tensor | None, takes_sparse: bool) -> None:
    """Raise a RuntimeError for what no launcher can update, before anything has changed."""
    if p.layout == torch.strided and has_overlap(p):
        raise RuntimeError(
            f"a parameter of shape {tuple(p.shape)} and stride {p.stride()} has elements that share "
            f"memory (an expanded tensor?); make it contiguous"
        )
    if g is not None and g.shape != p.shape:
        raise RuntimeError(f"a parameter of shape {tuple(p.shape)} has a gradient of shape {tuple(g.shape)}")
    if g is not None and g.layout != torch.strided and not takes_sparse:
        dense_grad(g, takes_sparse)
