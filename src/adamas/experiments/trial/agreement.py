"""Every backend that can be had here, in every format, beside the float64 reference."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adamas import formats
from adamas.backends import reference
from adamas.rules import Rule
from adamas.torch import Optimizer
from adamas.torch.launchers import all_launchers

__all__ = ["Agreement", "Course", "by_javascript", "by_optax", "by_torch", "plan", "why_slow", "with_lr"]

Array = NDArray[np.float64]
_COLUMNS, _LR = 256, 1e-2
# The distance to the reference that is still called agreement, by the bits of the format: at least twice what
# the package's rules have.
ALLOWED = {64: 1e-7, 32: 1e-3, 16: 0.015, 8: 0.05, 4: 0.2}


@dataclasses.dataclass(frozen=True)
class Agreement:
    """A backend in one format beside the reference.

    Attributes:
        backend, state: their names; the state's format is that of the parameter where none is asked for.
        error: the distance to the reference over that of the reference to its start, both root mean squares
            over a run: 1 is as far off as standing still; None where it was refused.
        agrees: whether that is within what the format allows; None where it was refused.
        note: why it was refused, in the library's own words, or what else is to be known.
    """

    backend: str
    state: str
    error: float | None = None
    agrees: bool | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Course:
    """Where rules are sent along: gradients that turn, with noise.

    Each column has a period and a size of its own; rows are alike, their mean is rid of rounding's chance.
    """

    steps: int = 48
    rows: int = 32

    @property
    def start(self) -> NDArray[np.float32]:
        """The parameter to begin with."""
        row = np.random.default_rng(1).standard_normal((1, _COLUMNS)).astype(np.float32)
        return np.repeat(row, self.rows, axis=0)

    @property
    def gradients(self) -> NDArray[np.float32]:
        """The gradients, (steps, rows, columns)."""
        random, n = np.random.default_rng(0), _COLUMNS
        phase, period = random.uniform(0, 2 * np.pi, n), random.uniform(4, 24, n)
        waves = np.sin(np.arange(self.steps)[:, None] / period + phase)
        found = (waves + 0.3 * random.standard_normal((self.steps, n))) * 10.0 ** random.uniform(-1, 0, n)
        return np.repeat(found[:, None], self.rows, axis=1).astype(np.float32)


# From a rule, a start and gradients to the parameter after each step.
Run = Callable[[Rule, NDArray[np.float32], NDArray[np.float32]], Any]


def _judge(rule: Rule, backend: str, state: str, run: Run, course: Course) -> Agreement:
    """Run, and compare with the reference; a refusal is a ValueError of the library."""
    rule = with_lr(rule, _LR) or rule
    start, grads = course.start, course.gradients
    try:
        found = np.asarray(run(rule, start, grads), np.float64)
    except (ValueError, TypeError, NotImplementedError) as error:
        return Agreement(backend, state, note=_reason(error))
    except Exception as error:
        said = f"it raises {type(error).__name__}: {_reason(error)}"
        return Agreement(backend, state, agrees=False, note=said)
    with np.errstate(all="ignore"):
        steps = reference.trajectory(
            rule, start.astype(np.float64), lambda t, _: grads[t - 1].astype(np.float64), course.steps
        )
        way = np.array([each.p for each in steps])
    lost = _rms((found - way[1:]).mean(1)) / max(_rms(way - way[0]), float(np.finfo(float).tiny))
    return Agreement(backend, state, lost, lost <= ALLOWED[formats.get(state).bits])


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return re.sub(r".* cannot update a parameter of shape \([^)]*\): ", "", text)


def plan(rule: Rule) -> list[tuple[str, Callable[[], Agreement]]]:
    """Return what there is to compare here, as labels and calls."""
    calls: list[tuple[str, Callable[[], Agreement]]] = []
    for backend, device in _torch_backends():
        calls += [(f"{backend}, {state}", call) for state, call in _in_formats(rule, backend, device)]
    if importlib.util.find_spec("optax") is not None:
        for state in ("float32", "bfloat16", "float16"):
            calls.append((f"optax, {state}", functools.partial(by_optax, rule, state)))
    return [*calls, ("javascript", functools.partial(by_javascript, rule))]


def _in_formats(rule: Rule, backend: str, device: str) -> Iterator[tuple[str, Callable[[], Agreement]]]:
    for state in sorted(formats.names(), key=lambda name: -formats.get(name).bits):
        yield state, functools.partial(by_torch, rule, backend, state, device)


def _torch_backends() -> list[tuple[str, str]]:
    """The launchers that run the rule's own text, and the devices where they can."""
    found = []
    for launcher in all_launchers():
        if launcher.keeps_state and not launcher.row_wise:
            if not launcher.on_device:
                found.append((launcher.name, "cpu"))
            elif torch.cuda.is_available():
                found.append((launcher.name, "cuda"))
    return found


