"""A parameter that brings its rows up to date before anything reads them.

It is the module's own parameter, whose class is changed in place. torch hands every call that has it among
its arguments to `__torch_function__`: a lookup in an embedding brings the rows it reads up to date, and any
other use all of them, so that no row is read behind its time; nor is one through a view taken before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._compat import disable_dynamo, plainly
from .lagging import LaggingRows

__all__ = ["TrackedParameter", "tracked"]

# Functions of which the second argument is a table, and the first the rows that are read.
_LOOKUPS = {F.embedding, F.embedding_bag, torch.embedding}

# What does not read values: attributes, and calls.
_ATTRIBUTES = (
    "shape",
    "dtype",
    "device",
    "layout",
    "requires_grad",
    "grad",
    "grad_fn",
    "is_leaf",
    "is_cuda",
    "is_cpu",
    "is_sparse",
    "is_meta",
    "is_mps",
    "is_quantized",
    "is_xpu",
    "ndim",
    "names",
    "itemsize",
    "nbytes",
    "output_nr",
    "retains_grad",
    "_backward_hooks",
    "_post_accumulate_grad_hooks",
    "_version",
)
_CALLS = (
    "size",
    "dim",
    "numel",
    "nelement",
    "ndimension",
    "stride",
    "storage_offset",
    "element_size",
    "is_contiguous",
    "is_complex",
    "is_floating_point",
    "is_conj",
    "is_neg",
    "is_shared",
    "requires_grad_",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "retain_grad",
    "get_device",
    "__len__",
    "__hash__",
)


def _passive() -> set[Any]:
    found: set[Any] = set()
    for name in _ATTRIBUTES:
        attribute = getattr(Tensor, name, None)
        found.update(getattr(attribute, each, None) for each in ("__get__", "__set__", "__delete__"))
    found.update(getattr(Tensor, name, None) for name in _CALLS)
    found.update((torch.numel, torch.is_complex, torch.is_floating_point, torch.is_conj, torch.is_neg))
    return found - {None}


_PASSIVE = _passive()


class _Reading(Tensor):
    """What a tracked parameter and its views share."""

    _rows: LaggingRows

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[Any], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = _outside_graphs if torch.compiler.is_compiling() else _called
        return call(func, args, dict(kwargs or {}))

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """As the plain one is shown."""
        return repr(self._plain(copy=False))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A plain copy, up to date."""
        made = memo[id(self)] = self._plain(copy=True)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As the plain one is pickled, up to date."""
        return self._plain(copy=False).__reduce_ex__(protocol)

    def __copy__(self) -> Any:
        """A tensor of the same memory, read as this one is."""
        return (
            nn.Parameter(self.data, self.requires_grad) if isinstance(self, nn.Parameter) else self.detach()
        )

    def _plain(self, copy: bool) -> Tensor:
        self._rows.catch_up()
        x: Any = self
        with plainly():
            detached = x.detach().clone() if copy else x.detach()
            values: Tensor = detached.as_subclass(Tensor)
            if not isinstance(self, nn.Parameter):
                return values
            made = nn.Parameter(values, requires_grad=x.requires_grad)
            if copy and x.grad is not None:
                made.grad = x.grad.clone()
            return made


class TrackedParameter(_Reading, nn.Parameter):
    """A parameter of which rows may be behind."""

    __hash__ = nn.Parameter.__hash__


class TrackedView(_Reading):
    """A tensor that shares memory with a tracked parameter."""

    __hash__ = Tensor.__hash__


def tracked(p: Any) -> LaggingRows:
    """Let a parameter bring its rows up to date from now on.

    One that another optimizer tracks is brought up to date, and is that one's no longer.
    """
    if isinstance(p, TrackedParameter):
        p._rows.catch_up()
    else:
        p.__class__ = TrackedParameter
        p._rows = LaggingRows(p)
    rows: LaggingRows = p._rows
    return rows


def _called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call a function of torch that has tracked tensors among its arguments."""
    if func is Tensor.share_memory_:
        _refuse_sharing(args[0])
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        raise RuntimeError(
            "a model with a tracked parameter cannot be traced: what torch.jit makes of it would read rows "
            "that are behind; trace a copy, copy.deepcopy(model)"
        )
    owners: list[LaggingRows] = []
    if func not in _PASSIVE:
        found = list(_tensors((args, kwargs)))
        owners = list(dict.fromkeys(x._rows for x in found))
        wanted = _looked_up(func, args, kwargs) if len(found) == 1 else None
        for rows in owners:
            rows.catch_up(wanted)
    with plainly():
        result = func(*args, **kwargs)
    return _views(result, owners) if owners else result


_outside_graphs = disable_dynamo(_called)


def _tensors(x: Any) -> Iterable[_Reading]:
    """The tracked tensors among arguments."""
    if isinstance(x, _Reading):
        yield x
    elif isinstance(x, (list, tuple)):
        for each in x:
            yield from _tensors(each)
    elif isinstance(x, dict):
        yield from _tensors(list(x.values()))


def _looked_up(func: Any, args: Any, kwargs: Mapping[str, Any]) -> np.ndarray[Any, Any] | None:
    """The rows that a lookup reads; None where it is no lookup, or cannot be known."""
    if func not in _LOOKUPS:
        return None
    for x in (*args[:2], *(kwargs.get(name) for name in ("input", "indices"))):
        if isinstance(x, Tensor) and not isinstance(x, _Reading) and not x.is_floating_point():
            if x.device.type != "cpu" or type(x) is not Tensor:
                return None
            if not _address(x):  # under torch.func.vmap, say
                return None
            return x.detach().reshape(-1).to(torch.int64).numpy()
    return None


def _views(result: Any, owners: list[LaggingRows]) -> Any:
    """The result of a call; what shares memory with a tracked parameter reads it as that does."""
    if isinstance(result, (list, tuple)) and type(result) in (list, tuple):
        return type(result)(_views(each, owners) for each in result)
    if not isinstance(result, Tensor) or isinstance(result, _Reading) or result.layout != torch.strided:
        return result
    memory = _address(result)
    for rows in owners:
        if rows.memory() == memory and memory:
            view = result.as_subclass(TrackedView)
            view._rows = rows
            return view
    return result


def _address(x: Tensor) -> int:
    """The address of a tensor's storage; 0 where it has none, wrapped by a transform of torch.func."""
    try:
        return x.untyped_storage().data_ptr()
    except RuntimeError:
        return 0


def _refuse_sharing(x: _Reading) -> Any:
    raise RuntimeError(
        f"a tracked parameter of shape {tuple(x.shape)} cannot move to shared memory: other processes would "
        f"not bring its rows up to date; send a copy, copy.deepcopy(model), or train with dense gradients "
        f"there (sparse=False)"
    )


# multiprocessing moves what it sends to another process to shared memory.
for _cls in (TrackedParameter, TrackedView):
    ForkingPickler.register(_cls, _refuse_sharing)
