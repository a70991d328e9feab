"""What is measured: the step beside torch's own, and every rule beside Adam, as rows of a table."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

import adamas.torch
from adamas import rules

from .measure import Ratio, interleave, ratio, triad
from .workloads import WORKLOADS

__all__ = ["STEP_WORKLOADS", "Bench", "bench_rules", "bench_step"]

# Each makes the step of one optimizer for a list of parameters.
PEERS: dict[str, Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    "torch default": lambda params: torch.optim.Adam(params),
    "torch fused": lambda params: torch.optim.Adam(params, fused=True),
}
# One that fits a cache, one that fits the last-level cache, one that fits none.
STEP_WORKLOADS = ("rl-mlp", "mnist-mlp", "one-81m")
_TRIAD_ELEMENTS = 1 << 25


@dataclass(frozen=True)
class Bench:
    """Rows of figures, and what they were measured on."""

    title: str
    rows: list[dict[str, Any]]
    machine: dict[str, Any]
    notes: list[str]

    def plain(self) -> dict[str, Any]:
        """The same as dictionaries and lists, for JSON."""
        return asdict(self)


def bench_step(names: Sequence[str] = STEP_WORKLOADS, rounds: int = 30) -> Bench:
    """`adamas.torch.Adam.step()` beside torch's default and fused Adam.

    Args:
        names: workloads, of `adamas.bench.workloads.WORKLOADS`.
        rounds: turns a contender; medians are over turns, ratios of neighbouring turns.

    Raises:
        ValueError: a name is not that of a workload.
    """
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise ValueError(f"unknown workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    rows, notes = [], []
    for name in names:
        shapes = WORKLOADS[name]()
        contenders = {"adamas": _step(adamas.torch.Adam(_params(shapes)))}
        contenders |= {peer: _step(make(_params(shapes))) for peer, make in PEERS.items()}
        seconds = interleave(contenders, rounds)
        n = sum(map(_numel, shapes))
        row: dict[str, Any] = {"workload": name, "tensors": len(shapes), "parameters": n}
        row |= {f"{who} µs": statistics.median(times) * 1e6 for who, times in seconds.items()}
        for peer in PEERS:
            measured = ratio(seconds[peer], seconds["adamas"])
            row[f"× {peer}"] = measured.median
            row[f"× {peer} quartiles"] = f"{measured.low:.2f} to {measured.high:.2f}"
            notes += _noise(f"{name}, {peer}", measured)
        row["GB/s"] = _bytes(2, n) / statistics.median(seconds["adamas"]) / 1e9
        rows.append(row)
    return Bench("One step of Adam, float32: times, and theirs over ours", rows, _machine(), notes)


def bench_rules(name: str = "one-81m", rounds: int = 10) -> Bench:
    """The bytes per second of every rule, and as a share of Adam's in the same run.

    A step reads gradient, parameter and slots, and writes parameter and slots, 4 bytes each.
    """
    if name not in WORKLOADS:
        raise ValueError(f"unknown workload {name!r}; there are {', '.join(WORKLOADS)}")
    shapes = WORKLOADS[name]()
    n = sum(map(_numel, shapes))
    adam = _step(adamas.torch.Optimizer(_params(shapes), rules.Adam()))
    rows, notes = [], []
    for label, rule in _rules():
        other = _step(adamas.torch.Optimizer(_params(shapes), rule))
        seconds = interleave({"Adam": adam, label: other} if label != "Adam" else {"Adam": adam}, rounds)
        size = _bytes(len(rule.form().slots), n)
        measured = ratio([s * size / _bytes(2, n) for s in seconds["Adam"]], seconds[label])
        row = {"rule": label, "slots": len(rule.form().slots), "bytes a parameter": size // n}
        row |= {"ms": statistics.median(seconds[label]) * 1e3}
        row |= {"GB/s": size / statistics.median(seconds[label]) / 1e9, "share of Adam's": measured.median}
        rows.append(row)
        notes += _noise(label, measured)
    return Bench(f"Every rule on {name}, {n:,} parameters", rows, _machine(), notes)


def _rules() -> Iterable[tuple[str, rules.Rule]]:
    """Every rule with its defaults, and those that store more with other options."""
    for name in rules.__all__:
        rule = getattr(rules, name)
        if isinstance(rule, type) and issubclass(rule, rules.Rule) and rule is not rules.Rule:
            yield name, rule()
    yield "SGD, Nesterov", rules.SGD(momentum=0.9, nesterov=True)
    yield "RMSprop, centered, momentum", rules.RMSprop(momentum=0.9, centered=True)


def _params(shapes: Sequence[tuple[int, ...]]) -> list[torch.nn.Parameter]:
    params = [torch.nn.Parameter(torch.randn(shape) * 0.1) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p) * 0.1
    return params


def _step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    return optimizer.step


def _numel(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _bytes(slots: int, parameters: int) -> int:
    return 4 * (3 + 2 * slots) * parameters


def _noise(what: str, measured: Ratio) -> list[str]:
    if not measured.noisy:
        return []
    return [f"{what}: too noisy to tell (quartiles {measured.low:.2f} to {measured.high:.2f})"]


def _machine() -> dict[str, Any]:
    seconds = statistics.median(interleave({"triad": triad(_TRIAD_ELEMENTS)}, 10)["triad"])
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "triad GB/s": 12 * _TRIAD_ELEMENTS / seconds / 1e9,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "adamas": adamas.__version__,
    }
