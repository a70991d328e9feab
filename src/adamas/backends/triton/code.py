"""What a kernel is compiled to for a GPU that need not be there: its accesses, registers and instructions."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget

from .kernel import THREADS, Kernel
from .launch import compiled

__all__ = ["TARGETS", "Code", "code_of"]

# By the names of architectures.
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}


@dataclass(frozen=True)
class Code:
    """The machine code of one kernel.

    Attributes:
        vector_loads, vector_stores: accesses of 8 or 16 bytes a thread.
        widest: the bytes of the widest.
        wide_arithmetic: instructions that compute in float64.
        local: bytes of memory that a thread has of its own: spilled registers, arrays.
        registers: those of a thread.
        instructions: those from the first to the last access of a whole tile, 0 where they are not counted.
    """

    vector_loads: int
    vector_stores: int
    widest: int
    wide_arithmetic: int
    local: int
    registers: int
    instructions: int


def code_of(kernel: Kernel, architecture: str, count: bool = False) -> Code:
    """The code of a kernel for one of `TARGETS`; `count` disassembles it to count instructions."""
    target = TARGETS[architecture]
    assembly: dict[str, Any] = compiled(kernel.step, kernel.signature, target, THREADS).asm
    if target.backend == "cuda":
        return _of_nvidia(assembly["ptx"], assembly["cubin"], count)
    return _of_amd(assembly["amdgcn"])


def _of_nvidia(ptx: str, binary: bytes, count: bool) -> Code:
    loads = re.findall(r"\bld\.global(?:\.\w+)*\.v(\d)\.b(\d+)", ptx)
    stores = re.findall(r"\bst\.global(?:\.\w+)*\.v(\d)\.b(\d+)", ptx)
    widths = [int(n) * int(bits) // 8 for n, bits in loads + stores]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(binary)
        usage = _run("cuobjdump", "-res-usage", path)
        assembly = _run("nvdisasm", "-c", path) if count else ""
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return Code(
        vector_loads=len(loads),
        vector_stores=len(stores),
        widest=max(widths, default=0),
        wide_arithmetic=len(re.findall(r"\.f64\b", ptx)),
        local=found["STACK"] + found["LOCAL"] + len(re.findall(r"\.local\b", ptx)),
        registers=found["REG"],
        instructions=_span(re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(.*?);", assembly, re.MULTILINE)),
    )


def _span(instructions: list[str]) -> int:
    """The instructions from the first vector load to the last vector store."""
    ends = [k for k, text in enumerate(instructions) if re.search(r"\b(LDG|STG)\.E\.(64|128)", text)]
    return ends[-1] - ends[0] + 1 if ends else 0


def _run(tool: str, *arguments: Any) -> str:
    """The output of a tool that Triton brings along."""
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / tool
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def _of_amd(assembly: str) -> Code:
    kinds = "global", "buffer", "flat"
    loads = [int(n) for kind in kinds for n in re.findall(rf"\b{kind}_load_dwordx(\d)", assembly)]
    stores = [int(n) for kind in kinds for n in re.findall(rf"\b{kind}_store_dwordx(\d)", assembly)]
    scratch = re.search(r"\.private_segment_fixed_size:\s*(\d+)", assembly)
    registers = re.search(r"\.vgpr_count:\s*(\d+)", assembly)
    assert scratch is not None
    assert registers is not None
    wide = re.findall(r"\bv_(?:add|mul|fma|div\w*|sqrt|rcp|cvt)_\w*f64\b", assembly)
    return Code(
        vector_loads=len(loads),
        vector_stores=len(stores),
        widest=4 * max([*loads, *stores], default=0),
        wide_arithmetic=len(wide),
        local=int(scratch[1]),
        registers=int(registers[1]),
        instructions=0,
    )
