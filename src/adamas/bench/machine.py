"""The facts that figures depend on."""

from __future__ import annotations

import platform
import statistics
from typing import Any

import torch

import adamas
from adamas._tools.machine import Load, cpu_model, memory_bytes
from adamas.backends.numba import architecture, vector_bits
from adamas.backends.numba.pool import available_cpus

from .measure import interleave, triad, triad_bytes

__all__ = ["GIB", "described", "load_facts", "machine", "torch_libraries"]

GIB = 1 << 30


def machine() -> dict[str, Any]:
    """Return the machine, its bandwidth now, and the versions."""
    seconds = statistics.median(interleave({"triad": triad()}, 5)["triad"])
    memory = memory_bytes()
    return {
        "cpu": cpu_model(),
        "architecture": architecture(),
        "machine": platform.machine(),
        "vector bits": vector_bits(),
        "cores": available_cpus(),
        "threads": torch.get_num_threads(),
        "memory GiB": memory / GIB if memory is not None else None,
        "triad GB/s": triad_bytes() / seconds / 1e9,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "adamas": adamas.__version__,
    }


def torch_libraries() -> dict[str, str]:
    """Return what multiplies matrices in torch, and the GPUs that it can use."""
    blas = "MKL" if torch.backends.mkl.is_available() else "no MKL"
    blas += ", oneDNN" if torch.backends.mkldnn.is_available() else ""
    if torch.version.cuda is None and torch.version.hip is None:
        cuda = "not used: this torch is built without it"
    elif not torch.cuda.is_available():
        cuda = f"not used: torch is built for {torch.version.cuda or torch.version.hip} and finds no device"
    else:
        devices = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        cuda = f"{torch.version.cuda or torch.version.hip}: {', '.join(devices)}"
    return {"BLAS of torch": f"{blas}, {torch.get_num_threads()} threads", "CUDA": cuda}


def load_facts(load: Load | None) -> dict[str, Any]:
    """Return whether the machine was quiet; None where that cannot be told."""
    if load is None:
        return {"quiet": None, "cores of others": None, "cores stolen": None}
    return {"quiet": load.quiet, "cores of others": load.others, "cores stolen": load.stolen}


def described(facts: dict[str, Any]) -> list[str]:
    """Return the facts as lines for people."""
    if "cpu" not in facts:
        return []
    memory = facts["memory GiB"]
    parts = [f"{facts['cpu']} ({facts['architecture']})", f"{facts['vector bits']}-bit vectors"]
    parts += [f"cores: {facts['cores']}", f"threads: {facts['threads']}"]
    parts += [f"memory: {'unknown' if memory is None else f'{memory:.1f} GiB'}"]
    parts += [f"triad: {facts['triad GB/s']:.3g} GB/s"]
    versions = [f"{name} {facts[name]}" for name in ("python", "torch", "adamas")]
    return [", ".join(parts), *_quiet(facts), ", ".join(versions)]


def _quiet(facts: dict[str, Any]) -> list[str]:
    if "quiet" not in facts:
        return []
    if facts["quiet"] is None:
        return ["quiet: unknown, this system does not say what other processes take"]
    verdict = "yes" if facts["quiet"] else "no, the figures may be off"
    return [
        f"quiet: {verdict}; others kept {facts['cores of others']:.2f} cores busy, and the hypervisor "
        f"took {facts['cores stolen']:.2f}"
    ]