def by_torch(
    rule: Rule, backend: str, state: str, device: str = "cpu", course: Course = Course()
) -> Agreement:
    """Compare steps of `adamas.torch.Optimizer`; a parameter of float64 has its state in float64."""

    def run(rule: Rule, start: Any, grads: Any) -> Any:
        dtype = torch.float64 if state == "float64" else torch.float32
        p = torch.nn.Parameter(torch.from_numpy(start).to(device, dtype, copy=True))
        options: dict[str, Any] = {} if state in ("float64", "float32") else {"state_format": state}
        optimizer = Optimizer([p], rule, backend=backend, **options)
        found = []
        for g in grads:
            p.grad = torch.from_numpy(g).to(device, dtype)
            optimizer.step()
            found.append(p.detach().double().cpu().numpy().copy())
        (shown,) = optimizer.report().params
        if shown.formats and state not in shown.formats.values():
            raise ValueError("; ".join(shown.notes) or f"its state is kept as {shown.formats}")
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _judge(rule, backend, state, run, course)


def by_optax(rule: Rule, state: str) -> Agreement:
    """Compare steps of `adamas.optax.from_rule`."""

    def run(rule: Rule, start: Any, grads: Any) -> Any:
        from adamas.optax import from_rule

        made = from_rule(rule, state_format=None if state == "float32" else state)
        p, memory, found = start, made.init(start), []
        for g in grads:
            updates, memory = made.update(g, memory, p)
            p = np.asarray(p + np.asarray(updates), np.float32)
            found.append(p)
        return found

    return _judge(rule, "optax", state, run, Course(steps=12))


def by_javascript(rule: Rule) -> Agreement:
    """Compare the rule's JavaScript, that of the playground, as Node runs it where that is installed."""
    from adamas.backends.javascript import RUNTIME, emit

    node = shutil.which("node")
    if node is None:
        try:
            emit(rule)
        except (ValueError, TypeError) as error:
            return Agreement("javascript", "float64", note=_reason(error))
        return Agreement("javascript", "float64", note="written, not run: Node is not installed")

    def run(rule: Rule, start: Any, grads: Any) -> Any:
        given = json.dumps([start[0].tolist(), grads[:, 0].tolist()])
        program = f"{RUNTIME}\nconst rule = {emit(rule)};\nconst [start, grads] = {given};\n{_SCRIPT}"
        done = subprocess.run([node, "-"], input=program.encode(), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace").strip()[-200:])
        return np.array(json.loads(done.stdout))[:, None]

    return _judge(rule, "javascript", "float64", run, Course(rows=1))


_SCRIPT = """
const states = [...trajectory(rule, rule.hyperparameters, start, (t) => grads[t - 1], grads.length)];
console.log(JSON.stringify(states.slice(1).map((state) => state.p)));
"""


def with_lr(rule: Rule, lr: float) -> Rule | None:
    """The rule with another stepsize; None where that is out of its range."""
    try:
        return dataclasses.replace(rule, lr=lr)  # type: ignore[type-var]
    except ValueError:
        return None


def why_slow(rule: Rule) -> str | None:
    """Return why no kernel takes an ordinary parameter, in the library's own words; None where one does."""
    p = torch.nn.Parameter(torch.zeros(8, 8))
    p.grad = torch.ones_like(p)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = Optimizer([p], rule)
        optimizer.step()
    (shown,) = optimizer.report().params
    return None if shown.backend == all_launchers()[0].name else "; ".join(shown.notes) or str(shown.backend)
