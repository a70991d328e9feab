"""All private names of torch that this package uses, each with a fallback for releases that lack it.

A fallback gives the same result more slowly, and its cost stands beside it; `without_modes` has none.
"""

from __future__ import annotations

import contextlib
import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "PRIVATE",
    "disable_dynamo",
    "foreach",
    "foreach_copy",
    "has_overlap",
    "is_dense",
    "is_distributed",
    "is_fake",
    "is_flat",
    "is_zero_tensor",
    "local_tensor",
    "metadata",
    "metadata_guard",
    "plainly",
    "rows_of",
    "same_sharding",
    "sharding",
    "step_is_observed",
    "version_of",
    "without_modes",
]

# By their use below; a test takes each of them away.
PRIVATE = {
    "metadata_guard": "torch._C._dynamo.guards.TensorGuards",
    "disable_dynamo": "torch._compile._disable_dynamo",
    "pre_hooks": "torch.optim.optimizer._global_optimizer_pre_hooks",
    "post_hooks": "torch.optim.optimizer._global_optimizer_post_hooks",
    "profiler": "torch.autograd._profiler_enabled",
    "has_overlap": "torch._debug_has_internal_overlap",
    "is_dense": "torch.ops.aten.is_non_overlapping_and_dense",
    "is_zero_tensor": "torch.Tensor._is_zerotensor",
    "without_modes": "torch.utils._python_dispatch._disable_current_modes",
    "is_fake": "torch._subclasses.fake_tensor.FakeTensor",
    "local_tensor": "torch.distributed.tensor.DTensor._local_tensor",
    "version": "torch.Tensor._version",
    "spec": "torch.distributed.tensor.DTensor._spec",
    "plainly": "torch._C.DisableTorchFunctionSubclass",
    "indices": "torch.Tensor._indices",
    "values": "torch.Tensor._values",
}


def _private(name: str) -> Any:
    """The private object of that name in `PRIVATE`, or None in a release without it."""
    path = PRIVATE[name].split(".")
    for split in range(len(path) - 1, 0, -1):
        module = sys.modules.get(".".join(path[:split]))
        if module is not None:
            try:
                return operator.attrgetter(".".join(path[split:]))(module)
            except AttributeError:
                return None
    return None


# Fallback: torch.compiler.disable, which imports the compiler: seconds, once, at import.
disable_dynamo: Callable[..., Any] = _private("disable_dynamo") or torch.compiler.disable


# The context in which a subclass of tensors with a `__torch_function__` is an ordinary tensor. Fallback: the
# one that modes do not see either.
plainly: Callable[[], Any] = _private("plainly") or torch._C.DisableTorchFunction


_indices, _values = _private("indices"), _private("values")


def rows_of(g: Tensor) -> tuple[Tensor, Tensor]:
    """The indices and values of a sparse_coo tensor as they are, duplicates among them.

    Fallback: coalesced ones, which takes as long as the step.
    """
    if _indices is None or _values is None:
        g = g.coalesce()
        return g.indices(), g.values()
    return _indices(g), _values(g)


_TensorGuards = _private("metadata_guard")


def metadata_guard(tensors: Sequence[Tensor]) -> Callable[..., bool]:
    """A check that later tensors have the type, dtype, device, sizes and strides of these, and no lazy bits.

    These are the guards of torch.compile: one call for all tensors. Without them a comparison in Python,
    about a microsecond a tensor and step.
    """
    if _TensorGuards is None:
        expected = metadata(tensors)
        return lambda *others: metadata(others) == expected
    sizes, strides = list(map(Tensor.size, tensors)), list(map(Tensor.stride, tensors))
    # Equal ones share one list: making lists is most of the time.
    lists: dict[Any, list[int]] = {each: list(each) for each in {*sizes, *strides}}
    guards = _TensorGuards(
        *tensors,
        dynamic_dims_sizes=list(map(lists.__getitem__, sizes)),
        dynamic_dims_strides=list(map(lists.__getitem__, strides)),
    )
    check: Callable[..., bool] = guards.check
    return check


_ATTRIBUTES = tuple(map(operator.attrgetter, ("dtype", "device")))
_METHODS = (Tensor.size, Tensor.stride, Tensor.is_conj, Tensor.is_neg)


def metadata(tensors: Sequence[Any]) -> list[list[Any]] | None:
    """All that a kernel depends on of tensors, but for their addresses; None where one is no tensor."""
    types = list(map(type, tensors))
    if type(None) in types:
        return None
    functions: tuple[Callable[[Any], Any], ...] = (*_ATTRIBUTES, *_METHODS)
    return [types, *(list(map(function, tensors)) for function in functions)]


