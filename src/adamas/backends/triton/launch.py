"""The launch of a Triton function: compiled once for a device, whatever the values of its arguments."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import triton

__all__ = ["OPTIONS", "compiled", "interpreted", "launch"]

# Contraction is left to no compiler: see `toolbox`.
OPTIONS: Mapping[str, Any] = {"enable_fp_fusion": False}


def interpreted() -> bool:
    """Whether Triton's interpreter runs kernels, on the CPU: TRITON_INTERPRET=1 before the first import."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def launch(
    function: Any, grid: int, signature: Sequence[str], arguments: Sequence[Any], threads: int
) -> None:
    """Run `grid` programs of a Triton function on the current stream of the current device.

    Args:
        function: as `triton.jit` made it; none of its arguments is a constexpr.
        grid: the number of programs.
        signature: the type of each argument, such as "*i64", "*fp32", "i32".
        arguments: tensors for pointers, aligned to 16 bytes, and numbers.
        threads: those of a program.
    """
    if grid == 0:
        return
    if interpreted():
        with np.errstate(all="ignore"):
            function[(grid,)](*arguments)
        return
    device = triton.runtime.driver.active.get_current_device()
    _loaded(function, tuple(signature), threads, device)[(grid, 1, 1)](*arguments)


@functools.cache
def _loaded(function: Any, signature: tuple[str, ...], threads: int, device: int) -> Any:
    """The machine code for the current device, which is this one: an object of Triton's is loaded on one."""
    target = triton.runtime.driver.active.get_current_target()
    return compiled.__wrapped__(function, signature, target, threads)


@functools.cache
def compiled(function: Any, signature: tuple[str, ...], target: Any, threads: int) -> Any:
    """The machine code of a function for a target; Triton keeps it on disk.

    Compiled by its types alone: no value of an argument is specialized on, so nothing compiles anew.
    """
    names = function.arg_names
    source = triton.compiler.ASTSource(
        fn=function,
        signature=dict(zip(names, signature, strict=True)),
        constexprs={},
        attrs={(k,): [["tt.divisibility", 16]] for k, each in enumerate(signature) if each.startswith("*")},
    )
    options = {**OPTIONS, "num_warps": threads // target.warp_size}
    return triton.compile(source, target=target, options=options)