_pre_hooks = _private("pre_hooks")
_post_hooks = _private("post_hooks")
_profiling = _private("profiler")


def step_is_observed(optimizer: Any) -> bool:
    """Whether a hook or a profiler must see this step.

    Where torch does not expose whether there are any, yes: torch's wrapper costs a few microseconds.
    """
    if _pre_hooks is None or _post_hooks is None or _profiling is None:
        return True
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _pre_hooks
        or _post_hooks
        or _profiling()
    )


_version = _private("version")


def version_of(x: Tensor) -> Any:
    """What changes whenever a tensor is written to; None where that is not known."""
    return None if _version is None or x.is_inference() else _version.__get__(x)


_overlap = _private("has_overlap")
_dense = _private("is_dense")


def has_overlap(x: Tensor) -> bool:
    """Whether elements of a strided tensor are known to share memory, as those of an expanded one do."""
    if x.is_contiguous():
        return False
    if _overlap is not None:
        return bool(_overlap(x) == 1)
    return any(stride == 0 and size > 1 for size, stride in zip(x.shape, x.stride(), strict=True))


def is_dense(x: Tensor) -> bool:
    """Whether the elements of a strided tensor fill a stretch of memory, in any order of the dimensions."""
    if x.is_contiguous():
        return True
    if _dense is not None:
        return bool(_dense.default(x))
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= max(size, 1)
    return True


_zero = _private("is_zero_tensor")


def is_zero_tensor(x: Tensor) -> bool:
    """Whether a tensor stands for zeros without having any memory."""
    return bool(_zero(x)) if _zero is not None else x.numel() > 0 and x.data_ptr() == 0


def foreach(name: str, *args: Any) -> list[Tensor]:
    """A function of torch on lists of tensors, as one call; without it, a call a tensor.

    `args` are lists of tensors, of one length, or values for all.
    """
    fused = getattr(torch, f"_foreach_{name}", None)
    if fused is not None:
        result: list[Tensor] = list(fused(*args))
        return result
    single = getattr(torch, name)
    count = next(len(x) for x in args if isinstance(x, list))
    columns: Iterable[Any] = (x if isinstance(x, list) else [x] * count for x in args)
    return [single(*row) for row in zip(*columns, strict=True)]


def foreach_copy(targets: list[Tensor], values: list[Tensor]) -> None:
    """Copy tensors into others, as one call; without torch's function for it, a call a tensor."""
    fused = getattr(torch, "_foreach_copy_", None)
    if fused is not None:
        fused(targets, values)
        return
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)


def local_tensor(x: Any) -> Tensor:
    """The part of a DTensor that this process has, sharing its memory, and the same object at every call.

    Without the private name another object at every call, for which plans are made again.
    """
    found = _own(x, "local_tensor")
    local: Tensor = x.to_local().detach() if found is None else found
    wait = getattr(local, "wait", None)  # of a collective that may not have ended
    return local if type(local) is Tensor or wait is None else wait()


def sharding(x: Any) -> tuple[Any, tuple[Any, ...]]:
    """The mesh and the placements of a DTensor."""
    return x.device_mesh, tuple(x.placements)


def same_sharding(x: Any, y: Any) -> bool:
    """Whether two DTensors lie alike; comparing the placements takes microseconds where they share none."""
    mine = _own(x, "spec")
    return (mine is not None and mine is _own(y, "spec")) or sharding(x) == sharding(y)


def _own(x: Any, name: str) -> Any:
    """A private attribute of a DTensor; None where its class has no such attribute."""
    if name not in _descriptors:
        _descriptors[name] = _private(name)
    descriptor = _descriptors[name]
    return None if descriptor is None else descriptor.__get__(x, type(x))


_descriptors: dict[str, Any] = {}


def is_distributed(x: Tensor) -> bool:
    """Whether it is a DTensor; torch.distributed.tensor is not imported to find out."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def is_flat(p: Tensor) -> bool:
    """Whether it is a flat parameter of FullyShardedDataParallel, or one of those that are views of it."""
    return type(p).__name__ == "FlatParameter" or bool(getattr(p, "_fsdp_flattened", False))


def is_fake(x: Tensor) -> bool:
    """Whether it stands for a tensor, without its memory, as under FakeTensorMode."""
    fake = _private("is_fake")
    return isinstance(x, fake) if fake is not None else type(x).__name__ == "FakeTensor"


def without_modes() -> contextlib.AbstractContextManager[Any]:
    """A context in which new tensors are real ones, even under FakeTensorMode.

    No fallback: without it, classes without a namesake in torch.optim cannot step under such a mode.
    """
    disable = _private("without_modes")
    return contextlib.nullcontext() if disable is None else disable()
